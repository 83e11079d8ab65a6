"""Time losses and a training step beside other programs, on one thread and on more."""

WANTED: str = "Python 3.10 or newer"

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from tqdm import tqdm

from randrop import cli, nets
from randrop.benchmarks.timing import in_a_process, median
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.losses.registry import ACTIVATIONS, timed
from randrop.pycaffe.build import caffe_binary, environment, import_caffe

LOSSES = {activation: timed(activation) for activation in ACTIVATIONS}
ENGINES = ("ONEDNN", "CAFFE")
# It ends with the program that started it, however that one ends.
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
EPILOG = """\
  scripts/bench_loaded.py --out results/bench_loaded.json
  scripts/bench_loaded.py --losses top-k --no-step

A busy loop is a program that only uses processor time, as a compiler beside a training
does. The loops run at normal priority, in sessions of their own. With as many loops as
processors, threads get at most half of each processor. If two threads are slower there
than one, they wait for each other: the ratio should not be above 1. `caffe time` times
the step as a user starts it, without the OpenMP variables that our scripts set. Close
other programs for the quiet figures."""


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run `count` programs that take all the processor time they get."""
    started = [
        subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


class FillerFeed:
    """Random numbers as data, and labels without positives."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.batch = shape[0]

    def layer(self, caffe: Any, subset: str, phase: int) -> tuple[Any, Any]:
        """Return data and label, for a NetSpec."""
        label = (self.batch, 1, *self.shape[2:])
        return caffe.layers.DummyData(
            dummy_data_param={
                "shape": [{"dim": list(size)} for size in (self.shape, label)],
                "data_filler": [{"type": "gaussian"}, {"type": "constant"}],
            },
            include={"phase": phase},
            ntop=2,
        )


def write_step(options: argparse.Namespace, path: Path) -> None:
    """Write the U-Net to time."""
    import_caffe()
    side = options.side
    feed = FillerFeed((options.batch, 3, side, side))
    losses = nets.parse_losses("random-drop:LOG", "SIGMOID")
    path.write_text(nets.unet(1, feed, losses, base_channels=options.base))


def step(path: Path, threads: int, engine: str, iterations: int) -> dict[str, float]:
    """Return the ms of a forward and backward pass, from `caffe time`."""
    variables = {
        **environment(),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "RANDROP_ENGINE": engine,
        "GLOG_minloglevel": "0",
    }
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        variables.pop(name, None)
    result = subprocess.run(
        [caffe_binary(), "time", "-model", path, "-iterations", str(iterations)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Average Forward-Backward: ([\d.e+-]+) ms", result.stderr)
    if result.returncode or not found:
        last = "\n".join(result.stderr.strip().splitlines()[-3:])
        raise UserError(f"caffe time failed: {last}")
    if float(found[1]) <= 0:
        raise UserError(
            "a step takes less than 'caffe time' shows: give a larger --side, --base "
            "or --batch"
        )
    return {"ms": float(found[1])}


def loss_times(
    activation: str, names: list[str], threads: int, options: argparse.Namespace
) -> dict[str, float]:
    """Return the ns per pixel of each loss, forward and backward."""
    task = {
        "contender": "native",
        "activation": activation,
        "shape": options.shape,
        "threads": threads,
        "repeats": options.repeats,
        "losses": names,
        "mean": True,
    }
    script = Path(__file__).with_name("bench_losses.py")
    return in_a_process(str(script), task, threads)


def in_turn(
    what: str, timed: Any, options: argparse.Namespace, digits: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return figures[name]["quiet" or "loaded"][threads], each a median of rounds.

    Numbers of threads alternate, so that other activity of the machine hits all.
    """
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for state, loops in (("quiet", 0), ("loaded", options.loops)):
        rounds: dict[int, list[dict[str, float]]] = {n: [] for n in options.threads}
        with busy_loops(loops):
            for _ in tqdm(range(options.rounds), f"{what}, {state}", unit="round"):
                for threads in options.threads:
                    rounds[threads].append(timed(threads))
        for threads in options.threads:
            for name, value in median(rounds[threads], digits).items():
                of_state = figures.setdefault(name, {}).setdefault(state, {})
                of_state[str(threads)] = value
    return figures


def ratios(figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return figures with their ratios to those of the first number of threads."""
    result: dict[str, Any] = dict(figures)
    for state, by_threads in figures.items():
        first, *others = by_threads
        for threads in others:
            result[f"{state}_ratio_{threads}_to_{first}"] = round(
                by_threads[threads] / by_threads[first], 2
            )
    return result


def show(name: str, unit: str, figures: dict[str, Any]) -> None:
    """Print a line."""
    words = []
    for state in ("quiet", "loaded"):
        times = " ".join(f"{n}: {ms:8.2f}" for n, ms in figures[state].items())
        ratio = [v for k, v in figures.items() if k.startswith(f"{state}_ratio")]
        words.append(f"{state} {times} {unit}, ratio {' '.join(map(str, ratio))}")
    print(f"{name:34} " + "   ".join(words))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.parser(__doc__, EPILOG)
    add = parser.add_argument
    add("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    add("--loops", type=int, default=2, help="busy loops in parallel (default: 2)")
    add("--rounds", type=int, default=3, help="processes per measurement (default: 3)")
    add("--repeats", type=int, default=15, help="passes of a loss per process (15)")
    add("--iterations", type=int, default=10, help="steps per process (10)")
    add("--losses", nargs="+", metavar="LOSS", help="time only these losses")
    add("--shape", type=int, nargs=4, default=[8, 4, 256, 256], metavar="SIZE",
        help="shape of the logits (8 4 256 256)")  # fmt: skip
    add("--base", type=int, default=16, help="channels of the U-Net (16)")
    add("--batch", type=int, default=2, help="images per batch (2)")
    add("--side", type=int, default=256, help="side of its images in pixels (256)")
    add("--no-step", action="store_true", help="time only the losses")
    add("--out", type=Path, help="write the figures to this JSON file")
    return parser.parse_args()


def main() -> None:
    """Time everything on a quiet and on a loaded machine."""
    options = arguments()
    counts = ("threads", "rounds", "repeats", "iterations", "shape", "base", "batch")
    for name in (*counts, "side"):
        value = getattr(options, name)
        if min(value if isinstance(value, list) else [value]) < 1:
            raise UserError(f"--{name} must be at least 1")
    if options.loops < 0 or options.side % 16:
        raise UserError(
            "--loops must not be negative, and --side must be a multiple of 16"
        )
    wanted = options.losses or [n for names in LOSSES.values() for n in names]
    unknown = set(wanted) - {n for names in LOSSES.values() for n in names}
    if unknown:
        raise UserError(
            f"--losses {' '.join(sorted(unknown))}: choose from {' '.join(LOSSES)}"
        )
    if options.out:
        ownership.check_kind(options.out, ".json", '"loops"')
    content: dict[str, Any] = {
        "loops": options.loops,
        "processors": len(os.sched_getaffinity(0)),
        "shape": options.shape,
        "losses": [],
        "step": [],
    }
    for activation, known in LOSSES.items():
        names = [n for n in known if n in wanted]
        if not names:
            continue
        found = in_turn(
            activation.lower(),
            lambda n, a=activation, names=names: loss_times(a, names, n, options),
            options,
            2,
        )
        for name in names:
            figures = ratios(found[name])
            show(f"{activation.lower()} {name}", "ns", figures)
            entry = {"activation": activation, "loss": name, "ns_per_pixel": figures}
            content["losses"].append(entry)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        if not options.no_step:
            write_step(options, path)
        for engine in () if options.no_step else ENGINES:
            found = in_turn(
                f"U-Net, {engine}",
                lambda n, e=engine: step(path, n, e, options.iterations),
                options,
                1,
            )
            figures = ratios(found["ms"])
            show(
                f"U-Net {options.base}, batch {options.batch}, {engine}", "ms", figures
            )
            content["step"].append(
                {"engine": engine, "base": options.base, "batch": options.batch,
                 "side": options.side, "ms": figures}
            )  # fmt: skip
    if options.out:
        write_json(options.out, content)


if __name__ == "__main__":
    cli.run(main)
