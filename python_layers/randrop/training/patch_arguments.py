"""The arguments that scripts share for the patches of a training."""

import argparse
from pathlib import Path

from randrop import cli
from randrop.data.patch_options import DRAWS, MORE_DEFAULTS
from randrop.errors import UserError


def add_patch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `patch_options.MORE_DEFAULTS` names, with these defaults."""
    parser.set_defaults(**MORE_DEFAULTS)
    add = parser.add_argument
    add(
        "--lesion-draw",
        choices=DRAWS,
        help="what patches near a lesion are drawn by: pixel sees large lesions more "
        "often, lesion all lesions of a photograph equally often",
    )
    add(
        "--healthy-share",
        type=cli.finite,
        metavar="SHARE",
        help="share of patches from photographs without any of the lesions; with 0 "
        "they are as frequent as any other where no lesion is asked for",
    )
    add(
        "--false-alarms",
        type=Path,
        metavar="FILE",
        help="places where an earlier network was wrong, from find_false_alarms.py",
    )
    add(
        "--false-alarm-share",
        type=cli.finite,
        metavar="SHARE",
        help="share of patches centred near one of them",
    )
    add(
        "--paste",
        type=cli.finite,
        metavar="N",
        help="mean number of lesions of other training photographs that are blended "
        "into a patch, rotated and scaled, with their labels",
    )
    add(
        "--colour",
        type=cli.finite,
        metavar="S",
        help="mix the colour channels at random, by a matrix that differs from the "
        "identity by this standard deviation (0.1 is visible)",
    )
    add(
        "--blur",
        type=cli.finite,
        metavar="PIXELS",
        help="blur half of the patches, by a Gaussian of at most this standard "
        "deviation",
    )
    add(
        "--noise",
        type=cli.finite,
        metavar="S",
        help="add noise of at most this standard deviation, in those of the "
        "photograph's local contrast",
    )


def weights_of(given: list[str] | None, lesions: list[str]) -> dict[str, float] | None:
    """Parse --lesion-weights.

    Raises
    ------
    UserError
        If an entry is not a weight for one of the types.
    """
    found = {}
    for word in given or ():
        lesion, _, value = word.partition("=")
        try:
            found[lesion] = float(value)
        except ValueError:
            found[lesion] = -1.0
        if lesion not in lesions or not 0 <= found[lesion] < float("inf"):
            raise UserError(
                f"--lesion-weights {word}: give TYPE=W with a type from "
                f"{', '.join(lesions)} and a number of at least 0"
            )
    return found or None
