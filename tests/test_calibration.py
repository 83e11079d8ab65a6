"""Calibration: measures from histograms, and the scaling that is fitted to them."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from randrop.errors import UserError
from randrop.evaluation import calibration, metrics
from randrop.prediction.calibration import Platt, of_facts
from randrop.prediction.maps import LEVELS


def drawn(slope, intercept, pixels=400_000, mean=-6.0, seed=0):
    """Levels of logits x, and truth of probability sigmoid(slope x + intercept)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, 2.0, pixels)
    truth = rng.random(pixels) < expit(slope * x + intercept)
    levels = np.rint(expit(x) * (LEVELS - 1)).astype(np.uint16)
    return levels[None], truth[None]


@pytest.fixture(scope="module")
def rare():
    """Probabilities that are too high by far, of a lesion of 0.2 % of the pixels."""
    levels, truth = drawn(1.5, -4.0, mean=-4.0)
    assert 1e-3 < truth.mean() < 5e-3
    return levels, truth


def test_the_true_scaling_is_found(rare):
    scaling = calibration.fit(metrics.histogram(*rare))
    assert scaling.slope == pytest.approx(1.5, abs=0.1)
    assert scaling.intercept == pytest.approx(-4.0, abs=0.3)


def test_the_fit_is_that_of_every_pixel(rare):
    levels, truth = (x.ravel()[:50_000] for x in rare)
    used = levels > 0
    x = logit(calibration.probabilities()[levels[used]])
    plain = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    plain.fit(x[:, None], truth[used])
    scaling = calibration.fit(metrics.histogram(levels[None], truth[None]))
    assert scaling.slope == pytest.approx(plain.coef_[0, 0], rel=1e-4)
    assert scaling.intercept == pytest.approx(plain.intercept_[0], rel=1e-4)


def test_calibrated_probabilities_have_the_prevalence_for_their_mean(rare):
    counts = metrics.histogram(*rare)
    before = calibration.measures(counts)
    after = calibration.measures(calibration.scaled(counts, calibration.fit(counts)))
    share = rare[1].mean()
    assert before["mean_probability"] > 5 * share
    assert after["mean_probability"] == pytest.approx(share, rel=0.02)
    assert after["ece"] < 0.05 * before["ece"]
    assert after["log_loss"] < before["log_loss"]
    assert before["skill"] < 0 < after["skill"]


def test_a_calibrated_map_is_left_as_it_is():
    scaling = calibration.fit(metrics.histogram(*drawn(1.0, 0.0, mean=-3.0)))
    assert scaling.slope == pytest.approx(1, abs=0.03)
    assert scaling.intercept == pytest.approx(0, abs=0.08)


def test_scaling_twice_changes_nothing(rare):
    counts = metrics.histogram(*rare)
    once = calibration.scaled(counts, calibration.fit(counts))
    again = calibration.fit(once)
    assert again.slope == pytest.approx(1, abs=0.03)
    assert again.intercept == pytest.approx(0, abs=0.1)


def test_the_surroundings_do_not_count(rare):
    """Level 0: black corners would otherwise decide."""
    counts = metrics.histogram(*rare)
    black = counts.copy()
    black[0, 0] += 10**8
    assert calibration.fit(black) == calibration.fit(counts)


def test_the_ranking_stays(rare):
    """Up to 65536 levels, which merge where probabilities become tiny."""
    counts = metrics.histogram(*rare)
    scaled = calibration.scaled(counts, calibration.fit(counts))
    precisions = [metrics.average_precision(metrics.curve(x)) for x in (counts, scaled)]
    assert precisions[1] == pytest.approx(precisions[0], abs=2e-3)
    assert np.array_equal(scaled.sum(axis=1), counts.sum(axis=1))


def test_too_few_lesion_pixels_are_refused():
    levels, truth = drawn(1, 0, pixels=1000)
    truth[:] = False
    truth[0, :99] = True
    levels[0, :99] = 100
    with pytest.raises(UserError, match=r"99 lesion pixel\(s\).*takes 100"):
        calibration.fit(metrics.histogram(levels, truth))


def test_a_map_that_ranks_upside_down_is_refused():
    levels, truth = drawn(-0.5, -6.0)
    with pytest.raises(UserError, match=r"does not rise .*train the network"):
        calibration.fit(metrics.histogram(levels, truth))


@pytest.mark.parametrize("scaling", [Platt(1.5, -4), Platt(0.3, 2.5), Platt(1, 0)])
def test_a_scaling_is_undone_and_keeps_ends_order_and_type(scaling):
    p = np.linspace(0, 1, 1001)
    found = scaling.apply(p)
    assert (found[0], found[-1]) == (0, 1)
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(scaling.undo(found), p, atol=1e-9)
    assert scaling.apply(p.astype(np.float32)).dtype == np.float32
    assert scaling.apply(0.5) == pytest.approx(expit(scaling.intercept))
    own = p.astype(np.float32)
    calibrated = scaling.apply(own)
    np.testing.assert_array_equal(own, p.astype(np.float32))
    scaling.apply(own, own)
    np.testing.assert_array_equal(own, calibrated)


def test_a_run_without_calibration_has_none():
    assert of_facts({}) == {}
    assert of_facts({"calibration": None}) == {}
    facts = {"calibration": {"types": {"MA": {"slope": 2, "intercept": -1.5}}}}
    assert of_facts(facts) == {"MA": Platt(2, -1.5)}


def test_measures_are_those_of_scikit_learn(rare):
    levels, truth = (x.ravel()[:50_000] for x in rare)
    # On an edge, scikit-learn takes the bin below, and we the one above.
    inner = levels % ((LEVELS - 1) // 5) != 0
    levels, truth = levels[inner], truth[inner]
    p = levels / (LEVELS - 1)
    found = calibration.measures(metrics.histogram(levels[None], truth[None]))
    frequency, confidence = calibration_curve(truth, p, n_bins=10)
    curve = found["reliability"]
    filled = [k for k, count in enumerate(curve["count"]) if count]
    np.testing.assert_allclose([curve["frequency"][k] for k in filled], frequency)
    np.testing.assert_allclose([curve["confidence"][k] for k in filled], confidence)
    assert sum(curve["count"]) == sum(found["reliability_logit"]["count"]) == p.size
    weights = np.array(curve["count"])[filled] / p.size
    expected = np.sum(weights * np.abs(frequency - confidence))
    assert found["ece"] == pytest.approx(expected)
    inner = calibration.probabilities()[levels]
    assert found["log_loss"] == pytest.approx(log_loss(truth, inner))


def test_the_prevalence_everywhere_has_no_error_and_no_skill():
    truth = np.zeros((1, 10_000), bool)
    truth[0, :10] = True
    level = round(1e-3 * (LEVELS - 1))
    found = calibration.measures(
        metrics.histogram(np.full(truth.shape, level, np.uint16), truth)
    )
    assert found["ece"] < 1e-5
    assert found["skill"] == pytest.approx(0, abs=1e-4)


def test_a_perfect_map_has_all_skill():
    truth = np.zeros((1, 10_000), bool)
    truth[0, :10] = True
    found = calibration.measures(metrics.histogram(truth * np.uint16(65535), truth))
    assert found["ece"] == 0
    assert found["skill"] > 0.99


def test_without_a_lesion_there_is_no_skill_to_tell():
    counts = metrics.histogram(np.zeros((4, 4), np.uint16), np.zeros((4, 4)))
    found = calibration.measures(counts)
    assert found["skill"] is None
    assert found["ece"] == 0
