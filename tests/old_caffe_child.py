"""Run a twin as a Caffe of some age does, without Caffe; print loss and gradient.

usage: old_caffe_child.py ATTRIBUTE PHASE AXES

ATTRIBUTE is param_str, param_str_ or none; PHASE 0, 1, train, test or none; AXES is
"any", or "four" where blobs have four axes.
"""

import json
import sys
import types

import numpy as np

attribute, phase, axes = sys.argv[1:]
caffe = types.ModuleType("caffe")
caffe.Layer = type("Layer", (), {})
caffe._caffe = types.SimpleNamespace(__file__="/nowhere")
sys.modules["caffe"] = caffe

from randrop.layers import SigmoidRandomDropCELossLayer  # noqa: E402


class Blob:
    """What a Python layer sees of a blob."""

    def __init__(self, values):
        self.data = np.array(values, np.float32)
        self.diff = np.zeros_like(self.data)

    @property
    def shape(self):
        return self.data.shape

    def reshape(self, *shape):
        if axes == "four" and len(shape) != 4:
            raise TypeError("reshape takes four numbers")
        self.data = np.zeros(shape, np.float32)
        self.diff = np.full(shape, 3.5, np.float32)


rng = np.random.default_rng(1)
bottom = [Blob(rng.normal(size=(2, 1, 5, 4))), Blob(rng.random((2, 1, 5, 4)) < 0.2)]
top = [Blob(0)]
layer = SigmoidRandomDropCELossLayer()
if attribute != "none":
    setattr(layer, attribute, json.dumps({"schedule_type": "LINEAR", "seed": 5}))
if phase != "none":
    layer.phase = int(phase) if phase.isdigit() else phase
layer.setup(bottom, top)
if attribute == "none":
    layer.options["seed"] = 5
layer.reshape(bottom, top)
layer.forward(bottom, top)
layer.backward(top, [True, False], bottom)
print(json.dumps([float(top[0].data.sum()), bottom[0].diff.tolist()]))
