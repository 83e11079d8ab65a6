"""The largest eigenvalues of the Hessian of a loss, from its gradient alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from randrop.errors import UserError

Vector = NDArray[np.float64]
Gradient = Callable[[Vector], Vector]

STEPS = tuple(10.0**-k for k in range(1, 6))
"""Steps to try, relative to the length of the weights."""

_MIDDLE = STEPS[len(STEPS) // 2]

_WARM_UP = 3
"""Products by which a random vector turns to the large eigenvalues."""


class Spectrum(NamedTuple):
    """The largest eigenvalues, and how far they can be trusted.

    Attributes
    ----------
    eigenvalues : tuple of float
        The largest first.
    residuals : tuple of float
        |H v - e v| of each, with v of length 1, by the same differences. A symmetric H
        has an eigenvalue at most that far away, but for the error of the differences.
    step : float
        Of the differences, relative to the length of the weights.
    step_error : float
        How much v'H v of the first eigenvector changes, relatively, when the step is
        halved.
    products : int
        How many Hessian-vector products it took, two gradients each.
    """

    eigenvalues: tuple[float, ...]
    residuals: tuple[float, ...]
    step: float
    step_error: float
    products: int

    def to_json(self) -> dict[str, Any]:
        """Return it as the file of a landscape holds it."""
        return {
            "eigenvalues": list(self.eigenvalues),
            "residuals": list(self.residuals),
            "step": self.step,
            "step_error": self.step_error,
            "products": self.products,
        }


class Product:
    """Hessian-vector products by central differences of a gradient.

    H v is (g(w + h v) - g(w - h v)) / 2 h for a v of length 1, with an error of the
    order of h^2 and of the gradient's rounding error over h.

    Parameters
    ----------
    gradient : callable
        Of the whole vector of weights.
    weights : float64 (P,)
    learned : bool (P,)
        The elements by which the loss is derived.
    said : callable, optional
        Called after each product.
    """

    def __init__(
        self,
        gradient: Gradient,
        weights: Vector,
        learned: NDArray[np.bool_],
        said: Callable[[], None] = lambda: None,
    ) -> None:
        self._gradient, self._weights, self._learned = gradient, weights, learned
        self._said = said
        self.length = float(np.linalg.norm(weights[learned])) or 1.0
        self.count = 0

    def __call__(self, vector: Vector, step: float) -> Vector:
        """Return H v; `step` is relative to the length of the weights."""
        norm = np.linalg.norm(vector)
        if norm == 0:
            return np.zeros_like(vector)
        h = step * self.length
        shift = np.zeros_like(self._weights)
        shift[self._learned] = vector * (h / norm)
        ahead = self._gradient(self._weights + shift)
        behind = self._gradient(self._weights - shift)
        self.count += 1
        self._said()
        result = (ahead - behind)[self._learned] * (norm / (2 * h))
        if not np.isfinite(result).all():
            raise UserError(
                "the gradient of the loss is not finite near these weights: there is "
                "no Hessian; name other weights, or another loss first in --losses"
            )
        return result


def largest(
    product: Product,
    size: int,
    number: int,
    seed: int = 0,
    step: float | None = None,
    tolerance: float = 1e-3,
) -> Spectrum:
    """Return the algebraically largest eigenvalues, by Lanczos (ARPACK).

    Parameters
    ----------
    product : Product
    size : int
        How many weights are learned.
    number : int
        How many eigenvalues, fewer than `size`.
    seed : int
        Of the starting vector.
    step : float, optional
        Relative step. By default the one of `STEPS` whose product agrees best with that
        of the half step, for a vector that some products have turned to the large
        eigenvalues.
    tolerance : float
        At which ARPACK stops, relative to the eigenvalue. The differences have an
        error of their own, which the residuals contain.

    Raises
    ------
    UserError
        If there are too few weights, the gradient is not finite, or nothing converges.
    """
    check_number(number, size)
    start = np.random.default_rng(seed).standard_normal(size)
    start /= np.linalg.norm(start)
    first = step or _MIDDLE
    if not product(start, first).any():
        # A loss that is 0 around these weights: ARPACK refuses a matrix of zeros.
        nothing = (0.0,) * number
        return Spectrum(nothing, nothing, first, 0.0, product.count)
    if step is None:
        step, start = _best_step(product, start)
    operator = LinearOperator(
        (size, size), matvec=lambda v: product(v.ravel(), step), dtype=np.float64
    )
    try:
        _, vectors = eigsh(
            operator,
            k=number,
            which="LA",
            v0=start,
            ncv=min(size, max(2 * number + 1, 20)),
            tol=tolerance,
            maxiter=20,
        )
    except ArpackError as error:
        vectors = getattr(error, "eigenvectors", np.zeros((size, 0)))
        if not vectors.size:
            raise UserError(
                f"no eigenvalue of the Hessian was found ({error}): the loss is too "
                "rough there; use more images, or a loss without a selection"
            ) from error
    values, vectors, residuals = _refined(product, vectors, step)
    first = vectors[:, 0]
    own, half = (first @ product(first, s) for s in (step, step / 2))
    error = abs(own - half) / max(abs(own), np.finfo(float).tiny)
    return Spectrum(
        tuple(map(float, values)),
        tuple(map(float, residuals)),
        step,
        float(error),
        product.count,
    )


def _refined(
    product: Product, vectors: Vector, step: float
) -> tuple[Vector, Vector, Vector]:
    """Return values, vectors and residuals in the space of some vectors (P, k).

    Products with an error are not those of a symmetric matrix, and Lanczos, which takes
    them for that, finds values that are too large. An error that is random has little
    of the few directions of the vectors: the matrix of H in them has less of it.
    """
    basis, _ = np.linalg.qr(vectors)
    images = np.stack([product(v, step) for v in basis.T], axis=1)
    inside = basis.T @ images
    values, turn = np.linalg.eigh((inside + inside.T) / 2)
    values, turn = values[::-1], turn[:, ::-1]
    vectors, images = basis @ turn, images @ turn
    return values, vectors, np.linalg.norm(images - values * vectors, axis=0)


def check_number(number: int, size: int) -> None:
    """Refuse a number of eigenvalues that Lanczos cannot find.

    Raises
    ------
    UserError
    """
    if not 1 <= number < size:
        raise UserError(
            f"--hessian {number}: the network has {size} learned weights: ask for 1 to "
            f"{size - 1} eigenvalues"
        )


def _best_step(product: Product, vector: Vector) -> tuple[float, Vector]:
    """Return the step with the smallest error, and a vector of large eigenvalues."""
    for _ in range(_WARM_UP):
        turned = product(vector, _MIDDLE)
        norm = np.linalg.norm(turned)
        if norm == 0:
            return _MIDDLE, vector
        vector = turned / norm
    differences = []
    for step in STEPS:
        whole, half = product(vector, step), product(vector, step / 2)
        length = max(float(np.linalg.norm(whole)), np.finfo(float).tiny)
        differences.append(float(np.linalg.norm(whole - half)) / length)
    return STEPS[int(np.argmin(differences))], vector
