"""The NumPy functions of the whole family: identities, edge cases, bad input."""

import inspect
import warnings

import numpy as np
import pytest
from loss_family import BY_TYPE, DROP, FAMILY, labels

from randrop import losses
from randrop.errors import UserError
from randrop.files.schema import NotNegative
from randrop.losses.common import share_of
from randrop.losses.registry import LAYERS

EXAMPLES = [(m.type, dict(options)) for m in FAMILY for options in m.examples]
every = pytest.mark.parametrize(("kind", "options"), EXAMPLES)


def make(kind, options, shape=(2, 3, 6, 5), seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    member = BY_TYPE[kind]
    return (
        member.function,
        rng.normal(0, spread, shape),
        labels(rng, member, options, shape),
    )


def pixels(mask, x, t):
    """A mask of the label, for the logits."""
    return np.broadcast_to(mask, x.shape) if t.shape != x.shape else mask


# The weights of PM-Dice are held, too: tests/test_losses_cells.py.
DERIVED = [(k, o) for k, o in EXAMPLES if k != "SoftDiceLoss" or not o.get("gamma")]


@pytest.mark.parametrize(("kind", "options"), DERIVED)
def test_gradient_is_the_derivative_with_the_selection_held(kind, options):
    function, x, t = make(kind, options, (2, 3, 3, 4))
    result = function(x, t, **options)
    held = 0
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-5
        up, down = (function(x + s, t, **options) for s in (step, -step))
        if (up.mask == result.mask).all() and (down.mask == result.mask).all():
            held += 1
            slope = (up.loss - down.loss) / 2e-5
            assert result.grad[i] == pytest.approx(slope, rel=1e-5, abs=1e-9)
    assert held > 0.9 * x.size
    assert abs(result.grad).max() > 0


@every
def test_ignored_pixels_are_exactly_inert(kind, options):
    function, x, t = make(kind, options)
    t[..., ::2] = 255
    before = function(x, t, **options, ignore_label=255)
    x[pixels(t == 255, x, t)] = np.nan
    after = function(x, t, **options, ignore_label=255)
    assert before.loss == after.loss
    np.testing.assert_array_equal(before.grad, after.grad)
    assert (after.grad[pixels(t == 255, x, t)] == 0).all()
    assert (after.mask[t == 255] == -1).all()


@every
def test_nothing_left_after_ignoring_is_no_loss(kind, options):
    function, x, t = make(kind, options)
    result = function(x, np.full_like(t, 255), **options, ignore_label=255)
    assert result.loss == 0
    assert not result.grad.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every
def test_every_finite_logit_gives_finite_results(kind, options, dtype):
    function, x, t = make(kind, options)
    values = [-3e38, -1e4, -100, -20, 0, 20, 100, 1e4, 3e38]
    x = np.random.default_rng(0).choice(np.array(values, dtype), x.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = function(x, t, **options)
    assert np.isfinite(result.loss)
    assert np.isfinite(result.grad).all()
    assert result.grad.dtype == dtype


@every
def test_permuting_images_permutes_results(kind, options):
    function, x, t = make(kind, options, (3, 3, 6, 5))
    result = function(x, t, **options)
    turned = function(x[::-1], t[::-1], **options)
    assert turned.loss == pytest.approx(result.loss, rel=1e-12)
    np.testing.assert_allclose(turned.grad, result.grad[::-1], rtol=1e-9, atol=1e-15)


@every
def test_bad_labels_are_named(kind, options):
    function, x, t = make(kind, options)
    for value in (0.5, -1, 3, 255, np.nan, np.inf):
        bad = t.copy()
        bad[0, 0, 1, 2] = value
        with pytest.raises(UserError, match=r"label \S+ at .*; allowed: "):
            function(x, bad, **options)


@every
def test_shapes_that_do_not_fit_are_named(kind, options):
    function, x, t = make(kind, options)
    with pytest.raises(UserError, match="logits have shape"):
        function(x, t[:, :, :-1], **options)
    with pytest.raises(UserError, match="logits have shape"):
        function(x[0, 0, 0], t[0, 0, 0], **options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("SigmoidTopKCELoss", {"k_percent": 0.0}, "k_percent is 0: .*above 0 and at"),
        ("SigmoidTopKCELoss", {"k_percent": 100.1}, "k_percent is 100.1"),
        ("SigmoidTopKCELoss", {"k_percent": np.nan}, "k_percent is nan"),
        ("SigmoidTopKCELoss", {"negatives_per_positive": 0.0}, "negatives_per_pos"),
        ("SigmoidTopKCELoss", {"positive_weight": -1.0}, "positive_weight is -1"),
        ("SigmoidTopKCELoss", {"selection": "TOP"}, "selection is 'TOP': choose one"),
        ("SigmoidTopKCELoss", {"balance": "X"}, "balance is 'X'"),
        ("SoftmaxTopKLoss", {"k_percent": -1.0}, "k_percent is -1"),
        ("SoftmaxTopKLoss", {"normalization": "X"}, "normalization is 'X'"),
        ("SigmoidFocalCELoss", {"gamma": -0.1}, "gamma is -0.1: it must be at least 0"),
        ("SigmoidFocalCELoss", {"alpha": 1.5}, "alpha is 1.5"),
        ("SigmoidFocalCELoss", {"alpha_mode": "X"}, "alpha_mode is 'X'"),
        ("SoftmaxFocalCELoss", {"gamma": -1.0}, "gamma is -1"),
        ("SoftmaxFocalCELoss", {"class_alpha": [1, 1]}, "has 2 values for 3 classes"),
        ("SoftmaxFocalCELoss", {"class_alpha": [-1]}, "class_alpha is -1"),
        ("SoftDiceLoss", {"smooth": -1.0}, "smooth is -1"),
        ("SoftDiceLoss", {"activation": "X"}, "activation is 'X'"),
        ("TopKDiceLoss", {"k_percent": 0.0}, "k_percent is 0"),
        ("TopKDiceLoss", {"region": "X"}, "region is 'X'"),
        ("ExpLogLoss", {"gamma_dice": 0.0}, "gamma_dice is 0: it must be above 0"),
        ("ExpLogLoss", {"gamma_cross": -1.0}, "gamma_cross is -1"),
        ("ExpLogLoss", {"epsilon": 0.0}, "epsilon is 0"),
        ("ExpLogLoss", {"weight_dice": -1.0}, "weight_dice is -1"),
        ("ExpLogLoss", {"label_frequency": [1, 2]}, "has 2 values for 3 classes"),
        ("ExpLogLoss", {"label_frequency": [1, 2, -3]}, "label_frequency is -3"),
        ("ExpLogLoss", {"label_frequency": [0, 0, 0]}, "is 0 for every class"),
    ],
)
def test_options_out_of_range_are_named(kind, options, message):
    function, x, t = make(kind, {})
    with pytest.raises(UserError, match=message):
        function(x, t, **options)


def numbers(kind):
    """The options that are numbers or lists of numbers."""
    given = LAYERS[kind].options.model_fields
    return [n for n, f in given.items() if f.annotation in (float, list[NotNegative])]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 1e300])
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in BY_TYPE for name in numbers(kind)]
)
def test_numbers_that_are_none_or_too_large_are_named(kind, name, value):
    function, x, t = make(kind, {})
    lists = ("class_alpha", "label_frequency")
    with pytest.raises(UserError, match=f"{name} is .*: it must be"):
        function(x, t, **{name: [value] * 3 if name in lists else value})


def test_percentages_are_of_decimal_numbers():
    """Rounded down as in decimal arithmetic: 33.3 % of 3000 are 999."""
    rng = np.random.default_rng(0)
    for thousandths in rng.integers(1, 100_001, 500).tolist():
        for count in rng.integers(1, 2 ** rng.integers(1, 31, 200)).tolist():
            k_percent = float(f"{thousandths / 1000:.3f}")
            wanted = max(1, count * thousandths // 100_000)
            assert share_of(k_percent, count) == wanted, (k_percent, count)
    assert share_of(33.3, 3000) == 999
    x, t = np.zeros((1, 1, 200)), np.zeros((1, 1, 200))
    t[..., :100] = 1
    # 0.29 * 100 in binary is below 29.
    mask = losses.sigmoid_top_k(x, t, negatives_per_positive=0.29).mask
    assert mask[t == 0].sum() == 29


@every
def test_single_precision_keeps_its_digits_where_all_but_all_is_right(kind, options):
    """Relative accuracy of saturated pixels' gradients: 1 - p is not a difference."""
    function, x, t = make(kind, options)
    truth = t == 1 if t.shape == x.shape else t == np.arange(3)[:, None, None]
    for size in (4.0, 7.5, 12.0, 20.0, 30.0):
        # Quarters, which are the same number in both precisions.
        sure = np.round(4 * np.where(truth, size, -size) + x) / 4
        exact = function(sure, t, **options).grad
        single = function(sure.astype(np.float32), t, **options).grad
        held = abs(exact) > 1e-30
        # Beyond, some gradients are too small for single precision.
        assert held.any() or size > 8
        np.testing.assert_allclose(single[held], exact[held], rtol=3e-5)


def test_focal_weighs_few_positives_by_their_number():
    t = np.zeros((1, 1, 1000, 1000), np.float32)
    t[0, 0, 5, 5] = 1
    x = np.zeros_like(t)
    result = losses.sigmoid_focal(x, t, gamma=0, alpha_mode="PER_IMAGE")
    assert result.grad[0, 0, 0, 0] == pytest.approx(0.5e-6, rel=1e-6)
    result = losses.sigmoid_focal(x, 1 - t, gamma=0, alpha_mode="PER_IMAGE")
    assert result.grad[0, 0, 0, 0] == pytest.approx(-0.5e-6, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [e for e in EXAMPLES if "batch" in LAYERS[e[0]].options.model_fields],
)
def test_an_image_that_is_ignored_whole_is_not_counted(kind, options):
    options = {**options, "batch": False}
    function, x, t = make(kind, options, (3, 3, 6, 5))
    t[1] = 255
    result = function(x, t, **options, ignore_label=255)
    without = function(x[::2], t[::2], **options, ignore_label=255)
    assert result.loss == pytest.approx(without.loss, rel=1e-12)
    np.testing.assert_allclose(result.grad[::2], without.grad, rtol=1e-12)
    assert not result.grad[1].any()


@pytest.mark.parametrize(
    "kind",
    [k for k, layer in LAYERS.items() if "include_background" in layer.parameters],
)
def test_one_class_or_a_sigmoid_keeps_its_background(kind):
    options = {"activation": "SIGMOID"}
    function, x, t = make(kind, options)
    with pytest.raises(UserError, match="every channel is foreground"):
        function(x, t, **options, include_background=False)
    with pytest.raises(UserError, match="include_background: false needs two classes"):
        function(x[:, :1], np.zeros_like(t[:, :1]), include_background=False)
    with pytest.raises(UserError, match="logits have shape"):
        function(x[0, 0, 0], t[0, 0, 0], include_background=False)


def cross_entropy(x, t):
    shifted = x - x.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -np.take_along_axis(log_p, t.astype(int), 1)


def test_focal_with_gamma_0_is_cross_entropy():
    _, x, t = make("SoftmaxFocalCELoss", {})
    wanted = cross_entropy(x, t).mean()
    assert losses.softmax_focal(x, t, gamma=0).loss == pytest.approx(wanted)
    _, x, t = make("SigmoidFocalCELoss", {})
    half = losses.sigmoid_focal(x, t, gamma=0, alpha=0.5)
    whole = losses.sigmoid_top_k(
        x, t, "PERCENT", k_percent=100, normalization="BATCH_SIZE"
    )
    assert 2 * half.loss == pytest.approx(whole.loss)
    np.testing.assert_allclose(2 * half.grad, whole.grad, rtol=1e-12)


def test_top_k_with_100_percent_is_cross_entropy():
    _, x, t = make("SoftmaxTopKLoss", {})
    result = losses.softmax_top_k(x, t, k_percent=100)
    assert result.loss == pytest.approx(cross_entropy(x, t).mean())
    assert (result.mask == 1).all()


@pytest.mark.parametrize("selection", ["EXACT", "BIN"])
def test_enough_negatives_are_class_balanced_cross_entropy(selection):
    _, x, t = make("SigmoidTopKCELoss", {})
    result = losses.sigmoid_top_k(x, t, selection, negatives_per_positive=1e9)
    wanted = losses.random_drop(x, t, "NONE")
    assert result.loss == wanted.loss
    np.testing.assert_array_equal(result.grad, wanted.grad)


@pytest.mark.parametrize("region", ["ALL", "FOREGROUND"])
@pytest.mark.parametrize("activation", ["SOFTMAX", "SIGMOID"])
def test_top_k_dice_with_100_percent_is_dice(region, activation):
    _, x, t = make("TopKDiceLoss", {"activation": activation})
    result = losses.top_k_dice(x, t, 100, region, activation)
    wanted = losses.dice(x, t, activation)
    assert result.loss == wanted.loss
    np.testing.assert_array_equal(result.grad, wanted.grad)


def test_exp_log_with_gamma_1_is_log_dice_and_weighted_cross_entropy():
    _, x, t = make("ExpLogLoss", {}, (1, 3, 6, 5))
    linear = losses.exp_log(
        x, t, 1, 0, 1, 1, label_frequency=[1, 1, 1], epsilon=1e-9
    ).loss
    p = np.exp(-cross_entropy(x, np.zeros_like(t)))
    dice = []
    for c in range(3):
        p = np.exp(-cross_entropy(x, np.full_like(t, c)))
        dice.append(2 * p[t == c].sum() / (p.sum() + (t == c).sum()))
    assert linear == pytest.approx(-np.log(dice).mean())
    f = np.array([5.0, 2, 1])
    weighted = losses.exp_log(x, t, 0, 1, 1, 1, label_frequency=f).loss
    weights = np.sqrt(f.sum() / f)[t.astype(int)]
    assert weighted == pytest.approx((weights * cross_entropy(x, t)).mean())


def test_a_class_that_is_nowhere_is_right_when_it_is_not_predicted():
    x = np.full((1, 2, 3, 3), -1000.0)
    x[:, 0] = 1000
    result = losses.dice(x, np.zeros((1, 1, 3, 3)), smooth=0)
    assert result.loss == 0
    assert not result.grad.any()


def test_exp_log_is_held_where_its_slope_would_be_infinite():
    x = np.full((1, 2, 3, 3), -1000.0)
    x[:, 0] = 1000
    result = losses.exp_log(x, np.zeros((1, 1, 3, 3)), label_frequency=[1, 1])
    assert result.loss == pytest.approx(1e-7**0.3 * (0.8 + 0.2 * np.sqrt(2)))
    assert not result.grad.any()


def test_ties_go_in_the_order_of_their_indices():
    x, t = np.zeros((2, 2, 10)), np.zeros((2, 1, 10))
    mask = losses.softmax_top_k(x, t, k_percent=30).mask.ravel()
    assert mask.tolist() == [1] * 6 + [0] * 14
    mask = losses.top_k_dice(x, t, 30).mask
    assert mask[:, 0].tolist() == [[1] * 3 + [0] * 7] * 2


def _defaults(function, names=None):
    parameters = inspect.signature(function).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {n: found[n] for n in names or found if n in found}


def test_the_family_has_a_function_and_a_layer_each():
    given = {name: getattr(losses, name) for name in losses.__all__}
    functions = {
        name
        for name, function in given.items()
        if inspect.isfunction(function)
        and inspect.signature(function).return_annotation is losses.LossResult
    }
    assert {layer.function.__name__ for layer in LAYERS.values()} == functions
    assert {member.type for member in FAMILY} | {DROP} == set(LAYERS)
    for member in FAMILY:
        assert _defaults(member.function) == {
            name: tuple(field.default) if field.default == [] else field.default
            for name, field in LAYERS[member.type].options.model_fields.items()
        } | _defaults(member.function, ("normalization", "cells"))
        assert member.function.__name__ in losses.__all__
        assert "References" in member.function.__doc__ or "dice" in (
            member.function.__name__
        )
