"""Trains on 1, 2 and 4 ranks with every loss, and compares the weights and masks.

Each training has 50 iterations with a batch of 4 patches of 32 x 32 pixels, of which
many are ignored, on a network without BatchNorm. A loss that the shares of a batch do
not determine is listed with what train.py says.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers"), str(HERE.parent)]
sys.path.insert(0, str(HERE.parent / "scripts"))

import mpi  # noqa: E402
import numpy as np  # noqa: E402
import ranks_child  # noqa: E402
import small_training  # noqa: E402

import train  # noqa: E402
from randrop import cli  # noqa: E402
from randrop.data.phantom_set import write_phantom  # noqa: E402
from randrop.errors import UserError  # noqa: E402
from randrop.files import write_json  # noqa: E402
from randrop.training import caffe_train  # noqa: E402
from randrop.training.ranks import started  # noqa: E402
from randrop.training.ranks.common import files, ranked  # noqa: E402
from randrop.training.settings import settings_of  # noqa: E402
from randrop.training.shares import Share  # noqa: E402

LOSSES = (
    *("cross-entropy", "cross-entropy:normalization=VALID"),
    *("cross-entropy:normalization=NONE", "random-drop:LOG", "random-drop:SQU"),
    *("random-drop:LOG,keep=UNIFORM", "random-drop:LOG,keep=HARDEST"),
    *("random-drop:LINEAR,balance=PER_IMAGE", "random-drop:LOG,normalization=VALID"),
    *("random-drop:LOG,balance=BATCH", "class-balanced", "top-k", "bin", "top-k:10"),
    *("focal", "focal:alpha_mode=PER_IMAGE", "dice", "dice:batch=true", "pm-dice"),
    *("cc-dice-ce", "top-k-dice", "tversky", "tversky:batch=true"),
    *("exp-log:weight_cross=0", "exp-log:label_frequency=0.98/0.01/0.01", "exp-log"),
    *("weighted-cross-entropy:label_frequency=0.98/0.01/0.01", "cross-entropy+dice"),
)
RANKS = (1, 2, 4)
NET = "--batch 4 --base-channels 4 --depth 3 --threads 1"
PATCHES = "--patch 32 --workers 1"


def planned(data, run, loss, ranks, iterations=50, more=()):
    """Write a run, and return the plan of its ranks.

    Raises
    ------
    UserError
        If the loss is refused.
    """
    words = small_training.command(data, run, iterations=iterations)[2:]
    labelled = not (data / "images").is_dir()
    if labelled:
        at = words.index("--patch")
        del words[at : at + 2]
    words += [*NET.split(), *([] if labelled else PATCHES.split()), "--loss", loss]
    words += ["--snapshot", str(iterations), *more]
    if loss.startswith("random-drop"):
        words.append("--watch-mask")
    settings = ranked(settings_of(train.arguments(words)), ranks)
    caffe_train.write_run(run, settings, None, Share(0, ranks))
    place = started.Others(started.Started(0, ranks), 120)
    plan = place.plan(run, settings, photographs=files(settings))
    plan["start"] = {"iteration": 0, "snapshot": None, "weights": None}
    text = (run / "train_val.prototxt").read_text()
    (run / "train_val.prototxt").write_text(ranks_child.bare(text))
    return plan


def trained(plans, ranks):
    """Train all plans, one after the other, and return weights.npz of each run."""
    child = started.command(plans)
    child = [sys.executable, str(HERE / "ranks_child.py"), child[-1]]
    done = mpi.mpiexec(ranks, child, env=started.variables(None, 1))
    if done.returncode:
        raise RuntimeError(f"{ranks} ranks: {done.stderr[-2000:]}")
    found = []
    for plan in plans:
        with np.load(Path(plan["run"]) / "weights.npz") as arrays:
            found.append(dict(arrays))
    return found


def compared(data, folder, losses, ranks=RANKS, iterations=50):
    """Return for each loss the differences from one rank, or why it is refused.

    That of the first iteration's gradient is relative to its norm; that of the weights
    to the way from the initial weights; that of the masks is a number of elements, of
    all iterations.
    """
    rows = {loss: {"loss": loss, "ranks": {}} for loss in losses}
    first = {}
    for n in ranks:
        plans = {}
        for k, loss in enumerate(losses):
            run = folder / f"loss{k}-ranks{n}"
            try:
                plans[loss] = planned(data, run, loss, n, iterations)
            except UserError as error:
                rows[loss] = {"loss": loss, "refused": str(error)}
        found = dict(zip(plans, trained([*plans.values()], n), strict=True))
        if n == ranks[0]:
            first = found
            continue
        for loss in found:
            rows[loss]["ranks"][str(n)] = _differences(first[loss], found[loss])
    for loss, row in rows.items():
        if "refused" not in row:
            moved = first[loss]["weights"] - first[loss]["start"]
            row["largest_step"] = float(np.abs(moved).max())
            if "mask" in first[loss]:
                row["kept"] = float((first[loss]["mask"] == 1).mean())
    return [*rows.values()]


def _differences(first, other):
    scale = np.linalg.norm(first["weights"] - first["start"])
    weights = np.linalg.norm(other["weights"] - first["weights"]) / scale
    gradient = np.linalg.norm(other["gradient"] - first["gradient"])
    gradient /= np.linalg.norm(first["gradient"])
    found = {"gradient": float(gradient), "weights": float(weights)}
    if "mask" in first:
        found["mask_elements"] = int(np.count_nonzero(other["mask"] != first["mask"]))
    return found


def main():
    parser = argparse.ArgumentParser(**cli.wording(__doc__))
    parser.add_argument("--out", type=Path, help="write the result here, as JSON")
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--iterations", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="randrop-ranks-") as folder:
        data = Path(folder, "phantom")
        write_phantom(data, images=4, size=192, seed=3, workers=1)
        rows = compared(
            data, Path(folder), options.losses, iterations=options.iterations
        )
    for row in rows:
        print(row)
    if options.out:
        write_json(options.out, {"iterations": options.iterations, "losses": rows})
    return 0


if __name__ == "__main__":
    cli.run(main)
