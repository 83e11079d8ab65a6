import cv2
import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, f1_score, jaccard_score

from randrop.errors import UserError
from randrop.evaluation import metrics
from randrop.prediction import maps


def random_case(seed, share=0.02, shape=(120, 90)):
    """Return levels that correlate with a random mask, and the mask."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    probability = 1 / (1 + np.exp(3 - 2.5 * mask - rng.normal(0, 1.5, shape)))
    return np.rint(probability * 65535).astype(np.uint16), mask


def naive_challenge(levels, mask):
    """Follow the definition threshold by threshold."""
    probability = levels.ravel() / 65535
    points = []
    for k in range(0, 257, 8):
        predicted = probability >= k / 256 if k < 256 else np.zeros(mask.size, bool)
        hits = np.count_nonzero(predicted & mask.ravel())
        precision = hits / predicted.sum() if predicted.any() else 1.0
        points.append((hits / mask.sum(), precision))
    recall, precision = np.transpose(points)
    return auc(recall, precision)


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_equals_scikit_learn(seed):
    levels, mask = random_case(seed)
    ours = metrics.summary(metrics.histogram(levels, mask))["average_precision"]
    theirs = average_precision_score(mask.ravel(), levels.ravel())
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert 0.1 < ours < 0.9


def test_average_precision_with_ties_equals_scikit_learn():
    levels, mask = random_case(5)
    levels = levels // 6554 * 6554
    ours = metrics.summary(metrics.histogram(levels, mask))["average_precision"]
    theirs = average_precision_score(mask.ravel(), levels.ravel())
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_challenge_aupr_equals_the_definition(seed):
    levels, mask = random_case(seed)
    ours = metrics.summary(metrics.histogram(levels, mask))["aupr_challenge"]
    assert ours == pytest.approx(naive_challenge(levels, mask), abs=1e-12)


def test_challenge_thresholds_are_exact_on_their_levels():
    # One pixel just below and one at each threshold k/256 reveal an off-by-one level.
    at = np.ceil(np.arange(8, 256, 8) / 256 * 65535).astype(np.uint16)
    levels = np.concatenate([at, at - 1, [0, 65535]]).reshape(1, -1)
    mask = np.concatenate([np.ones(31), np.zeros(31), [0, 1]]).reshape(1, -1) > 0
    ours = metrics.summary(metrics.histogram(levels, mask))["aupr_challenge"]
    assert ours == pytest.approx(naive_challenge(levels, mask), abs=1e-12)


def test_eight_bit_thresholds_fall_where_the_challenge_has_them(tmp_path):
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    mask = rng.random((64, 64)) < grey / 512
    levels = grey.astype(np.uint16) * np.uint16(257)
    points = [(1.0, mask.mean())]
    for k in range(8, 257, 8):
        predicted = grey >= k
        hits = (predicted & mask).sum()
        count = predicted.sum()
        points.append((hits / mask.sum(), hits / count if count else 1.0))
    ours = metrics.summary(metrics.histogram(levels, mask))["aupr_challenge"]
    assert ours == pytest.approx(auc(*np.transpose(points)), abs=1e-12)


def test_perfect_maps_measure_one():
    _, mask = random_case(0)
    result = metrics.summary(metrics.histogram(mask * np.uint16(65535), mask))
    for name in ("aupr_challenge", "average_precision", "best_f1", "iou"):
        assert result[name] == 1


@pytest.mark.parametrize("level", [0, 1, 30000, 65535])
def test_a_constant_measures_the_prevalence(level):
    _, mask = random_case(0)
    levels = np.full(mask.shape, level, np.uint16)
    result = metrics.summary(metrics.histogram(levels, mask))
    assert result["average_precision"] == pytest.approx(mask.mean())
    assert result["prevalence"] == pytest.approx(mask.mean())


def test_order_is_all_that_average_precision_depends_on():
    levels, mask = random_case(2)
    squashed = np.unique(levels, return_inverse=True)[1].reshape(levels.shape)
    first = metrics.summary(metrics.histogram(levels, mask))
    second = metrics.summary(metrics.histogram(squashed.astype(np.uint16), mask))
    assert first["average_precision"] == second["average_precision"]
    assert first["best_f1"] == second["best_f1"]


def test_measures_at_the_threshold_equal_scikit_learn():
    levels, mask = random_case(3)
    result = metrics.summary(metrics.histogram(levels, mask))
    predicted = levels / 65535 >= result["threshold"]
    truth, predicted = mask.ravel(), predicted.ravel()
    assert result["best_f1"] == pytest.approx(f1_score(truth, predicted))
    assert result["iou"] == pytest.approx(jaccard_score(truth, predicted))
    assert result["sensitivity"] == pytest.approx(predicted[truth].mean())
    assert result["precision"] == pytest.approx(truth[predicted].mean())
    others = [f1_score(truth, levels.ravel() >= t) for t in range(0, 65536, 4096)]
    assert result["best_f1"] >= max(others)


def test_histograms_of_photographs_add_up_to_the_pooled_one():
    cases = [random_case(seed) for seed in range(3)]
    added = sum(metrics.histogram(*case) for case in cases)
    pooled = metrics.histogram(
        *(np.concatenate(parts) for parts in zip(*cases, strict=True))
    )
    assert np.array_equal(added, pooled)
    assert added.sum() == 3 * 120 * 90


def test_no_lesion_is_undefined_and_says_why():
    levels, mask = random_case(0)
    result = metrics.summary(metrics.histogram(levels, np.zeros_like(mask)))
    assert result["average_precision"] is None
    assert result["aupr_challenge"] is None
    assert result["positives"] == 0
    assert "no mask has a pixel" in result["undefined"]


def test_counts_beyond_float32_stay_exact():
    counts = np.zeros((2, 65536), np.int64)
    counts[0, 10], counts[0, 20], counts[1, 20] = 10**9 + 1, 2**24 + 1, 1
    result = metrics.summary(counts)
    assert result["pixels"] == 10**9 + 2**24 + 3
    assert result["average_precision"] == 1 / (2**24 + 2)


def test_drawn_curve_keeps_every_change_of_recall():
    counts = metrics.histogram(*random_case(1))
    c = metrics.curve(counts)
    recall, precision = metrics.thinned(c)
    steps = np.diff(recall, prepend=0)
    assert (steps >= 0).all()
    assert np.sum(steps * precision) == pytest.approx(metrics.average_precision(c))


def in_bins(*cases):
    """Return the histograms of photographs (levels, mask) in common bins."""
    return metrics.coarse([metrics.Compact.of(metrics.histogram(*c)) for c in cases])


def test_a_compact_histogram_is_the_same_one():
    counts = metrics.histogram(*random_case(0))
    np.testing.assert_array_equal(metrics.Compact.of(counts).whole(), counts)


def precision_of(counts):
    return metrics.average_precision(metrics.curve(counts))


@pytest.mark.parametrize("seed", range(3))
def test_bins_keep_the_average_precision(seed):
    counts = metrics.histogram(*random_case(seed))
    # A bin for each level with a lesion: exact. Fewer bins: nearly.
    for most, off in ((2**16, 1e-12), (2048, 1e-3), (200, 5e-3)):
        edges = metrics.edges_of(counts, most)
        assert edges[0] == 0 and edges.size <= most + 1
        few = metrics.binned(counts, edges)
        assert np.array_equal(few.sum(axis=1), counts.sum(axis=1))
        assert precision_of(few) == pytest.approx(precision_of(counts), abs=off)


def low(levels):
    """Return probabilities of the same ranking, all below 1 %."""
    known, ranks = np.unique(levels, return_inverse=True)
    assert known.size < 600
    return ranks.reshape(levels.shape).astype(np.uint16)


def test_the_interval_depends_on_the_ranking_alone():
    """As average precision does; a calibration changes neither."""
    cases = [random_case(k) for k in range(8)]
    cases = [(levels // 128 * 128, mask) for levels, mask in cases]
    # One map for all, so that ranks fit together.
    levels = low(np.stack([levels for levels, _ in cases]))
    ours = metrics.resampled(in_bins(*cases))
    theirs = metrics.resampled(
        in_bins(*((own, mask) for own, (_, mask) in zip(levels, cases, strict=True)))
    )
    np.testing.assert_array_equal(ours, theirs)
    exact = precision_of(sum(metrics.histogram(*case) for case in cases))
    assert precision_of(sum(in_bins(*cases))) == pytest.approx(exact, abs=1e-12)


def test_the_interval_narrows_with_more_photographs():
    cases = in_bins(
        *(random_case(k, share=0.005 + k % 5 / 100) for k in range(40)),
    )
    few, many = (metrics.interval(metrics.resampled(c)) for c in (cases[:6], cases))
    assert many[0] < precision_of(sum(cases)) < many[1]
    assert many[1] - many[0] < 0.7 * (few[1] - few[0])
    assert metrics.interval(metrics.resampled(cases)) == many


def test_four_photographs_with_lesions_have_no_interval():
    levels, mask = random_case(0)
    none, some = in_bins((levels, mask * 0), (levels, mask))
    assert metrics.resampled([none, none, *[some] * 4]) is None
    assert metrics.interval(None) is None
    assert metrics.interval(metrics.resampled([none, *[some] * 5])) is not None
    assert metrics.coarse([]) == []


def test_shapes_that_differ_are_refused():
    levels, mask = random_case(0)
    with pytest.raises(UserError, match=r"90 x 120 pixels, the mask 89 x 120"):
        metrics.histogram(levels, mask[:, 1:])


def test_map_files_round_to_sixteen_bits(tmp_path):
    probability = np.random.default_rng(0).random((33, 21), np.float32)
    probability[0, :3] = 0, 1, 0.5
    path = maps.path_of(tmp_path, "MA", "eye")
    maps.write_map(path, probability)
    levels, bits = maps.read_map(path)
    assert bits == 16
    assert levels.dtype == np.uint16
    assert np.abs(levels / 65535 - probability).max() <= 0.5 / 65535 + 1e-7
    assert levels[0, 0] == 0
    assert levels[0, 1] == 65535


def test_map_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"MA/eye\.png is missing"):
        maps.read_map(tmp_path / "MA" / "eye.png")
    colour, junk, empty = (tmp_path / f"{name}.png" for name in ("c", "j", "e"))
    cv2.imwrite(str(colour), np.zeros((4, 5, 3), np.uint8))
    junk.write_bytes(b"no image")
    empty.write_bytes(b"")
    with pytest.raises(UserError, match="not one grey channel"):
        maps.read_map(colour)
    for path in (junk, empty):
        with pytest.raises(UserError, match="damaged or not an image"):
            maps.read_map(path)


def test_map_files_of_eight_bits_are_stretched(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    cv2.imwrite(str(tmp_path / "m.png"), grey)
    levels, bits = maps.read_map(tmp_path / "m.png")
    assert bits == 8
    assert np.array_equal(levels, grey.astype(int) * 257)
