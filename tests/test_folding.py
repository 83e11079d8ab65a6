import numpy as np
import pytest
import small_unet

from randrop import nets
from randrop.prediction.folding import fold


def outputs(caffe, deploy, weights, batch):
    net = caffe.Net(str(deploy), str(weights), caffe.TEST)
    net.blobs["data"].reshape(*batch.shape)
    net.blobs["data"].data[...] = batch
    return net.forward(), net


def write(folder, folded):
    deploy, weights = folder / "folded.prototxt", folder / "folded.caffemodel"
    deploy.write_text(folded.deploy)
    weights.write_bytes(folded.weights)
    return deploy, weights


@pytest.fixture
def unet(caffe, tmp_path):
    run = small_unet.write_run(caffe, tmp_path)
    return run / "deploy.prototxt", run / "final.caffemodel"


def test_a_folded_network_computes_the_same(caffe, unet, tmp_path):
    folded = write(tmp_path, fold(*unet))
    batch = np.random.default_rng(1).normal(0, 1, (2, 3, 48, 64)).astype(np.float32)
    (expected, whole), (found, net) = (
        outputs(caffe, *files, batch) for files in (unet, folded)
    )
    assert {"BatchNorm", "Scale"} <= {layer.type for layer in whole.layers}
    assert not {"BatchNorm", "Scale"} & {layer.type for layer in net.layers}
    assert expected["prob"].std() > 0.01
    np.testing.assert_allclose(found["prob"], expected["prob"], rtol=1e-5, atol=1e-6)


def test_a_network_without_batch_normalisation_is_left_alone(caffe, unet, tmp_path):
    assert fold(*write(tmp_path, fold(*unet))) is None


LAYERS = """
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 2 dim: 5 dim: 5 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 3 kernel_size: 3
    weight_filler {{ type: "gaussian" std: 1 }}
    bias_filler {{ type: "gaussian" std: 1 }} }} }}
layer {{ name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" {norm} }}
{more}
"""
SCALE = """
layer {{ name: "scale" type: "Scale" bottom: "norm" top: "scaled"
  scale_param {{ filler {{ type: "gaussian" std: 1 }} {0} }} }}
"""
READER = """
layer { name: "other" type: "Power" bottom: "conv" top: "other" }
"""


@pytest.mark.parametrize(
    ("norm", "more", "gone"),
    [
        ("", "", {"norm"}),
        ("", SCALE.format("bias_term: true"), {"norm", "scale"}),
        ("", SCALE.format("bias_term: false"), {"norm", "scale"}),
        ("", SCALE.format("axis: 0"), {"norm"}),
        ("", READER, set()),
        ("batch_norm_param { use_global_stats: false }", "", set()),
        ("batch_norm_param { eps: 0.5 }", "", {"norm"}),
    ],
)
def test_what_is_folded(caffe, tmp_path, norm, more, gone):
    deploy, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    deploy.write_text(LAYERS.format(norm=norm, more=more))
    caffe.set_random_seed(1)
    net = caffe.Net(str(deploy), caffe.TEST)
    rng = np.random.default_rng(0)
    for blob, value in zip(net.params["norm"], (1, 2, 4), strict=True):
        blob.data[...] = value * rng.uniform(0.5, 1, blob.data.shape)
    net.save(str(weights))
    folded = fold(deploy, weights)
    if not gone:
        assert folded is None
        return
    batch = rng.normal(0, 1, (1, 2, 5, 5)).astype(np.float32)
    expected, whole = outputs(caffe, deploy, weights, batch)
    found, net = outputs(caffe, *write(tmp_path, folded), batch)
    assert set(whole._layer_names) - set(net._layer_names) == gone
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


SHARED = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 4 dim: 6 dim: 5 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" %s
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "norm" type: "BatchNorm" bottom: "a" top: "norm" %s }
layer { name: "scale" type: "Scale" bottom: "norm" top: "norm" %s
  scale_param { bias_term: true } }
layer { name: "b" type: "Convolution" bottom: "norm" top: "b" %s
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "norm_b" type: "BatchNorm" bottom: "b" top: "b" %s }
layer { name: "scale_b" type: "Scale" bottom: "b" top: "b" %s
  scale_param { bias_term: true } }
"""


def named(*names):
    return " ".join(f'param {{ name: "{name}" lr_mult: 0 }}' for name in names)


@pytest.mark.parametrize(
    ("convolution", "norm", "scale"),
    [
        (named("w", "bias"), "", ""),
        (named("w"), "", ""),
        ("", named("mean", "variance", "count"), ""),
        ("", "", named("gamma", "beta")),
        (named("w"), named("m"), named("g")),
    ],
)
def test_weights_that_layers_share_stay_as_they_are(
    caffe, tmp_path, convolution, norm, scale
):
    deploy, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    deploy.write_text(SHARED % (convolution, norm, scale, convolution, norm, scale))
    net = caffe.Net(str(deploy), caffe.TEST)
    small_unet.randomise(net)
    net.save(str(weights))
    assert_folding_changes_nothing(caffe, tmp_path, (deploy, weights), (2, 4, 6, 5))


def assert_folding_changes_nothing(caffe, folder, files, shape):
    batch = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    expected, _ = outputs(caffe, *files, batch)
    folded = fold(*files)
    found, _ = outputs(caffe, *(write(folder, folded) if folded else files), batch)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


def shared(caffe, folder, old="", new=""):
    """Write the network without shared weights, with one change."""
    text = (SHARED % (("",) * 6)).replace(old, new, 1)
    assert new in text
    deploy, weights = folder / "net.prototxt", folder / "net.caffemodel"
    deploy.write_text(text)
    net = caffe.Net(str(deploy), caffe.TEST)
    small_unet.randomise(net)
    net.save(str(weights))
    return deploy, weights


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ('bottom: "norm" top: "norm"', 'bottom: "norm" top: "norm" phase: TRAIN'),
        ('type: "BatchNorm" bottom: "a"', 'phase: TRAIN type: "BatchNorm" bottom: "a"'),
        ('top: "norm"', 'top: "norm" include { phase: TEST }'),
        ("num_output: 4", "axis: 2 num_output: 6"),
    ],
)
def test_unusual_networks_compute_the_same_when_folded(caffe, tmp_path, old, new):
    files = shared(caffe, tmp_path, old, new)
    assert_folding_changes_nothing(caffe, tmp_path, files, (2, 4, 6, 5))


def test_layers_of_one_name_are_left_alone(caffe, tmp_path):
    files = shared(caffe, tmp_path, 'name: "b"', 'name: "a"')
    assert fold(*files) is None


def test_weights_that_lack_a_layer_are_left_to_caffe(caffe, unet, tmp_path):
    other = tmp_path / "other.prototxt"
    other.write_text(nets.unet(2, base_channels=4, depth=4, shape=(3, 64, 64)))
    folded = fold(other, unet[1])
    assert folded is not None
    assert "down3_bn1" in folded.deploy
    assert "down0_bn1" not in folded.deploy
