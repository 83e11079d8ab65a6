"""The loss of each pixel, of every NumPy loss function."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loss_family import BY_TYPE, DROP, FAMILY, labels, of_layer

from randrop import losses
from randrop.losses.common import BALANCES, NORMALIZATIONS
from randrop.losses.registry import LAYERS

MEMBERS = {DROP: of_layer(LAYERS[DROP]), **BY_TYPE}
DROPS = [{"schedule": s, "balance": b} for s in losses.SCHEDULES for b in BALANCES]
EXAMPLES = [(DROP, options) for options in DROPS]
EXAMPLES += [(m.type, dict(options)) for m in FAMILY for options in m.examples]
EXAMPLES += [
    ("SoftDiceLoss", {"squared": False, "include_background": False}),
    ("SoftDiceLoss", {"smooth": 0.0, "batch": True}),
    ("TopKDiceLoss", {"region": "FOREGROUND", "squared": False}),
    ("TverskyLoss", {"gamma": 2.0, "include_background": False}),
    ("ExpLogLoss", {"batch": True, "label_frequency": [5.0, 2.0, 0.0]}),
    ("ExpLogLoss", {"gamma_dice": 1.0, "gamma_cross": 2.0}),
    ("SoftmaxFocalCELoss", {"gamma": 0.5, "class_alpha": [1.0, 2.0, 0.0]}),
]
every = pytest.mark.parametrize(("kind", "options"), EXAMPLES)


def make(kind, options, shape=(2, 3, 6, 5), seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    member = MEMBERS[kind]
    t = labels(rng, member, options, shape)
    return member.function, rng.normal(0, spread, shape), t


def normalizations(function):
    names = inspect.signature(function).parameters
    return [{"normalization": n} for n in NORMALIZATIONS if "normalization" in names]


def out_of_all_sums(kind, options, mask):
    """Where a mask of 0 says that a pixel has no part."""
    by_class = options.get("region") == "FOREGROUND" and MEMBERS[kind].is_softmax(
        options
    )
    return mask == -1 if by_class else mask != 1


def check(kind, options, result, t):
    parts = result.per_pixel
    assert parts.dtype == np.float64
    assert parts.shape == result.mask.shape == t.shape
    assert (parts >= 0).all()
    assert not parts[out_of_all_sums(kind, options, result.mask)].any()
    assert parts.sum() == pytest.approx(result.loss, rel=1e-12, abs=0)


@every
@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (2, 3, 3, 4, 2)])
@pytest.mark.parametrize("ignored", [{}, {"ignore_label": 255}])
def test_the_parts_sum_to_the_loss(kind, options, shape, ignored):
    function, x, t = make(kind, options | ignored, shape)
    for chosen in normalizations(function) or [{}]:
        result = function(x, t, **options, **ignored, **chosen)
        assert result.loss > 0
        check(kind, options, result, t)


@settings(max_examples=150)
@given(st.data())
def test_the_parts_sum_to_the_loss_with_any_options(data):
    member = data.draw(st.sampled_from(FAMILY))
    options = data.draw(member.options)
    # With such weights a group may have no error, and its small loss has no parts.
    assume(
        options.get("gamma", 1) >= 1
        or 0 not in (options.get("alpha"), options.get("beta"))
    )
    seed = data.draw(st.integers(0, 2**32 - 1))
    shape = data.draw(st.sampled_from([(1, 4, 7), (2, 4, 5, 3), (3, 4, 2, 3, 2)]))
    function, x, t = make(member.type, options, shape, seed)
    check(member.type, options, function(x, t, **options), t)


@every
def test_single_precision_gives_the_parts_in_double(kind, options):
    function, x, t = make(kind, options)
    result = function(x.astype(np.float32), t, **options)
    check(kind, options, result, t)


@every
def test_a_label_of_bytes_equals_one_of_floats(kind, options):
    function, x, t = make(kind, options | {"ignore_label": 255})
    results = [
        function(x, t.astype(dtype), **options, ignore_label=255)
        for dtype in (np.float32, np.uint8, np.int64)
    ]
    for result in results[1:]:
        assert result.loss == results[0].loss
        np.testing.assert_array_equal(result.mask, results[0].mask)
        np.testing.assert_array_equal(result.per_pixel, results[0].per_pixel)


@every
def test_a_label_without_a_channel_axis_gives_its_shape(kind, options):
    function, x, t = make(kind, options)
    if MEMBERS[kind].is_softmax(options):
        whole = function(x, t, **options).per_pixel
        flat = function(x, t[:, 0], **options).per_pixel
        np.testing.assert_array_equal(flat, whole[:, 0])


@every
def test_nothing_but_ignored_pixels_has_no_parts(kind, options):
    function, x, t = make(kind, options)
    parts = function(x, np.full_like(t, 255), **options, ignore_label=255).per_pixel
    assert parts.shape == t.shape
    assert not parts.any()


@every
def test_ignored_pixels_do_not_count_whatever_their_logits(kind, options):
    function, x, t = make(kind, options)
    t[..., ::2] = 255
    before = function(x, t, **options, ignore_label=255).per_pixel
    x[np.broadcast_to(t == 255, x.shape)] = np.nan
    after = function(x, t, **options, ignore_label=255).per_pixel
    np.testing.assert_array_equal(before, after)


@every
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_no_number_shows_at_its_pixel(kind, options, value):
    function, x, t = make(kind, options)
    t[0, :, 0, 0] = 255
    for at in [(0, 1, 2, 3), (1, 2, 4, 1), (1, 0, 5, 4)]:
        wrong = x.copy()
        wrong[at] = value
        result = function(wrong, t, **options, ignore_label=255)
        assert np.isnan(result.loss)
        place = at if t.shape == x.shape else (at[0], 0, *at[2:])
        assert np.isnan(result.per_pixel[place])
        assert not result.per_pixel[result.mask == -1].any()
        if not options.get("batch"):
            assert np.isfinite(result.per_pixel[1 - at[0]]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_dropped_logit_that_is_no_number_shows_alone(value):
    x, t = np.zeros((1, 2, 3, 3)), np.zeros((1, 2, 3, 3))
    t[0, 0, 0, 0] = 1
    x[0, 0, 0, 1] = 9
    x[0, 1, 2, 2] = value
    # A channel without a positive selects nothing.
    result = losses.sigmoid_top_k(x, t, negatives_per_positive=1)
    assert result.mask[0, 1, 2, 2] == 0
    assert np.isnan(result.loss)
    assert np.argwhere(np.isnan(result.per_pixel)).tolist() == [[0, 1, 2, 2]]


def naive_dice_parts(p, y, smooth, squared):
    """As the sum over one image's channel reads: 1 - D = errors / (size + smooth)."""
    power = 2 if squared else 1
    size = (p**power + y).sum((2, 3), keepdims=True) + smooth
    return abs(p - y) ** power / size / (p.shape[0] * p.shape[1])


@pytest.mark.parametrize("squared", [True, False])
def test_a_part_of_dice_is_the_error_over_the_size(squared):
    _, x, t = make("SoftDiceLoss", {"activation": "SIGMOID"})
    wanted = naive_dice_parts(1 / (1 + np.exp(-x)), t, 1.0, squared)
    parts = losses.dice(x, t, "SIGMOID", squared=squared).per_pixel
    np.testing.assert_allclose(parts, wanted, rtol=1e-12)
    _, x, t = make("SoftDiceLoss", {})
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    wanted = naive_dice_parts(p, t == np.arange(3)[:, None, None], 1.0, squared)
    parts = losses.dice(x, t, squared=squared).per_pixel
    np.testing.assert_allclose(parts, wanted.sum(1, keepdims=True), rtol=1e-11)


@pytest.mark.parametrize("activation", ["SOFTMAX", "SIGMOID"])
def test_parts_of_related_overlap_losses_are_equal(activation):
    _, x, t = make("TverskyLoss", {"activation": activation})
    plain = losses.dice(x, t, activation, squared=False).per_pixel
    same = losses.tversky(x, t, activation, alpha=0.5, beta=0.5).per_pixel
    np.testing.assert_allclose(same, plain, rtol=1e-12)
    for region in ("ALL", "FOREGROUND"):
        whole = losses.top_k_dice(x, t, 100, region, activation, squared=False)
        np.testing.assert_array_equal(whole.per_pixel, plain)


def test_tversky_weighs_the_errors():
    _, x, t = make("TverskyLoss", {"activation": "SIGMOID"})
    p = 1 / (1 + np.exp(-x))
    parts = losses.tversky(x, t, "SIGMOID", 0.2, 0.9, gamma=0.5).per_pixel
    error = np.where(t == 1, 0.9 * (1 - p), 0.2 * p)
    ratio = (parts / error).reshape(6, -1)
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(30, 1), rtol=1e-12)


def test_a_group_without_an_error_has_no_parts():
    x = np.full((1, 2, 3, 3), -1000.0)
    x[:, 0] = 1000
    t = np.zeros((1, 1, 3, 3))
    assert not losses.dice(x, t).per_pixel.any()
    held = losses.tversky(x, t, gamma=0.5)
    assert held.loss == pytest.approx(1e-7**0.5)
    assert not held.per_pixel.any()
    held = losses.exp_log(x, t, label_frequency=[1, 1])
    cross = 0.2 * np.sqrt(2) * 1e-7**0.3
    np.testing.assert_allclose(held.per_pixel, cross / 9)


def test_exp_log_is_the_sum_of_its_terms():
    _, x, t = make("ExpLogLoss", {})
    whole = losses.exp_log(x, t).per_pixel
    dice = losses.exp_log(x, t, weight_cross=0).per_pixel
    cross = losses.exp_log(x, t, weight_dice=0).per_pixel
    np.testing.assert_allclose(whole, dice + cross, rtol=1e-12)
    shifted = x - np.log(np.exp(x).sum(1, keepdims=True))
    log_p = -np.take_along_axis(shifted, t.astype(int), 1)
    weight = np.sqrt(t.size / np.bincount(t.astype(int).ravel()))[t.astype(int)]
    np.testing.assert_allclose(cross, 0.2 * weight * log_p**0.3 / t.size, rtol=1e-11)


def test_focal_with_gamma_0_is_cross_entropy():
    _, x, t = make("SoftmaxFocalCELoss", {})
    focal = losses.softmax_focal(x, t, gamma=0).per_pixel
    top_k = losses.softmax_top_k(x, t, k_percent=100).per_pixel
    np.testing.assert_allclose(focal, top_k, rtol=1e-14)
    shifted = x - np.log(np.exp(x).sum(1, keepdims=True))
    naive = -np.take_along_axis(shifted, t.astype(int), 1) / t.size
    np.testing.assert_allclose(focal, naive, rtol=1e-11)
    _, x, t = make("SigmoidFocalCELoss", {})
    focal = losses.sigmoid_focal(x, t, gamma=0, alpha=0.5, normalization="FULL")
    top_k = losses.sigmoid_top_k(x, t, "PERCENT", k_percent=100)
    np.testing.assert_allclose(2 * focal.per_pixel, top_k.per_pixel, rtol=1e-14)


def test_random_drop_none_is_class_balanced():
    _, x, t = make(DROP, {})
    parts = losses.random_drop(x, t, "NONE").per_pixel
    share = t.mean((2, 3), float, keepdims=True)
    p = 1 / (1 + np.exp(-x))
    naive = -np.where(t == 1, (1 - share) * np.log(p), share * np.log(1 - p)) / 2
    np.testing.assert_allclose(parts, naive, rtol=1e-11)
    undropped = losses.random_drop(x, t, "LOG", drop=False).per_pixel
    np.testing.assert_array_equal(undropped, parts)


def test_a_result_is_a_tuple_of_three_whose_copies_keep_the_parts():
    result = losses.dice(*make("SoftDiceLoss", {})[1:])
    loss, grad, mask = result
    assert (loss, grad, mask) == result
    assert result._fields == ("loss", "grad", "mask")
    copies = [copy.copy(result), copy.deepcopy(result), result._replace(loss=loss)]
    copies += [
        pickle.loads(pickle.dumps(result, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]
    for same in copies:
        assert type(same) is losses.LossResult
        assert same.loss == loss
        np.testing.assert_array_equal(same.grad, grad)
        np.testing.assert_array_equal(same.per_pixel, result.per_pixel)
    assert losses.LossResult(loss, grad, mask).per_pixel is None
    assert result._replace(per_pixel=mask).per_pixel is mask
