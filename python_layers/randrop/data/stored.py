"""The files of decoded photographs in a prepared set, and whether they still fit.

arrays/NAME.npy has the pixels of a photograph, arrays/NAME.npz where its lesions lie,
and what both were made from. arrays.npy has the content of all those tables, one after
another, and arrays.json where the numbers of each photograph are: a process maps them
into its memory, in place of reading thousands of files when it starts.
"""

import contextlib
import functools
import hashlib
import io
import json
import logging
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.data.cases import Case
from randrop.errors import UserError
from randrop.files import ownership, replacing, write_bytes

log = logging.getLogger("randrop")

FOLDER = "arrays"
"""Of a prepared set, beside images and masks."""

INDEX = "arrays.json"
NUMBERS = "arrays.npy"

_FORMAT = "randrop arrays 2"
_HEAD = 128
"""Bytes before the pixels in a file of NumPy's format."""

_DIGEST = 8
"""Numbers before those of the photographs: the SHA-256 of arrays.json."""

_MUCH = 2**28
"""Bytes whose comparison is worth a word."""

_DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, EOFError),
    *(NotImplementedError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""What zipfile and NumPy raise where bytes are damaged."""


class Stored(NamedTuple):
    """What the files have of one photograph.

    Attributes
    ----------
    size : (int, int)
        Height and width in pixels.
    index : mapping of str to int32 (N,)
        "inside", and for each type "MA" and "MA regions": see `arrays.Arrays`.
    sums : mapping of str to int
        As of `checksums`, when they were written.
    damaged : str
        What to remove where the index is not what was written.
    """

    size: tuple[int, int]
    index: Mapping[str, NDArray]
    sums: Mapping[str, int]
    damaged: str


class Index(NamedTuple):
    """What arrays.json and arrays.npy have of all photographs of a folder."""

    cases: Mapping[str, Any]
    numbers: NDArray[np.int32]


NO_INDEX = Index({}, np.zeros(0, np.int32))


def home(case: Case) -> Path:
    """Return the folder of the set to which a photograph belongs."""
    return case.image_path.parent.parent


def paths_of(case: Case) -> tuple[Path, Path]:
    """Return the files of a photograph's pixels and of its table."""
    folder = home(case) / FOLDER
    return folder / f"{case.name}.npy", folder / f"{case.name}.npz"


def about_of(case: Case) -> dict[str, Any]:
    """Return what the arrays depend on: format, libraries, sources."""
    return {
        "format": _FORMAT,
        "libraries": [cv2.__version__, np.__version__],
        "sources": {
            key: [path.stat().st_size, path.stat().st_mtime_ns, ownership.sha256(path)]
            for key, path in _sources(case).items()
        },
    }


def find(case: Case, known: Index, compared: list[Path]) -> tuple[Stored | None, str]:
    """Return what the files have of a photograph, or None and why they do not fit.

    Parameters
    ----------
    case : Case
    known : Index
        Of its folder; what is missing there comes from the photograph's own table.
    compared : list of Path
        Receives the files whose content was read to see whether it is still the same.
    """
    if case.name in known.cases:
        entry = known.cases[case.name]
        if not _why_unfit(case, entry["about"], compared):
            index = _of_entry(entry, known.numbers)
            sums, file = entry["about"]["checksums"], str(home(case) / NUMBERS)
            return _sized(case, Stored(tuple(entry["size"]), index, sums, file))
    _, table = paths_of(case)
    if not table.is_file():
        return None, ""
    try:
        about, index = _read_table(table)
        why = _why_unfit(case, about, compared)
    except _DAMAGE as error:
        why = _damaged(case, error)
    if why:
        return None, why
    sums = about["checksums"]
    return _sized(case, Stored(case.size(), index, sums, str(table)))


def _sized(case: Case, own: Stored) -> tuple[Stored | None, str]:
    """Return this if there are pixels for it."""
    path, _ = paths_of(case)
    try:
        found = path.stat().st_size
    except OSError as error:
        return None, _damaged(case, error)
    wanted = _HEAD + 4 * own.size[0] * own.size[1]
    if found != wanted:
        return None, _damaged(case, f"{found} bytes in place of {wanted}")
    return own, ""


def checksums(
    pixels: NDArray[np.uint8], index: Mapping[str, NDArray]
) -> dict[str, int]:
    """Return the CRC-32 of the pixels, and of all numbers of the index."""
    numbers = 0
    for part in index.values():
        numbers = zlib.crc32(np.ascontiguousarray(part, "<i4"), numbers)
    return {"pixels": zlib.crc32(pixels), "numbers": numbers}


def check(case: Case, own: Stored) -> None:
    """Read what the files have of a photograph, and see whether it was written so.

    Raises
    ------
    UserError
        If not; names the file to remove.
    """
    path, _ = paths_of(case)
    found = checksums(mapped(path, own.size), own.index)
    for key, file in (("pixels", path), ("numbers", own.damaged)):
        if found[key] != own.sums[key]:
            raise UserError(
                f"{file} is damaged: it is not what was written. Remove it, and run "
                "prepare.py --arrays again"
            )


def mapped(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels in a file, uint8 (H, W, 4), without reading them yet.

    Raises
    ------
    UserError
        If the file has gone or changed since the start.
    """
    try:
        # Six times as fast as np.load, and this is done for every patch.
        with path.open("rb") as stream:
            if stream.read(_HEAD) != _head(size):
                raise ValueError(f"it does not begin as an array of {size} does")
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        pixels = np.frombuffer(content, np.uint8, 4 * size[0] * size[1], _HEAD)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): remove it, and run prepare.py --arrays "
            "again"
        ) from error
    return pixels.reshape(*size, 4)


@functools.lru_cache(64)
def _head(size: tuple[int, int]) -> bytes:
    """Return how a file of pixels begins."""
    stream = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (*size, 4)}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def read_index(folder: Path) -> Index:
    """Return the index of a set's folder; empty if there is none, or a damaged one."""
    try:
        text = (folder / INDEX).read_bytes()
        numbers = np.asarray(np.load(folder / NUMBERS, mmap_mode="r"))
        digest = numbers[:_DIGEST].tobytes()
        if numbers.dtype != np.int32 or digest != hashlib.sha256(text).digest():
            raise ValueError(f"it does not belong to {NUMBERS}")
        return Index(json.loads(text)["cases"], numbers)
    except FileNotFoundError:
        return NO_INDEX
    except _DAMAGE as error:
        log.warning(
            "%s is not used (%s): remove it and %s, and run prepare.py --arrays again; "
            "until then, every process reads the table of each photograph",
            *(folder / INDEX, error, NUMBERS),
        )
        return NO_INDEX


def remove_stored(folder: Path) -> None:
    """Remove the arrays of a set, but no file of somebody else."""
    for path in (*folder.glob(f"{FOLDER}/*"), folder / INDEX, folder / NUMBERS):
        if ownership.is_ours(path):
            path.unlink()
    with contextlib.suppress(OSError):  # somebody's files are in it
        (folder / FOLDER).rmdir()


def write_index(folder: Path, cases: Sequence[Case]) -> None:
    """Write arrays.npy and arrays.json from the tables of all photographs.

    Raises
    ------
    UserError
        If the files cannot be written.
    """
    ownership.check(folder / INDEX, folder / NUMBERS)
    entries, end = {}, _DIGEST
    for case in cases:
        about, index = _read_table(paths_of(case)[1])
        parts = {}
        for key, numbers in index.items():
            parts[key] = [end, end + numbers.size]
            end += numbers.size
        # A copy has other times. Its content was compared when the tables were checked.
        for key, path in _sources(case).items():
            about["sources"][key][1] = path.stat().st_mtime_ns
        entries[case.name] = {"size": list(case.size()), "about": about, "parts": parts}
    text = json.dumps({"format": _FORMAT, "numbers": end, "cases": entries}).encode()
    with replacing(folder / NUMBERS) as temporary, temporary.open("wb") as stream:
        head = {"descr": "<i4", "fortran_order": False, "shape": (end,)}
        np.lib.format.write_array_header_1_0(stream, head)
        stream.write(hashlib.sha256(text).digest())
        for case in cases:
            for numbers in _read_table(paths_of(case)[1])[1].values():
                stream.write(numbers.astype("<i4").tobytes())
    write_bytes(folder / INDEX, text)


def tell_of_compared(paths: Iterable[Path]) -> None:
    """Report it if much was read only because files have other times."""
    sizes = [path.stat().st_size for path in paths]
    if sum(sizes) > _MUCH:
        log.warning(
            "%d files (%.1f GB) have other times than when their arrays were written, "
            "and were compared by content, which takes time: copy sets with their "
            "times (cp -a, rsync -a, tar), or run prepare.py --arrays again",
            *(len(sizes), sum(sizes) / 2**30),
        )


def _of_entry(entry: Mapping[str, Any], numbers: NDArray) -> Mapping[str, NDArray]:
    return {key: numbers[b:e] for key, (b, e) in entry["parts"].items()}


def _read_table(path: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return what arrays were made from, and where the lesions lie."""
    with np.load(path) as stored:
        index = {key: stored[key] for key in stored.files if key != "about"}
        return json.loads(str(stored["about"])), index


def _sources(case: Case) -> dict[str, Path]:
    return {"image": case.image_path, **case.mask_paths}


def _why_unfit(case: Case, about: Mapping[str, Any], compared: list[Path]) -> str:
    """Return why stored arrays do not fit a photograph; empty if they do."""
    try:
        if about["format"] != _FORMAT:
            return "another version of randrop wrote it"
        if about["libraries"] != [cv2.__version__, np.__version__]:
            return "another version of OpenCV or NumPy made it"
        sources, paths = about["sources"], _sources(case)
        if set(sources) != set(paths):
            return "there are other masks now"
        for key, path in paths.items():
            size, time, digest = sources[key]
            stat = path.stat()
            # tar keeps whole seconds.
            times = (time, time - time % 10**9)
            if stat.st_size == size and stat.st_mtime_ns in times:
                continue
            # A copy of the set may have another time, but has the same content.
            compared.append(path)
            if ownership.sha256(path) != digest:
                return f"{path.name} has changed"
    except _DAMAGE as error:
        return _damaged(case, error)
    return ""


def _damaged(case: Case, error: object) -> str:
    names = " and ".join(path.name for path in paths_of(case))
    return f"it is damaged ({error}): remove {names}"
