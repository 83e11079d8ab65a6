"""Prepare a data set for training: crop, scale, split, list."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import shlex
from pathlib import Path

import _start  # noqa: F401

from randrop import cli
from randrop.data.cases import LESIONS
from randrop.data.contact_sheet import contact_sheet
from randrop.data.layouts import LAYOUTS, read_groups
from randrop.data.prepare import Settings, prepare
from randrop.data.set_statistics import statistics
from randrop.data.splits import SHARE
from randrop.errors import UserError
from randrop.files import write_json

log = logging.getLogger("randrop")

DESCRIPTION = """\
Prepare a data set of fundus photographs with lesion masks.

Reads the layout as distributed and writes into OUT:
  images/<name>.png            cropped to the field of view and scaled by areas
  masks/<LESION>/<name>.png    a pixel is lesion if lesions touch it, or with --cover if
                               they cover a share of it; no lesion vanishes
  split.json                   train, validation and, if there is one, test
  manifest.json                of each photograph its source, SHA-256, crop and scale,
                               and how many lesions and pixels of each type it has
  statistics.json              the same by type and subset, with each type's share
  contact.png                  200 of them, or all, with their lesions outlined
  arrays/, arrays.json, .npy   of large sets: the photographs as trainings read them

Layouts:
"""

EXAMPLES = """\
  prepare.py idrid ~/IDRiD/"A. Segmentation" build/idrid --width 1440
  prepare.py idrid ~/IDRiD/"A. Segmentation" build/exact --width 1440 --cover 0.5
  prepare.py eophtha ~/e-ophtha build/eophtha
  prepare.py ddr ~/DDR build/ddr --width 1024
  prepare.py idrid ~/IDRiD/"A. Segmentation" build/full --width 4288 --arrays
  prepare.py folder ~/mine build/mine --validation-share 0.25 --seed 1

After an interruption, run the same command again to continue. Then run
train.py --data OUT ...
"""


def main(arguments: list[str] | None = None) -> int:
    """Prepare and write; return 0."""
    options = _parse(arguments)
    if options.workers < 1:
        raise UserError(f"--workers is {options.workers}: give at least 1")
    source, out = options.source.resolve(), options.out.resolve()
    if out == source or source in out.parents:
        raise UserError(
            f"{out} is inside {source}, which must stay unchanged: choose a folder "
            "elsewhere"
        )
    groups = read_groups(source, options.layout)
    for subset, cases in groups.items():
        log.info("%s: %d photographs", subset, len(cases))
        _tell_of_missing_masks(cases)
    settings = Settings(
        *(options.layout, options.width, options.validation_share, options.seed),
        cover=options.cover,
    )
    own = source / "split.json"
    chosen = options.split or (own if own.is_file() else None)
    manifest = prepare(
        groups, out, settings, options.workers, chosen, _complete, options.arrays
    )
    found = statistics(manifest)
    for lesion, lines in found.items():
        for subset, line in lines.items():
            log.info(
                "%-2s %-10s %4d of %4d photographs, %6d lesions, %.3g of the pixels",
                *(lesion, subset, line["with"], line["photographs"]),
                *(line["lesions"], line["share"]),
            )
    _tell_of_growth(manifest, options.cover)
    log.info("Look at %s", out / "contact.png")
    if set(found) & set(LESIONS):
        log.info(
            "Train: train.py --data %s --lesions %s --out build/run",
            shlex.quote(str(out)),
            " ".join(name for name in found if name in LESIONS),
        )
    else:
        log.warning(
            "No mask has a lesion: this set is good for prediction, not for training. "
            "Checked: %s, in %s",
            *(LAYOUTS[options.layout].files, source),
        )
    return 0


def _complete(folder: Path, manifest: dict) -> None:
    contact_sheet(folder, manifest, folder / "contact.png")
    write_json(folder / "statistics.json", statistics(manifest))


def _tell_of_growth(manifest: dict, cover: float) -> None:
    """Report types whose masks are larger than their lesions."""
    remedy = (
        "; --cover 0.5 keeps it, but for lesions of less than half a pixel"
        if cover < 0.5
        else ": lesions of less than half a pixel keep one; a larger --width keeps more"
    )
    areas: dict[str, list[float]] = {}
    for case in manifest["cases"].values():
        for lesion, line in case["lesions"].items():
            area = areas.setdefault(lesion, [0, 0])
            area[0] += line["pixels"]
            area[1] += line["source_pixels"] * case["scale"] ** 2
    for lesion, (pixels, exact) in areas.items():
        if pixels > 1.1 * exact > 0:
            log.info(
                "%s: the reduced masks have %.2f times the area of the lesions%s",
                *(lesion, pixels / exact, remedy),
            )


def _tell_of_missing_masks(cases: list) -> None:
    types = {lesion for case in cases for lesion in case.mask_paths}
    for lesion in sorted(types):
        count = sum(
            lesion not in case.mask_paths and lesion not in case.unknown
            for case in cases
        )
        if count:
            log.info(
                "%s: %d photographs have no mask and count as free of these lesions",
                lesion,
                count,
            )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    layouts = "\n".join(
        f"  {k:8} {layout.files}"
        + (f"\n           ({layout.note})" * bool(layout.note))
        for k, layout in LAYOUTS.items()
    )
    parser = cli.parser(DESCRIPTION + layouts, EXAMPLES)
    add = parser.add_argument
    add("layout", choices=LAYOUTS, help="layout of the source")
    add("source", type=Path, help="folder of the data set, which stays unchanged")
    add("out", type=Path, help="output folder")
    add(
        "--width",
        type=int,
        default=1440,
        metavar="PIXELS",
        help="width of the field of view; narrower photographs keep their size",
    )
    add(
        "--cover",
        type=cli.finite,
        default=0.0,
        metavar="SHARE",
        help="least share of a reduced pixel that lesions cover, for the pixel to be "
        "lesion: 0.5 keeps the area of lesions, 0 takes every pixel that they touch, "
        "so small ones grow. A lesion that would vanish keeps one pixel",
    )
    add(
        "--split",
        type=Path,
        metavar="FILE",
        help='JSON, {"train": [names], "validation": [names], "test": [names]}; '
        'without "test", the test set of the distribution is used. Photographs '
        "in no subset are skipped and counted (default: split.json of the source, or a "
        "random split)",
    )
    add(
        "--validation-share",
        type=cli.finite,
        default=SHARE,
        metavar="SHARE",
        help="share of the training set to hold out, if the data set has no validation "
        "set; no patient is in both",
    )
    add("--seed", type=int, default=0, help="seed of that draw")
    add("--workers", type=int, default=2, help="parallel processes")
    add(
        "--arrays",
        action=argparse.BooleanOptionalAction,
        help="also write decoded photographs, 4 bytes per pixel (36 MB for one of "
        "3450 x 2600), which all data workers share: a training starts at once and "
        "needs a fraction of the memory. A set that exists gets them, too (default: "
        "if they take more than 1 GB)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
