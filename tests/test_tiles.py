import numpy as np
import pytest
import small_unet
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from randrop.errors import UserError
from randrop.prediction import inference, tiles


def box_filter(radius):
    """Return a network whose receptive field has exactly this radius."""

    def forward(batch):
        sides = (0, 0, 2 * radius + 1, 2 * radius + 1)
        mean = ndimage.uniform_filter(batch.astype(np.float64), sides, mode="constant")
        return mean[:, :1].astype(np.float32)

    return forward


def predict(forward, image, inside=None, **options):
    inside = np.ones(image.shape[1:], bool) if inside is None else inside
    options = {"channels": 1, "stride": 4, "tile": 64, "overlap": 16, **options}
    return tiles.predict(forward, image, inside, **options)


def noise(shape, seed=0):
    return np.random.default_rng(seed).random((3, *shape), np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_tiles_cover_every_pixel_and_their_weights_add_up_to_one(
    length, stride, tile, overlap
):
    overlap *= 2 * stride
    tile = max(tile * stride, 2 * overlap)
    size, starts = tiles.spans(length, tile, overlap, stride)
    assert size <= tile
    assert size % stride == 0
    total = np.zeros(length)
    for start in starts:
        assert (start + overlap // 2) % stride == 0
        weight = tiles.ramp(size, overlap, start == starts[0], start == starts[-1])
        first, last = max(start, 0), min(start + size, length)
        total[first:last] += weight[first - start : last - start]
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(150, 211), (64, 64), (30, 200), (1, 1), (5, 3)])
def test_tiles_equal_the_whole_where_the_overlap_covers_the_receptive_field(shape):
    image, radius = noise(shape), 4
    whole = ndimage.uniform_filter(
        image[:1].astype(np.float64), (0, 9, 9), mode="mirror"
    )
    result = predict(box_filter(radius), image)
    assert result.shape == (1, *shape)
    np.testing.assert_allclose(result, whole, atol=1e-6)


def test_tiles_without_overlap_would_show_a_seam():
    image = noise((150, 211))
    whole = ndimage.uniform_filter(image[:1], (0, 9, 9), mode="mirror")
    error = np.abs(predict(box_filter(4), image, overlap=0) - whole)
    assert error.max() > 0.1


def test_a_seam_beyond_the_overlap_is_blended_away():
    image = noise((150, 211)) * 0 + 0.5
    jumps = [
        np.abs(np.diff(predict(box_filter(8), image, overlap=overlap)[0])).max()
        for overlap in (0, 32)
    ]
    assert jumps[1] < 0.25 * jumps[0]


@pytest.mark.parametrize("backend", ["caffe", "opencv"])
def test_unet_in_tiles_equals_unet_on_the_whole_photograph(caffe, tmp_path, backend):
    run = small_unet.write_run(caffe, tmp_path, depth=2)
    network = inference.load(run / "deploy.prototxt", run / "final.caffemodel", backend)
    image = np.random.default_rng(3).normal(0, 1, (3, 132, 196)).astype(np.float32)
    whole = network.forward(image[None])[0]
    tiled = predict(network.forward, image, channels=2, stride=2, tile=112, overlap=48)
    # Receptive field of two levels: less than 12 pixels. At the photograph's border,
    # the whole photograph is padded with zeros, the tiled one with a reflection.
    inner = (slice(None), slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(tiled[inner], whole[inner], atol=2e-6)
    assert np.abs(tiled - whole).max() > 1e-4
    assert whole.std() > 0.01


def symmetric(batch):
    """A network that commutes with mirroring: a mean of neighbours."""
    return ndimage.uniform_filter(batch[:, :1], (0, 0, 5, 3), mode="mirror")


def lopsided(batch):
    """A network that does not: it looks up and to the left."""
    return 0.5 * batch[:, :1] + 0.5 * np.roll(batch[:, 1:2], (1, 2), (2, 3))


def test_flips_leave_a_symmetric_network_as_it_is():
    batch = noise((40, 56))[None]
    np.testing.assert_allclose(
        tiles.mirrored(symmetric)(batch), symmetric(batch), rtol=1e-6
    )
    image = noise((150, 211))
    np.testing.assert_allclose(
        predict(tiles.mirrored(symmetric), image), predict(symmetric, image), atol=1e-6
    )


@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3)])
def test_flips_make_any_network_symmetric(axes):
    batch = noise((40, 56))[None]
    flipped = tiles.mirrored(lopsided)
    there = flipped(np.ascontiguousarray(np.flip(batch, axes)))
    np.testing.assert_allclose(np.flip(there, axes), flipped(batch), rtol=1e-6)
    assert np.abs(flipped(batch) - lopsided(batch)).max() > 0.1


def test_flips_give_the_network_whole_arrays_and_take_four_answers():
    given = []

    def forward(batch):
        assert batch.flags.c_contiguous
        given.append(batch.copy())
        return batch[:, :1]

    batch = noise((8, 12))[None]
    np.testing.assert_allclose(tiles.mirrored(forward)(batch), batch[:, :1], rtol=1e-6)
    assert len(given) == 4
    assert len({x.tobytes() for x in given}) == 4


def test_outside_of_the_field_of_view_is_zero_and_costs_nothing():
    calls = []

    def forward(batch):
        calls.append(batch.shape)
        return np.full((1, 1, *batch.shape[2:]), 0.5, np.float32)

    inside = np.zeros((200, 200), bool)
    inside[20:60, 30:80] = True
    result = predict(forward, noise((200, 200)), inside)
    np.testing.assert_array_equal(result[0], 0.5 * inside)
    everywhere = len(calls)
    predict(forward, noise((200, 200)))
    assert everywhere < len(calls) - everywhere


def test_all_tiles_of_a_photograph_have_one_shape():
    shapes = set()

    def forward(batch):
        shapes.add(batch.shape)
        return batch[:, :1]

    predict(forward, noise((150, 211)))
    assert len(shapes) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x[:, :1] * np.nan, "training diverged"),
        (lambda x: x[:, :1] + 1, "which are not probabilities"),
        (lambda x: x[:, :1] - 2, "must end in a Sigmoid"),
        (lambda x: x[:, :1, ::2, ::2], "one probability per pixel"),
        (lambda x: x[:, :2], "one probability per pixel"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(answer, words):
    with pytest.raises(UserError, match=words):
        predict(answer, noise((50, 50)))


@pytest.mark.parametrize(
    ("tile", "overlap", "words"),
    [
        (500, 64, r"--tile 500 is not a .* multiple of 16.* use 496"),
        (0, 0, "--tile 0 is not a positive"),
        (-16, 0, "--tile -16"),
        (512, 48, r"--overlap 48 is not a multiple of 32"),
        (512, -32, "--overlap -32"),
        (512, 288, "more than half of --tile 512"),
    ],
)
def test_tiles_that_do_not_fit_the_network_are_refused(tile, overlap, words):
    with pytest.raises(UserError, match=words):
        tiles.check(tile, overlap, 16)


def test_tiles_that_nobody_chose_fit_any_network():
    assert tiles.chosen(None, None, 16) == (512, 64)
    assert tiles.chosen(None, None, 64) == (512, 128)
    assert tiles.chosen(256, None, 32) == (256, 64)
    for stride in (1, 2, 3, 8, 24, 128, 256):
        tiles.chosen(None, None, stride)  # checks


@pytest.mark.parametrize(("stride", "remedy"), [(16, 64), (32, 64), (64, 128)])
def test_the_remedy_for_an_overlap_is_no_seam(stride, remedy):
    with pytest.raises(UserError, match=f"network: use {remedy}$"):
        tiles.check(512, 50, stride)
    tiles.check(512, remedy, stride)


def test_a_wrong_overlap_is_named_before_the_tile_that_it_would_choose():
    with pytest.raises(UserError, match="--overlap 300 is not"):
        tiles.chosen(None, 300, 32)
    assert tiles.chosen(None, 320, 32) == (640, 320)
