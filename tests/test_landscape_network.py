"""A network's losses and gradients at a vector, against NumPy and Caffe itself."""

import numpy as np
import pytest
from google.protobuf import text_format
from sklearn.metrics import average_precision_score

from randrop import nets
from randrop.errors import UserError
from randrop.losses.common import sigmoid
from randrop.surface.landscape import hessian, network, parameters
from randrop.surface.landscape.scene import Scene

LINEAR = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "prob" type: "Sigmoid" bottom: "score" top: "prob" }
"""
IGNORE = 255


def scene(seed=0, number=5, side=8, channels=2, batch=2):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(number, 3, side, side)).astype(np.float32)
    labels = (rng.random((number, channels, side, side)) < 0.2).astype(np.float32)
    labels[:, :, 0] = IGNORE
    return Scene(images, labels, IGNORE, batch)


def parsed(*names, activation="SIGMOID"):
    return [nets.parse_losses(name, activation) for name in names]


def write(folder, text, name="deploy.prototxt"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def linear(caffe, tmp_path_factory):
    return network.define(write(tmp_path_factory.mktemp("linear"), LINEAR))


@pytest.fixture(scope="module")
def small(caffe, tmp_path_factory):
    """A U-Net with batch normalisation and a deconvolution, and random weights."""
    folder = tmp_path_factory.mktemp("small")
    deploy = write(folder, nets.unet(2, base_channels=2, depth=2, shape=(3, 8, 8)))
    definition = network.define(deploy)
    rng = np.random.default_rng(4)
    weights = rng.normal(0, 0.5, definition.layout.size)
    for part in definition.layout.of_kind(parameters.STATISTICS):
        weights[part.place] = (0.1, 0.8, 1.0)[part.number]
    return definition, weights


def test_a_linear_network_has_the_loss_of_its_formula(linear):
    images = scene()
    evaluator = network.Evaluator(linear, images, parsed("cross-entropy"))
    rng = np.random.default_rng(1)
    at, step = rng.normal(size=(2, linear.layout.size))
    for alpha in (-1.0, 0.0, 0.3, 2.0):
        w = (at + alpha * step).astype(np.float32).astype(float)
        kernel, bias = w[:6].reshape(2, 3), w[6:]
        x = np.einsum("oc,nchw->nohw", kernel, images.images.astype(float))
        x += bias[:, None, None]
        y, valid = images.labels == 1, images.labels != IGNORE
        terms = np.log1p(np.exp(np.where(y, -x, x)))
        found = evaluator.values(at + alpha * step)
        assert found.losses[0] == pytest.approx(terms[valid].sum() / 5, rel=1e-5)
        ap = [
            average_precision_score(y[:, c][valid[:, c]], sigmoid(x)[:, c][valid[:, c]])
            for c in range(2)
        ]
        assert found.average_precision == pytest.approx(np.mean(ap), abs=2e-3)


def by_caffe(caffe, folder, definition, weights, images, name, phase):
    """Return a loss from the loss layer that Caffe trains with."""
    shapes = images.images.shape, images.labels.shape
    feed = nets.InputFeed(*shapes)
    losses = nets.parse_losses(name, "SIGMOID")
    text = nets.unet(2, feed, losses, base_channels=2, depth=2)
    net = caffe.Net(str(write(folder, text, "net.prototxt")), phase)
    for part in definition.layout.parts:
        blob = net.params[part.layer][part.number]
        blob.data[...] = weights[part.place].reshape(part.shape)
    net.blobs["data"].data[...] = images.images
    net.blobs["label"].data[...] = images.labels
    net.forward()
    tops = [top for top in net.blobs if top.startswith("loss")]
    return sum(float(net.blobs[top].data) for top in tops)


NAMES = ("cross-entropy", "class-balanced", "top-k", "bin", "focal:1", "dice")
NAMES += (
    "top-k:5",
    "top-k-dice",
    "tversky",
    "cross-entropy+dice",
    "random-drop:seed=3",
)


def test_every_loss_is_that_of_its_layer(caffe, small, tmp_path):
    definition, weights = small
    images = scene()
    evaluator = network.Evaluator(definition, images, parsed(*NAMES))
    found = evaluator.values(weights).losses
    for name, loss in zip(NAMES, found, strict=True):
        if name.startswith("random-drop"):
            name += ",drop_in_test=true"
        wanted = by_caffe(
            caffe, tmp_path, definition, weights, images, name, caffe.TEST
        )
        assert loss == pytest.approx(wanted, rel=2e-4), name


def test_random_drop_uses_the_same_numbers_at_every_point(small):
    definition, weights = small
    one, two, other = (
        network.Evaluator(definition, scene(), parsed("random-drop:SQU"), seed)
        for seed in (1, 1, 2)
    )
    first = one.values(weights).losses
    one.values(weights * 1.1)
    assert one.values(weights).losses == first == two.values(weights).losses
    assert other.values(weights).losses != first


def test_recomputed_averages_are_those_of_a_training(caffe, small, tmp_path):
    definition, weights = small
    images = scene(number=4, batch=4)
    # One batch: Caffe's averages of it are what its TRAIN phase divides by.
    evaluator = network.Evaluator(
        definition, images, parsed("cross-entropy"), recompute=True
    )
    found = evaluator.values(weights).losses[0]
    wanted = by_caffe(
        caffe, tmp_path, definition, weights, images, "cross-entropy", caffe.TRAIN
    )
    kept = network.Evaluator(definition, images, parsed("cross-entropy"))
    other = kept.values(weights).losses[0]
    # The variance is multiplied by m / (m - 1), with m of at least 64 values.
    assert found == pytest.approx(wanted, rel=0.05)
    assert abs(found - wanted) < 0.2 * abs(other - wanted)


def test_every_batch_weighs_the_same_in_recomputed_averages(caffe, tmp_path):
    text = LINEAR.replace(
        'layer { name: "score"',
        'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\n'
        'layer { name: "score"',
    ).replace('bottom: "data" top: "score"', 'bottom: "bn" top: "score"')
    definition = network.define(write(tmp_path, text))
    images = scene(number=4)
    evaluator = network.Evaluator(
        definition, images, parsed("cross-entropy"), recompute=True
    )
    weights = np.ones(definition.layout.size)
    evaluator.values(weights)
    again = evaluator.values(weights)
    mean, variance, weight = (blob.data for blob in evaluator._net.params["bn"])
    x = images.images.astype(float).reshape(2, 2, 3, 64)
    assert weight == 2
    np.testing.assert_allclose(mean / 2, x.mean((0, 1, 3)), atol=1e-6)
    np.testing.assert_allclose(variance / 2, x.var((1, 3), ddof=1).mean(0), rtol=1e-5)
    assert again == evaluator.values(weights)


@pytest.mark.parametrize("name", ["cross-entropy", "dice", "focal"])
def test_the_gradient_is_the_slope_of_the_loss(small, name):
    definition, weights = small
    evaluator = network.Evaluator(definition, scene(), parsed(name))
    gradient = evaluator.gradient(weights)
    learned = definition.layout.learned()
    assert not gradient[~learned].any()
    rng = np.random.default_rng(0)
    slopes, wanted = [], []
    for _ in range(6):
        direction = rng.normal(size=weights.size) * learned
        h = 1e-3
        ahead, behind = (
            evaluator.values(weights + s * h * direction).losses[0] for s in (1, -1)
        )
        slopes.append((ahead - behind) / (2 * h))
        wanted.append(gradient @ direction)
    np.testing.assert_allclose(
        slopes, wanted, rtol=0.02, atol=0.02 * np.abs(wanted).max()
    )


def test_eigenvalues_are_those_of_the_dense_hessian(linear):
    images = scene()
    weights = np.random.default_rng(3).normal(size=linear.layout.size)
    evaluator = network.Evaluator(linear, images, parsed("cross-entropy"))
    # The Hessian of cross-entropy over a linear network is known.
    ones = np.ones((5, 1, 8, 8))
    features = np.concatenate([images.images, ones], axis=1).transpose(0, 2, 3, 1)
    dense = np.zeros((8, 8))
    kernel = np.concatenate([weights[:6].reshape(2, 3), weights[6:, None]], axis=1)
    for c in range(2):
        p = sigmoid(features @ kernel[c])
        keep = (p * (1 - p))[images.labels[:, c] != IGNORE]
        own = features[images.labels[:, c] != IGNORE]
        dense[4 * c : 4 * c + 4, 4 * c : 4 * c + 4] = (own * keep[:, None]).T @ own / 5
    values = np.linalg.eigvalsh(dense)[::-1]
    learned = linear.layout.learned()
    product = hessian.Product(evaluator.gradient, weights, learned)
    found = hessian.largest(product, int(learned.sum()), 3)
    np.testing.assert_allclose(found.eigenvalues, values[:3], rtol=5e-3)
    assert max(found.residuals) < 0.02 * values[0]
    assert (np.abs(found.eigenvalues - values[:3]) <= found.residuals).all() or (
        max(found.residuals) < 1e-3 * values[0]
    )


def test_a_point_that_overflows_is_not_finite(small):
    definition, weights = small
    evaluator = network.Evaluator(definition, scene(), parsed("cross-entropy"))
    found = evaluator.values(weights * 1e30)
    assert not np.isfinite(found.losses[0])
    assert np.isnan(found.average_precision)
    assert np.isfinite(evaluator.values(weights).losses[0])


def test_a_softmax_has_its_loss_and_the_precision_of_its_objects(caffe, tmp_path):
    text = nets.unet(3, base_channels=2, depth=1, shape=(3, 8, 8), activation="SOFTMAX")
    definition = network.define(write(tmp_path, text))
    assert definition.activation == "SOFTMAX"
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (3, 1, 8, 8)).astype(np.float32)
    images = scene(number=3)._replace(labels=labels)
    losses = parsed("cross-entropy", "exp-log", activation="SOFTMAX")
    found = network.Evaluator(definition, images, losses).values(
        rng.normal(size=definition.layout.size) ** 2
    )
    assert np.isfinite(found.losses).all()
    assert 0.2 < found.average_precision < 0.8


def saved(caffe, folder, definition, weights, name="a.caffemodel"):
    net = caffe.Net(str(write(folder, definition.text, "own.prototxt")), caffe.TEST)
    for part in definition.layout.parts:
        blob = net.params[part.layer][part.number]
        blob.data[...] = weights[part.place].reshape(part.shape)
    net.save(str(folder / name))
    return folder / name


def test_weights_are_read_as_they_were_saved(caffe, small, tmp_path):
    definition, weights = small
    parts = list(definition.layout.of_kind(parameters.STATISTICS))
    stored = weights.copy()
    for part in parts:
        stored[part.place] *= 4
    path = saved(caffe, tmp_path, definition, stored)
    np.testing.assert_allclose(
        parameters.read(path, definition.layout), weights, rtol=1e-6
    )


def test_other_weights_are_named(caffe, small, linear, tmp_path):
    definition, weights = small
    path = saved(caffe, tmp_path, definition, weights)
    layout = definition.layout
    other = network.define(
        write(tmp_path, LINEAR.replace('name: "score"', 'name: "x"'))
    )
    with pytest.raises(UserError, match="another network: it has no blob 0 of layer"):
        parameters.read(path, other.layout)
    with pytest.raises(UserError, match="another network: layer 'score'"):
        parameters.read(path, linear.layout)
    wide = network.define(
        write(tmp_path, nets.unet(2, base_channels=3, depth=2, shape=(3, 8, 8)))
    )
    with pytest.raises(UserError, match="layer 'down0_conv1' has a blob of 2x3"):
        parameters.read(path, wide.layout)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"truncated|another network"):
        parameters.read(path, layout)
    with pytest.raises(UserError, match="does not exist"):
        parameters.read(tmp_path / "none.caffemodel", layout)
    weights = np.where(np.arange(weights.size) == 3, np.nan, weights)
    with pytest.raises(UserError, match="not finite"):
        parameters.read(saved(caffe, tmp_path, definition, weights), layout)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t + LINEAR.replace("Sigmoid", "SoftmaxWithLoss"), "training layers"),
        (lambda t: t[: t.index('layer { name: "prob"')], "does not end in a Sigmoid"),
        (lambda t: t.replace("layer {", "layer ["), "is not a prototxt"),
        (lambda t: t.replace("num_output: 2", ""), "Caffe cannot make the network"),
    ],
)
def test_a_network_that_does_not_fit_is_named(caffe, tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        network.define(write(tmp_path, change(LINEAR)))


def test_the_text_has_the_network_without_its_last_layer(caffe, linear):
    net = caffe.proto.caffe_pb2.NetParameter()
    text_format.Merge(linear.text, net)
    assert [layer.name for layer in net.layer] == ["data", "score"]
    assert (linear.logits, linear.last, linear.data) == ("score", "score", "data")
