"""A photograph and its masks as one array, from which patches are cut.

The array holds the network's input in bytes and all masks in bits: 4 bytes per pixel.
`scripts/prepare.py --arrays` writes it into the set, in a file that every process maps
into its memory: the system then keeps one copy for all of them, and only of the parts
that are used. Without the file, each process computes its own array.
"""

import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.data.cases import STRUCTURES, Case
from randrop.data.preprocessing import INPUT_LIMIT, field_of_view, network_input
from randrop.data.regions import regions
from randrop.errors import UserError
from randrop.files import ownership, replacing

log = logging.getLogger("randrop")

# A sixteenth of a standard deviation is far below the noise of a photograph.
LEVELS = 127 / INPUT_LIMIT
ZERO = 128
TRANSFORM = {"mean_value": [ZERO], "scale": 1 / LEVELS}
"""What makes the network's input of those bytes, as Caffe's transform_param."""

FIELD = 7
"""The bit of the field of view; bit s is a mask of STRUCTURES[s]."""

FOLDER = "arrays"
"""Of a prepared set, beside images and masks."""

_FORMAT = "randrop arrays 1"


@dataclass(frozen=True)
class Arrays:
    """One photograph, ready to cut patches from.

    Attributes
    ----------
    name : str
    pixels : uint8 (H, W, 4)
        Red, green and blue of `network_input` times `LEVELS` plus `ZERO`; then the
        bits of masks and field of view.
    unknown : frozenset of str
        Types that nobody looked for.
    inside : int64 (H + 1,)
        Number of pixels of the field of view above row y.
    lesions : dict of str to int32 (N,)
        For each type that was asked for, its pixels in the field of view as y W + x,
        ascending.
    regions : dict of str to int32 (N,)
        The lesion to which each of these pixels belongs (an 8-connected region),
        counted from 0; empty unless asked for.
    """

    name: str
    pixels: NDArray[np.uint8]
    unknown: frozenset[str]
    inside: NDArray[np.int64]
    lesions: dict[str, NDArray[np.int32]]
    regions: dict[str, NDArray[np.int32]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width

    def mask(self, bit: int, box: tuple[slice, ...] = ()) -> NDArray[np.bool_]:
        """Return one bit of the pixels, or of those in a box (rows, columns)."""
        return (self.pixels[..., 3][box] >> np.uint8(bit) & 1).astype(bool)

    def inside_position(self, number: int) -> tuple[int, int]:
        """Return x, y of a pixel of the field of view, counted row by row from 0."""
        y = int(np.searchsorted(self.inside, number, side="right")) - 1
        columns = np.flatnonzero(self.mask(FIELD, (slice(y, y + 1),))[0])
        return int(columns[number - self.inside[y]]), y


def arrays_of(
    cases: Sequence[Case], structures: Sequence[str], by_lesion: bool = False
) -> list[Arrays]:
    """Return the arrays of photographs: from the set's files, or computed now.

    Parameters
    ----------
    cases : sequence of Case
    structures : sequence of str
        Types whose masks are needed, from STRUCTURES.
    by_lesion : bool
        Whether `Arrays.regions` is needed.

    Raises
    ------
    UserError
        If photographs or masks are damaged, or masks do not fit; the message names
        them all and counts the good ones.
    """
    ready, errors, unfit = [], [], []
    for case in cases:
        try:
            pixels, index, why = _mapped(case)
            if pixels is None:
                pixels, index = _computed(case, structures, by_lesion)
        except UserError as error:
            errors.append(str(error))
            continue
        if why:
            unfit.append(f"{_paths(case)[0]}: {why}")
        ready.append(_of_index(case, pixels, index, structures))
    if errors:
        raise UserError(
            f"{len(errors)} of {len(cases)} images cannot be used, {len(ready)} can:\n"
            + "\n".join(errors)
        )
    if unfit:
        log.warning(
            "%d of %d arrays of this set are not used (%s): run prepare.py --arrays "
            "again; until then, every process computes its own",
            *(len(unfit), len(cases), unfit[0]),
        )
    return ready


def write_arrays(case: Case) -> None:
    """Write NAME.npy, the pixels, and NAME.npz, where the lesions are, into the set.

    What is there and still fits the photograph and its masks is left alone.

    Raises
    ------
    UserError
        If photograph or masks are damaged, or the files cannot be written.
    """
    if _mapped(case)[0] is not None:
        return
    name, table = _paths(case)
    ownership.check(name, table)
    # Without the table, an array counts as not there.
    table.unlink(missing_ok=True)
    structures = [s for s in STRUCTURES if s in case.mask_paths]
    pixels, index = _computed(case, structures, by_lesion=True)
    with replacing(name) as temporary, temporary.open("wb") as stream:
        np.save(stream, pixels)
    index["about"] = np.array(json.dumps(_about(case)))
    with replacing(table) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **index)


def size_in_memory(cases: Sequence[Case]) -> int:
    """Return the bytes that the arrays of photographs without files would take."""
    alone = [case for case in cases if not _paths(case)[1].is_file()]
    return sum(4 * height * width for height, width in (case.size() for case in alone))


def _computed(
    case: Case, structures: Sequence[str], by_lesion: bool
) -> tuple[NDArray[np.uint8], dict[str, NDArray]]:
    """Return pixels and index: inside, and of each structure pixels and regions."""
    image = case.image()
    field = field_of_view(image)
    pixels = np.empty((*field.shape, 4), np.uint8)
    for c, channel in enumerate(network_input(image, field)):
        pixels[..., c] = np.rint(channel * LEVELS + ZERO)
    bits = field.astype(np.uint8) << FIELD
    index = {"inside": np.append(0, np.cumsum(np.count_nonzero(field, axis=1)))}
    for structure in structures:
        mask = case.masks((structure,))[0] == 1
        bits |= mask.astype(np.uint8) << STRUCTURES.index(structure)
        mask &= field
        found = np.flatnonzero(mask)
        index[structure] = found.astype(np.int32)
        if by_lesion:
            index[f"{structure} regions"] = regions(mask)[0].ravel()[found] - 1
    pixels[..., 3] = bits
    return pixels, index


def _of_index(
    case: Case,
    pixels: NDArray[np.uint8],
    index: Mapping[str, NDArray],
    structures: Sequence[str],
) -> Arrays:
    none = np.zeros(0, np.int32)
    return Arrays(
        name=case.name,
        pixels=pixels,
        unknown=case.unknown,
        inside=index["inside"],
        lesions={s: index.get(s, none) for s in structures},
        regions={s: index.get(f"{s} regions", none) for s in structures},
    )


def _mapped(
    case: Case,
) -> tuple[NDArray[np.uint8] | None, dict[str, NDArray], str]:
    """Return pixels and index from files, or None and why the files do not fit."""
    name, table = _paths(case)
    if not table.is_file():
        return None, {}, ""
    why = _why_unfit(case, table)
    if why:
        return None, {}, why
    try:
        # As a plain array: OpenCV takes no subclass.
        pixels = np.asarray(np.load(name, mmap_mode="r"))
        with np.load(table) as stored:
            index = {key: stored[key] for key in stored.files if key != "about"}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return None, {}, _damaged(case, error)
    if pixels.shape != (*case.size(), 4) or pixels.dtype != np.uint8:
        return None, {}, f"it holds {pixels.dtype} of shape {pixels.shape}"
    return pixels, index, ""


def _paths(case: Case) -> tuple[Path, Path]:
    folder = case.image_path.parent.parent / FOLDER
    return folder / f"{case.name}.npy", folder / f"{case.name}.npz"


def _about(case: Case) -> dict[str, Any]:
    """Return what the arrays depend on: format, libraries, sources."""
    paths = {"image": case.image_path, **case.mask_paths}
    return {
        "format": _FORMAT,
        "libraries": [cv2.__version__, np.__version__],
        "sources": {
            key: [path.stat().st_size, path.stat().st_mtime_ns, ownership.sha256(path)]
            for key, path in paths.items()
        },
    }


def _why_unfit(case: Case, table: Path) -> str:
    """Return why stored arrays do not fit a photograph; empty if they do."""
    try:
        with np.load(table) as stored:
            about = json.loads(str(stored["about"]))
        if about["format"] != _FORMAT:
            return "another version of randrop wrote it"
        if about["libraries"] != [cv2.__version__, np.__version__]:
            return "another version of OpenCV or NumPy made it"
        sources = about["sources"]
        paths = {"image": case.image_path, **case.mask_paths}
        if set(sources) != set(paths):
            return "there are other masks now"
        for key, path in paths.items():
            size, time, digest = sources[key]
            stat = path.stat()
            same = stat.st_size == size and stat.st_mtime_ns == time
            # A copy of the set has another time, but the same content.
            if not same and ownership.sha256(path) != digest:
                return f"{path.name} has changed"
    except FileNotFoundError:
        return "it is not there"
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        return _damaged(case, error)
    return ""


def _damaged(case: Case, error: Exception) -> str:
    names = " and ".join(path.name for path in _paths(case))
    return f"it is damaged ({error}): remove {names}"
