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


def trained(data, run, loss, ranks, iterations=50, more=()):
    """Train, and return weights.npz of the run.

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
    child = started.command(plan)
    child = [sys.executable, str(HERE / "ranks_child.py"), child[-1]]
    done = mpi.mpiexec(ranks, child, env=started.variables(None, 1))
    if done.returncode:
        raise RuntimeError(f"{loss} on {ranks} ranks: {done.stderr[-2000:]}")
    with np.load(run / "weights.npz") as found:
        return dict(found)


def compared(data, folder, loss, ranks=RANKS, iterations=50):
    """Return the differences from one rank, or why the loss is refused.

    That of the first iteration's gradient is relative to its norm; that of the weights
    to the way from the initial weights; that of the masks is a number of elements, of
    all iterations.
    """
    first = trained(data, folder / "ranks1", loss, 1, iterations)
    moved = first["weights"] - first["start"]
    scale = float(np.linalg.norm(moved))
    found = {}
    for n in ranks[1:]:
        try:
            other = trained(data, folder / f"ranks{n}", loss, n, iterations)
        except UserError as error:
            return {"loss": loss, "refused": str(error)}
        weights = np.linalg.norm(other["weights"] - first["weights"]) / scale
        gradient = np.linalg.norm(other["gradient"] - first["gradient"])
        gradient /= np.linalg.norm(first["gradient"])
        found[str(n)] = {"gradient": float(gradient), "weights": float(weights)}
        if "mask" in first:
            changed = np.count_nonzero(other["mask"] != first["mask"])
            found[str(n)]["mask_elements"] = int(changed)
    more = {"largest_step": float(np.abs(moved).max())}
    if "mask" in first:
        more["kept"] = float((first["mask"] == 1).mean())
    return {"loss": loss, "ranks": found, **more}


def main():
    parser = argparse.ArgumentParser(**cli.wording(__doc__))
    parser.add_argument("--out", type=Path, help="write the result here, as JSON")
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--iterations", type=int, default=50)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="randrop-ranks-") as folder:
        data = Path(folder, "phantom")
        write_phantom(data, images=4, size=192, seed=3, workers=1)
        for k, loss in enumerate(options.losses):
            own = Path(folder, str(k))
            rows.append(compared(data, own, loss, iterations=options.iterations))
            print(rows[-1], flush=True)
    if options.out:
        write_json(options.out, {"iterations": options.iterations, "losses": rows})
    return 0


if __name__ == "__main__":
    cli.run(main)
