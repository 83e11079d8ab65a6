import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from randrop.errors import UserError
from randrop.losses import (
    SCHEDULES,
    drop_probability,
    keep_probability,
    random_drop,
    sigmoid_top_k,
)
from randrop.losses.philox import uniforms
from randrop.losses.randomdrop import KEEPS
from randrop.nets.losses import parse_losses
from randrop.surface.numpy_losses import evaluate, selects

DROPPING = [s for s in SCHEDULES if s != "NONE"]
BALANCES = [("PER_CHANNEL", 63), ("PER_IMAGE", 189), ("BATCH", 378)]


def blobs(shape=(2, 3, 9, 7), share=0.15, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, shape).astype(dtype), (rng.random(shape) < share) * 1.0


def reference(x, t, mask, group_size, divisor):
    """Loss and gradient, pixel by pixel as in the paper."""
    loss, grad = 0.0, np.zeros(x.size)
    x, t, mask = x.ravel().astype(float), t.ravel(), mask.ravel()
    for begin in range(0, x.size, group_size):
        group = range(begin, begin + group_size)
        positives = sum(t[i] == 1 and mask[i] == 1 for i in group)
        kept = sum(t[i] == 0 and mask[i] == 1 for i in group)
        for i in group:
            if mask[i] != 1:
                continue
            p = 1 / (1 + np.exp(-x[i]))
            w = (kept if t[i] == 1 else positives) / (positives + kept)
            loss -= w * np.log(p if t[i] == 1 else 1 - p) / divisor
            grad[i] = w * (p - t[i]) / divisor
    return loss, grad


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize(("balance", "group"), BALANCES)
def test_forward_and_gradient_equal_the_naive_reference(schedule, keep, balance, group):
    x, t = blobs()
    result = random_drop(x, t, schedule, seed=5, balance=balance, keep=keep)
    loss, grad = reference(x, t, result.mask, group, 2)
    assert result.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(result.grad.ravel(), grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("p", "linear", "squ", "log"),
    [
        (0.01, 0.0100, 0.0199, 0.0044),
        (0.1, 0.100, 0.190, 0.046),
        (0.5, 0.50, 0.75, 0.30),
        (0.8, 0.80, 0.96, 0.70),
    ],
)
def test_keep_probabilities_are_the_published_ones(p, linear, squ, log):
    x = np.log(p / (1 - p))
    for schedule, keep in (("LINEAR", linear), ("SQU", squ), ("LOG", log)):
        digits = len(str(keep).split(".")[1])
        assert 1 - drop_probability(x, schedule) == pytest.approx(
            keep, abs=0.51 * 10.0**-digits
        )


def test_log_schedule_never_drops_from_p_09_on():
    assert drop_probability(np.log(9.0) + 1e-9, "LOG") < 0
    assert drop_probability(np.log(9.0) - 1e-9, "LOG") > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_mask_is_the_comparison_with_the_uniform_numbers(schedule):
    x, t = blobs(dtype=np.float32)
    mask = random_drop(x, t, schedule, seed=9, iteration=4).mask
    u = uniforms(9, 4, x.size).reshape(x.shape)
    np.testing.assert_array_equal(
        mask == 0, (t == 0) & (u < drop_probability(x, schedule))
    )


@pytest.mark.parametrize("schedule", DROPPING)
def test_kept_count_is_as_expected(schedule):
    x, t = blobs((1, 1, 100, 100), 0.05)
    d = np.clip(drop_probability(x[t == 0], schedule), 0, 1)
    kept = [
        ((random_drop(x, t, schedule, 3, i).mask == 1) & (t == 0)).sum()
        for i in range(30)
    ]
    deviation = np.sqrt((d * (1 - d)).sum() / 30)
    assert abs(np.mean(kept) - (1 - d).sum()) < 4 * deviation


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_keep_probability_is_the_rest(schedule):
    x = np.linspace(-12, 12, 500)
    rest = 1 - np.maximum(0, drop_probability(x, schedule))
    np.testing.assert_allclose(keep_probability(x, schedule), rest, rtol=1e-9)
    assert keep_probability(np.nan, schedule) == 1


@pytest.mark.parametrize(("schedule", "factor"), [("LINEAR", 1), ("SQU", 2)])
def test_keep_probability_has_all_digits_where_it_is_small(schedule, factor):
    found = keep_probability(np.float32(-60), schedule)
    assert found == pytest.approx(factor * np.exp(-60), rel=1e-5)
    found = keep_probability(np.float32(-60), "LOG")
    assert found == pytest.approx(np.exp(-60) / np.log(10), rel=1e-5)


def shares(x, t, schedule, group):
    """Number of negatives of each group, and how many the schedule keeps of them."""
    keep = np.where(t == 0, keep_probability(x.astype(float), schedule), 0)
    return (t == 0).reshape(-1, group).sum(1), keep.reshape(-1, group).sum(1)


@pytest.mark.parametrize("schedule", DROPPING)
@pytest.mark.parametrize(("balance", "group"), BALANCES)
def test_uniform_keeps_each_negative_with_the_mean_probability(
    schedule, balance, group
):
    x, t = blobs()
    t[:, :, ::2, 0] = 255
    found = random_drop(x, t, schedule, 9, 4, 255, balance, keep="UNIFORM").mask
    negatives, kept = shares(x, t, schedule, group)
    u = uniforms(9, 4, x.size).reshape(-1, group)
    wanted = u >= 1 - (kept / negatives)[:, None]
    np.testing.assert_array_equal(
        found.reshape(-1, group)[(t == 0).reshape(-1, group)],
        wanted[(t == 0).reshape(-1, group)],
    )


@pytest.mark.parametrize("schedule", DROPPING)
def test_uniform_keeps_as_many_as_by_difficulty(schedule):
    x, t = blobs((1, 1, 100, 100), 0.05)
    (negatives,), (expected,) = shares(x, t, schedule, x.size)
    kept = [
        ((random_drop(x, t, schedule, 3, i, keep="UNIFORM").mask == 1) & (t == 0)).sum()
        for i in range(30)
    ]
    deviation = np.sqrt(expected * (1 - expected / negatives) / 30)
    assert abs(np.mean(kept) - expected) < 4 * deviation


@pytest.mark.parametrize("schedule", DROPPING)
@pytest.mark.parametrize(("balance", "group"), BALANCES)
def test_hardest_keeps_as_many_and_they_are_the_hardest(schedule, balance, group):
    x, t = blobs()
    t[:, :, ::2, 0] = 255
    mask = random_drop(x, t, schedule, 0, 0, 255, balance, keep="HARDEST").mask
    _, kept = shares(x, t, schedule, group)
    for g, wanted in enumerate(np.floor(kept + 0.5)):
        negative = t.reshape(-1, group)[g] == 0
        chosen = mask.reshape(-1, group)[g][negative] == 1
        values = x.reshape(-1, group)[g][negative]
        assert chosen.sum() == wanted
        assert values[chosen].min() > values[~chosen].max()


def test_hardest_is_the_exact_top_k_of_the_same_number():
    x, t = blobs((1, 1, 40, 40), 0.1)
    (negatives,), (kept,) = shares(x, t, "LINEAR", x.size)
    found = random_drop(x, t, "LINEAR", keep="HARDEST")
    number = np.floor(kept + 0.5)
    wanted = sigmoid_top_k(x, t, negatives_per_positive=number / (t == 1).sum())
    assert 0 < number < negatives
    assert found.loss == wanted.loss
    np.testing.assert_array_equal(found.grad, wanted.grad)


@pytest.mark.parametrize("keep", KEEPS)
def test_equal_logits_are_kept_alike(keep):
    """Where all are equally hard, difficulty has nothing to choose by."""
    x, t = np.full((1, 1, 30, 30), -2.0), np.zeros((1, 1, 30, 30))
    t[..., 0] = 1
    mask = random_drop(x, t, seed=3, keep=keep).mask
    if keep == "HARDEST":
        kept = np.flatnonzero((mask == 1) & (t == 0))
        np.testing.assert_array_equal(kept, np.flatnonzero(t == 0)[: kept.size])
        assert kept.size == round((t == 0).sum() * keep_probability(-2.0))
    else:
        np.testing.assert_array_equal(mask, random_drop(x, t, seed=3).mask)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gradient_is_the_derivative_with_the_mask_held(schedule):
    x, t = blobs((1, 2, 5, 4))
    u = uniforms(0, 0, x.size).reshape(x.shape)
    while (near := abs(u - drop_probability(x, schedule)) < 1e-3).any():
        x[near] += 0.1
    grad = random_drop(x, t, schedule).grad
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-5
        slope = (
            random_drop(x + step, t, schedule).loss
            - random_drop(x - step, t, schedule).loss
        ) / 2e-5
        assert grad[i] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("keep", KEEPS)
def test_ignored_elements_are_exactly_inert(keep):
    x, t = blobs()
    t[:, :, ::2] = 255
    before = random_drop(x, t, ignore_label=255, keep=keep)
    x[:, :, ::2] = np.nan
    after = random_drop(x, t, ignore_label=255, keep=keep)
    assert before.loss == after.loss
    np.testing.assert_array_equal(before.grad, after.grad)
    assert (after.grad[:, :, ::2] == 0).all()
    assert (after.mask[:, :, ::2] == -1).all()


@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("keep", KEEPS)
def test_groups_with_one_class_give_zero(value, keep):
    x, _ = blobs()
    result = random_drop(x, np.full(x.shape, value), ignore_label=255, keep=keep)
    assert result.loss == 0
    assert not result.grad.any()


@pytest.mark.parametrize("keep", KEEPS)
def test_an_image_without_lesions_teaches_only_in_a_group_with_others(keep):
    x, t = blobs()
    t[1] = 0
    for balance, _ in BALANCES:
        grad = random_drop(x, t, balance=balance, keep=keep).grad
        assert grad[0].any()
        assert grad[1].any() == (balance == "BATCH")
        alone = random_drop(x[1:], t[1:], balance=balance, keep=keep)
        assert alone.loss == 0


def test_no_positive_in_one_channel_leaves_the_others_alone():
    x, t = blobs((1, 3, 20, 20))
    t[0, 1] = 0
    result = random_drop(x, t)
    assert not result.grad[0, 1].any()
    assert result.grad[0, 0].any()
    assert result.grad[0, 2].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("keep", KEEPS)
def test_every_finite_logit_gives_finite_results(schedule, dtype, keep):
    values = [-3e38, -1e4, -100, -20, 0, 20, 100, 1e4, 3e38]
    x = np.array(values * 2, dtype).reshape(1, 1, -1)
    t = np.repeat([0, 1], len(values)).reshape(x.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = random_drop(x, t, schedule, keep=keep)
    assert np.isfinite(result.loss)
    assert np.isfinite(result.grad).all()


def test_confident_and_right_keeps_its_relative_accuracy():
    x = np.array([[[30.0, -30.0, 3.0]]], np.float32)
    grad = random_drop(x, np.array([[[1, 0, 0]]]), "NONE").grad
    np.testing.assert_allclose(
        grad[0, 0, :2], [-2 / 3 * np.exp(-30), 1 / 3 * np.exp(-30)], rtol=1e-6
    )


@pytest.mark.parametrize("keep", KEEPS)
def test_nan_shows(keep):
    x, t = blobs()
    for label in (0, 1):
        x[1, 1, 1, 1], t[1, 1, 1, 1] = np.nan, label
        result = random_drop(x, t, keep=keep)
        assert np.isnan(result.loss)
        assert result.mask[1, 1, 1, 1] == 1


def test_none_is_class_balanced_cross_entropy():
    x, t = blobs((1, 1, 30, 30))
    p = 1 / (1 + np.exp(-x))
    beta = (t == 0).mean()
    expected = -(beta * t * np.log(p) + (1 - beta) * (1 - t) * np.log(1 - p)).sum()
    assert random_drop(x, t, "NONE").loss == pytest.approx(expected, rel=1e-12)


def test_drop_false_keeps_every_negative():
    x, t = blobs()
    held, none = random_drop(x, t, "LOG", drop=False), random_drop(x, t, "NONE")
    assert held.loss == none.loss
    assert (held.mask == 1).all()


@pytest.mark.parametrize(
    ("normalization", "divisor"),
    [("FULL", 378), ("VALID", 378 - 126), ("BATCH_SIZE", 2), ("NONE", 1)],
)
def test_normalization(normalization, divisor):
    x, t = blobs()
    t[:, 0] = 255
    whole = random_drop(x, t, ignore_label=255, normalization="NONE")
    part = random_drop(x, t, ignore_label=255, normalization=normalization)
    assert part.loss * divisor == pytest.approx(whole.loss, rel=1e-12)
    np.testing.assert_allclose(part.grad * divisor, whole.grad, rtol=1e-12)


@given(st.permutations(range(4)), st.integers(0, 2**64 - 1))
def test_images_of_a_batch_do_not_see_each_other(order, seed):
    x, t = blobs((4, 2, 5, 5), 0.3, seed % 1000)
    batch = random_drop(x, t, "NONE")
    moved = random_drop(x[order], t[order], "NONE")
    np.testing.assert_allclose(moved.grad, batch.grad[order], rtol=1e-12)
    singles = [random_drop(x[i : i + 1], t[i : i + 1], "NONE").loss for i in range(4)]
    assert batch.loss == pytest.approx(np.mean(singles), rel=1e-12)


def test_seed_and_iteration_choose_the_mask():
    x, t = blobs()
    mask = random_drop(x, t, seed=1).mask
    np.testing.assert_array_equal(mask, random_drop(x, t, seed=1).mask)
    assert (mask != random_drop(x, t, seed=2).mask).any()
    assert (mask != random_drop(x, t, seed=1, iteration=1).mask).any()
    assert (mask != random_drop(x, t, seed=1 + 2**32).mask).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "LOGARITHM"}, "schedule is 'LOGARITHM': choose one of LINEAR"),
        ({"balance": "ALL"}, "balance is 'ALL'"),
        ({"keep": "ALL"}, "keep is 'ALL': choose one of BY_DIFFICULTY"),
        ({"normalization": "MEAN"}, "normalization is 'MEAN'"),
    ],
)
def test_unknown_options_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        random_drop(*blobs(), **change)


def test_bad_labels_are_named():
    x, t = blobs()
    t[1, 2, 3, 4] = 255
    with pytest.raises(
        UserError,
        match=r"label 255 at n = 1, c = 2, y = 3, x = 4; allowed: 0 and 1\. "
        "Likely: an 8-bit mask with values 0 and 255",
    ):
        random_drop(x, t)
    t[0, 0, 1, 0] = 0.5
    with pytest.raises(UserError, match=r"label 0\.5 at n = 0, c = 0, y = 1, x = 0"):
        random_drop(x, t, ignore_label=255)


def test_bad_shapes_are_named():
    x, t = blobs()
    with pytest.raises(UserError, match=r"\(2, 3, 9, 7\) and label \(2, 3, 9, 6\)"):
        random_drop(x, t[..., :6])
    with pytest.raises(UserError, match="the loss needs N x C x spatial"):
        random_drop(x[0, 0, 0], t[0, 0, 0])


@pytest.mark.parametrize("keep", KEEPS)
def test_a_mask_tells_something_unless_nothing_is_left_out(keep):
    """HARDEST leaves pixels out, though nothing by chance."""
    (loss,) = parse_losses(f"random-drop:LOG,keep={keep}", "SIGMOID")
    x, t = blobs()
    assert selects(loss)
    assert loss.drops == (keep != "HARDEST")
    mask = evaluate([loss], x, t, seed=3, iteration=4).mask
    np.testing.assert_array_equal(mask, random_drop(x, t, "LOG", 3, 4, keep=keep).mask)
    assert not selects(*parse_losses("class-balanced", "SIGMOID"))
