"""The U-Net: the files in prototxt/, its parameters, its deployment by OpenCV."""

import dataclasses

import numpy as np
import pytest
from conftest import REPOSITORY
from google.protobuf import text_format

from randrop import nets
from randrop.errors import UserError
from randrop.losses.registry import LAYERS
from randrop.nets.losses import Loss
from randrop.prediction import inference

RANDOM_DROP = Loss(
    "SigmoidRandomDropCELoss",
    "randrop_loss_param",
    {"schedule_type": "SQU", "first_iteration": 7},
)


def parse(caffe, text, message="NetParameter"):
    return text_format.Parse(text, getattr(caffe.proto.caffe_pb2, message)())


@pytest.mark.parametrize("network", ["unet", "lseg", "explog3d"])
def test_files_are_what_the_generator_writes(caffe, network):
    from make_prototxt import files_of

    files, folder = files_of(network), REPOSITORY / "prototxt" / network
    assert sorted(files) == sorted(path.name for path in folder.iterdir())
    for name, text in files.items():
        assert (folder / name).read_text() == text, "run scripts/make_prototxt.py"
    parse(caffe, files["solver.prototxt"], "SolverParameter")


@pytest.mark.parametrize(
    ("lesions", "base", "depth"),
    [(["MA"], 4, 1), (["EX", "SE"], 6, 2), (["MA", "HE", "EX", "SE"], 3, 4)],
)
def test_parameters_make_the_net(caffe, tmp_path, lesions, base, depth):
    text = nets.unet(len(lesions), base_channels=base, depth=depth, prior=0.02)
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


def test_no_level_has_more_channels(caffe, tmp_path):
    """As if channels stopped to double; without effect where they never get there."""
    path = tmp_path / "deploy.prototxt"
    path.write_text(
        nets.unet(2, base_channels=3, depth=4, max_channels=7, shape=(3, 24, 32))
    )
    net = caffe.Net(str(path), caffe.TEST)
    widths = [3, 6, 7, 7]
    for level, width in enumerate(widths):
        below = widths[level - 1] if level else 3
        assert net.params[f"down{level}_conv1"][0].data.shape == (width, below, 3, 3)
        assert net.params[f"down{level}_conv2"][0].data.shape == (width, width, 3, 3)
    for level, width in enumerate(widths[:-1]):
        up, joined = widths[level + 1], 2 * width
        assert net.params[f"up{level}_deconv"][0].data.shape == (up, width, 2, 2)
        assert net.params[f"up{level}_conv1"][0].data.shape == (width, joined, 3, 3)
    assert net.blobs["prob"].data.shape == (1, 2, 24, 32)
    assert nets.unet(1, base_channels=4, max_channels=32) == nets.unet(
        1, base_channels=4
    )


def small(caffe, *losses, cells=False, **more):
    feed = nets.PatchFeed({"root": "x", "lesions": ["MA"], "cells": cells})
    return parse(caffe, nets.unet(1, feed, losses, depth=1, **more)).layer


def test_loss_layers(caffe):
    native = small(caffe, RANDOM_DROP)[-1]
    assert native.type == "SigmoidRandomDropCELoss"
    assert native.randrop_loss_param.schedule_type == 1
    assert native.randrop_loss_param.first_iteration == 7
    assert native.loss_param.ignore_label == 255
    layer = small(caffe, dataclasses.replace(RANDOM_DROP, python=True))[-1]
    assert (layer.type, list(layer.loss_weight)) == ("Python", [1])
    assert '"first_iteration": 7' in layer.python_param.param_str
    plain = small(caffe, Loss("SigmoidCrossEntropyLoss"))[-1]
    assert plain.type == "SigmoidCrossEntropyLoss"
    watched = small(caffe, RANDOM_DROP, watch={})
    assert [layer.name for layer in watched][-3:] == ["loss", "silence", "watch"]


def test_a_caffe_that_lacks_an_option_is_named(caffe):
    loss = dataclasses.replace(RANDOM_DROP, params={"of_tomorrow": 1})
    with pytest.raises(UserError, match="its randrop_loss_param has no of_tomorrow"):
        small(caffe, loss)


def test_losses_are_added(caffe):
    losses = nets.parse_losses("cross-entropy+top-k-dice:30,weight=0.5", "SOFTMAX")
    ce, dice = small(caffe, *losses, activation="SOFTMAX")[-2:]
    assert (ce.type, list(ce.top)) == ("SoftmaxWithLoss", ["loss_cross-entropy"])
    assert (dice.type, list(dice.top)) == ("TopKDiceLoss", ["loss_top-k-dice"])
    assert dice.randrop_dice_param.k_percent == 30
    assert list(dice.loss_weight) == [0.5]


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize(
    ("text", "layer", "values"),
    [
        ("cc-dice-ce", "SoftDiceLoss", {"weight_cross": 1, "squared": False}),
        ("tversky:cells=true", "TverskyLoss", {"alpha": 0.3}),
    ],
)
def test_losses_over_cells_take_them_from_the_data(caffe, text, layer, values, python):
    losses = nets.parse_losses(f"cross-entropy+{text}", "SIGMOID", python=python)
    *rest, ce, found = small(caffe, *losses, cells=True)
    assert list(rest[0].top) == ["data", "label", "cells"]
    assert list(ce.bottom) == ["score", "label"]
    assert list(found.bottom) == ["score", "label", "cells"]
    if python:
        assert found.python_param.layer == f"{layer}Layer"
        assert "cells" not in found.python_param.param_str
        return
    assert found.type == layer
    message = getattr(found, LAYERS[layer].field)
    assert {name: getattr(message, name) for name in values} == pytest.approx(values)


def test_a_loss_over_cells_needs_data_that_has_them(caffe):
    losses = nets.parse_losses("cc-dice-ce", "SIGMOID")
    with pytest.raises(UserError, match="cells=true needs the cells of the lesions"):
        small(caffe, *losses)
    small(caffe, *nets.parse_losses("cc-dice-ce:cells=false", "SIGMOID"))


@pytest.mark.parametrize(
    ("text", "activation", "field", "values"),
    [
        ("random-drop:SQU", "SIGMOID", "randrop_loss_param", {"schedule_type": 1}),
        ("class-balanced", "SIGMOID", "randrop_loss_param", {"schedule_type": 3}),
        ("bin:5", "SIGMOID", "randrop_topk_param",
         {"selection": 1, "negatives_per_positive": 5}),
        ("focal:1,class_alpha=0.2/0.8", "SOFTMAX", "randrop_focal_param",
         {"gamma": 1, "class_alpha": [0.2, 0.8]}),
        ("dice:squared=false", "SIGMOID", "randrop_dice_param",
         {"squared": False, "activation": 1}),
        ("pm-dice:1.5", "SIGMOID", "randrop_dice_param",
         {"gamma": 1.5, "squared": True, "activation": 1}),
        ("random-drop:LINEAR,keep=HARDEST", "SIGMOID", "randrop_loss_param",
         {"schedule_type": 0, "keep": 2}),
        ("exp-log:label_frequency=train", "SOFTMAX", "randrop_explog_param",
         {"label_frequency": [0.9, 0.1]}),
    ],
)  # fmt: skip
def test_losses_are_read(caffe, text, activation, field, values):
    losses = nets.parse_losses(text, activation, [0.9, 0.1])
    message = getattr(small(caffe, *losses, activation=activation)[-1], field)
    for name, value in values.items():
        found = getattr(message, name)
        assert (list(found) if isinstance(value, list) else found) == value


@pytest.mark.parametrize(
    ("text", "activation", "message"),
    [
        ("hinge", "SIGMOID", "loss 'hinge' is unknown: choose from cross-entropy"),
        ("exp-log", "SIGMOID", "needs a sigmoid network"),
        ("random-drop", "SOFTMAX", "needs a softmax network.*choose from cross"),
        ("focal:gama=2", "SIGMOID", "unknown parameter 'gama': choose from.*gamma"),
        ("focal:gamma=x", "SIGMOID", "gamma is 'x': give a number"),
        ("random-drop:LIN", "SIGMOID", "schedule_type is 'LIN': it must be 'LINEAR'"),
        ("dice:squared=1", "SIGMOID", "squared is '1': write true or false"),
        ("dice:5", "SIGMOID", "'5' must have the form KEY=VALUE"),
        ("dice:cells=1", "SIGMOID", "cells is '1': write true or false"),
        ("top-k-dice:cells=true", "SIGMOID", "cells is for dice and tversky"),
        ("cross-entropy:cells=true", "SIGMOID", "cells is for dice and tversky"),
        (
            "pm-dice:smooth=0",
            "SIGMOID",
            "pm-dice:smooth=0: smooth is 0, which gamma does not allow",
        ),
        ("random-drop:LOG,keep=HARDEST,seed=1", "SIGMOID", "seed has no effect"),
        ("class-balanced:keep=UNIFORM", "SIGMOID", "keep has no effect"),
        ("dice:normalization=MEAN", "SIGMOID", "unknown parameter 'normalization'"),
        ("focal:normalization=MEAN", "SIGMOID", "normalization is 'MEAN': .*'FULL'"),
        ("focal:gamma=-1", "SIGMOID", "gamma is -1.0: .* equal to 0"),
        ("focal:gamma=nan", "SIGMOID", "gamma is nan: .*not NaN"),
        ("focal:gamma=1e999", "SIGMOID", "gamma is inf"),
        ("focal:gamma=1,gamma=2", "SIGMOID", "gamma appears twice"),
        ("dice:weight=0", "SIGMOID", "weight is 0: give a number above 0"),
        ("dice:weight=nan", "SIGMOID", "weight is nan: give a number above 0"),
        ("dice:activation=SOFTMAX", "SIGMOID", "the network has activation SIGMOID"),
        (
            "exp-log:label_frequency=1/2/3",
            "SOFTMAX",
            "label_frequency has 3 values for 2 classes",
        ),
        ("focal:class_alpha=1/2/3", "SOFTMAX", "class_alpha has 3 values for 2"),
        ("top-k:selection=EXACT,k_percent=5", "SIGMOID", "k_percent has no effect"),
        ("top-k:5,balance=BATCH", "SIGMOID", "balance has no effect"),
        ("bin:k_percent=5", "SIGMOID", "k_percent has no effect"),
        ("class-balanced:seed=3", "SIGMOID", "seed has no effect"),
        ("focal:alpha=0.3,alpha_mode=PER_IMAGE", "SIGMOID", "alpha has no effect"),
        (
            "dice:include_background=true",
            "SIGMOID",
            "include_background has no effect",
        ),
        ("weighted-cross-entropy:gamma_dice=1", "SOFTMAX", "gamma_dice has no effect"),
        ("top-k:selection=EXACT", "SOFTMAX", "unknown parameter 'selection'"),
        ("cross-entropy:gamma=1", "SIGMOID", "unknown parameter 'gamma'"),
        ("exp-log:label_frequency=train", "SOFTMAX", "has no label frequencies"),
    ],
)
def test_a_loss_that_is_not_understood(caffe, text, activation, message):
    with pytest.raises(UserError, match=message):
        nets.parse_losses(text, activation, classes=2)


def test_a_share_selects_by_share(caffe):
    """top-k:5 also means 5 % for a sigmoid; top-k alone keeps its meaning."""
    for python in (False, True):
        (loss,) = nets.parse_losses("top-k:5", "SIGMOID", python=python)
        assert loss.params == {"k_percent": 5, "selection": "PERCENT"}
        (loss,) = nets.parse_losses("top-k", "SIGMOID", python=python)
        assert loss.params == {}
        (loss,) = nets.parse_losses("top-k:5", "SOFTMAX", python=python)
        assert loss.params == {"k_percent": 5}


def test_an_unknown_field_names_the_remedy(caffe):
    loss = Loss("SigmoidRandomDropCELoss", "no_such_param", {"a": 1})
    with pytest.raises(
        UserError, match=r"does not know the field no_such_param.*patch_caffe"
    ):
        small(caffe, loss)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_channels": 0},
        {"depth": 0},
        {"prior": 1.0},
        {"channels": 0},
        {"max_channels": 15},
    ],
)
def test_parameters_out_of_range(caffe, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        nets.unet(**({"channels": 1} | wrong))


def test_opencv_computes_the_same_as_caffe(caffe, tmp_path):
    rng = np.random.default_rng(0)
    text = nets.unet(2, base_channels=4, depth=3, shape=(3, 48, 64))
    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel"
    deploy.write_text(text)
    # Random weights may make the network output the same value everywhere.
    caffe.set_random_seed(1)
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
    assert wanted.std() > 1e-3
    for backend in ("onnxruntime", "opencv"):
        other = inference.load(deploy, weights, backend)
        np.testing.assert_allclose(other.forward(x), wanted, atol=1e-5)


# --- lseg


def lseg_layers(caffe, **options):
    feed = nets.InputFeed((1, 3, 64, 64), (1, 2, 64, 64))
    losses = nets.parse_losses("class-balanced", "SIGMOID")
    return parse(caffe, nets.lseg(2, feed, losses, base_channels=2, **options)).layer


def test_every_stage_has_a_loss_on_logits_of_full_size(caffe, tmp_path):
    path = tmp_path / "net.prototxt"
    feed = nets.InputFeed((1, 3, 64, 64), (1, 2, 64, 64))
    losses = nets.parse_losses("class-balanced", "SIGMOID")
    path.write_text(nets.lseg(2, feed, losses, base_channels=2))
    net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    net.blobs["data"].data[...] = rng.normal(0, 1, (1, 3, 64, 64))
    net.blobs["label"].data[...] = rng.random((1, 2, 64, 64)) < 0.1
    found = net.forward()
    assert set(found) == {"loss", *(f"loss_side{k}" for k in range(1, 6))}
    # Before any training all logits are those of the prior, whatever the stage.
    for name in ("score", "side1", "side2_up", "side5_up"):
        middle = net.blobs[name].data[..., 20:44, 20:44]
        assert np.abs(middle - np.log(0.01 / 0.99)).max() < 0.5
    net.backward()
    for name, blobs in net.params.items():
        assert np.abs(blobs[0].diff).max() > 0 or "up" in name or "bn" in name, name


def test_losses_of_the_stages_can_be_left_out(caffe):
    types = [layer.type for layer in lseg_layers(caffe, side_losses=False)]
    assert types.count("SigmoidRandomDropCELoss") == 1


def test_without_batch_normalisation_the_layers_are_those_of_vgg_16(caffe):
    layers = lseg_layers(caffe, batch_norm=False, depth=5)
    names = [layer.name for layer in layers if layer.name.startswith("conv")]
    stages = zip((2, 2, 3, 3, 3), range(1, 6), strict=True)
    assert names == [f"conv{s}_{k + 1}" for count, s in stages for k in range(count)]
    widths = {layer.name: layer.convolution_param.num_output for layer in layers}
    assert [widths[f"conv{s}_1"] for s in range(1, 6)] == [2, 4, 8, 16, 16]


def test_opencv_reads_the_deployed_lseg(caffe, tmp_path):
    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel"
    deploy.write_text(nets.lseg(2, base_channels=2, shape=(3, 64, 96)))
    net = caffe.Net(str(deploy), caffe.TEST)
    for name, blobs in net.params.items():
        if "bn" in name:
            blobs[1].data[...] = blobs[2].data[...] = 1
    net.save(str(weights))
    batch = np.random.default_rng(0).normal(0, 1, (1, 3, 64, 96)).astype(np.float32)
    outputs = [
        inference.load(deploy, weights, backend).forward(batch)
        for backend in ("caffe", "opencv")
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-4)


@pytest.mark.parametrize("wrong", [{"depth": 6}, {"base_channels": 0}, {"prior": 1}])
def test_lseg_parameters_out_of_range_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        nets.lseg(**({"channels": 1} | wrong))
