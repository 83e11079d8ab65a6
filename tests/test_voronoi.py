"""The cells of lesions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from randrop.data import cells
from randrop.data.regions import regions
from randrop.data.voronoi import cells_of_batch, class_cells


def masks(seed, share, shape=(2, 13, 17)):
    return np.random.default_rng(seed).random(shape) < share


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.005, 0.02, 0.1, 0.6]))
def test_each_pixel_is_in_the_cell_of_its_nearest_lesion(seed, share):
    label = masks(seed, share).astype(np.float32)
    found = cells(label)
    assert found.dtype == np.int32
    y, x = np.indices(label.shape[1:])
    for c, channel in enumerate(label):
        numbers, count = regions(channel)
        if not count:
            assert not found[c].any()
            continue
        distance = np.array(
            [
                np.min(
                    [(y - v) ** 2 + (x - u) ** 2 for v, u in np.argwhere(numbers == k)],
                    axis=0,
                )
                for k in range(1, count + 1)
            ]
        )
        own = np.take_along_axis(distance, found[c][None], 0)[0]
        np.testing.assert_array_equal(own, distance.min(0))
        np.testing.assert_array_equal(found[c][numbers > 0], numbers[numbers > 0] - 1)


def test_pixels_that_touch_by_a_corner_are_one_lesion():
    assert not cells(np.eye(4)[None]).any()


@pytest.mark.parametrize("value", [0, 255])
def test_only_lesions_count(value):
    assert not cells(np.full((1, 3, 3), value)).any()


def test_a_line_between_two_lesions():
    np.testing.assert_array_equal(
        cells(np.array([[[1, 0, 0, 0, 0, 1, 1]]])), [[[0, 0, 0, 1, 1, 1, 1]]]
    )


def test_each_class_has_cells_of_its_own_and_the_background_one():
    classes = masks(3, 0.05)[0] + 2 * masks(4, 0.05)[0]
    classes = np.where(classes == 3, 255, classes)
    found = class_cells(classes, 3)
    assert found.shape == (3, *classes.shape)
    assert not found[0].any()
    np.testing.assert_array_equal(
        found[1:], cells(np.stack([classes == 1, classes == 2]))
    )


def test_cells_of_a_batch_have_the_shape_of_the_logits():
    label = masks(5, 0.05, (2, 3, 6, 7, 5))
    found = cells_of_batch(label, label.shape)
    for image, own in zip(label, found, strict=True):
        np.testing.assert_array_equal(own, cells(image))
    classes = 1.0 * label[:, :1]
    found = cells_of_batch(classes, (2, 4, 6, 7, 5))
    assert found.shape == (2, 4, 6, 7, 5)
    for image, own in zip(classes, found, strict=True):
        np.testing.assert_array_equal(own, class_cells(image[0], 4))
