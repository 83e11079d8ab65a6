"""The folder layouts of data sets as distributed: from folders to cases."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from randrop.data import ddr, eophtha
from randrop.data.cases import STRUCTURES, Case
from randrop.data.folders import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    Groups,
    check_unique,
    files,
    find_folder,
    folders,
    unpacked,
)
from randrop.errors import UserError
from randrop.files import schema
from randrop.files.documents import Manifest

log = logging.getLogger("randrop")


class Layout(NamedTuple):
    """A layout in which a data set is distributed."""

    name: str
    files: str  # the expected files, in words for the user
    find: Callable[[Path], Path | None]  # the folder that has it, at or below a root
    read: Callable[[Path], Groups]
    is_at: Callable[[Path], bool]  # whether a folder has it itself
    note: str = ""  # what a user should know before relying on it


def _read_cases(images: Path, places: dict[str, Path | None]) -> list[Case]:
    photographs = files(images, IMAGE_SUFFIXES)
    masks: dict[str, dict[str, Path]] = {name: {} for name in photographs}
    stray = []
    for lesion, folder in places.items():
        if folder is None or not folder.is_dir():
            continue
        found = []
        for stem, path in files(folder, MASK_SUFFIXES).items():
            name = stem if stem in photographs else stem.removesuffix(f"_{lesion}")
            if name in photographs:
                found.append((name, path))
                masks[name][lesion] = path
            else:
                stray.append(path)
        check_unique(found)
    if stray:
        log.warning(
            "%d mask(s) match no image in %s and are skipped; the first is %s",
            len(stray),
            images,
            stray[0],
        )
    return [Case(name, photographs[name], masks[name]) for name in sorted(photographs)]


# --- IDRiD

# Words in the names of IDRiD's ground truth folders, such as "3. Hard Exudates".
_IDRID_WORDS = {
    "MA": "microaneurysm",
    "HE": "haemorrhage",
    "EX": "hard exudate",
    "SE": "soft exudate",
    "OD": "optic disc",
}


# Parts B and C of IDRiD also have original images, but no segmentations.
_IDRID_PARTS = ("original images", "segmentation groundtruth")


def _is_idrid(place: Path) -> bool:
    return all(find_folder(place, words) for words in _IDRID_PARTS)


def _find_idrid(root: Path) -> Path | None:
    return _only(root, _is_idrid)


def _read_idrid(root: Path) -> Groups:
    photographs, truths = (find_folder(root, words) for words in _IDRID_PARTS)
    groups = {}
    for subset, word in (("train", "training"), ("test", "testing")):
        images = photographs and find_folder(photographs, word)
        truth = truths and find_folder(truths, word)
        if not images:
            continue
        places = {
            lesion: truth and find_folder(truth, text)
            for lesion, text in _IDRID_WORDS.items()
        }
        # Partly unpacked: a type without a folder was not looked for here.
        unknown = frozenset(lesion for lesion in places if not places[lesion])
        if unknown:
            log.warning(
                "%s has no ground truth of %s for %s, and those pixels will be "
                "ignored: to use them, unpack the complete data set",
                *(truths, ", ".join(sorted(unknown)), images),
            )
        groups[subset] = [
            Case(case.name, case.image_path, case.mask_paths, unknown)
            for case in _read_cases(images, places)
        ]
    return groups


# --- Plain folders


def _find_plain(root: Path) -> Path | None:
    return root if (root / "images").is_dir() else None


def _read_plain(root: Path) -> Groups:
    places = {lesion: root / "masks" / lesion for lesion in STRUCTURES}
    masks = folders(root / "masks") if (root / "masks").is_dir() else []
    for path in masks:
        if path.name not in STRUCTURES:
            log.warning(
                "%s is skipped: name mask folders %s",
                *(path, ", ".join(STRUCTURES)),
            )
    known = _manifest(root)
    cases = []
    for case in _read_cases(root / "images", places):
        facts = known.get(case.name, {})
        unknown = frozenset(facts.get("unknown", ()))
        cases.append(
            Case(
                case.name,
                case.image_path,
                case.mask_paths,
                unknown,
                facts.get("patient"),
            )
        )
    return {"train": cases}


def _manifest(root: Path) -> dict:
    """Return the case facts that scripts/prepare.py wrote, if it wrote the set."""
    path = root / "manifest.json"
    if not path.exists():
        return {}
    remedy = "prepare the set again, or remove this file"
    return schema.read_json(path, Manifest, remedy).get("cases", {})


UNTRIED = (
    "not tried on a real copy: it was made after descriptions, and refuses what "
    "differs; check the counts and contact.png"
)
"""The note on layouts whose data sets nobody of the project could download."""

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "idrid",
            "'1. Original Images' and '2. All Segmentation Groundtruths', here, in "
            "'A. Segmentation' or one folder deeper",
            _find_idrid,
            _read_idrid,
            _is_idrid,
        ),
        Layout(
            "ddr",
            "train, valid and test with image/ and label/MA, HE, EX, SE (or "
            "'segmentation label' in place of label), here or in "
            "lesion_segmentation",
            ddr.find,
            ddr.read,
            lambda place: ddr.find(place) == place,
            UNTRIED,
        ),
        Layout(
            "eophtha",
            "MA, healthy and Annotation_MA, or EX, healthy and Annotation_EX, each "
            "with one folder per patient, here or in e_optha_MA and e_optha_EX",
            eophtha.find,
            eophtha.read,
            lambda place: bool(find_folder(place, "annotation_")),
            UNTRIED,
        ),
        Layout(
            "folder",
            "images/ and masks/MA, masks/HE, ...",
            _find_plain,
            _read_plain,
            lambda place: _find_plain(place) == place,
        ),
    )
}
"""By name, in the order in which they are tried."""


def read_groups(root: Path, layout: str | None = None) -> Groups:
    """Read the cases of a data set in a given layout, or in the first that fits.

    Raises
    ------
    UserError
        If the folder does not have the layout, or any known one, or has no image.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give the folder of the data set")
    tried = [LAYOUTS[layout]] if layout else list(LAYOUTS.values())
    for candidate in tried:
        place = candidate.find(root)
        if place is None:
            continue
        if candidate.note:
            log.warning("The layout %s is %s", candidate.name, candidate.note)
        groups = candidate.read(place)
        if not any(groups.values()):
            raise UserError(
                f"{place} contains no image ({', '.join(IMAGE_SUFFIXES)}). "
                f"{unpacked(place)}Put the photographs into its folder images"
            )
        check_unique((c.name, c.image_path) for cases in groups.values() for c in cases)
        return groups
    wanted = "; or ".join(candidate.files for candidate in tried)
    parents = root.resolve().parents[:3]
    whole = next((p for p in parents if any(c.is_at(p) for c in tried)), None)
    raise UserError(
        f"{root} does not have the folders of a data set. Expected: {wanted}. "
        + unpacked(root)
        + (
            f"Its parent {whole} has them: give that folder"
            if whole
            else "Give the folder that contains them, or put photographs into images/ "
            "and masks into masks/MA, masks/HE, ..."
        )
    )


def _only(root: Path, fits: Callable[[Path], bool], depth: int = 2) -> Path | None:
    """Return the folder that fits: `root`, or else the one below it.

    Raises
    ------
    UserError
        If several folders at the same depth fit.
    """
    level = [root]
    for _ in range(depth + 1):
        found = [place for place in level if fits(place)]
        if len(found) > 1:
            raise UserError(
                f"{root} contains more than one data set: give one of "
                + ", ".join(map(str, found))
            )
        if found:
            return found[0]
        level = [deep for place in level for deep in folders(place)]
    return None
