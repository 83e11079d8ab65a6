"""What the losses share that compare the overlap of probability and truth."""

from typing import NamedTuple

import numpy as np

from randrop.errors import UserError
from randrop.losses.common import (
    LossResult,
    binary_label,
    check_choice,
    sigmoid,
    softplus,
    without_infinity,
)
from randrop.losses.softmax import softmax_grad, softmax_pixels

ACTIVATIONS = ("SOFTMAX", "SIGMOID")


class Elements(NamedTuple):
    """Probability and truth of every class of every pixel, for either activation.

    A segment is a run of pixels with one label each: an image of a softmax, a channel
    of an image of a sigmoid.

    Attributes
    ----------
    softmax : bool
    p : floating (N, C, M)
        M pixels per image.
    complement : floating (N, C or 1, M)
        1 - p; in a softmax, of the true class only, without the digits that a
        difference would lose.
    truth : bool (N, C, M)
    own : int (S, M)
        The class of a segment's pixels, -1 where ignored. A sigmoid has 0 and 1.
    cross_entropy : floating (S, M)
    """

    softmax: bool
    p: np.ndarray
    complement: np.ndarray
    truth: np.ndarray
    own: np.ndarray
    cross_entropy: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """Whether a pixel is not ignored, bool (S, M)."""
        return self.own >= 0

    def spread(self, pixels: np.ndarray) -> np.ndarray:
        """Return what holds for pixels (S, M) for all of their classes, (N, C, M)."""
        n, c, m = self.p.shape
        shape = (n, 1, m) if self.softmax else (n, c, m)
        return np.broadcast_to(pixels.reshape(shape), self.p.shape)

    def result(
        self,
        loss: float,
        slope: np.ndarray,
        parts: np.ndarray,
        chosen: np.ndarray,
        logits: np.ndarray,
        label: np.ndarray,
        by_cross: np.ndarray | None = None,
    ) -> LossResult:
        """Return a loss whose derivative by `p` is `slope`, (N, C, M).

        `parts` are the parts of the loss, (N, C, M). `chosen` says which pixels took
        part, bool (S, M). `by_cross` is the derivative by the cross-entropy of the
        pixel, (N, C, M), where the loss has such a term.
        """
        if self.softmax:
            grad = softmax_grad(self.p, slope)
        else:
            grad = slope * (self.p * self.complement)
        if by_cross is not None:
            of_pixel = by_cross.sum(1, keepdims=True) if self.softmax else by_cross
            grad = grad + of_pixel * np.where(self.truth, -self.complement, self.p)
        mask = np.where(self.valid, chosen, -1)
        return LossResult(
            loss=loss,
            grad=grad.reshape(logits.shape).astype(logits.dtype),
            mask=mask.astype(np.int8).reshape(label.shape),
            per_pixel=(parts.sum(1) if self.softmax else parts).reshape(label.shape),
        )


def elements(
    logits: np.ndarray,
    label: np.ndarray,
    activation: str,
    include_background: bool,
    ignore_label: int | None,
) -> Elements:
    """Check what an overlap loss is given, and compute what it needs.

    Raises
    ------
    UserError
        If shapes do not match, a label or the activation is not allowed, or
        `include_background` leaves no class.
    """
    check_choice("activation", activation, ACTIVATIONS)
    if activation == "SOFTMAX":
        pixels = softmax_pixels(logits, label, ignore_label)
        if not include_background and logits.shape[1] < 2:
            raise UserError(
                "include_background: false needs two classes or more: remove it, or "
                "give the network a channel for each class"
            )
        return Elements(
            softmax=True,
            p=pixels.probability,
            complement=pixels.complement[:, None],
            truth=pixels.truth,
            own=pixels.own,
            cross_entropy=pixels.cross_entropy,
        )
    if not include_background:
        raise UserError(
            "include_background: false is for a softmax, where class 0 is the "
            "background; with activation SIGMOID every channel is foreground: remove "
            "it"
        )
    positive, ignored = binary_label(logits, label, ignore_label)
    segments = (-1, int(np.prod(logits.shape[2:])))
    x = np.where(ignored, 0, without_infinity(logits))
    p = sigmoid(x).reshape(*logits.shape[:2], -1)
    return Elements(
        softmax=False,
        p=p,
        complement=sigmoid(-x).reshape(p.shape),
        truth=positive.reshape(p.shape),
        own=np.where(ignored, -1, positive).reshape(segments),
        cross_entropy=softplus(np.where(positive, -x, x)).reshape(segments),
    )


def group_axes(batch: bool) -> int | tuple[int, ...]:
    """Return the axes of (N, C, M) that one group covers: those that its sums run over.

    A group is one class of an image, or with `batch` of all images.
    """
    return (0, 2) if batch else 2


class Groups(NamedTuple):
    """What the sums of an overlap loss run over: a class of an image, or a cell of it.

    A sum over groups has a shape that `spread` turns into one that broadcasts to
    (N, C, M).

    Attributes
    ----------
    part : bool (N, C, M)
        The elements in the sums.
    first : int
        The first class in the mean.
    batch : bool
        Whether the images of a batch are one group; of cells, whether all cells of a
        class weigh the same, whichever image they are in.
    cells : int (N, C, M), optional
        The cell of each element, numbered from 0 in each class of each image.
    """

    part: np.ndarray
    first: int
    batch: bool
    cells: np.ndarray | None = None

    def sum(self, terms: np.ndarray) -> np.ndarray:
        """Return the sums of terms (N, C, M) over the part, in double precision.

        They have the shape (N or 1, C, 1), with cells (N, C, K) for at most K of them.
        """
        terms = np.where(self.part, terms, 0).astype(np.float64, copy=False)
        if self.cells is None:
            return terms.sum(group_axes(self.batch), keepdims=True)
        n, c, _ = self.part.shape
        most = int(self.cells.max()) + 1
        group = np.arange(n * c).reshape(n, c, 1) * most + self.cells
        sums = np.bincount(group.ravel(), terms.ravel(), n * c * most)
        return sums.reshape(n, c, most)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return the value of each element's group."""
        if self.cells is None:
            return values
        return np.take_along_axis(values, self.cells, 2)

    def share(self) -> np.ndarray:
        """Return the weight of each group in the mean, in the shape of a sum.

        The mean skips groups that are ignored entirely: nothing there is right or
        wrong. Over cells, it is the mean of the means over each group's cells.
        """
        counted = self.sum(np.ones(self.part.shape)) > 0
        counted[:, : self.first] = False
        of_group = counted.sum((0, 2) if self.batch else 2, keepdims=True)
        return counted / np.maximum(1, of_group) / max(1, np.count_nonzero(of_group))


def without_zero(share: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the groups, and sizes to divide by.

    A group of size 0, neither present nor predicted without smoothing, has no loss.
    """
    return np.where(sizes == 0, 0, share), np.where(sizes == 0, 1, sizes)


def checked_cells(cells: np.ndarray | None, logits: np.ndarray) -> np.ndarray | None:
    """Return the cells as int (N, C, M).

    Raises
    ------
    UserError
        If their shape is not that of the logits, or a value is not a whole number from
        0 to M - 1: names the first such element.
    """
    if cells is None:
        return None
    cells = np.asarray(cells)
    if cells.shape != logits.shape:
        raise UserError(
            f"logits have shape {logits.shape} and cells {cells.shape}: give the cell "
            "of each logit, N x C x spatial"
        )
    n, c = logits.shape[:2]
    area = logits.size // (n * c)
    bad = ~((cells >= 0) & (cells < area)) | (np.trunc(cells) != cells)
    if bad.any():
        where = tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
        raise UserError(
            f"cell {cells[where]:g} at {where}; allowed: whole numbers from 0 to "
            f"{area - 1}. The cells of each channel are numbered from 0: see "
            "randrop.data.cells"
        )
    return cells.reshape(n, c, area).astype(np.intp)


def in_proportion(
    loss: np.ndarray, error: np.ndarray, errors: np.ndarray
) -> np.ndarray:
    """Return the parts of the groups' losses that their elements cause.

    Parameters
    ----------
    loss, errors : float64 (N or 1, C, 1 or M)
        The loss of each element's group, and its sum of errors.
    error : float64 (N, C, M)
        At least 0. An element without an error has no part.
    """
    parts = np.zeros(error.shape)
    np.divide(error, errors, out=parts, where=error != 0)
    return np.multiply(parts, loss, out=parts, where=error != 0)
