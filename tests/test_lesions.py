import sys

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import peak_local_max

from randrop.evaluation import lesions
from randrop.pycaffe.build import build_dir

TOP = 65535


def scene(seed, shape=(120, 250), count=12):
    """Return a map with peaks on some lesions and beside them, and the mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    levels = np.zeros(shape)
    for k in range(count):
        y, x = rng.integers(4, shape[0] - 4), rng.integers(4, shape[1] - 4)
        if k % 3:
            mask[y - 1 : y + 2, x - 1 : x + 2] = True
        if k % 4:
            levels[y, x] = rng.uniform(0.1, 1)
    levels = ndimage.gaussian_filter(levels, 1.0)
    return np.rint(levels / levels.max() * TOP).astype(np.uint16), mask


def single(*peaks, shape=(40, 500)):
    levels = np.zeros(shape, np.uint16)
    for y, x, value in peaks:
        levels[y, x] = value
    return levels


def test_a_peak_hits_the_lesion_that_it_lies_in():
    mask = np.zeros((40, 500), bool)
    mask[10:13, 20:23] = mask[30:33, 100:103] = True
    found = lesions.detect(single((11, 21, 900), (11, 23, 800), (20, 300, 700)), mask)
    np.testing.assert_array_equal(found.lesions, [900, 0])
    np.testing.assert_array_equal(found.alarms, [700])


def test_the_highest_detection_of_a_lesion_counts():
    mask = np.zeros((40, 500), bool)
    mask[10:20, 10:60] = True
    found = lesions.detect(single((15, 20, 500), (15, 50, 600)), mask)
    np.testing.assert_array_equal(found.lesions, [600])
    assert found.alarms.size == 0


def test_lesions_that_touch_at_a_corner_are_one():
    mask = np.zeros((40, 500), bool)
    mask[10, 10] = mask[11, 11] = True
    assert lesions.detect(single((5, 5, 100)), mask).lesions.size == 1


@pytest.mark.parametrize("distance", [1, 2, 5])
@pytest.mark.parametrize("steps", [2, 12, TOP])
def test_peaks_are_those_of_scikit_image(distance, steps):
    """Few levels give flat tops of any shape, many of equal height."""
    rng = np.random.default_rng(steps + distance)
    for sigma in (0, 1, 4):
        smooth = ndimage.gaussian_filter(rng.random((90, 130)), sigma)
        smooth = (smooth - smooth.min()) / np.ptp(smooth)
        levels = np.rint(np.rint(smooth * steps) / steps * TOP).astype(np.uint16)
        expected = peak_local_max(
            levels, min_distance=distance, threshold_abs=66, exclude_border=False
        )
        found = np.stack(lesions.peaks(levels, distance), axis=1)
        np.testing.assert_array_equal(found, expected)


def test_a_flat_map_is_quickly_said():
    levels = np.full((2848, 4288), 600, np.uint16)
    rows, _ = lesions.peaks(levels, 17)
    # One in each square of 17 pixels.
    assert rows.size == -(-2848 // 17) * -(-4288 // 17)
    assert lesions.peaks(levels // 10, 17)[0].size == 0


@pytest.mark.parametrize("seed", range(3))
def test_matches_and_curve_are_those_of_monai(seed):
    sys.path.append(str(build_dir() / "judges"))
    froc = pytest.importorskip("monai.metrics.froc")
    found, alarms, hits, total = [], [], [], 0
    for k in range(4):
        levels, mask = scene(10 * seed + k)
        own = lesions.detect(levels, mask)
        found.append(own)
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        peaks = peak_local_max(
            levels, min_distance=1, threshold_abs=66, exclude_border=False
        )
        theirs = froc.compute_fp_tp_probs_nd(
            levels[tuple(peaks.T)].astype(np.float32), peaks, labels
        )
        np.testing.assert_array_equal(np.sort(theirs[0]), np.sort(own.alarms))
        np.testing.assert_array_equal(theirs[1], own.lesions)
        alarms.append(theirs[0])
        hits.append(theirs[1])
        total += theirs[2]
    data = (np.concatenate(alarms), np.concatenate(hits), total, len(found))
    rates, sensitivity = froc.compute_froc_curve_data(*data)
    ours = lesions.froc(found)
    # MONAI starts at the lowest threshold, which it treats as that of no lesion.
    common = rates.size - 1
    np.testing.assert_allclose(rates[:-1][::-1], ours.alarms[:common])
    np.testing.assert_allclose(sensitivity[:-1][::-1], ours.sensitivity[:common])
    # MONAI interpolates the curve linearly; we take the last point that is allowed.
    theirs = froc.compute_froc_score(rates, sensitivity, lesions.RATES)
    assert 0 < lesions.froc_score(found) <= theirs + 1e-9


def test_the_score_is_the_mean_of_what_the_curve_allows():
    levels = np.array([9, 8, 7, 6], np.uint16)
    found = [
        lesions.Detections(levels[[0, 2]], levels[[1]]),
        lesions.Detections(np.zeros(2, np.uint16), levels[[3]]),
    ]
    curve = lesions.froc(found)
    np.testing.assert_allclose(curve.alarms, [0, 0.5, 0.5, 1])
    np.testing.assert_allclose(curve.sensitivity, [0.25, 0.25, 0.5, 0.5])
    wanted = [0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5]
    np.testing.assert_allclose(lesions.sensitivities(curve), wanted)
    assert lesions.froc_score(found) == pytest.approx(np.mean(wanted))


def test_nothing_found_is_0_and_all_found_without_alarms_is_1():
    nothing = lesions.Detections(np.zeros(3, np.uint16), np.zeros(0, np.uint16))
    all_of_it = lesions.Detections(np.full(3, 9, np.uint16), np.zeros(0, np.uint16))
    assert lesions.froc_score([nothing]) == 0
    assert lesions.froc_score([all_of_it]) == 1


def test_the_interval_is_of_photographs():
    found = [lesions.detect(*scene(k)) for k in range(8)]
    low, high = lesions.froc_interval(found, draws=200)
    assert low <= lesions.froc_score(found) <= high
    assert lesions.froc_interval(found[:4]) is None


@pytest.mark.parametrize(
    ("pixels", "hit"), [(0, False), (2, False), (3, True), (10, True)]
)
def test_more_than_a_fifth_of_an_exudate_is_to_be_covered(pixels, hit):
    mask = np.zeros((20, 40), bool)
    mask[5, 10:20] = True
    predicted = np.zeros_like(mask)
    predicted[5, 10 : 10 + pixels] = True
    found = lesions.overlap(predicted, mask)
    assert (found.hits, found.lesions) == (hit, 1)
    assert (found.right, found.regions) == (pixels > 0, pixels > 0)


def test_a_region_that_is_mostly_beside_is_wrong():
    mask = np.zeros((20, 40), bool)
    mask[5, 10:14] = True
    predicted = np.zeros_like(mask)
    predicted[4:8, 10:20] = True
    assert lesions.overlap(predicted, mask) == (1, 1, 0, 1)
