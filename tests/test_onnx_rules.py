"""What Caffe refuses is refused by its layer's name, and what differs is mended."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import small_unet
from onnx_nets import CONV, INPUT, ONE, POOL, SUM, TWO, by_caffe, noise, write

import export_onnx
from randrop.errors import UserError
from randrop.exchange import messages, onnx_model, torch_weights
from randrop.prediction import inference, without_caffe

CONCAT = 'layer { name: "all" type: "Concat" %s top: "all" concat_param { %s } }'
RESHAPE = (
    'layer { name: "flat" type: "Reshape" bottom: "data" top: "flat" '
    "reshape_param { shape { %s } } }"
)
TWICE = 'bottom: "data" bottom: "data"'
ELTWISE = 'layer { name: "sum" type: "Eltwise" %s top: "sum" eltwise_param { %s } }'

REFUSED = [
    (CONCAT % ("", ""), "'all' has 0 bottoms"),
    (CONCAT % (TWICE, "axis: 9"), "'all' has axis 9 of 4"),
    (CONCAT % (TWICE, "axis: 1 concat_dim: 1"), "'all' has both axis and concat_dim"),
    (ELTWISE % ("", ""), "'sum' has 0 bottoms"),
    (ELTWISE % ('bottom: "data"', ""), "'sum' has 1 bottoms.*not 2 or more"),
    (ELTWISE % (TWICE, "coeff: 2"), "'sum' has 1 coeff for 2 bottoms"),
    (ELTWISE % (TWICE, "coeff: 1 coeff: 1 coeff: 1"), "'sum' has 3 coeff"),
    (ELTWISE % (TWICE, "operation: PROD coeff: 1 coeff: 2"), "coeff for a product"),
    (CONV % "kernel_size: 3 group: 0", "'conv' has group 0"),
    (CONV % "kernel_size: 3 group: 4", "'conv' has group 4 for num_output 6"),
    (CONV % "kernel_size: 3 group: 3", "'conv' has group 3 of 4"),
    (CONV % "kernel_size: 3 stride: 0", "'conv' has stride 0"),
    (CONV % "kernel_size: 0", "'conv' has kernel 0"),
    (CONV % "kernel_size: 3 stride_h: 2", "'conv' has stride_h without"),
    (CONV % "kernel_size: 3 kernel_h: 1 kernel_w: 1", "both kernel and kernel_h"),
    (CONV % "kernel_size: 3 dilation: 0", "'conv' has dilation 0"),
    (CONV % "kernel_size: 3 pad: 4294967295", "'conv' has pad 4294967295"),
    (POOL % "kernel_size: 3 stride: 0", "'pool' has stride 0"),
    (POOL % "stride: 2", "'pool' has no kernel_size"),
    (POOL % "kernel_h: 2", "'pool' has kernel_h without"),
    (POOL % "kernel_size: 40", "'pool' has no output"),
    (POOL % "kernel_size: 1 stride: 3", "'pool' has a kernel smaller than the stride"),
    (POOL % "global_pooling: true stride: 2", "global_pooling and stride or pad"),
    (POOL % "global_pooling: true kernel_size: 2", "global_pooling and a kernel"),
    (ONE % ("Softmax", "one", "softmax_param { axis: 7 }"), "'one' has axis 7 of 4"),
    (RESHAPE % "dim: 0 dim: -1 dim: -1", "'flat' has two axes of -1"),
    (RESHAPE % "dim: 0 dim: 0 dim: 0 dim: 0 dim: 0", "'flat' has 0 for an axis"),
    (RESHAPE % "dim: 0 dim: -2", "'flat' has an axis of -2"),
    (RESHAPE % "", "'flat' has 0 axes"),
    (ONE % ("ReLU", "data", "") + CONV % "kernel_size: 1 pad: 2 axis: 9", "axis 9"),
    (
        (CONV % "kernel_size: 1").replace('top: "conv"', 'top: "data"'),
        "'conv' writes into 'data', which it reads",
    ),
    (
        ONE % ("ReLU", "a", "") + ONE % ("TanH", "a", ""),
        "'one' makes 'a', which was made before it",
    ),
    (
        ONE % ("ReLU", "a", "") + ONE % ("TanH", "data", ""),
        "'one' changes 'data', which another layer reads, too",
    ),
    (ONE % ("BatchNorm", "one", "phase: TRAIN"), "'one' has phase: TRAIN"),
    (
        ONE % ("BatchNorm", "one", 'param { name: "m" }'),
        "'one' has param without lr_mult: 0",
    ),
    (
        'layer { type: "ReLU" bottom: "nothing" top: "a" }',
        "a ReLU without a name reads 'nothing'",
    ),
]


def no_weights(folder, text):
    deploy, weights = folder / "deploy.prototxt", folder / "final.caffemodel"
    deploy.write_text(text)
    weights.write_bytes(b"")
    return deploy, weights


@pytest.mark.parametrize(("layers", "words"), REFUSED)
def test_what_caffe_refuses_is_refused_in_one_line(tmp_path, layers, words):
    files = no_weights(tmp_path, INPUT + layers)
    with pytest.raises(UserError, match=words) as caught:
        onnx_model.convert(*files)
    assert str(caught.value).startswith(f"{files[0]}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", ["0", "-4", "100000"])
def test_inputs_that_caffe_cannot_hold_are_refused(tmp_path, side):
    text = INPUT.replace("dim: 9 dim: 7", f"dim: 100000 dim: {side}")
    with pytest.raises(UserError, match="input 'data' would make 2x4x100000x"):
        onnx_model.convert(*no_weights(tmp_path, text + ONE % ("ReLU", "one", "")))


def test_the_format_of_2014_is_named_with_the_program_that_converts_it(tmp_path):
    text = (
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 16 input_dim: 16\n'
        'layers { name: "c" type: CONVOLUTION bottom: "data" top: "a" }'
    )
    with pytest.raises(UserError, match=r"format of 2014.*upgrade_net_proto_text"):
        onnx_model.convert(*no_weights(tmp_path, text))


def test_two_layers_of_one_name_with_weights_are_refused_by_every_backend(
    caffe, tmp_path
):
    again = (CONV % "kernel_size: 1").replace('bottom: "data"', 'bottom: "conv"')
    text = INPUT + CONV % "kernel_size: 1" + again.replace('top: "conv"', 'top: "b"')
    text = text.replace("dim: 4", "dim: 3").replace("num_output: 6", "num_output: 3")
    files = write(caffe, tmp_path, text)
    for backend in ("caffe", "onnxruntime", "opencv"):
        with pytest.raises(UserError, match="layers are called 'conv'"):
            inference.load(*files, backend)


def test_a_layer_without_a_name_is_translated(caffe, tmp_path):
    text = (
        INPUT
        + CONV % "kernel_size: 1"
        + (
            'layer { type: "ReLU" bottom: "conv" top: "conv" }'
            'layer { type: "TanH" bottom: "conv" top: "tanh" }'
        )
    )
    files = write(caffe, tmp_path, text)
    batch = noise(2, 4, 9, 7)
    found = without_caffe.in_onnxruntime(onnx_model.convert(*files).model)(batch)
    np.testing.assert_allclose(found, by_caffe(caffe, files, batch), atol=1e-5)


# --- what is computed in another way than it is written

ALIKE = {
    "larger with factors": TWO + SUM % "operation: MAX coeff: 2 coeff: 3",
    "dilated up": (CONV % "kernel_size: 3 dilation: 2 stride: 2").replace(
        "Convolution", "Deconvolution"
    ),
    "cut by more than the kernel": (CONV % "kernel_size: 1 pad: 2").replace(
        "Convolution", "Deconvolution"
    ),
    "one joined": CONCAT % ('bottom: "data"', ""),
}


@pytest.mark.parametrize("layers", ALIKE.values(), ids=ALIKE)
def test_every_backend_computes_the_same(caffe, tmp_path, layers):
    files = write(caffe, tmp_path, INPUT + layers)
    model = onnx_model.convert(*files).model
    for shape in ((2, 4, 9, 7), (1, 4, 12, 11)):
        batch = noise(*shape)
        expected = by_caffe(caffe, files, batch)
        for run in (without_caffe.in_onnxruntime, without_caffe.in_opencv):
            np.testing.assert_allclose(run(model)(batch), expected, atol=1e-4)


def test_opencv_refuses_a_mean_over_windows_that_are_cut(caffe, tmp_path):
    files = write(caffe, tmp_path, INPUT + POOL % "pool: AVE kernel_size: 3 stride: 2")
    forward = without_caffe.in_opencv(onnx_model.convert(*files).model)
    whole = noise(1, 4, 9, 7)
    np.testing.assert_allclose(forward(whole), by_caffe(caffe, files, whole), atol=1e-5)
    with pytest.raises(UserError, match=r"'pool' wrongly.*10x7.*onnxruntime"):
        forward(noise(1, 4, 10, 7))


@pytest.mark.parametrize("judge", ["onnxruntime", "onnx"])
def test_what_opencv_computes_wrongly_is_refused(caffe, tmp_path, monkeypatch, judge):
    """Another addition stands for its faults, which differ from version to version."""
    files = write(caffe, tmp_path, INPUT + CONV % "kernel_size: 3")
    model = onnx_model.convert(*files).model
    if judge == "onnx":
        monkeypatch.setattr(without_caffe.importlib.util, "find_spec", lambda _: None)
    batch = noise(1, 4, 9, 7)
    right = by_caffe(caffe, files, batch)
    np.testing.assert_allclose(without_caffe.in_opencv(model)(batch), right, atol=1e-5)
    read = without_caffe.cv2.dnn.readNetFromONNX

    def wrong(content):
        other = type(model).FromString(content.tobytes())
        values = other.graph.initializer[0]
        weights = np.frombuffer(values.raw_data, np.float32) + np.float32(0.1)
        values.raw_data = weights.tobytes()
        return read(np.frombuffer(other.SerializeToString(), np.uint8))

    monkeypatch.setattr(without_caffe.cv2.dnn, "readNetFromONNX", wrong)
    with pytest.raises(UserError, match=r"computes the network wrongly.*onnxruntime"):
        without_caffe.in_opencv(model)


@pytest.mark.parametrize("run", [without_caffe.in_onnxruntime, without_caffe.in_opencv])
def test_an_input_of_another_shape_is_named(caffe, tmp_path, run):
    files = write(caffe, tmp_path, INPUT + CONV % "kernel_size: 3")
    forward = run(onnx_model.convert(*files).model)
    with pytest.raises(UserError, match="cannot run the network for an input of 1x5x"):
        forward(noise(1, 5, 9, 7))


SHARES = (CONV % "kernel_size: 1").replace(
    'top: "conv"', 'top: "conv" param { name: "w" }'
)


def test_shared_weights_that_differ_in_the_file_are_refused(caffe, tmp_path):
    again = SHARES.replace('name: "conv"', 'name: "b"').replace(
        'top: "conv"', 'top: "b"'
    )
    deploy, weights = write(
        caffe, tmp_path, INPUT.replace("dim: 4", "dim: 6") + SHARES
        + again.replace('bottom: "data"', 'bottom: "conv"')
    )  # fmt: skip
    onnx_model.convert(deploy, weights)
    net = messages.NetParameter.FromString(weights.read_bytes())
    next(layer for layer in net.layer if layer.name == "b").blobs[0].data[0] += 1
    weights.write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match="'b' shares the weights 'w' with layer 'conv'"):
        onnx_model.convert(deploy, weights)


# --- what the file says of its axes


@pytest.mark.parametrize(
    ("layers", "axes", "multiple"),
    [
        (CONV % "kernel_size: 3 pad: 1", ["batch", 6, "height", "width"], 1),
        (CONV % "kernel_size: 3", ["batch", 6, "output_height", "output_width"], 1),
        (
            CONV % "kernel_h: 3 kernel_w: 3 pad: 1 stride_h: 2 stride_w: 1",
            ["batch", 6, "output_height", "width"],
            2,
        ),
        (POOL % "global_pooling: true", ["batch", 4, 1, 1], 1),
        (CONCAT % (TWICE, "axis: 2"), ["batch", 4, "output_height", "width"], 1),
        (CONCAT % (TWICE, "axis: 0"), ["output_batch", 4, "height", "width"], 1),
        (RESHAPE % "dim: 0 dim: -1", ["batch", "output_1"], 1),
        (RESHAPE % "dim: 0 dim: 252", ["batch", 252], 1),
    ],
)
def test_declared_axes_are_those_of_every_size(caffe, tmp_path, layers, axes, multiple):
    found = onnx_model.convert(*write(caffe, tmp_path, INPUT + layers))
    dims = found.model.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == axes
    assert found.multiple == multiple


# --- files from elsewhere


def spoilt(model, what):
    spoilt = onnx.ModelProto.FromString(model.SerializeToString())
    if what == "no input":
        del spoilt.graph.input[:]
    elif what == "no axes":
        del spoilt.graph.output[0].type.tensor_type.shape.dim[:]
    else:
        key, _, value = what.partition("=")
        for prop in spoilt.metadata_props:
            prop.value = value if prop.key == key else prop.value
    return spoilt


@pytest.mark.parametrize(
    "what",
    [
        *("no input", "no axes", "multiple_of=0", "multiple_of=-8", "multiple_of=x"),
        *('training={"lesions": 7}', "training=7", "training={"),
    ],
)
def test_foreign_files_are_named(caffe, tmp_path, what):
    files = write(caffe, tmp_path, INPUT + CONV % "kernel_size: 1")
    path = tmp_path / "foreign.onnx"
    model = onnx_model.convert(*files).model
    path.write_bytes(spoilt(model, what).SerializeToString())
    with pytest.raises(UserError, match=r"foreign\.onnx.*export_onnx\.py"):
        onnx_model.facts_of(onnx_model.read(path), path)


def test_the_remedy_for_states_is_a_command_that_works(tmp_path):
    # Enough of PyTorch for the command.
    (tmp_path / "torch.py").write_text(
        "import numpy\n"
        "class T:\n"
        "    def double(self): return self\n"
        "    def numpy(self): return numpy.ones(2)\n"
        "load = lambda path, map_location: {'FILE': {'w': T()},\n"
        "    'nested.pt': {'epoch': 3, 'state_dict': {'w': T()}}}[path]\n"
    )
    for name in ("FILE", "nested.pt"):
        command = torch_weights.NPZ.replace("FILE", name)
        command = command.replace("python3", sys.executable)
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
        found = torch_weights.read_state(tmp_path / "weights.npz")
        np.testing.assert_array_equal(found["w"], np.ones(2))
        (tmp_path / "weights.npz").unlink()


# --- the script


def test_options_may_stand_between_the_two_files(caffe, tmp_path):
    run = small_unet.write_run(caffe, tmp_path / "run")
    for name, words in {
        "a": ["{run}", "--weights", "{run}/final.caffemodel", "{out}"],
        "b": ["--deploy", "{run}/deploy.prototxt", "{run}", "{out}"],
        "c": ["{run}", "{out}", "--deploy", "{run}/deploy.prototxt"],
    }.items():
        out = tmp_path / f"{name}.onnx"
        assert export_onnx.main([word.format(run=run, out=out) for word in words]) == 0
        assert out.is_file()


def test_names_for_other_channels_are_refused(caffe, tmp_path):
    run = small_unet.write_run(caffe, tmp_path / "run")
    (run / "run.json").write_text('{"lesions": ["MA"]}')
    with pytest.raises(UserError, match=r"2 output channel.*run\.json names MA:"):
        export_onnx.main([str(run), str(tmp_path / "a.onnx")])
    assert not (tmp_path / "a.onnx").exists()
