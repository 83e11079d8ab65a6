"""What cannot be translated into ONNX is refused by name."""

import numpy as np
import pytest
from onnx_nets import CONV, FLAT, INPUT, ONE, POOL, SUM, write

from randrop import nets
from randrop.errors import UserError
from randrop.exchange import messages, onnx_model


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
