"""The losses as the tests use them: types, functions, options, inputs."""

import dataclasses
import json
import os
import typing
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from randrop.losses.registry import LAYERS


def strategy(field):
    """Values of an option: its examples, or all possible values."""
    if field.examples:
        return st.sampled_from(field.examples)
    if field.annotation is bool:
        return st.booleans()
    kinds = [field.annotation, *typing.get_args(field.annotation)]
    (choices,) = (k for k in kinds if typing.get_origin(k) is typing.Literal)
    return st.sampled_from(typing.get_args(choices))


def options_of(layer):
    """Random options; those without a default value may be left out."""
    given = {
        name: field
        for name, field in layer.options.model_fields.items()
        if field.examples or field.default != []
    }
    optional = [name for name, field in given.items() if field.default in (None, [])]
    return st.fixed_dictionaries(
        {n: strategy(f) for n, f in given.items() if n not in optional},
        optional={n: strategy(given[n]) for n in optional},
    )


@dataclasses.dataclass(frozen=True)
class Member:
    """A native layer, its function and its options."""

    type: str
    function: Callable
    field: str
    options: st.SearchStrategy[dict]
    softmax: bool = False
    mask: bool = False
    examples: tuple = ()

    def is_softmax(self, options):
        if "activation" in options:
            return options["activation"] == "SOFTMAX"
        return self.softmax

    @property
    def twin(self):
        return f"{self.type}Layer"


def of_layer(layer, **changed):
    """A layer's registry entry in the form that the tests use."""
    found = {name: getattr(layer, name) for name in ("type", "function", "field")}
    found |= {"mask": layer.mask, "examples": layer.examples}
    # With two activations, the first is the layer's default.
    found |= {
        "options": options_of(layer),
        "softmax": layer.activations[0] == "SOFTMAX",
    }
    return Member(**found | changed)


def examples_beside(cases):
    """The examples of the layers that a list of (type, options) leaves out."""
    named = {kind for kind, _ in cases}
    return [(m.type, o) for m in FAMILY for o in m.examples if m.type not in named]


DROP = "SigmoidRandomDropCELoss"
"""Its function has other parameters, and its mask is drawn: it has tests of its own."""

FAMILY = [of_layer(layer) for layer in LAYERS.values() if layer.type != DROP]
BY_TYPE = {member.type: member for member in FAMILY}


def effective(kind, options):
    """The options that the twin accepts: it refuses those without effect.

    The native layer and the function accept all of them. If they agree with a twin that
    lacks some, those options indeed have no effect.
    """
    model = LAYERS[kind].options
    idle = {
        name for names, _ in model.model_construct(**options).idle() for name in names
    }
    return {name: value for name, value in options.items() if name not in idle}


def layer_text(member, options, python=False, loss_weight=1.0, mask=None, cells=False):
    """The prototxt of one loss layer, native or Python, with the same options."""
    mask = member.mask if mask is None else mask
    lines = ['name: "loss" bottom: "score" bottom: "t" top: "loss"']
    if cells:
        lines.append('bottom: "cells"')
    lines.append(f"loss_weight: {loss_weight}")
    if mask:
        lines.append('top: "mask" loss_weight: 0')
    if python:
        options = effective(member.type, options)
        lines.append(
            f'type: "Python" python_param {{ module: "randrop.layers" '
            f"layer: \"{member.twin}\" param_str: '{json.dumps(options)}' }}"
        )
    else:
        common = ("ignore_label", "normalization")
        lines.append(f'type: "{member.type}"')
        lines.append("loss_param {" + fields(options, common.__contains__) + "}")
        own = fields(options, lambda key: key not in common)
        lines.append(f"{member.field} {{{own}}}")
    return "layer { " + "\n".join(lines) + " }"


def fields(options, chosen):
    """Options in protobuf text format."""
    text = ""
    for key, value in options.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            shown = str(one).lower() if isinstance(one, bool) else one
            text += f" {key}: {shown}" if chosen(key) else ""
    return text


def loss_net(caffe, folder, x_shape, t_shape, text, phase="TRAIN", cells=False):
    """A net with blobs x, t, cells on request, and, after a factor of 1, score.

    With pytest's --gpu it is on the first GPU.
    """
    if os.environ.get("RANDROP_TEST_GPU"):
        caffe.set_mode_gpu()
        caffe.set_device(0)
    path = folder / "net.prototxt"
    inputs = ""
    blobs = [("x", x_shape), ("t", t_shape)] + [("cells", x_shape)] * cells
    for name, shape in blobs:
        dims = " ".join(f"dim: {d}" for d in shape)
        inputs += (
            f'layer {{ name: "{name}" type: "Input" top: "{name}" '
            f"input_param {{ shape {{ {dims} }} }} }}"
        )
    path.write_text(
        inputs
        + 'layer { name: "score" type: "Scale" bottom: "x" top: "score" scale_param '
        "{ axis: 0 num_axes: 0 } }" + text
    )
    return caffe.Net(str(path), getattr(caffe, phase))


def run(net, x, t, cells=None):
    """Loss, gradient and mask (None without one) of a forward and backward pass."""
    net.blobs["x"].data[...] = x
    net.blobs["t"].data[...] = t
    if cells is not None:
        net.blobs["cells"].data[...] = cells
    net.forward()
    net.backward()
    blobs = net.blobs
    mask = blobs["mask"].data.astype(np.int8) if "mask" in blobs else None
    return float(blobs["loss"].data), blobs["score"].diff.copy(), mask


def labels(rng, member, options, shape, share=0.3):
    """Random labels for logits of this shape, some of them ignored."""
    if member.is_softmax(options):
        t_shape = (shape[0], 1, *shape[2:])
        classes = shape[1]
        p = np.full(classes, share / max(1, classes - 1))
        p[0] = 1 - p[1:].sum()
        t = rng.choice(classes, t_shape, p=p).astype(np.float32)
    else:
        t = (rng.random(shape) < share).astype(np.float32)
    if "ignore_label" in options:
        t[rng.random(t.shape) < 0.2] = options["ignore_label"]
    return t


def logits(rng, member, options, shape, spread):
    """Random logits; for a selection, a few values that are equal or far apart.

    Single and double precision may order two nearly equal cross-entropies differently;
    exact ties are ordered by index.
    """
    if not member.mask:
        return rng.normal(0, spread, shape).astype(np.float32)
    classes = shape[1] if member.is_softmax(options) else 1
    palette, known = [], []
    for vector in rng.normal(0, spread, (60, classes)).astype(np.float32):
        # For every class that may be the true one; a sigmoid has two.
        wide = vector.astype(float)
        values = np.logaddexp.reduce(wide) - wide
        if classes == 1:
            values = np.logaddexp(0, [wide[0], -wide[0]])
        if all(np.abs(v - np.array(known)).min(initial=9) > 1e-3 for v in values):
            palette.append(vector)
            known += list(values)
    palette = np.array(palette or [vector])
    chosen = rng.integers(len(palette), size=(shape[0], *shape[2:]))
    if classes == 1:
        chosen = rng.integers(len(palette), size=shape)
        return palette[chosen, 0]
    return np.moveaxis(palette[chosen], -1, 1)
