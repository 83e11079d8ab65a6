"""DDR's lesion segmentations, as distributed.

T. Li et al. Diagnostic assessment of deep learning algorithms for diabetic retinopathy
screening. Information Sciences 501, 2019.
"""

from pathlib import Path

from randrop.data.cases import LESIONS, Case
from randrop.data.folders import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    Groups,
    check_known,
    files,
    find_folder,
    folders,
    shown,
    tell_of_count,
)
from randrop.errors import UserError

SUBSETS = {
    "train": ("train", 383),
    "validation": ("valid", 149),
    "test": ("test", 225),
}
"""By our name, the folder, and how many photographs the distribution has in it."""

_AGAIN = (
    "unpack the data set again, or arrange its files as the layout 'folder' "
    "(images/ and masks/MA, ...), in which a missing mask means no lesion"
)


def find(root: Path) -> Path | None:
    """Return the folder with train, valid and test, at most two below `root`."""
    inside = [find_folder(place, "lesion_segmentation") for place in folders(root)]
    for place in (find_folder(root, "lesion_segmentation"), root, *inside):
        if place is None:
            continue
        train = place / "train"
        if (train / "image").is_dir() and find_folder(train, "label"):
            return place
    return None


def read(root: Path) -> Groups:
    """Read the subsets that are there.

    Every photograph has a mask of each lesion type, an empty one if it has none of it:
    where one is missing, the copy is not whole. The optic disc was not outlined.

    Raises
    ------
    UserError
        If a subset has no photographs or labels, a type has no folder, a photograph no
        mask or a mask no photograph, or there is a folder that the distribution does
        not have; names it.
    """
    groups = {}
    words = "lesion segmentation"
    alike = [p for p in folders(root.parent) if words in p.name.replace("_", " ")]
    if root in alike and len(alike) > 1:
        raise UserError(
            f"{root.parent} contains lesion_segmentation more than once "
            f"({shown(alike)}): move the others away"
        )
    check_known(root, [word for word, _ in SUBSETS.values()], _AGAIN)
    for subset, (word, count) in SUBSETS.items():
        folder = root / word
        if folder.is_dir():
            groups[subset] = _read_subset(folder)
        tell_of_count(str(folder), len(groups.get(subset, ())), count)
    return groups


def _read_subset(folder: Path) -> list[Case]:
    images, truth = folder / "image", find_folder(folder, "label")
    for found, words in ((images, "image"), (truth, "label or 'segmentation label'")):
        if found is None or not found.is_dir():
            raise UserError(f"{folder} has no folder {words}: {_AGAIN}")
    check_known(folder, (images, truth), _AGAIN)
    check_known(images, (), _AGAIN)
    check_known(truth, map(str.lower, LESIONS), _AGAIN)
    photographs = files(images, IMAGE_SUFFIXES)
    if not photographs:
        raise UserError(
            f"{images} contains no photograph ({', '.join(IMAGE_SUFFIXES)}): {_AGAIN}"
        )
    masks: dict[str, dict[str, Path]] = {name: {} for name in photographs}
    for lesion in LESIONS:
        place = truth / lesion
        if not place.is_dir():
            raise UserError(
                f"{truth} has no folder {lesion}, so that its lesions would count as "
                f"background: {_AGAIN}"
            )
        check_known(place, (), _AGAIN)
        found = files(place, MASK_SUFFIXES)
        stray = [found[name] for name in found if name not in photographs]
        if stray:
            raise UserError(
                f"{len(stray)} mask(s) match no photograph in {images}: "
                f"{shown(stray)}: move them away, or {_AGAIN}"
            )
        missing = [path for name, path in photographs.items() if name not in found]
        if missing:
            raise UserError(
                f"{len(missing)} photograph(s) have no mask in {place}: "
                f"{shown(missing)}: {_AGAIN}"
            )
        for name, path in found.items():
            masks[name][lesion] = path
    return [
        Case(name, path, masks[name], frozenset({"OD"}))
        for name, path in sorted(photographs.items())
    ]
