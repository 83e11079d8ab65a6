"""The losses as the tests go through them: types, functions, options, inputs."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from randrop import losses
from randrop.losses import parameters


@dataclasses.dataclass(frozen=True)
class Member:
    """A native layer, its function and its options."""

    type: str
    function: Callable
    field: str
    options: st.SearchStrategy[dict]
    softmax: bool = False
    mask: bool = False

    def is_softmax(self, options):
        if "activation" in options:
            return options["activation"] == "SOFTMAX"
        return self.softmax

    @property
    def twin(self):
        return f"{self.type}Layer"


percent = st.sampled_from([0.01, 1.0, 10.0, 33.3, 50.0, 99.9, 100.0])
normalization = st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE"])
optional = {"ignore_label": st.sampled_from([255, -1, 77])}
gamma = st.sampled_from([0.0, 0.3, 1.0, 2.0, 3.5])
dice = {
    "activation": st.sampled_from(["SOFTMAX", "SIGMOID"]),
    "smooth": st.sampled_from([0.0, 1e-3, 1.0]),
    "squared": st.booleans(),
    "batch": st.booleans(),
}


def fixed(optional=optional, **fields):
    return st.fixed_dictionaries(fields, optional=optional)


FAMILY = [
    Member(
        "SigmoidTopKCELoss",
        losses.sigmoid_top_k,
        "randrop_topk_param",
        fixed(
            optional | {"normalization": normalization},
            selection=st.sampled_from(["EXACT", "BIN", "PERCENT"]),
            negatives_per_positive=st.sampled_from([0.1, 1.0, 2.5, 20.0, 1e9]),
            positive_weight=st.sampled_from([0.0, 1.0, 3.0]),
            balance=st.sampled_from(["PER_CHANNEL", "PER_IMAGE", "BATCH"]),
            k_percent=percent,
        ),
        mask=True,
    ),
    Member(
        "SoftmaxTopKLoss",
        losses.softmax_top_k,
        "randrop_topk_param",
        fixed(optional | {"normalization": normalization}, k_percent=percent),
        softmax=True,
        mask=True,
    ),
    Member(
        "SigmoidFocalCELoss",
        losses.sigmoid_focal,
        "randrop_focal_param",
        fixed(
            optional | {"normalization": normalization},
            gamma=gamma,
            alpha=st.sampled_from([0.0, 0.25, 1.0]),
            alpha_mode=st.sampled_from(["FIXED", "PER_IMAGE", "PER_CHANNEL"]),
        ),
    ),
    Member(
        "SoftmaxFocalCELoss",
        losses.softmax_focal,
        "randrop_focal_param",
        fixed(
            optional | {"normalization": normalization, "class_alpha": st.just([0.7])},
            gamma=gamma,
        ),
        softmax=True,
    ),
    Member("SoftDiceLoss", losses.dice, "randrop_dice_param", fixed(**dice)),
    Member(
        "TopKDiceLoss",
        losses.top_k_dice,
        "randrop_dice_param",
        fixed(**dice, k_percent=percent, region=st.sampled_from(["ALL", "FOREGROUND"])),
        mask=True,
    ),
    Member(
        "ExpLogLoss",
        losses.exp_log,
        "randrop_explog_param",
        fixed(
            weight_dice=st.sampled_from([0.0, 0.8]),
            weight_cross=st.sampled_from([0.0, 0.2]),
            gamma_dice=st.sampled_from([0.3, 1.0, 2.0]),
            gamma_cross=st.sampled_from([0.3, 1.0, 1.5]),
            epsilon=st.sampled_from([1e-3, 1.0]),
            batch=st.booleans(),
        ),
        softmax=True,
    ),
]
BY_TYPE = {member.type: member for member in FAMILY}


def effective(kind, options):
    """The options that the twin takes: it refuses those without effect.

    The native layer and the function take all of them. That they agree with a twin
    that lacks some shows that those have none indeed.
    """
    model = parameters.BY_TYPE[kind]
    idle = {
        name for names, _ in model.model_construct(**options).idle() for name in names
    }
    return {name: value for name, value in options.items() if name not in idle}


def layer_text(member, options, python=False, loss_weight=1.0, mask=None):
    """The prototxt of one loss layer, native or Python, with the same options."""
    mask = member.mask if mask is None else mask
    lines = ['name: "loss" bottom: "score" bottom: "t" top: "loss"']
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
    """Options as protobuf writes them."""
    text = ""
    for key, value in options.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            shown = str(one).lower() if isinstance(one, bool) else one
            text += f" {key}: {shown}" if chosen(key) else ""
    return text


def loss_net(caffe, folder, x_shape, t_shape, text, phase="TRAIN"):
    """A net of blobs x, t and, behind a learnt factor of 1, score."""
    path = folder / "net.prototxt"
    inputs = ""
    for name, shape in (("x", x_shape), ("t", t_shape)):
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


def run(net, x, t):
    """Loss, gradient and mask (None without one) of a forward and backward pass."""
    net.blobs["x"].data[...] = x
    net.blobs["t"].data[...] = t
    net.forward()
    net.backward()
    blobs = net.blobs
    mask = blobs["mask"].data.astype(np.int8) if "mask" in blobs else None
    return float(blobs["loss"].data), blobs["score"].diff.copy(), mask


def labels(rng, member, options, shape, share=0.3):
    """Random labels for logits of this shape, some of them to be ignored."""
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
    """Random logits; for a selection, of few values far enough apart or equal.

    Single precision may order two cross-entropies that are all but equal otherwise
    than double precision does; exact ties are ordered by their indices.
    """
    if not member.mask:
        return rng.normal(0, spread, shape).astype(np.float32)
    classes = shape[1] if member.is_softmax(options) else 1
    palette, known = [], []
    for vector in rng.normal(0, spread, (60, classes)).astype(np.float32):
        # Of every class that may be the true one; a sigmoid's are two.
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
