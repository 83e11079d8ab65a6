"""e-ophtha as distributed: a set for microaneurysms and one for exudates.

E. Decencière et al. TeleOphta: Machine learning and image processing methods for
teleophthalmology. IRBM 34(2), 2013.
"""

import filecmp
import logging
from collections.abc import Iterator
from pathlib import Path

from randrop.data.cases import STRUCTURES, Case
from randrop.data.folders import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    Groups,
    check_known,
    check_unique,
    files,
    find_folder,
    folders,
    shown,
    tell_of_count,
)
from randrop.errors import UserError

log = logging.getLogger("randrop")

COUNTS = {"MA": (148, 233), "EX": (47, 35)}
"""Photographs with the lesion and without it in the distribution."""

_AGAIN = "unpack the data set again"


def parts(root: Path) -> dict[str, Path]:
    """Return the folder with the annotations of each lesion type.

    Raises
    ------
    UserError
        If a type is there twice.
    """
    found: dict[str, Path] = {}
    below = [deep for place in folders(root) for deep in folders(place)]
    for lesion in COUNTS:
        places = [
            place
            for place in (root, *folders(root), *below)
            if find_folder(place, f"annotation_{lesion.lower()}")
        ]
        if len(places) > 1:
            raise UserError(
                f"{root} contains the set of {lesion} more than once: give one of "
                + ", ".join(map(str, places))
            )
        if places:
            found[lesion] = places[0]
    return found


def find(root: Path) -> Path | None:
    """Return `root` if it has one of the two sets, at most two folders deep."""
    return root if parts(root) else None


def read(root: Path) -> Groups:
    """Read the sets that are there, as one subset.

    A photograph that is in both sets is one case. Types that were not outlined in a
    photograph are unknown there.

    Raises
    ------
    UserError
        If a folder is missing, files lie where folders of patients should, a photograph
        is both ill and healthy or differs between the sets, an ill one has no mask, a
        mask no photograph or two of it, or there is a folder that the distribution does
        not have; names it.
    """
    images: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = {}
    looked_for: dict[str, set[str]] = {}
    found = parts(root)
    _check_folders(root, found)
    for lesion, part in found.items():
        ill, healthy = _photographs(part, lesion), _photographs(part, "healthy")
        both = sorted(set(ill) & set(healthy))
        if both:
            raise UserError(
                f"{ill[both[0]]} is among those with {lesion}, and "
                f"{healthy[both[0]]} among the healthy: remove one"
            )
        tell_of_count(f"{part}, {lesion}", len(ill), COUNTS[lesion][0])
        tell_of_count(f"{part}, healthy", len(healthy), COUNTS[lesion][1])
        for name, path in (ill | healthy).items():
            known = images.setdefault(name, path)
            if known != path and not filecmp.cmp(known, path, shallow=False):
                raise UserError(
                    f"{known} and {path} have the same name, but differ: rename one of "
                    "them, with its mask"
                )
            looked_for.setdefault(name, set()).add(lesion)
        for name, path in _masks(part, lesion, ill, healthy).items():
            masks.setdefault(name, {})[lesion] = path
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


def _check_folders(root: Path, found: dict[str, Path]) -> None:
    """Refuse folders that would be ignored, as a renamed Annotation_EX would."""
    for lesion, part in found.items():
        own = (
            lesion.lower(),
            "healthy",
            find_folder(part, f"annotation_{lesion.lower()}"),
        )
        check_known(part, own, _AGAIN)
    if root in found.values():
        return
    for place in (root, *folders(root)):
        inside = [part for part in found.values() if place in part.parents]
        if inside:
            above = (parent for part in inside for parent in part.parents)
            check_known(place, (*inside, *above), _AGAIN)


def _photographs(part: Path, kind: str) -> dict[str, Path]:
    """Return the photographs in MA, EX or healthy, by patient and name."""
    place = next((f for f in folders(part) if f.name.lower() == kind.lower()), None)
    if place is None:
        raise UserError(
            f"{part} has no folder {kind}, with a folder of photographs for each "
            f"patient: {_AGAIN}"
        )
    return {
        f"{patient}_{stem}": path
        for patient, stem, path in _of_patients(place, IMAGE_SUFFIXES)
    }


def _of_patients(
    place: Path, suffixes: tuple[str, ...]
) -> Iterator[tuple[str, str, Path]]:
    """Yield patient, stem and path of the files in the folders of patients."""
    loose = files(place, suffixes)
    if loose:
        raise UserError(
            f"{len(loose)} file(s) lie in {place} itself, not in a folder for each "
            f"patient: {shown(loose.values())}: {_AGAIN}"
        )
    for patient in folders(place):
        deeper = folders(patient)
        if deeper:
            raise UserError(
                f"{patient} should contain the files of a patient, and contains the "
                f"folder {deeper[0].name}: {_AGAIN}"
            )
        for stem, path in files(patient, suffixes).items():
            yield patient.name, stem, path


def _masks(
    part: Path, lesion: str, ill: dict[str, Path], healthy: dict[str, Path]
) -> dict[str, Path]:
    """Return the mask of each photograph with lesions."""
    truth = find_folder(part, f"annotation_{lesion.lower()}")
    found: list[tuple[str, Path]] = []
    stray = []
    for patient, stem, path in _of_patients(truth, MASK_SUFFIXES):
        stem = stem.removesuffix(f"_{lesion}")
        name = f"{patient}_{stem}"
        if name not in ill:
            # In another patient's folder, but there is only one photograph of the name.
            same = [n for n in ill if n.partition("_")[2] == stem]
            if len(same) == 1 and name not in healthy:
                name = same[0]
                log.warning(
                    "%s is taken for the mask of %s, of another patient's folder, "
                    "because no other photograph has this name: look at both",
                    *(path, ill[name]),
                )
        if name in healthy:
            raise UserError(
                f"{path} is a mask of {healthy[name]}, which is listed as healthy: "
                "remove one"
            )
        if name in ill:
            found.append((name, path))
        else:
            stray.append(path)
    check_unique(found)
    if stray:
        raise UserError(
            f"{len(stray)} mask(s) match no photograph in {part / lesion}: "
            f"{shown(stray)}: move them away, or {_AGAIN}"
        )
    without = [path for name, path in ill.items() if name not in dict(found)]
    if without:
        raise UserError(
            f"{shown(without)} has no mask below {truth} and is not listed as "
            f"healthy: {_AGAIN}"
        )
    return dict(found)
