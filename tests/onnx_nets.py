"""Small networks of Caffe, and the comparison with their translations into ONNX."""

import numpy as np
import small_unet

from randrop.exchange import onnx_model
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
