"""Folders and files of data sets: finding them by name, each name once."""

import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from randrop.data.cases import Case
from randrop.errors import UserError

log = logging.getLogger("randrop")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")

_UNREAD = (
    *(".webp", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".gif", ".ppm", ".pgm"),
    *(".tga", ".dcm", ".dng", ".nef", ".cr2", ".raw"),
)
"""Pictures that somebody may have among the photographs, and that are not read."""

_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".zst")

Groups = dict[str, list[Case]]
"""Subset to cases; "train" holds all where the distribution has no subsets."""


def find_folder(parent: Path, words: str) -> Path | None:
    """Return the first folder of `parent` with these words in its name.

    An underscore counts as a blank: mirrors write "1._Original_Images".
    """
    for path in folders(parent):
        if words.replace("_", " ") in path.name.lower().replace("_", " "):
            return path
    return None


def folders(parent: Path) -> list[Path]:
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


def check_known(place: Path, known: Iterable[str | Path], remedy: str) -> None:
    """Refuse folders that the distribution does not have: they would be ignored.

    Photographs and masks beside the known folders are refused, too, if there are any.

    Parameters
    ----------
    place : Path
    known : iterable of str or Path
        Names of folders in it, in small letters, or their paths.
    remedy : str
        Ends the message.

    Raises
    ------
    UserError
        Names those that are not known.
    """
    known = set(known)
    others = [p for p in folders(place) if not {p, p.name.lower()} & known]
    if known:
        others += files(place, IMAGE_SUFFIXES).values()
    if others:
        raise UserError(
            f"{shown(others)} {'is' if len(others) == 1 else 'are'} not part of the "
            f"data set as it is distributed, and would be ignored: move it away if it "
            f"does not belong to it, or {remedy}"
        )


def shown(paths: Iterable[Path], most: int = 3) -> str:
    """Return the first paths for a message, and how many more there are."""
    found = [str(path) for path in paths]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def tell_of_count(what: str, found: int, distributed: int) -> None:
    """Warn if a part has another number of photographs than in the distribution."""
    if found != distributed:
        log.warning(
            "%s has %d photographs, the distribution %d: check that your copy is whole",
            *(what, found, distributed),
        )


def files(
    folder: Path,
    suffixes: tuple[str, ...],
    skip: Callable[[Path], bool] = lambda path: False,
) -> dict[str, Path]:
    """Return the files of a folder by their stems.

    Skips names with a leading dot: temporary files, macOS resource forks. Warns of
    pictures in formats that are not read.
    """
    unread = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in set(_UNREAD) - set(suffixes)
        and not path.name.startswith(".")
    ]
    if unread:
        log.warning(
            "%s: %d file(s) are skipped, because their format is not read: convert "
            "them to %s",
            *(shown(unread), len(unread), " or ".join(suffixes[:3])),
        )
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes
        and not path.name.startswith(".")
        and not skip(path)
    ]
    check_unique((path.stem, path) for path in paths)
    return {path.stem: path for path in paths}


def unpacked(place: Path) -> str:
    """Return a sentence about archives in a folder or one deeper, or nothing."""
    found = []
    for folder in (place, *folders(place)):
        # A folder that is not readable has nothing to tell of.
        with contextlib.suppress(PermissionError):
            found += [
                path
                for path in sorted(folder.iterdir())
                if path.suffix.lower() in _ARCHIVES and not path.name.startswith(".")
            ]
    return f"Unpack {shown(found)} first. " if found else ""


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
