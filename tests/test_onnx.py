"""A network of Caffe and its translation into ONNX are the same function."""

import itertools
import json

import numpy as np
import onnx
import pytest
import small_unet
from conftest import REPOSITORY

from randrop import nets
from randrop.errors import UserError
from randrop.exchange import messages, onnx_model, reading
from randrop.prediction import without_caffe

RUNTIMES = {
    "onnxruntime": without_caffe.in_onnxruntime,
    "opencv": without_caffe.in_opencv,
}


def write(caffe, folder, text, seed=0):
    """Write a deploy file and random weights for it."""
    deploy, weights = folder / "deploy.prototxt", folder / "final.caffemodel"
    deploy.write_text(text)
    net = caffe.Net(str(deploy), caffe.TEST)
    small_unet.randomise(net, seed)
    net.save(str(weights))
    return deploy, weights


def by_caffe(caffe, files, batch):
    net = caffe.Net(*map(str, files), caffe.TEST)
    net.blobs[net.inputs[0]].reshape(*batch.shape)
    net.blobs[net.inputs[0]].data[...] = batch
    return net.forward()[net.outputs[0]]


def assert_same(caffe, files, batches, runtimes=tuple(RUNTIMES), varied=1e-3):
    model = onnx_model.convert(*files).model
    for name in runtimes:
        forward = RUNTIMES[name](model)
        for batch in batches:
            expected = by_caffe(caffe, files, batch)
            found = forward(batch)
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() < 1e-5, (name, batch.shape)
            if batch.any():
                assert expected.std() > varied or expected.size < 8
    return model


def noise(*shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


# --- the networks that the project makes

UNETS = [
    *({"depth": depth, "base_channels": 3} for depth in (1, 2, 5)),
    {"depth": 4, "base_channels": 16, "channels": 4},
    {"activation": "SOFTMAX", "channels": 3, "base_channels": 4, "depth": 3},
]
LSEGS = [
    {"base_channels": 3},
    {"base_channels": 2, "depth": 1},
    {"base_channels": 4, "depth": 3, "batch_norm": False},
    {"base_channels": 2, "activation": "SOFTMAX", "channels": 3},
]


@pytest.mark.parametrize(
    ("make", "options"),
    [*((nets.unet, u) for u in UNETS), *((nets.lseg, s) for s in LSEGS)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_networks_of_photographs_are_the_same_at_every_size(
    caffe, tmp_path, make, options
):
    options = {"channels": 2, **options}
    files = write(caffe, tmp_path, make(**options))
    side = 2 ** (options.get("depth", 4 if make is nets.unet else 5) - 1)
    assert onnx_model.convert(*files).multiple == side
    assert_same(
        caffe,
        files,
        [
            noise(1, 3, 3 * side, 5 * side),
            noise(2, 3, 7 * side, side),
            noise(1, 3, side, side),
            np.zeros((1, 3, 2 * side, 3 * side), np.float32),
            np.zeros((2, 3, side, side), np.float32),
        ],
    )


@pytest.mark.parametrize("convolutions", [(1,), (1, 2, 2)])
def test_networks_of_volumes_are_the_same(caffe, tmp_path, convolutions):
    text = nets.explog3d(
        4, shape=(2, 8, 4, 12), base_channels=3, convolutions=convolutions
    )
    files = write(caffe, tmp_path, text)
    batches = [noise(1, 2, 8, 4, 12), noise(3, 2, 8, 4, 12)]
    model = assert_same(caffe, files, batches, ["onnxruntime"])
    sides = model.graph.input[0].type.tensor_type.shape.dim[2:]
    free = {"depth", "height", "width"}
    fixed = {side.dim_value for side in sides} == {8, 4, 12}
    assert fixed or {side.dim_param for side in sides} == free


@pytest.mark.parametrize("name", ["unet", "lseg", "explog3d"])
def test_the_networks_of_prototxt_are_the_same(caffe, tmp_path, name):
    deploy = REPOSITORY / "prototxt" / name / "deploy.prototxt"
    files = write(caffe, tmp_path, deploy.read_text())
    shape = (1, 1, 32, 32, 32) if name == "explog3d" else (1, 3, 64, 96)
    assert_same(caffe, files, [noise(*shape)], ["onnxruntime"])


# --- layers and their options

INPUT = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 4 dim: 9 dim: 7 } } }
"""
CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 %s } }
"""
UP = CONV.replace("Convolution", "Deconvolution")
POOL = """
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { %s } }
"""
TWO = CONV % "kernel_size: 1" + CONV.replace('"conv"', '"other"') % "kernel_size: 1"
SUM = """
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "other" top: "sum"
  eltwise_param { %s } }
"""
ONE = 'layer { name: "one" type: "%s" bottom: "data" top: "%s" %s }\n'
FLAT = """
layer { name: "flat" type: "Reshape" bottom: "data" top: "flat"
  reshape_param { shape { dim: 0 dim: -1 dim: 7 } } }
"""
IN_PLACE = ONE % ("ReLU", "data", "")
LAYERS = {
    "stride and pad": CONV % "kernel_size: 3 stride: 2 pad: 1",
    "sides of a kernel": CONV
    % "kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 stride_h: 2 stride_w: 1",
    "a value for each axis": CONV % "kernel_size: 3 kernel_size: 1 pad: 1 pad: 0",
    "dilation": CONV % "kernel_size: 3 dilation: 2 pad: 2",
    "groups": CONV % "kernel_size: 3 group: 2 bias_term: false",
    "up": UP % "kernel_size: 4 stride: 2 pad: 1",
    "up in groups": UP % "kernel_size: 2 stride: 2 group: 2 bias_term: false",
    "largest of odd sides": POOL % "kernel_size: 2 stride: 2",
    "largest of overlapping windows": POOL % "kernel_size: 3 stride: 2",
    "largest of rows": POOL % "kernel_h: 2 kernel_w: 1 stride_h: 2 stride_w: 1",
    "largest with padding": POOL % "kernel_size: 3 pad: 1",
    "mean": POOL % "pool: AVE kernel_size: 3 stride: 2",
    "mean of all": POOL % "pool: AVE global_pooling: true",
    "largest of all": POOL % "global_pooling: true",
    "sum": TWO + SUM % "",
    "weighed sum": TWO + SUM % "coeff: 0.5 coeff: -2",
    "product": TWO + SUM % "operation: PROD",
    "larger": TWO + SUM % "operation: MAX",
    "joined rows": TWO
    + 'layer { name: "all" type: "Concat" bottom: "conv" bottom: "other" top: "all" '
    "concat_param { axis: 2 } }",
    "joined channels": TWO
    + 'layer { name: "all" type: "Concat" bottom: "conv" bottom: "other" top: "all" '
    "concat_param { concat_dim: 1 } }",
    "one blob twice": CONV % "kernel_size: 1"
    + 'layer { name: "all" type: "Concat" bottom: "conv" bottom: "data" top: "all" }',
    "leaky": ONE % ("ReLU", "one", "relu_param { negative_slope: 0.1 }"),
    "tanh": ONE % ("TanH", "one", ""),
    "dropout": CONV % "kernel_size: 1"
    + 'layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }',
    "softmax": ONE % ("Softmax", "one", ""),
    "softmax of columns": ONE % ("Softmax", "one", "softmax_param { axis: 3 }"),
    "normalised input": ONE % ("BatchNorm", "one", ""),
    "normalised twice": CONV % "kernel_size: 1"
    + 'layer { name: "a" type: "BatchNorm" bottom: "conv" top: "conv" }'
    + 'layer { name: "b" type: "BatchNorm" bottom: "conv" top: "conv" '
    "batch_norm_param { eps: 0.3 } }",
    "scale": ONE % ("Scale", "one", "scale_param { bias_term: true }"),
    "scale alone": ONE % ("Scale", "one", ""),
    "new shape": FLAT,
    "in place": IN_PLACE + CONV % "kernel_size: 1" + IN_PLACE.replace("data", "conv"),
}


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_a_layer_is_the_same_with_each_of_its_options(caffe, tmp_path, layers):
    files = write(caffe, tmp_path, INPUT + layers)
    batches = [noise(2, 4, 9, 7)]
    if "Reshape" not in layers:
        batches += [noise(1, 4, 11, 8), noise(3, 4, 5, 5)]
    assert_same(caffe, files, batches, ["onnxruntime"])


def test_inputs_of_old_deploy_files_are_understood(caffe, tmp_path):
    old = 'input: "data" input_dim: 2 input_dim: 4 input_dim: 9 input_dim: 7\n'
    shape = 'input: "data" input_shape { dim: 2 dim: 4 dim: 9 dim: 7 }\n'
    for head in (old, shape):
        files = write(caffe, tmp_path, head + CONV % "kernel_size: 3")
        assert_same(caffe, files, [noise(2, 4, 9, 7)], ["onnxruntime"])


def test_weights_of_old_files_are_read(caffe, tmp_path):
    files = write(caffe, tmp_path, INPUT + CONV % "kernel_size: 3")
    batch = noise(2, 4, 9, 7)
    expected = by_caffe(caffe, files, batch)
    new = reading.read_weights(files[1], "")
    old = messages.NetParameter()
    for layer in new.layer:
        if layer.blobs:
            made = old.layers.add(name=layer.name, blobs=layer.blobs)
            for blob in made.blobs:
                shape = (1,) * (4 - len(blob.shape.dim)) + tuple(blob.shape.dim)
                blob.num, blob.channels, blob.height, blob.width = shape
                blob.ClearField("shape")
    files[1].write_bytes(old.SerializeToString())
    found = without_caffe.in_onnxruntime(onnx_model.convert(*files).model)(batch)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- what is refused


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (ONE % ("LRN", "one", ""), r"'one' has the type LRN.*Convolution"),
        (ONE % ("Wonder", "one", "wonder_param { x: 1 }"), "'one' has the type Wonder"),
        (CONV % "kernel_size: 3 wonder: 1", 'no field named "wonder"'),
        (CONV % "kernel_size: 3 axis: 2", "'conv' has axis 2"),
        (CONV % "kernel_size: 99", "'conv' has no output"),
        (CONV % "kernel_size: 1" + SUM % "", "'sum' reads 'other', which no layer"),
        (POOL % "kernel_size: 3 stride: 2 pad: 1", "'pool' has pad"),
        (POOL % "pool: AVE kernel_size: 3 pad: 1", "'pool' has pad"),
        (POOL % "pool: STOCHASTIC kernel_size: 2", "'pool' has stochastic"),
        (
            ONE % ("BatchNorm", "one", "batch_norm_param { use_global_stats: false }"),
            "'one' has use_global_stats: false",
        ),
        (ONE % ("Scale", "one", "scale_param { axis: 2 }"), "'one' has other axes"),
        (ONE % ("ReLU", "one", "include { phase: TEST }"), "'one' has include"),
        (ONE % ("ReLU", "a", "") + ONE % ("TanH", "b", ""), r"outputs \['a', 'b'\]"),
        ("", "no layer that computes|outputs"),
        (
            CONV % "kernel_size: 1" + SUM.replace("other", "data") % "",
            "'sum' gets shapes that do not match: 2x6x9x7 and 2x4x9x7",
        ),
        (FLAT.replace("dim: 7", "dim: 5"), "'flat' cannot give"),
        (FLAT.replace("dim: 0", "dim: 2"), "'flat' has a fixed number of images"),
    ],
)
def test_what_cannot_be_translated_is_named(tmp_path, layers, words):
    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "none.caffemodel"
    deploy.write_text(INPUT + layers)
    net = messages.NetParameter()
    for name, shapes in {
        "conv": [(6, 4, *[int(c) for c in "11"]), (6,)] if "1 }" in layers else [],
        "one": [(4,)],
    }.items():
        layer = net.layer.add(name=name)
        for shape in shapes:
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.extend(np.zeros(int(np.prod(shape))))
    weights.write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match=words) as caught:
        onnx_model.convert(deploy, weights)
    assert str(deploy) in str(caught.value)


def test_every_truncation_of_the_weights_is_refused(caffe, tmp_path):
    files = write(caffe, tmp_path, INPUT + CONV % "kernel_size: 1")
    content = files[1].read_bytes()
    torn = tmp_path / "torn.caffemodel"
    for length in range(len(content)):
        torn.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"torn\.caffemodel.*same training"):
            onnx_model.convert(files[0], torn)


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::DeprecationWarning")
def test_damaged_files_are_translated_or_refused(caffe, tmp_path):
    deploy, weights = write(caffe, tmp_path, nets.unet(1, base_channels=1, depth=2))
    good = {path: path.read_bytes() for path in (deploy, weights)}
    rng = np.random.default_rng(0)
    ends = {"translated": 0, "refused": 0}
    for turn in range(300):
        path = (deploy, weights)[turn % 2]
        content = bytearray(good[path])
        for place in rng.integers(0, len(content), 1 + turn % 4):
            content[place] = rng.integers(32, 127) if path is deploy else turn % 256
        path.write_bytes(content)
        try:
            onnx_model.convert(deploy, weights)
            ends["translated"] += 1
        except UserError as error:
            assert str(path) in str(error)
            ends["refused"] += 1
        path.write_bytes(good[path])
    assert min(ends.values()) > 30


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(caffe, tmp_path, value):
    deploy, weights = write(caffe, tmp_path, INPUT + CONV % "kernel_size: 1")
    net = caffe.Net(str(deploy), str(weights), caffe.TEST)
    net.params["conv"][0].data[0, 0, 0, 0] = value
    net.save(str(weights))
    with pytest.raises(UserError, match="'conv' has a weight that is not finite"):
        onnx_model.convert(deploy, weights)


# --- the file


def test_a_model_tells_how_to_use_it(caffe, tmp_path):
    run = small_unet.write_run(caffe, tmp_path, depth=3)
    facts = {
        "lesions": ["MA", "HE"],
        "thresholds": {"MA": 0.3, "HE": 0.6},
        "field_of_view": 1100,
        "iterations": 7,
        "data": "/home/somebody/photographs",
    }
    files = (run / "deploy.prototxt", run / "final.caffemodel")
    model = onnx_model.convert(*files, facts).model
    assert (model.ir_version, [o.version for o in model.opset_import]) == (8, [13])
    found = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(found["lesions"]) == ["MA", "HE"]
    assert json.loads(found["thresholds"]) == facts["thresholds"]
    assert (found["multiple_of"], found["channel_order"]) == ("4", "RGB")
    assert json.loads(found["training"])["iterations"] == 7
    assert "somebody" not in str(model)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == [
        *("batch", 3, "height", "width")
    ]
    read = onnx_model.facts_of(model)
    assert (read["field_of_view"], read["multiple_of"]) == (1100, 4)


def test_batch_normalisation_is_folded(caffe, tmp_path):
    run = small_unet.write_run(caffe, tmp_path)
    model = onnx_model.convert(run / "deploy.prototxt", run / "final.caffemodel").model
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "Relu", "MaxPool", "ConvTranspose", "Concat", "Sigmoid"}
    onnx.checker.check_model(model, full_check=True)


def test_softmax_outputs_name_the_background(caffe, tmp_path):
    files = write(caffe, tmp_path, nets.unet(3, activation="SOFTMAX", depth=2))
    model = onnx_model.convert(*files, {"lesions": ["MA", "HE"]}).model
    found = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(found["output_channels"]) == ["background", "MA", "HE"]


# --- our table of Caffe's format, and what our deploy files contain


def test_our_table_of_fields_is_caffes(caffe):
    theirs = caffe.proto.caffe_pb2
    for name, ours in messages.CLASSES.items():
        fields = getattr(theirs, name).DESCRIPTOR.fields_by_name
        for field in ours.DESCRIPTOR.fields:
            there = fields[field.name]
            assert (field.number, field.type) == (there.number, there.type), name
            assert field.is_repeated == there.is_repeated, (name, field.name)
            if not field.is_repeated and field.message_type is None:
                read = field.default_value == there.default_value
                unread = (
                    "mult" in field.name
                    or "decay" in field.name
                    or field.name
                    in (
                        *("value", "max", "std", "sparse", "moving_average_fraction"),
                        *("dropout_ratio", "type", "phase", "stable_prod_grad"),
                    )
                )
                assert read or unread, (name, field.name)
            if field.enum_type is not None:
                values = {v.name: v.number for v in field.enum_type.values}
                known = {v.name: v.number for v in there.enum_type.values}
                assert values.items() <= known.items()


def deploy_files():
    yield from sorted(REPOSITORY.glob("prototxt/*/deploy.prototxt"))
    yield from sorted(REPOSITORY.glob("models/*/deploy.prototxt"))


def test_deploy_files_have_nothing_that_caffe_1_lacks(caffe, tmp_path):
    # Our table has the fields of Caffe 1.0 alone, and is checked against it above.
    texts = {path: path.read_text() for path in deploy_files()}
    assert len(texts) >= 4
    for options in (*UNETS, *LSEGS):
        make = nets.lseg if options in LSEGS else nets.unet
        texts[str(options)] = make(**{"channels": 2, **options})
    for count in ((1,), (1, 2, 2)):
        texts[f"3-D {count}"] = nets.explog3d(3, convolutions=count)
    caffe_1 = {
        *("BatchNorm", "Concat", "Convolution", "Deconvolution", "Dropout", "Eltwise"),
        *("Input", "Pooling", "ReLU", "Reshape", "Scale", "Sigmoid", "Softmax"),
    }
    path = tmp_path / "deploy.prototxt"
    for name, text in texts.items():
        path.write_text(text)
        assert not reading.unknown_field(path), name
        net = reading.read_deploy(path, "")
        assert {layer.type for layer in net.layer} <= caffe_1, name


def test_names_in_a_graph_are_unique(caffe, tmp_path):
    again = (CONV % "kernel_size: 1").replace('"conv"', '"last"')
    again = again.replace('"data"', '"conv"')
    # The last blob has the name of an earlier layer.
    text = INPUT + LAYERS["in place"] + again.replace('top: "last"', 'top: "one"')
    files = write(caffe, tmp_path, text)
    model = assert_same(caffe, files, [noise(2, 4, 9, 7)], ["onnxruntime"])
    outputs = list(itertools.chain(*(node.output for node in model.graph.node)))
    assert len(set(outputs)) == len(outputs)
    assert model.graph.output[0].name == "one"


def test_layers_that_all_work_in_place_keep_input_and_output_apart(caffe, tmp_path):
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(INPUT + IN_PLACE)
    weights = tmp_path / "final.caffemodel"
    weights.write_bytes(b"")
    batch = noise(2, 4, 9, 7)
    model = onnx_model.convert(deploy, weights).model
    found = without_caffe.in_onnxruntime(model)(batch)
    np.testing.assert_array_equal(found, np.maximum(batch, 0))
