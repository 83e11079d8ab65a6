"""Draw the patches that a training would see, with their labels."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
from pathlib import Path

import _start  # noqa: F401

from PIL import Image

from randrop import cli
from randrop.data import check_lesions, read_dataset
from randrop.data.patch_options import MORE_DEFAULTS, Options, check_more
from randrop.data.patches import PatchSource
from randrop.errors import UserError
from randrop.files import ownership, replacing
from randrop.report.patch_sheet import LARGEST, patch_sheet, sheet_size
from randrop.training.patch_arguments import add_patch_arguments, weights_of

log = logging.getLogger("randrop")

DESCRIPTION = """\
Draw the patches that a training would see, with their labels.

Each patch is drawn twice: as the network sees it, and with the outlines of its lesions.
What no loss counts is striped. The patches are those of train.py with the same data,
options and seed: look at them before a long training.
"""

EXAMPLES = """\
  show_patches.py --data build/idrid --lesions MA HE --out build/patches.png
  show_patches.py --data build/idrid --paste 3 --lesion-share 0 --out build/pasted.png
"""


def main(arguments: list[str] | None = None) -> int:
    """Draw and write; return 0."""
    options = _parse(arguments)
    check_lesions(options.lesions)
    if min(options.patch, options.number, options.columns) < 1:
        raise UserError("--patch, --number and --columns must be at least 1")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}: give a number of at least 0")
    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--out {options.out}: give a name that ends in .png or .jpg")
    width, height = sheet_size(options.patch, options.number, options.columns)
    if max(width, height) > LARGEST:
        raise UserError(
            f"the picture would have {width} x {height} pixels, more than {LARGEST} "
            "along a side: give smaller --patch, --number or --columns"
        )
    ownership.check(options.out)
    more = {name: getattr(options, name) for name in MORE_DEFAULTS}
    check_more({"lesion_share": options.lesion_share, **more})
    weights = weights_of(options.lesion_weights, options.lesions)
    own = Options(
        tuple(options.lesions),
        options.patch,
        options.lesion_share,
        lesion_weights=weights and tuple(weights.get(x, 1.0) for x in options.lesions),
        seed=options.seed,
        **more,
    )
    source = PatchSource(read_dataset(options.data, options.split), "train", own)
    patches = [source.patch(k) for k in range(options.number)]
    sheet = patch_sheet(patches, own.lesions, own.ignore_label, options.columns)
    with replacing(options.out) as temporary:
        Image.fromarray(sheet).save(temporary)
    log.info("Look at %s", options.out)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="data set with the masks")
    add("--split", type=Path, help="JSON file with the subsets")
    add("--lesions", nargs="+", default=["MA", "HE"], help="types to outline")
    add("--patch", type=int, default=256, help="side of a patch in pixels")
    add(
        "--lesion-share",
        type=cli.finite,
        default=0.5,
        help="share of patches centred on a lesion",
    )
    add(
        "--lesion-weights",
        nargs="+",
        metavar="TYPE=W",
        help="relative frequency of each type among these patches; default: 1",
    )
    add_patch_arguments(parser)
    add("--seed", type=int, default=1, help="seed of the training")
    add("--number", type=int, default=12, help="patches to draw")
    add("--columns", type=int, default=3, help="patches in a row")
    add("--out", type=Path, required=True, metavar="FILE", help="PNG or JPEG to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
