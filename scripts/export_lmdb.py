"""Write patches into LMDB, and networks that read them without Python layers."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from pathlib import Path

import _start  # noqa: F401

from randrop import cli, nets
from randrop.data import check_lesions, read_dataset
from randrop.data.datasets import check_looked_for
from randrop.data.lmdb_set import write_lmdb
from randrop.data.patch_options import MORE_DEFAULTS, Options, check_more
from randrop.errors import UserError
from randrop.files import write_text
from randrop.nets.losses import activation_of
from randrop.training.patch_arguments import add_patch_arguments

log = logging.getLogger("randrop")

DESCRIPTION = """\
Write patches into LMDB, for a Caffe without Python layers.

Writes into OUT the databases train_data, train_label, validation_data and
validation_label, and train_val, solver and deploy.prototxt of a U-Net that reads them
with Data layers. The patches are the first --patches augmented ones that the data layer
of train.py cuts for the same seed; the training cycles through them.
"""

EXAMPLES = """\
  export_lmdb.py --data build/idrid --lesions MA HE --patches 8000 --out build/lmdb
  caffe train -solver build/lmdb/solver.prototxt
"""


def main(arguments: list[str] | None = None) -> int:
    """Write everything; return 0."""
    options = _parse(arguments)
    check_lesions(options.lesions)
    activation = activation_of(options.loss)
    losses = nets.parse_losses(options.loss, activation)
    if min(options.patch, options.batch, options.iterations) < 1 or options.patch % 8:
        raise UserError(
            "--patch must be a multiple of 8, --batch and --iterations at least 1"
        )
    more = {name: getattr(options, name) for name in MORE_DEFAULTS}
    if options.false_alarms:
        more["false_alarms"] = str(options.false_alarms)
    check_more({"lesion_share": options.lesion_share, **more})
    own = Options(
        tuple(options.lesions),
        options.patch,
        options.lesion_share,
        seed=options.seed,
        **more,
    )
    out = options.out.resolve()
    dataset = read_dataset(options.data, options.split)
    patches = {"train": options.patches, "validation": options.validation_patches}
    softmax = activation == "SOFTMAX"
    check_looked_for(dataset, options.lesions, softmax)
    write_lmdb(dataset, own, out, patches, softmax)
    channels = len(options.lesions) + softmax
    shape = {"activation": activation, "base_channels": options.base_channels}
    feed = nets.LmdbFeed(str(out), options.batch)
    texts = {
        "train_val": nets.unet(channels, feed, losses, **shape),
        "deploy": nets.unet(channels, **shape),
        "solver": nets.solver(
            net=str(out / "train_val.prototxt"),
            iterations=options.iterations,
            test_iterations=max(1, options.validation_patches // options.batch),
            snapshot_prefix=str(out / "snapshot"),
        ),
    }
    for name, text in texts.items():
        write_text(out / f"{name}.prototxt", text)
    log.info("Train: caffe train -solver %s", out / "solver.prototxt")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="data set with the masks")
    add("--split", type=Path, help="JSON file with the subsets")
    add("--lesions", nargs="+", default=["MA", "HE"], help="label channels, in order")
    add("--out", type=Path, required=True, help="output folder")
    add("--patches", type=int, default=4000, help="patches for training")
    add("--validation-patches", type=int, default=100)
    add("--patch", type=int, default=256, help="side of a patch in pixels")
    add(
        "--lesion-share",
        type=cli.finite,
        default=0.5,
        help="share of patches centred on a lesion",
    )
    add_patch_arguments(parser)
    add("--seed", type=int, default=1)
    add("--loss", default="random-drop", help="as for train.py; determines the labels")
    add("--batch", type=int, default=2)
    add("--base-channels", type=int, default=16)
    add("--iterations", type=int, default=4000)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
