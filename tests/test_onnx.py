"""A network of Caffe and its translation into ONNX are the same function."""

import numpy as np
import pytest
from conftest import REPOSITORY
from onnx_nets import (
    CONV,
    INPUT,
    LAYERS,
    LSEGS,
    UNETS,
    assert_same,
    by_caffe,
    noise,
    write,
)

from randrop import nets
from randrop.exchange import messages, onnx_model, reading
from randrop.prediction import without_caffe

# --- the networks that the project makes


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
