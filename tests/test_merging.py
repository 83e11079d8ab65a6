"""Merged networks against the mean of their members, in Caffe and as ONNX."""

import cv2
import numpy as np
import pytest
import small_unet

from randrop.errors import UserError
from randrop.exchange import merging
from randrop.prediction import inference


def files_of(run):
    return run / "deploy.prototxt", run / "final.caffemodel"


def stored(merged, folder):
    """Write a merged network; return its deploy file and weights."""
    folder.mkdir(parents=True)
    deploy, weights = files_of(folder)
    deploy.write_text(merging.text_of(merged.net))
    weights.write_bytes(merged.weights.SerializeToString())
    return deploy, weights


@pytest.fixture
def members(caffe, tmp_path):
    """Three networks of other weights, one of them smaller."""
    for k, depth in enumerate((3, 3, 2)):
        small_unet.write_run(caffe, tmp_path / f"run{k}", depth=depth, seed=k)
    return [files_of(tmp_path / f"run{k}") for k in range(3)]


@pytest.mark.parametrize("backend", ["caffe", "onnxruntime"])
def test_a_merged_network_is_the_mean(members, tmp_path, backend):
    files = stored(merging.merge(members), tmp_path / "merged")
    batch = np.random.default_rng(0).normal(0, 1, (2, 3, 64, 48)).astype(np.float32)
    found = inference.load(*files, backend, False).forward(batch)
    single = [inference.load(*one, "caffe", False).forward(batch) for one in members]
    assert np.ptp(single, axis=0).max() > 0.1
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=2e-6)


def test_one_network_is_not_merged(members):
    with pytest.raises(UserError, match="merge at least two"):
        merging.merge(members[:1])


@pytest.mark.parametrize("count", range(2, 12))
def test_certainty_stays_a_probability(count):
    share = np.nextafter(np.float32(1 / count), np.float32(0))
    total = np.float32(0)
    for _ in range(count):
        total = np.float32(total + share * np.float32(1))
    assert 1 - 1e-6 < total <= 1


def test_a_merged_network_can_be_merged(members, tmp_path):
    twice = stored(merging.merge(members[:2]), tmp_path / "two")
    files = stored(merging.merge([twice, members[2]]), tmp_path / "three")
    batch = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    one, two, three = (
        inference.load(*f, "caffe", False).forward(batch) for f in members
    )
    found = inference.load(*files, "caffe", False).forward(batch)
    np.testing.assert_allclose(found, (one / 2 + two / 2 + three) / 2, atol=2e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("dim: 3", "dim: 1", 1), "other inputs than"),
        (lambda t: t.replace('type: "Input"', 'type: "DummyData"'), "no layer of type"),
        (
            lambda t: t + 'layer { name: "x" type: "Unheard" own: 3 }',
            "cannot be merged",
        ),
        (
            lambda t: (
                t + 'layer { name: "x" type: "ReLU" bottom: "score" top: "other" }'
            ),
            "has 2 outputs",
        ),
        (lambda t: t + "}", "cannot be merged"),
    ],
)
def test_what_does_not_fit_is_named(members, change, words):
    deploy, _ = members[1]
    deploy.write_text(change(deploy.read_text()))
    with pytest.raises(UserError, match=words) as error:
        merging.merge(members)
    assert str(deploy) in str(error.value)


@pytest.mark.parametrize("backend", ["caffe", "onnxruntime"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_member_may_see_a_smaller_picture(members, tmp_path, backend, factor):
    merged = merging.merge(members[:2], [1, factor], [1, 3])
    files = stored(merged, tmp_path / "merged")
    batch = np.random.default_rng(0).normal(0, 1, (2, 3, 128, 64)).astype(np.float32)
    loaded = inference.load(*files, backend, False)
    assert loaded.stride == 4 * factor
    fine, coarse = (inference.load(*one, "caffe", False) for one in members[:2])
    blocks = batch.reshape(2, 3, 128 // factor, factor, 64 // factor, factor)
    small = coarse.forward(np.ascontiguousarray(blocks.mean((3, 5))))
    large = np.stack(
        [
            [cv2.resize(one, (64, 128), interpolation=cv2.INTER_LINEAR) for one in of]
            for of in small
        ]
    )
    expected = fine.forward(batch) / 4 + large * 3 / 4
    # At the border, Caffe's filter sees zeros and OpenCV repeats the edge.
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    found = loaded.forward(batch)
    np.testing.assert_allclose(found[inside], expected[inside], atol=5e-6)
    assert found.max() <= 1


@pytest.mark.parametrize(
    ("factors", "shares", "words"),
    [
        ([1, 3], [], "reduce its input by 3: 1, 2, 4, 8"),
        ([1, 0], [], "reduce its input by 0"),
        ([1], [], "1 factors are given for 2"),
        ([], [1, 0], "a weight is 0"),
        ([], [1, float("nan")], "a weight is nan"),
    ],
)
def test_factors_and_weights_out_of_range_are_named(members, factors, shares, words):
    with pytest.raises(UserError, match=words):
        merging.merge(members[:2], factors, shares)
