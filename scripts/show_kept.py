"""Draw which negatives a loss keeps in one patch during training."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import _start  # noqa: F401

import numpy as np
from google.protobuf import text_format

from randrop import cli, nets
from randrop.data import read_dataset
from randrop.data.arrays import LEVELS, ZERO
from randrop.data.patches import Options, PatchSource
from randrop.errors import UserError
from randrop.files import ownership, replacing
from randrop.files.documents import read_photograph_run
from randrop.losses.registry import LAYERS
from randrop.pycaffe.build import import_caffe
from randrop.training import prototxts
from randrop.training.snapshots import check_weights

log = logging.getLogger("randrop")

DESCRIPTION = """\
Draw which negatives a loss keeps in one patch of a photograph during training.

Each snapshot of RUN gets one column: the probability of the first lesion type, and
below it the pixels that take part in the loss: lesions, kept negatives and dropped
negatives. The mask is the second top of the loss layer, for the patch and the weights
of that snapshot. RUN must be a training with random drop, top-k or bin loss.
"""

EXAMPLES = """\
  train.py --data build/idrid --loss random-drop:LOG --snapshot 100 --out build/run
  show_kept.py --run build/run --iterations 100 400 1000 4000 --out kept.png
"""

NEEDED = ("loss", "data", "patch", "base_channels", "depth", "prior", "python_layer")

# Colours of ignored pixels, negatives left out, lesions and kept negatives.
COLOURS = np.array([[90, 90, 90], [20, 20, 30], [0, 158, 115], [230, 159, 0]], np.uint8)


class Moment(NamedTuple):
    """A patch at one snapshot: the iteration, (P, P) probability and mask."""

    iteration: int
    probability: np.ndarray
    mask: np.ndarray


def masked_net(caffe: Any, settings: dict[str, Any], size: int) -> str:
    """Return the prototxt of the run's network for one patch, with a mask top.

    Raises
    ------
    UserError
        If no loss of the run has a mask.
    """
    losses = prototxts.losses_of(settings, "SIGMOID")
    channels = len(settings["lesions"])
    feed = nets.InputFeed((1, 3, size, size), (1, channels, size, size))
    make = nets.OF_PHOTOGRAPHS[settings.get("net", "unet")]
    shape = prototxts.size_of(settings) | {"prior": settings["prior"]}
    net = caffe.proto.caffe_pb2.NetParameter()
    text_format.Merge(make(channels, feed, losses, **shape), net)
    for layer in net.layer:
        known = LAYERS.get(layer.type)
        if known and known.mask and layer.bottom[0] == "score":
            layer.top.append("mask")
            layer.loss_weight.append(0)
            return text_format.MessageToString(net)
    raise UserError(
        f"{settings['loss']} keeps all negatives: give a training with random drop, "
        "top-k or bin loss"
    )


def moments(
    caffe: Any, text: str, snapshots: dict[int, Path], patch: tuple[Any, Any]
) -> list[Moment]:
    """Return the network's output and the loss's mask for a patch at each snapshot."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        path.write_text(text)
        for iteration, weights in sorted(snapshots.items()):
            net = caffe.Net(str(path), str(weights), caffe.TRAIN)
            net.blobs["data"].data[0], net.blobs["label"].data[0] = patch
            net.forward()
            score = net.blobs["score"].data[0, 0].astype(float)
            mask = net.blobs["mask"].data[0, 0].copy()
            found.append(Moment(iteration, 1 / (1 + np.exp(-score)), mask))
    return found


def kinds(mask: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the row of `COLOURS` of each pixel."""
    kept = np.where(label == 1, 2, 3)
    return np.where(mask < 0, 0, np.where(mask > 0, kept, 1))


def draw(path: Path, patch: tuple[Any, Any], shown: list[Moment], title: str) -> None:
    """Draw the patch, its truth, and one column per moment."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    image, label = patch[0], patch[1][0]
    size = 2.3 * (len(shown) + 1)
    figure, axes = plt.subplots(
        2, len(shown) + 1, figsize=(size, 5.4), layout="constrained", squeeze=False
    )
    levels = (image * LEVELS / 2 + ZERO).clip(0, 255).astype(np.uint8)
    axes[0, 0].imshow(levels.transpose(1, 2, 0))
    axes[0, 0].set_title("network input", fontsize=10)
    axes[1, 0].imshow(COLOURS[np.where(label == 255, 0, np.where(label == 1, 2, 1))])
    axes[1, 0].set_title("lesions", fontsize=10)
    for column, moment in zip(axes[:, 1:].T, shown, strict=True):
        column[0].imshow(moment.probability, vmin=0, vmax=1, cmap="inferno")
        column[0].set_title(f"iteration {moment.iteration:,}\nprobability", fontsize=10)
        negatives = (label == 0) & (moment.mask >= 0)
        share = (moment.mask[negatives] > 0).mean() if negatives.any() else 0.0
        column[1].imshow(COLOURS[kinds(moment.mask, label)])
        column[1].set_title(f"keeps {share:.1%} of the negatives", fontsize=10)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    names = ("takes no part", "negative, left out", "lesion", "negative, kept")
    handles = [plt.Rectangle((0, 0), 1, 1, color=c / 255) for c in COLOURS]
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=10)
    figure.suptitle(title, fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Read, compute and draw; return 0."""
    options = _parse(arguments)
    ownership.check_kind(options.out, ".png")
    settings = read_photograph_run(
        options.run, "name the output folder of scripts/train.py", NEEDED
    )
    lesions = tuple(settings["lesions"])
    if settings.get("activation", "SIGMOID") != "SIGMOID":
        raise UserError(
            f"{options.run} has a softmax, whose losses select no negatives: give a "
            "training with a sigmoid loss"
        )
    snapshots = {
        int(re.search(r"_iter_(\d+)", path.name)[1]): path
        for path in (options.run / "snapshots").glob("*_iter_*.caffemodel")
    }
    missing = sorted(set(options.iterations or ()) - set(snapshots))
    if missing or not snapshots:
        raise UserError(
            f"{options.run} has no snapshot of iteration {missing or 'any'}: it has "
            f"{sorted(snapshots)}; train with a smaller --snapshot"
        )
    wanted = options.iterations or sorted(snapshots)[-5:]
    for iteration in wanted:
        check_weights(snapshots[iteration])
    caffe = import_caffe()
    caffe.set_random_seed(options.seed)
    text = masked_net(caffe, settings, settings["patch"])
    dataset = read_dataset(settings["data"], settings.get("split"))
    own = Options(lesions, settings["patch"], 1.0, augment=False, seed=options.seed)
    patch = PatchSource(dataset, options.subset, own).patch(options.number)
    shown = moments(caffe, text, {k: snapshots[k] for k in wanted}, patch)
    title = f"{settings['loss']}, {lesions[0]}, patch {options.number} {options.credit}"
    draw(options.out, patch, shown, title.strip())
    log.info("%s", options.out)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="output folder of scripts/train.py")
    add("--out", type=Path, required=True, help="PNG to write")
    add("--iterations", type=int, nargs="+", help="snapshots; default: the last five")
    add("--subset", default="validation", help="photograph of the patch")
    add(
        "--number",
        type=int,
        default=0,
        help="number of the patch; all are near a lesion",
    )
    add("--seed", type=int, default=1, help="seed of the patch and the mask")
    add("--credit", default="", help="source of the photograph, for the title")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
