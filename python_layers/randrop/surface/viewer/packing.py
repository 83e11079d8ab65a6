"""Maps as the page holds them: small, and within 1 % of what was recorded.

The page shows many maps of each picture at each snapshot, and most of them say the same
thing in other words: where a pixel's loss depends only on its probability, its class
and whether it was kept, the map of the loss follows from the map of the probability and
one short table. So a picture at a snapshot is packed as

- the probability: the step of its logit, from -16 to 16 (`BORDERS`);
- what each selecting loss dropped: one bit a pixel;
- for each loss, a table with the value of each combination that occurs.

`loss_part` compares what the page will compute with the recorded map, pixel by pixel.
Where a value is off by more than `RELATIVE` of itself plus `FLOOR` of the largest value
in the map, the pixel gets an entry of its own in the table. If there are too many, the
map itself is packed instead of a table. The steps of values are uneven: they are those
of asinh(value / fine), which is linear near 0 and logarithmic above.

The JavaScript in js/codec.js reads this.
"""

import gzip
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def _borders() -> NDArray[np.float64]:
    """Return the logits where the code of a probability changes.

    The steps are 1/128 around 0: half a step changes p and 1 - p by 0.4 %. From a logit
    of 5 on they grow like 1 / p, so that the change stays the same in itself, up to
    1/16, which is 3 %. The noise of the background, which is most of a map, costs less
    so.
    """
    border = [0.0]
    while border[-1] < 16:
        border.append(border[-1] + min(1 / 16, np.exp(max(border[-1] - 5, 0)) / 128))
    return np.array([*(-b for b in reversed(border[1:])), *border])


BORDERS = _borders()

HALF = BORDERS.size // 2 + 1
"""The first code of p >= 0.5."""

NOT_A_NUMBER = 2 * HALF
"""The code of a probability that is not a number."""

CODES = NOT_A_NUMBER + 1
"""How many codes a probability can have."""

RELATIVE = 0.01
FLOOR = 1e-4
"""The allowed error of a loss: of the value itself, and of the map's largest value."""

MOST_EXCEPTIONS = 0.03
"""Share of the pixels that may have entries of their own."""

_TABLE = (1e-7, 0.002)
_MAP = (1e-4, 0.015)
"""Where asinh becomes linear, in units of the largest value, and its step."""


def codes(probability: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the code of each probability, 0 to `CODES` - 1.

    Codes from `HALF` on are exactly those with p >= 0.5. The first and the last stand
    for p = 0 and p = 1.

    Parameters
    ----------
    probability : floating (...)
    """
    p = np.asarray(probability, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        logit = np.log(p) - np.log1p(-p)
    code = np.searchsorted(BORDERS, logit, side="right")
    return np.where(np.isfinite(p), code, NOT_A_NUMBER)


def probabilities() -> NDArray[np.float64]:
    """Return the probability that each code stands for (CODES,)."""
    logit = (BORDERS[1:] + BORDERS[:-1]) / 2
    return np.array([0, *(1 / (1 + np.exp(-logit))), 1, np.nan])


def keys(
    code: NDArray[np.int64], state: NDArray[np.integer], states: int
) -> NDArray[np.int64]:
    """Return one number for each combination of probability and class.

    Parameters
    ----------
    code : (H, W)
        From `codes`.
    state : integer (H, W)
        The class; the last one, `states` - 1, is "ignored".
    states : int
    """
    if code.shape != state.shape or state.max(initial=0) >= states:
        raise ValueError("the classes do not fit the probabilities")
    return state.astype(np.int64) * CODES + code


def loss_part(
    value: NDArray[np.floating],
    key: NDArray[np.int64],
    dropped: NDArray[np.bool_] | None,
    states: int,
) -> tuple[str, bytes]:
    """Pack the map of a loss.

    Parameters
    ----------
    value : floating (H, W)
        At least 0; NaN where the pixel is ignored or the loss is not finite.
    key : (H, W)
        From `keys`.
    dropped : bool (H, W), optional
    states : int

    Returns
    -------
    kind : {"T", "M"}
        Whether the bytes are a table or a map.
    part : bytes
    """
    value = np.asarray(value, np.float64)
    value = np.where(np.isfinite(value), value, np.nan)
    combined = key if dropped is None else key + dropped * (states * CODES)
    counts = key < (states - 1) * CODES
    table = _table(value.ravel(), np.where(counts, combined, -1).ravel())
    if table is not None:
        return "T", table
    grid, head = _uneven(value, float(np.nanmax(value, initial=0)), *_MAP)
    return "M", head + _planes(_differences(grid))


def _table(value: NDArray[np.float64], key: NDArray[np.int64]) -> bytes | None:
    """Return the packed table, or None if it would need too many exceptions.

    Parameters
    ----------
    value, key : (H W,)
        The key is -1 where the pixel does not count.
    """
    inside = np.flatnonzero(key >= 0)
    if not inside.size:
        return struct.pack("<ddI", 1, 1, 0)
    # A stable sort of 16 bits is a radix sort.
    small = key[inside] if key.max() > 0xFFFF else key[inside].astype(np.uint16)
    order = inside[np.argsort(small, kind="stable")]
    off = np.arange(0)
    for middle in (_halfway, _median):
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        entries, order = middle(value, key, order, first)
        largest = float(np.nanmax(value[inside], initial=0))
        code, head = _uneven(entries, largest, *_TABLE)
        shown = np.repeat(_even(code, head), np.diff(np.append(first, order.size)))
        off = order[_differ(shown, value[order], largest)]
        if not off.size:
            break
    if off.size > MOST_EXCEPTIONS * value.size:
        return None
    off = np.sort(off).astype(np.uint32)
    exceptions = _uneven(value[off], largest, *_TABLE)[0].astype(np.uint16)
    head += struct.pack("<I", off.size) + off.tobytes() + exceptions.tobytes()
    return head + _planes(np.diff(code, prepend=0))


_Middle = tuple[NDArray[np.float64], NDArray[np.int64]]


def _halfway(
    value: NDArray[np.float64],
    key: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
) -> _Middle:
    """Return the middle between the ends of each key's values, and the order."""
    ordered = value[order]
    least = np.minimum.reduceat(ordered, first)
    return (least + np.maximum.reduceat(ordered, first)) / 2, order


def _median(
    value: NDArray[np.float64],
    key: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
) -> _Middle:
    """Return the median of each key's numbers, and an order that has NaN last."""
    order = order[np.lexsort((value[order], key[order]))]
    number = np.add.reduceat(~np.isnan(value[order]), first, dtype=np.int64)
    return value[order][first + np.maximum(number - 1, 0) // 2], order


def _differ(
    shown: NDArray[np.float64], value: NDArray[np.float64], largest: float
) -> NDArray[np.bool_]:
    """Return where what is shown is off by too much."""
    with np.errstate(invalid="ignore"):
        far = np.abs(shown - value) > RELATIVE * value + FLOOR * largest
    return far | (np.isnan(shown) != np.isnan(value))


def _uneven(
    value: NDArray[np.float64], largest: float, fine: float, step: float
) -> tuple[NDArray[np.int64], bytes]:
    """Return codes, 0 for NaN and from 1 for 0, and the numbers that explain them."""
    unit = fine * (largest or 1.0)
    with np.errstate(invalid="ignore"):
        code = np.rint(np.arcsinh(np.maximum(value, 0) / unit) / step) + 1
    code = np.where(np.isnan(code), 0, code).astype(np.int64)
    return code, struct.pack("<dd", unit, step)


def _even(code: NDArray[np.int64], head: bytes) -> NDArray[np.float64]:
    """Undo `_uneven`, as the page does."""
    unit, step = struct.unpack("<dd", head)
    return np.where(code == 0, np.nan, np.sinh((code - 1) * step) * unit)


def grid_part(code: NDArray[np.int64]) -> bytes:
    """Pack the codes of a map (H, W)."""
    return _planes(_differences(code))


def bits_part(flag: NDArray[np.bool_]) -> bytes:
    """Pack one bit a pixel, the first pixel in the lowest bit."""
    return np.packbits(flag.ravel(), bitorder="little").tobytes()


def _differences(code: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what the neighbours do not predict.

    The prediction is the median of left, above, and left + above - above left: the
    predictor of LOCO-I (Weinberger, Seroussi and Sapiro, IEEE Transactions on Image
    Processing 2000).
    """
    padded = np.pad(code, ((1, 0), (1, 0)))
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    low, high = np.minimum(left, above), np.maximum(left, above)
    return code - np.clip(left + above - corner, low, high)


def _planes(difference: NDArray[np.int64]) -> bytes:
    """Return 16-bit numbers as all low bytes, then all high bytes: 0, -1, 1, -2, ..."""
    flat = difference.ravel()
    folded = np.where(flat < 0, -2 * flat - 1, 2 * flat)
    if folded.max(initial=0) > 0xFFFF:
        raise ValueError("a difference needs more than 16 bits")
    return (folded & 255).astype(np.uint8).tobytes() + (folded >> 8).astype(
        np.uint8
    ).tobytes()


def blob(parts: Sequence[bytes]) -> bytes:
    """Return parts as one gzip file: their number, their lengths, their bytes."""
    head = struct.pack(f"<{len(parts) + 1}I", len(parts), *map(len, parts))
    return gzip.compress(head + b"".join(parts), compresslevel=6, mtime=0)
