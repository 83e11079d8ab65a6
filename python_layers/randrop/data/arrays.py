"""A photograph and its masks as one array, from which patches are cut.

The array holds the network's input in bytes and all masks in bits: 4 bytes per pixel.
`scripts/prepare.py --arrays` writes it into the set, in a file that every process maps
into its memory: the system then keeps one copy for all of them, and only of the parts
that are used. Without the file, each process computes its own array, and keeps those
that it used last, up to a share of the memory.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from randrop.data import memory, stored
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

LARGE = 2**30
"""Bytes of decoded photographs from which files of them pay."""

_OPEN = 64
"""Files that are mapped at a time: a process may have a thousand open."""


@dataclass(frozen=True)
class Arrays:
    """One photograph, ready to cut patches from.

    Attributes
    ----------
    name : str
    size : (int, int)
        Height and width in pixels.
    read : callable
        Returns `pixels`.
    check : callable
        Call it before the first use. It raises UserError if files of this photograph
        are damaged; they are read for that once.
    unknown : frozenset of str
        Types that nobody looked for.
    inside : int32 (H + 1,)
        Number of pixels of the field of view above row y.
    lesions : dict of str to int32 (N,)
        For each type that was asked for, its pixels in the field of view as y W + x,
        ascending.
    regions : dict of str to int32 (N,)
        The lesion to which each of these pixels belongs (an 8-connected region),
        counted from 0; empty unless asked for.
    """

    name: str
    size: tuple[int, int]
    read: Callable[[], NDArray[np.uint8]]
    check: Callable[[], None]
    unknown: frozenset[str]
    inside: NDArray[np.int32]
    lesions: dict[str, NDArray[np.int32]]
    regions: dict[str, NDArray[np.int32]]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The photograph, (H, W, 4): mapped, or computed again if it was given up.

        Red, green and blue of `network_input` times `LEVELS` plus `ZERO`; then the bits
        of masks and field of view.
        """
        return self.read()

    def mask(self, bit: int, box: tuple[slice, ...] = ()) -> NDArray[np.bool_]:
        """Return one bit of the pixels, or of those in a box (rows, columns)."""
        return (self.pixels[..., 3][box] >> np.uint8(bit) & 1).astype(bool)

    def inside_position(self, number: int) -> tuple[int, int]:
        """Return x, y of a pixel of the field of view, counted row by row from 0."""
        y = int(np.searchsorted(self.inside, number, side="right")) - 1
        columns = np.flatnonzero(self.mask(FIELD, (slice(y, y + 1),))[0])
        return int(columns[number - self.inside[y]]), y


def arrays_of(
    cases: Sequence[Case],
    structures: Sequence[str],
    by_lesion: bool = False,
    keep: int | None = None,
) -> list[Arrays]:
    """Return the arrays of photographs: from the set's files, or computed now.

    Parameters
    ----------
    cases : sequence of Case
    structures : sequence of str
        Types whose masks are needed, from STRUCTURES.
    by_lesion : bool
        Whether `Arrays.regions` is needed.
    keep : int, optional
        Bytes of computed pixels that stay in memory; others are computed again when
        they are read. By default `memory.for_photographs()`.

    Raises
    ------
    UserError
        If photographs or masks are damaged, or masks do not fit; the message names
        them all and counts the good ones.
    """
    keep = memory.for_photographs() if keep is None else keep
    computed = memory.Kept(keep, lambda pixels: pixels.nbytes)
    mapped = memory.Kept(_OPEN, lambda _: 1)
    ready, errors, alone = [], [], 0
    for case, found in zip(cases, files_of(cases), strict=True):
        name = case.name
        try:
            if found is not None:
                size, index = found.size, found.index
                path, _ = stored.paths_of(case)
                read = partial(mapped.get, name, partial(stored.mapped, path, size))
                check = cache(partial(stored.check, case, found))
            else:
                size = case.size()
                alone += 4 * size[0] * size[1]
                read = partial(computed.get, name, partial(_pixels, case, structures))
                check = _nothing
                pixels, index = _computed(case, structures, by_lesion, alone <= keep)
                if pixels is not None:
                    computed.put(name, pixels)
            ready.append(_of_index(case, size, (read, check), index, structures))
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError(
            f"{len(errors)} of {len(cases)} images cannot be used, {len(ready)} can:\n"
            + "\n".join(errors)
        )
    if alone > keep:
        log.warning(
            "the decoded photographs take %.2f GB, of which this process keeps %.2f "
            "GB: it decodes the others each time, which is slow: run prepare.py "
            "--arrays",
            *(alone / 2**30, keep / 2**30),
        )
    return ready


def files_of(cases: Sequence[Case]) -> list[stored.Stored | None]:
    """Return what the set's files have of photographs; report files of no use."""
    indices = {home: stored.read_index(home) for home in set(map(stored.home, cases))}
    files, unfit = [], []
    compared: list[Path] = []
    for case in cases:
        found, why = stored.find(case, indices[stored.home(case)], compared)
        files.append(found)
        if why:
            unfit.append(f"{stored.paths_of(case)[0]}: {why}")
    if unfit:
        log.warning(
            "%d of %d arrays of this set are not used (%s): run prepare.py --arrays "
            "again; until then, every process computes its own",
            *(len(unfit), len(cases), unfit[0]),
        )
    stored.tell_of_compared(compared)
    return files


def write_arrays(case: Case) -> None:
    """Write NAME.npy, the pixels, and NAME.npz, where the lesions are, into the set.

    What is there and still fits the photograph and its masks is left alone, after a
    look whether it is what was written.

    Raises
    ------
    UserError
        If photograph, masks or these files are damaged, or cannot be written.
    """
    there = stored.find(case, stored.NO_INDEX, [])[0]
    if there is not None:
        stored.check(case, there)
        return
    name, table = stored.paths_of(case)
    ownership.check(name, table)
    # Without the table, an array counts as not there.
    table.unlink(missing_ok=True)
    structures = [s for s in STRUCTURES if s in case.mask_paths]
    pixels, index = _computed(case, structures, by_lesion=True)
    with replacing(name) as temporary, temporary.open("wb") as stream:
        np.save(stream, pixels)
    about = stored.about_of(case) | {"checksums": stored.checksums(pixels, index)}
    index["about"] = np.array(json.dumps(about))
    with replacing(table) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **index)


def size_in_memory(cases: Sequence[Case]) -> int:
    """Return the bytes that the arrays of photographs without files would take."""
    alone = [case for case in cases if not stored.paths_of(case)[1].is_file()]
    return sum(4 * height * width for height, width in (case.size() for case in alone))


def _computed(
    case: Case, structures: Sequence[str], by_lesion: bool, whole: bool = True
) -> tuple[NDArray[np.uint8] | None, dict[str, NDArray]]:
    """Return pixels and index: inside, and of each structure pixels and regions.

    Unless the `whole` is wanted, pixels are None: they take most of the time.
    """
    image = case.image()
    field = field_of_view(image)
    bits = field.astype(np.uint8) << FIELD
    rows = np.cumsum(np.count_nonzero(field, axis=1))
    index = {"inside": np.append(0, rows).astype(np.int32)}
    for structure in structures:
        mask = case.masks((structure,))[0] == 1
        bits |= mask.astype(np.uint8) << STRUCTURES.index(structure)
        mask &= field
        found = np.flatnonzero(mask)
        index[structure] = found.astype(np.int32)
        if by_lesion:
            index[f"{structure} regions"] = regions(mask)[0].ravel()[found] - 1
    if not whole:
        return None, index
    pixels = memory.lent((*field.shape, 4))
    for c, channel in enumerate(network_input(image, field)):
        pixels[..., c] = np.rint(channel * LEVELS + ZERO)
    pixels[..., 3] = bits
    return pixels, index


def _pixels(case: Case, structures: Sequence[str]) -> NDArray[np.uint8]:
    """Return the pixels once more."""
    return _computed(case, structures, by_lesion=False)[0]


def _nothing() -> None:
    """Check nothing: what was computed now is not damaged."""


def _of_index(
    case: Case,
    size: tuple[int, int],
    calls: tuple[Callable[[], NDArray[np.uint8]], Callable[[], None]],
    index: Mapping[str, NDArray],
    structures: Sequence[str],
) -> Arrays:
    none = np.zeros(0, np.int32)
    return Arrays(
        name=case.name,
        size=size,
        read=calls[0],
        check=calls[1],
        unknown=case.unknown,
        inside=index["inside"],
        lesions={s: index.get(s, none) for s in structures},
        regions={s: index.get(f"{s} regions", none) for s in structures},
    )
