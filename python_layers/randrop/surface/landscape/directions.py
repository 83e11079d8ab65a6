"""Directions in the space of a network's weights."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.surface.landscape.parameters import FILTER, Layout

_TINY = 1e-10
"""Added to a filter's norm, as the published code does."""

Vector = NDArray[np.float64]


def filter_normalised(
    layout: Layout, weights: Vector, seed: int, number: int
) -> Vector:
    """Return a random direction whose filters are as long as those of the weights.

    Every kernel gets normal numbers. Each of its filters (the part for one output
    channel) is then scaled by |w| / (|d| + 1e-10), with the norms of that filter in the
    weights and in the direction. Biases and all of batch normalisation stay as they
    are: the direction is 0 there.

    Parameters
    ----------
    layout : Layout
    weights : float64 (layout.size,)
    seed, number : int
        The same two give the same direction.

    Returns
    -------
    float64 (layout.size,)

    References
    ----------
    H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein. Visualizing the loss landscape of
    neural nets. NeurIPS 2018, arXiv:1712.09913, section 4.
    """
    rng = np.random.default_rng((seed, number))
    direction = np.zeros(layout.size)
    for part in layout.of_kind(FILTER):
        direction[part.place] = rng.standard_normal(part.size)
        own, wanted = part.filters(direction), part.filters(weights)
        axes = tuple(range(2, own.ndim))
        length = np.sqrt(np.square(own).sum(axes, keepdims=True))
        norm = np.sqrt(np.square(wanted).sum(axes, keepdims=True))
        # A view of the direction: it is scaled in place.
        own *= norm / (length + _TINY)
    return direction


class Principal(NamedTuple):
    """The plane through the last snapshot that is closest to all of them.

    Attributes
    ----------
    directions : float64 (2, P)
        Orthonormal; the larger variance first, pointing to the first snapshot.
    explained : tuple of float
        Share of the snapshots' squared distances from the last one along each
        direction.
    coordinates : float64 (s, 2)
        Of each snapshot.
    distance, relative : float64 (s,)
        From the plane, and that divided by the distance from the last snapshot (0 at
        the last).
    """

    directions: Vector
    explained: tuple[float, float]
    coordinates: Vector
    distance: Vector
    relative: Vector


def principal(snapshots: Vector) -> Principal:
    """Return the first two principal directions of snapshots minus the last one.

    The differences are not centred on their mean: so the plane goes through the last
    snapshot, and no plane through it has a smaller sum of squared distances. (The
    published code centres them, and draws a parallel plane.)

    Parameters
    ----------
    snapshots : float64 (s, P)
        At least three.

    Raises
    ------
    UserError
        If there are too few snapshots, or they do not span a plane.

    References
    ----------
    H. Li et al. Visualizing the loss landscape of neural nets. NeurIPS 2018,
    arXiv:1712.09913, section 7.
    """
    if len(snapshots) < 3:
        raise UserError(
            f"{len(snapshots)} snapshots do not span a plane: a trajectory needs at "
            "least 3; train with a smaller --snapshot, or use random directions"
        )
    steps = snapshots - snapshots[-1]
    # The eigenvectors of the small Gram matrix give those of the large covariance.
    values, left = np.linalg.eigh(steps @ steps.T)
    values, left = values[::-1][:2], left[:, ::-1][:, :2]
    total = np.square(steps).sum()
    if not values[1] > 1e-12 * total:
        raise UserError(
            "the snapshots lie on one line, or are all the same: a trajectory needs a "
            "plane; use random directions"
        )
    directions = left.T @ steps / np.sqrt(values)[:, None]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    coordinates = steps @ directions.T
    signs = np.where(coordinates[0] < 0, -1.0, 1.0)
    directions, coordinates = directions * signs[:, None], coordinates * signs
    length = np.linalg.norm(steps, axis=1)
    distance = np.array(
        [
            np.linalg.norm(step - at @ directions)
            for step, at in zip(steps, coordinates, strict=True)
        ]
    )
    relative = np.divide(distance, length, out=np.zeros_like(length), where=length > 0)
    explained = tuple(float(v) for v in values / total)
    return Principal(directions, explained, coordinates, distance, relative)
