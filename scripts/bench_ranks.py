"""Time train.py --mpi on this machine, and foretell its speed on many."""

WANTED: str = "Python 3.10 or newer"

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import numpy as np
from tqdm import tqdm

import train
from randrop import cli
from randrop.benchmarks import scaling
from randrop.data.phantom_set import write_phantom
from randrop.errors import UserError
from randrop.files import ownership, schema, write_json
from randrop.pycaffe import processes
from randrop.training import caffe_train
from randrop.training.ranks import started
from randrop.training.ranks.common import files, ranked
from randrop.training.settings import settings_of
from randrop.training.shares import Share

EXAMPLES = """\
  scripts/bench_ranks.py --out results/bench_ranks.json
  scripts/bench_ranks.py --nets unet:8:5 --iterations 40

It trains each network on a drawn data set, alternately: one process with one thread,
one process with as many threads as there are ranks, and the ranks with one thread each,
all with the same batch. Then it measures how fast gradients are averaged in this
machine's memory. From these times it foretells 8 to 256 ranks on other networks: see
randrop.benchmarks.scaling. Run it where nothing else runs.
"""
WARM = 10  # iterations at the start that are not counted


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add(
        "--nets",
        nargs="+",
        default=["unet:8:5", "unet:16:4", "lseg:16:5"],
        metavar="NET:CHANNELS:DEPTH",
        help="as --net, --base-channels and --depth of train.py",
    )
    add("--ranks", type=int, default=2)
    add("--batch", type=int, default=4, help="patches per iteration of all ranks")
    add("--patch", type=int, default=256)
    add("--iterations", type=int, default=60)
    add("--rounds", type=int, default=3)
    add("--out", type=Path, help="write the figures to this JSON file")
    return parser.parse_args()


def timed(
    data: Path,
    folder: Path,
    net: str,
    ranks: int,
    threads: int,
    own: argparse.Namespace,
) -> dict[str, Any]:
    """Train, and return the seconds of each iteration's parts.

    Raises
    ------
    UserError
        If the training fails; shows its last lines.
    """
    name, channels, depth = net.split(":")
    run = folder / f"{net}-{ranks}-{threads}".replace(":", "-")
    words = ["--data", data, "--out", run, "--net", name, "--depth", depth]
    words += ["--base-channels", channels, "--patch", own.patch, "--batch", own.batch]
    words += ["--iterations", own.iterations, "--snapshot", own.iterations]
    words += ["--test-interval", own.iterations, "--test-iterations", 1]
    words += ["--validate-every", 0, "--threads", threads]
    settings = ranked(settings_of(train.arguments([str(w) for w in words])), ranks)
    caffe_train.write_run(run, settings, None, Share(0, ranks))
    times = run / "times.json"
    plan = started.Others(started.Started(0, ranks), 600).plan(run, settings)
    plan |= {"photographs": files(settings), "times": str(times)}
    plan["start"] = {"iteration": 0, "snapshot": None, "weights": None}
    mpiexec = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)]
    done = subprocess.run(
        [*mpiexec, *started.command(plan)],
        env=started.variables(None, threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"{net} on {ranks} ranks failed: {done.stderr[-500:]}")
    return schema.read_json(times, dict, "run it again")


def memory_speed(ranks: int, size: int) -> float:
    """Return the seconds that averaging so many bytes takes within this machine."""
    code = (
        "import sys, time, numpy as np\n"
        "from mpi4py import MPI\n"
        "buffer = np.zeros(int(sys.argv[1]) // 4, np.float32)\n"
        "comm, found = MPI.COMM_WORLD, []\n"
        "for _ in range(50):\n"
        "    comm.Barrier()\n"
        "    begin = time.perf_counter()\n"
        "    comm.Allreduce(MPI.IN_PLACE, buffer)\n"
        "    found.append(time.perf_counter() - begin)\n"
        "if comm.rank == 0:\n"
        "    print(sorted(found)[len(found) // 2])\n"
    )
    mpiexec = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)]
    done = subprocess.run(
        [*mpiexec, *processes.python(code, str(size))],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def parts_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of trainings that were timed alike."""
    periods, compute, exchange, after = [], [], [], []
    for times in found:
        for rank in times["ranks"]:
            period = np.diff(rank["starts"])[WARM:]
            own = np.array(rank["compute"])[WARM : WARM + len(period)]
            mean = np.array(rank["exchange"])[WARM : WARM + len(period)]
            compute += own.tolist()
            exchange += mean.tolist()
            after += (period - own - mean).tolist()
            periods += period.tolist()
    return {
        "seconds": float(np.median(periods)),
        "compute": float(np.median(compute)),
        "exchange": float(np.median(exchange)),
        "update": float(np.median(after)),
        "all_compute": [round(value, 6) for value in compute],
    }


def main() -> None:
    """Time all alternately, foretell, and print a table."""
    options = arguments()
    if options.out:
        ownership.check_kind(options.out, ".json", '"foretold"')
    if options.iterations < 2 * WARM or min(options.rounds, options.ranks) < 1:
        raise UserError(f"give at least {2 * WARM} --iterations, and 1 of the others")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        raise UserError(f"found no {mpiexec}: install it ('pip install mpich')")
    kinds = {"one thread": (1, 1), "threads": (1, options.ranks)}
    kinds["ranks"] = (options.ranks, 1)
    networks = []
    with tempfile.TemporaryDirectory(prefix="randrop-ranks-") as folder:
        data = Path(folder, "data")
        write_phantom(data, images=8, size=640, seed=1, workers=os.cpu_count() or 1)
        for net in options.nets:
            found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
            for round_ in tqdm(range(options.rounds), desc=net, unit="round"):
                for kind, how in kinds.items():
                    own = Path(folder, str(round_))
                    found[kind].append(timed(data, own, net, *how, options))
            parts = {kind: parts_of(times) for kind, times in found.items()}
            size = found["ranks"][0]["bytes"]
            share = {
                "compute": parts["ranks"]["all_compute"],
                "update": parts["ranks"]["update"],
                "bytes": size,
                "patches": options.batch // options.ranks,
            }
            networks.append(
                {
                    "net": net,
                    "bytes": size,
                    "in_memory": memory_speed(options.ranks, size),
                    **{
                        kind: {k: v for k, v in own.items() if k != "all_compute"}
                        for kind, own in parts.items()
                    },
                    "foretold": scaling.foretold(share, (8, 32, 64, 128, 256)),
                    "pays_until": {
                        name: scaling.pays_until(share, name, 256)
                        for name in scaling.NETWORKS
                    },
                }
            )
            last = networks[-1]
            print(
                f"{net:10} one thread {last['one thread']['seconds']:.3f} s, "
                f"{options.ranks} threads {last['threads']['seconds']:.3f} s, "
                f"{options.ranks} ranks {last['ranks']['seconds']:.3f} s"
            )
    if options.out:
        given = {name: getattr(options, name) for name in ("ranks", "batch", "patch")}
        given |= {"iterations": options.iterations, "rounds": options.rounds}
        content = given | {"processors": os.cpu_count(), "networks": networks}
        write_json(options.out, content)


if __name__ == "__main__":
    cli.run(main)
