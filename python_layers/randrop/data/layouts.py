"""The folder layouts of data sets as distributed: from folders to cases."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from randrop.data.cases import STRUCTURES, Case
from randrop.errors import UserError
from randrop.files import schema
from randrop.files.documents import Manifest

log = logging.getLogger("randrop")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")

Groups = dict[str, list[Case]]
"""Subset to cases; "train" holds all where the distribution has no subsets."""


class Layout(NamedTuple):
    """A layout in which a data set is distributed."""

    name: str
    files: str  # the expected files, in words for the user
    find: Callable[[Path], Path | None]  # the folder that has it, at or below a root
    read: Callable[[Path], Groups]
    is_at: Callable[[Path], bool]  # whether a folder has it itself


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
        folders = {
            lesion: truth and find_folder(truth, text)
            for lesion, text in _IDRID_WORDS.items()
        }
        # Partly unpacked: a type without a folder was not looked for here.
        unknown = frozenset(lesion for lesion in folders if not folders[lesion])
        if unknown:
            log.warning(
                "%s has no ground truth of %s for %s, and those pixels will be "
                "ignored: to use them, unpack the complete data set",
                *(truths, ", ".join(sorted(unknown)), images),
            )
        groups[subset] = [
            Case(case.name, case.image_path, case.mask_paths, unknown)
            for case in _read_cases(images, folders)
        ]
    return groups


# --- e-ophtha: one set for microaneurysms, one for exudates, one folder per patient


def _eophtha_parts(root: Path) -> dict[str, Path]:
    """Return the folder with the annotations of each lesion type."""
    parts = {}
    for lesion in ("MA", "EX"):
        below = [deep for place in _folders(root) for deep in _folders(place)]
        for place in (root, *_folders(root), *below):
            if find_folder(place, f"annotation_{lesion.lower()}"):
                parts.setdefault(lesion, place)
    return parts


def _find_eophtha(root: Path) -> Path | None:
    return root if _eophtha_parts(root) else None


def _read_eophtha(root: Path) -> Groups:
    images: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = {}
    looked_for: dict[str, set[str]] = {}
    parts = _eophtha_parts(root)
    for lesion, part in parts.items():
        truth = find_folder(part, f"annotation_{lesion.lower()}")
        ill = [p for p in _folders(part) if p.name.upper() == lesion]
        healthy = [p for p in _folders(part) if p.name.lower() == "healthy"]
        for kind in (*ill, *healthy):
            for patient in _folders(kind):
                for stem, path in files(patient, IMAGE_SUFFIXES).items():
                    name = f"{patient.name}_{stem}"
                    images.setdefault(name, path)
                    looked_for.setdefault(name, set()).add(lesion)
        for patient in _folders(truth) if truth else []:
            for stem, path in files(patient, MASK_SUFFIXES).items():
                stem = stem.removesuffix(f"_{lesion}")
                same = [n for n in images if n.partition("_")[2] == stem]
                name = f"{patient.name}_{stem}"
                if name not in images and len(same) == 1:
                    name = same[0]
                if name not in images:
                    log.warning(
                        "%s: no photograph matches this mask, which is skipped", path
                    )
                    continue
                masks.setdefault(name, {})[lesion] = path
        for kind in ill:
            for patient in _folders(kind):
                for stem, path in files(patient, IMAGE_SUFFIXES).items():
                    if lesion not in masks.get(f"{patient.name}_{stem}", {}):
                        raise UserError(
                            f"{path} has no mask below {truth} and is not listed as "
                            "healthy: unpack the data set again"
                        )
    cases = [
        Case(
            name,
            path,
            masks.get(name, {}),
            frozenset(STRUCTURES) - looked_for[name],
            name.split("_")[0],
        )
        for name, path in sorted(images.items())
    ]
    return {"train": cases}


# --- DDR


def _find_ddr(root: Path) -> Path | None:
    for place in (find_folder(root, "lesion_segmentation") or root, root):
        train = place / "train"
        if (train / "image").is_dir() and find_folder(train, "label"):
            return place
    return None


def _read_ddr(root: Path) -> Groups:
    groups = {}
    for subset, word in (("train", "train"), ("validation", "valid"), ("test", "test")):
        folder = root / word
        truth = find_folder(folder, "label") if folder.is_dir() else None
        if truth:
            folders = {lesion: truth / lesion for lesion in STRUCTURES}
            groups[subset] = [
                # DDR has no optic disc masks.
                Case(c.name, c.image_path, c.mask_paths, frozenset({"OD"}))
                for c in _read_cases(folder / "image", folders)
            ]
    return groups


# --- Plain folders


def _find_plain(root: Path) -> Path | None:
    return root if (root / "images").is_dir() else None


def _read_plain(root: Path) -> Groups:
    folders = {lesion: root / "masks" / lesion for lesion in STRUCTURES}
    masks = _folders(root / "masks") if (root / "masks").is_dir() else []
    for path in masks:
        if path.name not in STRUCTURES:
            log.warning(
                "%s is skipped: name mask folders %s",
                *(path, ", ".join(STRUCTURES)),
            )
    known = _manifest(root)
    cases = []
    for case in _read_cases(root / "images", folders):
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
            "train, valid and test with image/ and label/MA, HE, EX, SE, here or in "
            "lesion_segmentation",
            _find_ddr,
            _read_ddr,
            lambda place: _find_ddr(place) == place,
        ),
        Layout(
            "eophtha",
            "MA, healthy and Annotation_MA, or EX, healthy and Annotation_EX, each "
            "with one folder per patient, here or in e_optha_MA and e_optha_EX",
            _find_eophtha,
            _read_eophtha,
            lambda place: bool(find_folder(place, "annotation_")),
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
        groups = candidate.read(place)
        if not any(groups.values()):
            raise UserError(
                f"{place} contains no image ({', '.join(IMAGE_SUFFIXES)}): put the "
                "photographs into its folder images"
            )
        check_unique((c.name, c.image_path) for cases in groups.values() for c in cases)
        return groups
    wanted = "; or ".join(candidate.files for candidate in tried)
    parents = root.resolve().parents[:3]
    whole = next((p for p in parents if any(c.is_at(p) for c in tried)), None)
    raise UserError(
        f"{root} does not have the folders of a data set. Expected: {wanted}. "
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
        level = [deep for place in level for deep in _folders(place)]
    return None


def _read_cases(images: Path, folders: dict[str, Path | None]) -> list[Case]:
    photographs = files(images, IMAGE_SUFFIXES)
    masks: dict[str, dict[str, Path]] = {name: {} for name in photographs}
    stray = []
    for lesion, folder in folders.items():
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


def find_folder(parent: Path, words: str) -> Path | None:
    """Return the first folder of `parent` with these words in its name.

    An underscore counts as a blank: mirrors write "1._Original_Images".
    """
    for path in _folders(parent):
        if words.replace("_", " ") in path.name.lower().replace("_", " "):
            return path
    return None


def _folders(parent: Path) -> list[Path]:
    """Return the folders in a folder; none if it is not readable.

    Skips __MACOSX, which archives from macOS contain: it repeats the same names.
    """
    try:
        return sorted(
            path
            for path in parent.iterdir()
            if path.name != "__MACOSX" and path.is_dir()
        )
    except PermissionError:
        return []


def files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by their stems.

    Skips names with a leading dot: temporary files, macOS resource forks.
    """
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    check_unique((path.stem, path) for path in paths)
    return {path.stem: path for path in paths}


def check_unique(named: Iterable[tuple[str, Path]]) -> None:
    """Refuse a name that stands for two files.

    Raises
    ------
    UserError
        Names both.
    """
    seen: dict[str, Path] = {}
    for name, path in named:
        if name in seen:
            raise UserError(
                f"{seen[name]} and {path} both have the name '{name}': remove or "
                "rename one"
            )
        seen[name] = path
