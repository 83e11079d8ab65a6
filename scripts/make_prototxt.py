"""Write the networks in prototxt/ with their generators in randrop.nets."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from pathlib import Path

import _start  # noqa: F401

from randrop import cli, nets
from randrop.data.labelled import SUBSETS
from randrop.files import ownership, write_text
from randrop.pycaffe.build import REPOSITORY

log = logging.getLogger("randrop")

LESIONS = ("MA", "HE")
HEADS = {
    "unet": {
        "train_val": """\
# U-Net with one sigmoid channel per lesion type (here MA and HE), trained with the
# random drop loss. Written by scripts/make_prototxt.py; scripts/train.py writes a
# similar one for your data, lesion types, width and depth. The data layer is in Python:
# PYTHONPATH must contain python_layers, Caffe's folder python and the packages of
# build/venv, as docs/how-to/train-by-caffe.md shows. "root" is the data folder of that
# page, relative to where you start caffe. For another loss, change the last layer.
""",
        "solver": """\
# caffe train -solver prototxt/unet/solver.prototxt, from the root of the repository,
# with the data in build/idrid and PYTHONPATH as docs/how-to/train-by-caffe.md shows.
# Adam from scratch; its steps do not depend on the size of the loss.
""",
        "deploy": """\
# The trained U-Net: network input -> probabilities, one channel per lesion type. It has
# only layers of Caffe 1.0, which other programs read, too; scripts/export_onnx.py makes
# an ONNX file of it. Height and width must be multiples of 8. The input is
# randrop.data.network_input of a photograph.
""",
    },
    "lseg": {
        "train_val": """\
# A deeply supervised network with the stages of VGG-16 at a quarter of their widths,
# one sigmoid channel per lesion type (here MA and HE), and the random drop loss on the
# fused logits and on those of each stage. Written by scripts/make_prototxt.py;
# train.py --net lseg writes one for your data. Needs Python layers, like prototxt/unet.
""",
        "solver": """\
# caffe train -solver prototxt/lseg/solver.prototxt, from the root of the repository,
# with the PYTHONPATH of prototxt/unet/solver.prototxt and the data in build/idrid.
""",
        "deploy": """\
# The trained network: network input -> probabilities, one channel per lesion type. It
# has only layers of plain Caffe. Height and width must be multiples of 16.
""",
    },
    "explog3d": {
        "train_val": """\
# The network of the exponential logarithmic loss paper (Wong et al., MICCAI 2018) at a
# reduced size: volumes of 32 x 32 x 32, 20 labels. Written by scripts/make_prototxt.py;
# scripts/train.py writes a similar one for your volumes. The .txt files beside it list
# the HDF5 files that 'scripts/make_organs.py build/organs3d --dimensions 3 --size 32
# --labels 20 --smallest 0.0015' draws. All layers but the loss are plain Caffe.
""",
        "solver": """\
# caffe train -solver prototxt/explog3d/solver.prototxt, from the repository's root,
# with the data in build/organs3d, as train_val.prototxt says. No Python is needed.
""",
        "deploy": """\
# The trained network: volume -> probabilities of 20 labels. Only layers of plain Caffe.
""",
    },
}


def patch_files(name: str) -> dict[str, str]:
    """Return the texts of a network for photographs: purpose of the file to content."""
    make = nets.OF_PHOTOGRAPHS[name]
    feed = nets.PatchFeed(
        {
            "root": "build/idrid",
            "split": None,
            "lesions": list(LESIONS),
            "patch": 256,
            "batch_size": 2,
            "lesion_share": 0.5,
            "augment": True,
            "ignore_label": 255,
            "workers": 1,
            "seed": 1,
            "cycle": 40,
        }
    )
    losses = nets.parse_losses("random-drop:LOG", "SIGMOID")
    return {
        "train_val": make(len(LESIONS), feed, losses),
        "solver": nets.solver(
            net=f"prototxt/{name}/train_val.prototxt",
            iterations=4000,
            test_iterations=20,
            snapshot_prefix=f"build/{name}",
        ),
        "deploy": make(len(LESIONS)),
    }


def explog3d_files() -> dict[str, str]:
    """Return the text of prototxt/explog3d."""
    lists = {name: f"prototxt/explog3d/{name}.txt" for name in SUBSETS}
    feed = nets.VolumeFeed(lists, 1)
    losses = nets.parse_losses("exp-log", "SOFTMAX")
    return {
        "train_val": nets.explog3d(20, feed, losses),
        "solver": nets.solver(
            net="prototxt/explog3d/train_val.prototxt",
            iterations=4000,
            test_iterations=20,
            snapshot_prefix="build/explog3d",
        ),
        "deploy": nets.explog3d(20),
    }


FILES = {
    "unet": lambda: patch_files("unet"),
    "lseg": lambda: patch_files("lseg"),
    "explog3d": explog3d_files,
}


def files_of(network: str) -> dict[str, str]:
    """Return the files of a network: name to content."""
    texts = {
        f"{name}.prototxt": HEADS[network][name] + body
        for name, body in FILES[network]().items()
    }
    if network == "explog3d":
        texts |= {f"{name}.txt": f"build/organs3d/{name}.h5\n" for name in SUBSETS}
    return texts


def main() -> None:
    """Write the files."""
    parser = cli.parser(__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "prototxt")
    options: argparse.Namespace = parser.parse_args()
    texts = {
        f"{network}/{name}": text
        for network in FILES
        for name, text in files_of(network).items()
    }
    ownership.claim(options.out, "make_prototxt", texts)
    for name, text in texts.items():
        write_text(options.out / name, text)
        log.info("%s", options.out / name)


if __name__ == "__main__":
    cli.run(main)
