"""Overlap over the cells of lesions, weights by error, and the term beside Dice."""

import numpy as np
import pytest
from loss_family import BY_TYPE, labels

from randrop import losses
from randrop.data.voronoi import cells_of_batch
from randrop.errors import UserError
from randrop.nets.losses import parse_losses
from randrop.surface.numpy_losses import evaluate

ACTIVATIONS = ("SIGMOID", "SOFTMAX")
DICES = [
    {},
    {"squared": False},
    {"gamma": 1.5},
    {"gamma": 0.5, "squared": False},
    {"weight_cross": 0.7},
    {"gamma": 2.0, "weight_cross": 0.3, "smooth": 0.1},
]
TVERSKYS = [{}, {"alpha": 0.2, "beta": 1.5, "gamma": 0.75}]
CASES = [("SoftDiceLoss", o) for o in DICES] + [("TverskyLoss", o) for o in TVERSKYS]
every = pytest.mark.parametrize(("kind", "options"), CASES)
both = pytest.mark.parametrize("activation", ACTIVATIONS)


def make(kind, activation, seed=0, shape=(2, 3, 5, 4), most=3, ignored=True):
    """Function, logits, labels with ignored pixels, and cells."""
    rng = np.random.default_rng(seed)
    options = {"activation": activation} | ({"ignore_label": 255} if ignored else {})
    t = labels(rng, BY_TYPE[kind], options, shape)
    cells = rng.integers(0, most, shape)
    return BY_TYPE[kind].function, rng.normal(0, 2, shape), t, cells


def probabilities(x, activation):
    if activation == "SIGMOID":
        return 1 / (1 + np.exp(-x))
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def written_out(kind, x, t, cells, activation, weights=None, **options):
    """The formula, cell by cell; the weights of the elements may be held."""
    p = probabilities(x, activation)
    softmax = activation == "SOFTMAX"
    classes = np.arange(x.shape[1]).reshape(-1, *[1] * (x.ndim - 2))
    y = (t == classes) if softmax else (t == 1)
    valid = np.broadcast_to(t != 255, x.shape)
    cross = -np.log(np.where(y, p, 1 - p))
    if softmax:
        own = np.where(valid, p, 1) * y + ~valid
        cross = np.broadcast_to(-np.log(own.sum(1, keepdims=True)), x.shape)
    if weights is None:
        weights = abs(y - p) ** options.get("gamma", 0)
    power = 2 if options.get("squared", True) else 1
    smooth = options.get("smooth", 1)
    by_class = {}
    for n, c in np.ndindex(x.shape[:2]):
        for cell in np.unique(cells[n, c]):
            own = valid[n, c] & (cells[n, c] == cell)
            if not own.any():
                continue
            q, z, m = p[n, c][own], y[n, c][own], weights[n, c][own]
            if kind == "TverskyLoss":
                overlap = 2 * (q * z).sum() + smooth
                alpha, beta = options.get("alpha", 0.3), options.get("beta", 0.7)
                error = alpha * (q * (1 - z)).sum() + beta * ((1 - q) * z).sum()
                tversky = overlap / (overlap + 2 * error)
                loss = (1 - tversky) ** options.get("gamma", 1)
            else:
                size = (m * (q**power + z)).sum() + smooth
                loss = 1 - (2 * (m * q * z).sum() + smooth) / size
                loss += options.get("weight_cross", 0) * cross[n, c][own].mean()
            key = c if options.get("batch") else (n, c)
            by_class.setdefault(key, []).append(loss)
    return np.mean([np.mean(of_cells) for of_cells in by_class.values()])


def held_weights(x, t, activation, gamma):
    classes = np.arange(x.shape[1]).reshape(-1, *[1] * (x.ndim - 2))
    y = (t == classes) if activation == "SOFTMAX" else (t == 1)
    return abs(y - probabilities(x, activation)) ** gamma


def slopes(kind, x, t, cells, activation, **options):
    """Central differences of the formula, with the weights held."""
    gamma = options.get("gamma", 0) if kind == "SoftDiceLoss" else 0
    weights = held_weights(x, t, activation, gamma)
    found = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[i] = 1e-6
        up, down = (
            written_out(kind, x + s, t, cells, activation, weights, **options)
            for s in (step, -step)
        )
        found[i] = (up - down) / 2e-6
    return found


def is_the_gradient(grad, slope):
    return np.allclose(grad, slope, rtol=1e-5, atol=1e-9)


@every
@both
@pytest.mark.parametrize("batch", [False, True])
def test_loss_and_gradient_are_those_of_the_formula(kind, options, activation, batch):
    function, x, t, cells = make(kind, activation)
    given = {"activation": activation, "batch": batch, **options}
    result = function(x, t, cells=cells, ignore_label=255, **given)
    wanted = written_out(kind, x, t, cells, **given)
    assert result.loss == pytest.approx(wanted, rel=1e-12)
    slope = slopes(kind, x, t, cells, **given)
    assert is_the_gradient(result.grad, slope)
    assert not is_the_gradient(result.grad / 2, slope)
    assert not is_the_gradient(0 * result.grad, slope)


@pytest.mark.parametrize("options", [o for o in DICES if o])
@both
def test_without_cells_they_are_those_of_the_formula(options, activation):
    """Each class of each image is then one cell."""
    function, x, t, cells = make("SoftDiceLoss", activation)
    given = {"activation": activation, **options}
    result = function(x, t, ignore_label=255, **given)
    wanted = written_out("SoftDiceLoss", x, t, 0 * cells, **given)
    assert result.loss == pytest.approx(wanted, rel=1e-12)
    slope = slopes("SoftDiceLoss", x, t, 0 * cells, **given)
    assert is_the_gradient(result.grad, slope)


@every
@both
def test_one_cell_is_none(kind, options, activation):
    function, x, t, cells = make(kind, activation)
    given = {"activation": activation, "ignore_label": 255, **options}
    one = function(x, t, cells=0 * cells, **given)
    none = function(x, t, **given)
    assert one.loss == pytest.approx(none.loss, rel=1e-12)
    np.testing.assert_allclose(one.grad, none.grad, rtol=1e-9, atol=1e-18)


@every
@both
def test_the_loss_is_the_mean_of_those_with_the_other_cells_ignored(
    kind, options, activation
):
    shape = (1, 2, 6, 5)
    function, x, t, cells = make(kind, activation, shape=shape, ignored=False)
    cells = np.broadcast_to(cells[:, :1], shape)  # the same in each class
    given = {"activation": activation, "ignore_label": 255, **options}
    whole = function(x, t, cells=cells, **given)
    alone = [
        function(x, np.where(cells[:, : t.shape[1]] == k, t, 255), **given)
        for k in range(3)
    ]
    assert whole.loss == pytest.approx(np.mean([r.loss for r in alone]), rel=1e-12)
    np.testing.assert_allclose(
        whole.grad, np.mean([r.grad for r in alone], 0), rtol=1e-9, atol=1e-15
    )


@every
@both
def test_the_numbers_of_the_cells_do_not_matter(kind, options, activation):
    """Nor do numbers that no pixel has."""
    function, x, t, cells = make(kind, activation)
    given = {"activation": activation, "ignore_label": 255, **options}
    one = function(x, t, cells=cells, **given)
    other = function(x, t, cells=np.array([7, 2, 19])[cells], **given)
    assert one.loss == pytest.approx(other.loss, rel=1e-12)
    np.testing.assert_allclose(one.grad, other.grad, rtol=1e-9, atol=1e-18)


@every
@both
def test_the_parts_of_the_pixels_sum_to_the_loss(kind, options, activation):
    function, x, t, cells = make(kind, activation)
    given = {"activation": activation, "ignore_label": 255, **options}
    result = function(x, t, cells=cells, **given)
    assert result.per_pixel.sum() == pytest.approx(result.loss, rel=1e-12)
    assert (result.per_pixel >= 0).all()


@both
def test_cells_that_are_ignored_entirely_are_not_in_the_mean(activation):
    function, x, t, cells = make("SoftDiceLoss", activation)
    t = np.where((cells == 1)[:, : t.shape[1]], 255, t)
    cells[:] = cells[:, :1]
    given = {"activation": activation, "ignore_label": 255, "weight_cross": 0.5}
    found = function(x, t, cells=cells, **given)
    wanted = written_out("SoftDiceLoss", x, t, cells, activation, weight_cross=0.5)
    assert found.loss == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@both
def test_pm_dice_of_equal_errors_is_dice(activation, gamma):
    """A weight that all elements have is one of the sums' scale."""
    shape = (1, 2, 4, 5)
    t = make("SoftDiceLoss", activation, shape=shape, ignored=False)[2]
    truth = (t == np.arange(2).reshape(2, 1, 1)) if activation == "SOFTMAX" else t == 1
    x = np.where(truth, 0.5, -0.5) * (1 if activation == "SOFTMAX" else 2)
    error = 1 / (1 + np.exp(1))
    weighted = losses.dice(x, t, activation, smooth=0.3 * error**gamma, gamma=gamma)
    plain = losses.dice(x, t, activation, smooth=0.3)
    assert weighted.loss == pytest.approx(plain.loss, rel=1e-12)
    np.testing.assert_allclose(weighted.grad, plain.grad, rtol=1e-9)


def test_pm_dice_turns_to_the_pixels_that_are_wrong():
    x, t = np.full((1, 1, 1, 100), -5.0), np.zeros((1, 1, 1, 100))
    t[..., :3] = 1
    x[..., 1:4] = 3.0
    grads = [
        abs(losses.dice(x, t, "SIGMOID", gamma=g, smooth=1e-5).grad[0, 0, 0])
        for g in (0.0, 2.0)
    ]
    # Against the missed pixel, what is right counts for less.
    for right in (1, 9):
        assert grads[1][right] / grads[1][0] < 0.1 * grads[0][right] / grads[0][0]


def test_a_false_alarm_without_lesions_weighs_more_in_a_batch_or_beside_cross_entropy():
    """Dice of an image without lesions is near 1 whatever is predicted there."""
    x, t = np.full((2, 1, 20, 20), -6.0), np.zeros((2, 1, 20, 20))
    t[0, 0, :5] = 1
    x[0, 0, :5] = 6.0
    x[1, 0, :10] = 6.0
    plain, batch, beside = (
        abs(losses.dice(x, t, "SIGMOID", **options).grad[1, 0, 0, 0])
        for options in ({}, {"batch": True}, {"weight_cross": 1.0})
    )
    assert batch > 10 * plain > 0
    assert beside > 10 * plain


@both
def test_weight_cross_adds_the_mean_cross_entropy(activation):
    function, x, t, _ = make("SoftDiceLoss", activation, ignored=False)
    results = [function(x, t, activation, weight_cross=w) for w in (0.0, 1.0, 2.0)]
    if activation == "SOFTMAX":
        cross = losses.softmax_top_k(x, t, 100)
    else:
        cross = losses.sigmoid_top_k(x, t, "PERCENT", k_percent=100)
    for w, result in enumerate(results):
        wanted = results[0].loss + w * cross.loss
        assert result.loss == pytest.approx(wanted, rel=1e-12)
        wanted = results[0].grad + w * cross.grad
        np.testing.assert_allclose(result.grad, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("value", [-1, 0.5, 20, np.nan, np.inf])
def test_what_is_no_cell_is_named(value):
    function, x, t, cells = make("SoftDiceLoss", "SIGMOID")
    cells = cells.astype(float)
    cells[1, 2, 3, 1] = value
    message = rf"cell {value:g} at \(1, 2, 3, 1\); allowed: whole numbers from 0 to 19"
    with pytest.raises(UserError, match=message):
        function(x, t, "SIGMOID", ignore_label=255, cells=cells)


def test_cells_of_another_shape_are_named():
    function, x, t, cells = make("TverskyLoss", "SOFTMAX")
    with pytest.raises(UserError, match=r"\(2, 3, 5, 4\) and cells \(2, 1, 5, 4\)"):
        function(x, t, ignore_label=255, cells=cells[:, :1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -0.1}, "gamma is -0.1: it must be at least 0"),
        ({"weight_cross": -1.0}, "weight_cross is -1"),
        ({"gamma": 1.0, "smooth": 0.0}, "smooth is 0: it must be above 0"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    function, x, t, _ = make("SoftDiceLoss", "SIGMOID", ignored=False)
    with pytest.raises(UserError, match=message):
        function(x, t, "SIGMOID", **options)


@both
def test_a_loss_of_the_command_line_finds_its_cells_in_the_label(activation):
    function, x, t, _ = make("SoftDiceLoss", activation, ignored=False)
    terms = parse_losses("cc-dice-ce", activation)
    found = evaluate(terms, x, t, ignore_label=255)
    wanted = function(
        x,
        t,
        activation,
        smooth=0.0,
        squared=False,
        weight_cross=1.0,
        cells=cells_of_batch(t, x.shape),
    )
    assert found.loss == wanted.loss
    np.testing.assert_array_equal(found.grad, wanted.grad)
