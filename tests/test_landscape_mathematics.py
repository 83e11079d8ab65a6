"""Directions, principal components and eigenvalues against short references."""

import numpy as np
import pytest

from randrop.errors import UserError
from randrop.surface.landscape import directions, hessian
from randrop.surface.landscape.parameters import (
    FILTER,
    OTHER,
    STATISTICS,
    Layout,
    Part,
)


def layout(*shapes):
    """Return a layout of (shape, kind, axis, groups)."""
    parts, begin = [], 0
    for k, (shape, kind, axis, groups) in enumerate(shapes):
        parts.append(Part(f"layer{k}", 0, shape, kind, axis, groups, begin))
        begin += parts[-1].size
    return Layout(tuple(parts))


SMALL = layout(
    ((4, 3, 3, 3), FILTER, 0, 1),  # a convolution: out, in, height, width
    ((4,), OTHER, 0, 1),
    ((3, 5, 2, 2), FILTER, 1, 1),  # a deconvolution: in, out, height, width
    ((4,), STATISTICS, 0, 1),
    ((6, 7), FILTER, 0, 1),  # an inner product
    ((6, 2, 2, 2), FILTER, 1, 2),  # a deconvolution of two groups
)


def weights(seed=0):
    return np.random.default_rng(seed).normal(0, 3, SMALL.size)


def test_each_filter_has_the_length_of_the_weights_filter():
    w = weights()
    d = directions.filter_normalised(SMALL, w, 1, 0)
    for part in SMALL.parts:
        own, wanted = (v[part.place].reshape(part.shape) for v in (d, w))
        if part.kind != FILTER:
            assert not own.any()
        elif part.groups == 2:
            for g in range(2):
                for o in range(2):
                    one, two = (v[3 * g : 3 * g + 3, o] for v in (own, wanted))
                    assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(two))
        else:
            for o in range(part.shape[part.axis]):
                one, two = (v.take(o, part.axis) for v in (own, wanted))
                assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(two))


def test_scaling_is_that_of_the_paper():
    w = weights()
    shape = SMALL.parts[0].shape
    raw = np.random.default_rng((1, 0)).standard_normal(shape)
    expected = np.array(
        [
            d * np.linalg.norm(v) / (np.linalg.norm(d) + 1e-10)
            for d, v in zip(raw, w[SMALL.parts[0].place].reshape(shape), strict=True)
        ]
    )
    found = directions.filter_normalised(SMALL, w, 1, 0)[SMALL.parts[0].place]
    np.testing.assert_allclose(found.reshape(shape), expected, rtol=1e-12)


def test_rescaling_a_filter_rescales_its_direction():
    w = weights()
    d = directions.filter_normalised(SMALL, w, 1, 0)
    filters = SMALL.parts[2].filters(w)
    assert filters.shape == (1, 5, 3, 2, 2)
    filters[0, 1] *= 7
    changed = directions.filter_normalised(SMALL, w, 1, 0)
    ratio = SMALL.parts[2].filters(changed) / SMALL.parts[2].filters(d)
    np.testing.assert_allclose(ratio[0, 1], 7)
    np.testing.assert_allclose(ratio[0, 0], 1)


def test_a_filter_of_zeros_does_not_move():
    d = directions.filter_normalised(SMALL, np.zeros(SMALL.size), 1, 0)
    assert not d.any()


def test_seed_and_number_choose_the_direction():
    w = weights()
    one, two, three = (
        directions.filter_normalised(SMALL, w, seed, k)
        for seed, k in ((1, 0), (1, 1), (2, 0))
    )
    assert (one == directions.filter_normalised(SMALL, w, 1, 0)).all()
    assert abs(one @ two) < 0.5 * (one @ one)
    assert abs(one @ three) < 0.5 * (one @ one)


def snapshots(count=6, size=40):
    rng = np.random.default_rng(3)
    steps = np.cumsum(
        rng.normal(size=(count, size)) * [[3 - k / 3] * size for k in range(count)],
        axis=0,
    )
    return steps


def test_principal_directions_are_those_of_the_svd():
    w = snapshots()
    found = directions.principal(w)
    steps = w - w[-1]
    _, sigma, right = np.linalg.svd(steps, full_matrices=False)
    np.testing.assert_allclose(
        np.abs(np.sum(found.directions * right[:2], axis=1)), 1, rtol=1e-10
    )
    np.testing.assert_allclose(
        found.explained, sigma[:2] ** 2 / np.square(steps).sum(), rtol=1e-10
    )
    np.testing.assert_allclose(
        found.directions @ found.directions.T, np.eye(2), atol=1e-10
    )
    np.testing.assert_allclose(found.coordinates, steps @ found.directions.T)


def test_the_distance_is_what_the_plane_leaves():
    w = snapshots()
    found = directions.principal(w)
    length = np.linalg.norm(w - w[-1], axis=1)
    expected = np.sqrt(length**2 - np.square(found.coordinates).sum(1))
    np.testing.assert_allclose(found.distance, expected, atol=1e-6)
    assert found.distance[-1] == 0
    assert found.relative[-1] == 0
    np.testing.assert_allclose(found.relative[:-1], found.distance[:-1] / length[:-1])
    assert 0.1 < found.relative.max() < 1


def test_a_plane_takes_three_snapshots_that_span_it():
    w = snapshots()
    with pytest.raises(UserError, match="at least 3"):
        directions.principal(w[:2])
    with pytest.raises(UserError, match="on one line"):
        directions.principal(np.outer([3.0, 2.0, 1.0], w[0]))
    with pytest.raises(UserError, match="all the same"):
        directions.principal(np.ones((4, 9)))


def symmetric(size=60, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(size, size))
    values = np.concatenate([[40.0, 25.0, 9.0, -30.0], rng.uniform(-1, 2, size - 4)])
    q, _ = np.linalg.qr(a)
    return (q * values) @ q.T, np.sort(values)[::-1]


def quadratic(matrix, learned):
    """Return the gradient of x'Hx/2 + b'x over the learned elements."""
    slope = np.random.default_rng(1).normal(size=len(matrix))

    def gradient(w):
        full = np.zeros_like(w)
        full[learned] = matrix @ w[learned] + slope
        return full

    return gradient


def test_eigenvalues_are_those_of_a_dense_hessian():
    matrix, values = symmetric()
    learned = np.arange(80) % 4 != 0
    w = np.random.default_rng(2).normal(size=80)
    product = hessian.Product(quadratic(matrix, learned), w, learned)
    found = hessian.largest(product, 60, 3, tolerance=1e-8)
    np.testing.assert_allclose(found.eigenvalues, values[:3], rtol=1e-5)
    assert max(found.residuals) < 1e-3
    assert found.step_error < 1e-5
    assert found.products == product.count > 20


def test_residuals_bound_the_error():
    matrix, values = symmetric(seed=5)
    learned = np.ones(60, bool)
    rng = np.random.default_rng(7)

    def noisy(w):
        exact = quadratic(matrix, learned)(w)
        return (exact + rng.normal(0, 1e-3, 60)).astype(np.float32).astype(float)

    product = hessian.Product(noisy, np.ones(60), learned)
    found = hessian.largest(product, 60, 2, step=1e-2)
    errors = np.abs(np.array(found.eigenvalues) - values[:2])
    assert (errors <= found.residuals).all()
    assert found.residuals[0] > 1e-4


def test_a_coarse_step_shows_in_its_error():
    def cubic(w):
        return w**3

    product = hessian.Product(cubic, np.full(8, 1.0), np.ones(8, bool))
    fine = hessian.largest(product, 8, 1, step=1e-3)
    coarse = hessian.largest(product, 8, 1, step=1.0)
    assert fine.step_error < 1e-4 < 1e-2 < coarse.step_error
    assert fine.eigenvalues[0] == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize("step", [None, 1e-3])
def test_a_loss_that_is_flat_has_eigenvalues_of_zero(step):
    product = hessian.Product(np.zeros_like, np.ones(30), np.ones(30, bool))
    found = hessian.largest(product, 30, 3, step=step)
    assert found.eigenvalues == found.residuals == (0, 0, 0)


def test_a_gradient_that_is_not_finite_is_named():
    product = hessian.Product(lambda w: w * np.nan, np.ones(9), np.ones(9, bool))
    with pytest.raises(UserError, match="not finite"):
        hessian.largest(product, 9, 1)
    with pytest.raises(UserError, match="ask for 1 to 8"):
        hessian.largest(product, 9, 9)
