"""The U-Net: the files in prototxt/, its parameters, its deployment by OpenCV."""

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY
from google.protobuf import text_format

from randrop import nets
from randrop.errors import UserError

RANDOM_DROP = nets.Loss(
    "SigmoidRandomDropCELoss",
    "randrop_loss_param",
    {"schedule_type": "SQU", "first_iteration": 7},
    has_mask=True,
)


def parse(caffe, text, message="NetParameter"):
    return text_format.Parse(text, getattr(caffe.proto.caffe_pb2, message)())


def test_files_are_what_the_generator_writes(caffe):
    from make_prototxt import unet_files

    files = unet_files()
    assert sorted(files) == ["deploy", "solver", "train_val"]
    for name, text in files.items():
        path = REPOSITORY / "prototxt" / "unet" / f"{name}.prototxt"
        assert path.read_text() == text, "run scripts/make_prototxt.py"
    parse(caffe, files["solver"], "SolverParameter")


@pytest.mark.parametrize(
    ("lesions", "base", "depth"),
    [(["MA"], 4, 1), (["EX", "SE"], 6, 2), (["MA", "HE", "EX", "SE"], 3, 4)],
)
def test_parameters_make_the_net(caffe, tmp_path, lesions, base, depth):
    text = nets.unet(lesions, base_channels=base, depth=depth, prior=0.02)
    path = tmp_path / "deploy.prototxt"
    path.write_text(text)
    net = caffe.Net(str(path), caffe.TEST)
    size = 5 * 2 ** (depth - 1)
    net.blobs["data"].reshape(1, 3, size, size)
    net.reshape()
    assert net.blobs["prob"].data.shape == (1, len(lesions), size, size)
    assert net.params["down0_conv1"][0].data.shape == (base, 3, 3, 3)
    deepest = net.params[f"down{depth - 1}_conv1"][0].data.shape[0]
    assert deepest == base * 2 ** (depth - 1)
    net.blobs["data"].data[...] = 0
    assert net.forward()["prob"] == pytest.approx(0.02, rel=1e-3)


def test_loss_layers(caffe):
    data = {"root": "x", "lesions": ["MA"]}
    native = parse(caffe, nets.unet(["MA"], data, RANDOM_DROP, depth=1)).layer[-1]
    assert native.type == "SigmoidRandomDropCELoss"
    assert native.randrop_loss_param.schedule_type == 1
    assert native.randrop_loss_param.first_iteration == 7
    assert native.loss_param.ignore_label == 255
    twin = nets.dataclasses.replace(RANDOM_DROP, python=True)
    layer = parse(caffe, nets.unet(["MA"], data, twin, depth=1)).layer[-1]
    assert (layer.type, list(layer.loss_weight)) == ("Python", [1])
    assert '"first_iteration": 7' in layer.python_param.param_str
    plain = nets.Loss("SigmoidCrossEntropyLoss")
    assert parse(caffe, nets.unet(["MA"], data, plain, depth=1)).layer[-1].type == (
        "SigmoidCrossEntropyLoss"
    )
    watched = parse(caffe, nets.unet(["MA"], data, RANDOM_DROP, depth=1, watch={}))
    assert [layer.name for layer in watched.layer][-3:] == ["loss", "silence", "watch"]


def test_an_unknown_field_names_the_remedy(caffe):
    loss = nets.Loss("SigmoidRandomDropCELoss", "no_such_param", {"a": 1})
    with pytest.raises(UserError, match=r"knows no field no_such_param.*patch_caffe"):
        nets.unet(["MA"], {"root": "x"}, loss)


@pytest.mark.parametrize(
    "wrong", [{"base_channels": 0}, {"depth": 0}, {"prior": 1.0}, {"lesions": []}]
)
def test_parameters_out_of_range(caffe, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        nets.unet(**({"lesions": ["MA"]} | wrong))


def test_opencv_computes_the_same_as_caffe(caffe, tmp_path):
    rng = np.random.default_rng(0)
    text = nets.unet(["MA", "HE"], base_channels=4, depth=3, size=(48, 64))
    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel"
    deploy.write_text(text)
    net = caffe.Net(str(deploy), caffe.TEST)
    for name, blobs in net.params.items():
        for k, blob in enumerate(blobs):
            if "_bn" in name:
                values = [
                    rng.normal(size=blob.data.shape),
                    rng.uniform(1, 3, 99),
                    [2.0],
                ]
                blob.data[...] = values[k][: blob.data.size]
            else:
                blob.data[...] += rng.normal(0, 0.1, blob.data.shape)
    net.save(str(weights))
    x = rng.normal(size=(1, 3, 48, 64)).astype(np.float32)
    net.blobs["data"].data[...] = x
    wanted = net.forward()["prob"]
    other = cv2.dnn.readNetFromCaffe(str(deploy), str(weights))
    other.setInput(x)
    assert wanted.std() > 1e-3
    np.testing.assert_allclose(other.forward(), wanted, atol=1e-4)
