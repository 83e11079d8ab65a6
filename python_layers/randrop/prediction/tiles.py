"""Full-resolution prediction in overlapping tiles that join without a seam."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def check(tile: int, overlap: int, stride: int) -> None:
    """Refuse tiles that the network or the blending does not support.

    Raises
    ------
    UserError
        If `tile` or `overlap` is not a multiple of `stride` (`overlap`: of twice
        `stride`, because half of it pads the photograph), or the tile has no middle.
    """
    # First the overlap, which may have chosen the tile.
    if overlap % (2 * stride) or overlap < 0:
        raise UserError(
            f"--overlap {overlap} is not a multiple of {2 * stride}, twice the stride "
            f"of the network: use {max(1, round(overlap / stride / 2)) * stride * 2}"
        )
    if tile % stride or tile <= 0:
        raise UserError(
            f"--tile {tile} is not a positive multiple of {stride}, the stride of the "
            f"network: use {max(1, round(tile / stride)) * stride}"
        )
    if 2 * overlap > tile:
        raise UserError(
            f"--overlap {overlap} is more than half of --tile {tile}: enlarge the "
            "tile, or reduce the overlap"
        )


def chosen(tile: int | None, overlap: int | None, stride: int) -> tuple[int, int]:
    """Return the tile and overlap, in pixels, with what nobody chose filled in.

    That is 512 and 64, or the next that the stride of the network allows.

    Raises
    ------
    UserError
        As of `check`.
    """
    if overlap is None:
        overlap = -(-64 // (2 * stride)) * 2 * stride
    if tile is None:
        tile = max(-(-512 // stride) * stride, 2 * overlap)
    check(tile, overlap, stride)
    return tile, overlap


def spans(length: int, tile: int, overlap: int, stride: int) -> tuple[int, list[int]]:
    """Cut one axis of `length` pixels into tiles.

    Starts are multiples of `stride` away from -overlap / 2, itself a multiple of
    `stride`, so each tile's pooling grid matches that of the whole photograph. The tile
    shrinks to the size that the number of tiles needs, equal for all tiles.

    Returns
    -------
    size : int
        Pixels of each tile, a multiple of `stride`, at most `tile`.
    starts : list of int
        First pixel of each tile, in photograph coordinates.
    """
    step = tile - overlap
    count = -(-length // step)
    step = -(-length // (count * stride)) * stride
    return step + overlap, [i * step - overlap // 2 for i in range(count)]


def ramp(size: int, overlap: int, first: bool, last: bool) -> NDArray[np.float32]:
    """Return the weights, (size,), of a tile along one axis.

    The weight is 0 in the outermost quarter of the overlap, where the network saw too
    little context around a pixel, then rises to 1 over half of the overlap. The weights
    of two neighbours add up to 1. At the border of the photograph (`first`, `last`)
    there is no neighbour, and the weight stays 1.
    """
    distance = np.arange(size, dtype=np.float32) + 0.5
    weight = np.ones(size, np.float32)
    if overlap:
        rise = np.clip((distance - overlap / 4) / (overlap / 2), 0, 1)
        weight = weight if first else np.minimum(weight, rise)
        weight = weight if last else np.minimum(weight, rise[::-1])
    return weight


def mirrored(forward: Forward) -> Forward:
    """Return the mean of a network's answers to four mirrored copies of its input.

    The copies are mirrored along no axis, along each and along both, and the answers
    are mirrored back. A network that is symmetric itself answers as before. nnU-Net
    does the same.
    """

    def mean(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        total: NDArray[np.float32] | None = None
        for axes in ((), (2,), (3,), (2, 3)):
            copy = np.ascontiguousarray(np.flip(batch, axes))
            answer = np.flip(forward(copy), axes)
            total = answer.copy() if total is None else total + answer
        return total * np.float32(0.25)

    return mean


def predict(
    forward: Forward,
    image: NDArray[np.float32],
    inside: NDArray[np.bool_],
    *,
    channels: int,
    stride: int,
    tile: int = 512,
    overlap: int = 64,
) -> NDArray[np.float32]:
    """Predict a photograph of any size tile by tile.

    If the radius of the network's receptive field is at most a quarter of the overlap,
    the result equals that of the whole photograph at once; beyond it, differences are
    blended linearly. The border is extended by reflection.

    Parameters
    ----------
    forward : callable
        Maps float32 (1, 3, h, w) to probabilities (1, channels, h, w).
    image : ndarray (3, H, W), float32
        Network input.
    inside : ndarray (H, W), bool
        Field of view; outside, the probability is 0, and tiles entirely outside are not
        computed.
    channels, stride : int
        Channels and stride of the network.
    tile, overlap : int
        Pixels; see `check`.

    Returns
    -------
    ndarray (channels, H, W), float32, in [0, 1]

    Raises
    ------
    UserError
        If tile and overlap do not fit the network, or its output is not finite or is
        outside [0, 1].
    """
    check(tile, overlap, stride)
    height, width = inside.shape
    tile_h, tops = spans(height, tile, overlap, stride)
    tile_w, lefts = spans(width, tile, overlap, stride)
    total = np.zeros((channels, height, width), np.float32)
    for top in tops:
        rows = slice(max(top, 0), min(top + tile_h, height))
        weight_y = ramp(tile_h, overlap, top == tops[0], top == tops[-1])
        for left in lefts:
            columns = slice(max(left, 0), min(left + tile_w, width))
            if not inside[rows, columns].any():
                continue
            output = forward(_cut(image, top, left, tile_h, tile_w)[None])[0]
            _check_output(output, (channels, tile_h, tile_w))
            weight_x = ramp(tile_w, overlap, left == lefts[0], left == lefts[-1])
            y = slice(rows.start - top, rows.stop - top)
            x = slice(columns.start - left, columns.stop - left)
            weight = weight_y[y, None] * weight_x[None, x]
            total[:, rows, columns] += output[:, y, x] * weight
    total *= inside
    # Weights add up to 1 up to rounding, so a saturated probability may exceed 1.
    return np.minimum(total, 1, out=total)


def _cut(
    image: NDArray[np.float32], top: int, left: int, height: int, width: int
) -> NDArray[np.float32]:
    """Return a tile of `image`, (3, height, width), reflected beyond the border."""
    rows = _reflect(np.arange(top, top + height), image.shape[1])
    columns = _reflect(np.arange(left, left + width), image.shape[2])
    return np.ascontiguousarray(image[:, rows[:, None], columns])


def _reflect(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Mirror indices outside 0..length - 1 at the border pixels."""
    if length == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * length - 2)
    return np.minimum(index, 2 * length - 2 - index)


def _check_output(output: NDArray[np.float32], shape: tuple[int, int, int]) -> None:
    if output.shape != shape:
        raise UserError(
            f"the network's output for a tile has shape {output.shape}, not {shape}: "
            "the deploy file must give one probability per pixel and lesion type"
        )
    low, high = float(output.min()), float(output.max())
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"the network's output ranges from {low:g} to {high:g}, which are not "
            "probabilities: the deploy file must end in a Sigmoid; NaN means that "
            "the training diverged (use an earlier snapshot, or train with a lower "
            "learning rate)"
        )
