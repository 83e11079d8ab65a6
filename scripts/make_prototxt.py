"""Write the networks in prototxt/ anew from their generators in randrop.nets."""

import argparse
import logging
from pathlib import Path

import _start  # noqa: F401

from randrop import cli, nets
from randrop.caffe_build import REPOSITORY
from randrop.files import write_text

log = logging.getLogger("randrop")

LESIONS = ("MA", "HE")
HEADS = {
    "train_val": """\
# U-Net with one sigmoid channel a lesion type (here MA and HE), trained with the random
# drop loss. Written by scripts/make_prototxt.py; scripts/train.py writes one like it
# for your data, lesion types, width and depth. Needs Python layers: PYTHONPATH must
# hold python_layers and the caffe package. Change "root" to your data; for another
# loss change the last layer.
""",
    "solver": """\
# caffe train -solver prototxt/unet/solver.prototxt, from the root of the repository.
# Adam from scratch; its steps do not depend on the size of the loss.
""",
    "deploy": """\
# The trained U-Net: network input -> probabilities, a channel a lesion type. Layers of
# plain Caffe alone, so that OpenCV (cv2.dnn.readNetFromCaffe) reads it, too. Height and
# width must be multiples of 8. The input is randrop.data.network_input of a photograph.
""",
}


def unet_files() -> dict[str, str]:
    """Return the text of prototxt/unet: file name without suffix to content."""
    data = {
        "root": "data/idrid",
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
    loss = nets.Loss(
        "SigmoidRandomDropCELoss", "randrop_loss_param", {"schedule_type": "LOG"}
    )
    bodies = {
        "train_val": nets.unet(LESIONS, data, loss),
        "solver": nets.solver(
            net="prototxt/unet/train_val.prototxt",
            iterations=4000,
            test_iterations=20,
            snapshot_prefix="build/unet",
        ),
        "deploy": nets.unet(LESIONS),
    }
    return {name: HEADS[name] + body for name, body in bodies.items()}


def main() -> None:
    """Write the files."""
    parser = cli.parser(__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "prototxt")
    options: argparse.Namespace = parser.parse_args()
    for name, text in unet_files().items():
        path = options.out / "unet" / f"{name}.prototxt"
        write_text(path, text)
        log.info("%s", path)


if __name__ == "__main__":
    cli.run(main)
