import importlib.util
import sys

import cv2
import numpy as np
import pytest
import small_unet

from randrop import nets
from randrop.errors import UserError
from randrop.prediction import inference

BACKENDS = ("caffe", "onnxruntime", "opencv")


@pytest.fixture(scope="module")
def run(caffe, tmp_path_factory):
    return small_unet.write_run(caffe, tmp_path_factory.mktemp("run"))


def load(run, backend, deploy="deploy.prototxt", weights="final.caffemodel"):
    return inference.load(run / deploy, run / weights, backend)


@pytest.mark.parametrize("depth", [2, 4])
def test_all_backends_compute_the_same(caffe, tmp_path, depth):
    run = small_unet.write_run(caffe, tmp_path, ("MA", "HE", "EX", "SE"), depth, 8)
    batch = np.random.default_rng(1).normal(0, 1, (1, 3, 96, 160)).astype(np.float32)
    outputs = [load(run, backend).forward(batch) for backend in BACKENDS]
    assert outputs[0].shape == (1, 4, 96, 160)
    for output in outputs[1:]:
        assert np.abs(output - outputs[0]).max() < 1e-5
    # A network with the same output everywhere would make the test meaningless.
    assert outputs[0].std(axis=(2, 3)).min() > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_tells_its_channels_and_stride(run, backend):
    network = load(run, backend)
    assert (network.backend, network.channels, network.stride) == (backend, 2, 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_takes_one_shape_after_another(run, backend):
    forward = load(run, backend).forward
    rng = np.random.default_rng(2)
    first = rng.normal(0, 1, (1, 3, 32, 48)).astype(np.float32)
    once = forward(first)
    kept = once.copy()
    assert forward(np.zeros((1, 3, 64, 16), np.float32)).shape == (1, 2, 64, 16)
    # A result stays unchanged when the network runs again.
    np.testing.assert_array_equal(once, kept)
    np.testing.assert_array_equal(forward(first), kept)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_damaged_weights_are_refused(run, tmp_path, backend, share):
    content = (run / "final.caffemodel").read_bytes()
    damaged = tmp_path / "damaged.caffemodel"
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"damaged\.caffemodel.*of the same training"):
        inference.load(run / "deploy.prototxt", damaged, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", [{"base_channels": 8}, {"depth": 4}])
def test_weights_of_another_network_are_refused(caffe, run, tmp_path, backend, change):
    other = small_unet.write_run(caffe, tmp_path / "other", **change)
    with pytest.raises(UserError, match="of the same training"):
        inference.load(other / "deploy.prototxt", run / "final.caffemodel", backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layer_that_the_weights_lack_is_named(caffe, run, tmp_path, backend):
    text = (run / "deploy.prototxt").read_text()
    name = next(n for n in caffe.Net(str(run / "deploy.prototxt"), 1).params)
    deploy = tmp_path / "renamed.prototxt"
    deploy.write_text(text.replace(f'name: "{name}"', 'name: "another"'))
    with pytest.raises(UserError, match=r"no data for layer another"):
        inference.load(deploy, run / "final.caffemodel", backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_layer_types_are_named(run, tmp_path, backend):
    deploy = tmp_path / "deploy.prototxt"
    text = (run / "deploy.prototxt").read_text()
    deploy.write_text(text.replace('"Sigmoid"', '"Wonder"'))
    with pytest.raises(UserError, match="Wonder"):
        inference.load(deploy, run / "final.caffemodel", backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deploy_file_that_does_not_parse_is_refused(run, tmp_path, backend):
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text("layer { nonsense")
    with pytest.raises(UserError, match=r"deploy\.prototxt"):
        inference.load(deploy, run / "final.caffemodel", backend)


@pytest.mark.parametrize(
    "kind",
    [
        "Python",
        "Data",
        "HDF5Data",
        "Accuracy",
        "SigmoidCrossEntropyLoss",
        "SigmoidRandomDropCELoss",
        "SigmoidRandomDropCELossLayer",
        "SigmoidRandomDropCELossParameter",
    ],
)
def test_training_layers_in_a_deploy_file_are_named(tmp_path, kind):
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(f'layer {{ name: "x" type:"{kind}" }}')
    with pytest.raises(UserError, match=rf"training layers \({kind}\)"):
        inference.check_deploy(deploy)


def test_names_and_comments_are_no_training_layers(tmp_path):
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(
        'layer { name: "Data" type: "Input" } # type: "Python"\n'
        'layer { name: "L" type: "Convolution" top: "Loss" '
        'convolution_param { weight_filler { type: "msra" } } }'
    )
    inference.check_deploy(deploy)


def test_missing_and_swapped_files_are_named(run, tmp_path):
    with pytest.raises(UserError, match=r"network file .*none\S* does not exist"):
        inference.load(tmp_path / "none", run / "final.caffemodel")
    with pytest.raises(UserError, match=r"weights file .*none\S* does not exist"):
        inference.load(run / "deploy.prototxt", tmp_path / "none")
    with pytest.raises(UserError, match="are not swapped"):
        inference.load(run / "final.caffemodel", run / "deploy.prototxt")


def test_gpu_computes_the_same_or_is_refused(run):
    files = (run / "deploy.prototxt", run / "final.caffemodel")
    with pytest.raises(UserError, match="--gpu needs Caffe"):
        inference.load(*files, "onnxruntime", gpu=True)
    batch = np.random.default_rng(4).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    expected = inference.load(*files, "caffe").forward(batch)
    try:
        network = inference.load(*files, "caffe", gpu=True)
    except UserError as error:
        assert "omit --gpu" in str(error)
    else:
        np.testing.assert_allclose(network.forward(batch), expected, atol=1e-4)
        inference.load(*files, "caffe")


def test_opencv_needs_no_reader_of_caffe_models(run, monkeypatch):
    # Version 5 has none; version 4 is what Python 3.10 gets.
    monkeypatch.delattr(cv2.dnn, "readNetFromCaffe", raising=False)
    batch = np.random.default_rng(5).normal(0, 1, (1, 3, 16, 16)).astype(np.float32)
    outputs = [load(run, backend).forward(batch) for backend in ("caffe", "opencv")]
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_networks_of_volumes_are_no_networks_of_photographs(caffe, tmp_path, backend):
    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "final.caffemodel"
    deploy.write_text(nets.explog3d(2, base_channels=1, convolutions=(1,)))
    caffe.Net(str(deploy), caffe.TEST).save(str(weights))
    with pytest.raises(UserError, match="batchx1x"):
        inference.load(deploy, weights, backend)


def test_without_caffe_onnxruntime_is_taken_and_without_it_opencv(run, monkeypatch):
    monkeypatch.setattr(inference, "_caffe_is_built", lambda: False)
    assert load(run, "auto").backend == "onnxruntime"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert load(run, "auto").backend == "opencv"
    with pytest.raises(UserError, match=r"cannot be imported.*--backend opencv"):
        load(run, "onnxruntime")
