"""The losses by their command-line names, and their layers."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_origin

from randrop.errors import UserError
from randrop.files import schema
from randrop.losses import registry
from randrop.losses.registry import LAYERS, NAMES


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss layer to put on the logits.

    Attributes
    ----------
    type : str
        The native layer's type.
    field : str
        The name of its field in LayerParameter; empty if it has none.
    params : mapping
        The fields of that message.
    name : str
        Distinguishes its top from those of other losses.
    weight : float
        The layer's loss_weight.
    normalization : str, optional
        As in loss_param; defaults to the layer's own default.
    python : bool
        Use the Python twin in `randrop.layers`, which needs no patched Caffe.
    cells : bool
        Take the cells of lesions as a third bottom.
    """

    type: str
    field: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str = "loss"
    weight: float = 1.0
    normalization: str | None = None
    python: bool = False
    cells: bool = False

    @property
    def is_random_drop(self) -> bool:
        """Whether this is the random drop loss, whose mask can be watched."""
        return self.type == "SigmoidRandomDropCELoss"

    @property
    def drops(self) -> bool:
        """Whether the loss drops negatives at random."""
        return (
            self.is_random_drop
            and self.params.get("schedule_type") != "NONE"
            and self.params.get("keep") != "HARDEST"
        )


GRAMMAR = """\
NAME[:KEY=VALUE,...][+NAME...]: one loss, or a sum of losses. Keys are the fields of
the layer's parameter message, weight, normalization and, for dice and tversky, cells:
with cells=true the loss of a class is the mean over the cells of its lesions. Write a
list as a/b/c; label_frequency=train takes the frequencies of the training set. An
option without effect is an error."""


def parse_losses(
    text: str,
    activation: str,
    frequency: Sequence[float] | None = None,
    python: bool = False,
    classes: int | None = None,
) -> tuple[Loss, ...]:
    """Parse losses from the command line, such as `focal:gamma=1+dice`.

    Parameters
    ----------
    text : str
        In the form of `GRAMMAR`.
    activation : {"SIGMOID", "SOFTMAX"}
        The activation of the network's logits.
    frequency : sequence of float (C,), optional
        The value of label_frequency=train.
    python : bool
        Use the Python twins.
    classes : int, optional
        Channels of the logits, and the required length of lists with a value per class.

    Returns
    -------
    tuple of Loss

    Raises
    ------
    UserError
        If a name or key is unknown, or a value is not allowed or has no effect; names
        it and what is known.
    """
    losses: list[Loss] = []
    for term in text.split("+"):
        loss = _parse_one(term.strip(), activation, frequency, python)
        for key in ("class_alpha", "label_frequency"):
            given = len(loss.params.get(key, ()))
            allowed = (0, classes, 1) if key == "class_alpha" else (0, classes)
            if classes is not None and given not in allowed:
                raise UserError(
                    f"loss {term}: {key} has {given} values for {classes} classes: "
                    "give one for each class"
                )
        same = sum(other.name.split("@")[0] == loss.name for other in losses)
        if same:
            loss = dataclasses.replace(loss, name=f"{loss.name}@{same + 1}")
        losses.append(loss)
    return tuple(losses)


def activation_of(text: str) -> str:
    """Return "SIGMOID" if all losses support it, else "SOFTMAX".

    Raises
    ------
    UserError
        If they support neither.
    """
    try:
        parse_losses(text, "SIGMOID")
    except UserError as error:
        try:
            parse_losses(text, "SOFTMAX", frequency=())
        except UserError:
            raise error from None
        return "SOFTMAX"
    return "SIGMOID"


def _parse_one(
    text: str, activation: str, frequency: Sequence[float] | None, python: bool
) -> Loss:
    name, _, rest = text.partition(":")
    if name not in NAMES:
        raise UserError(f"loss {name!r} is unknown: choose from {', '.join(NAMES)}")
    kind = NAMES[name]
    layer = kind.layer(activation)
    if not layer:
        fitting = [n for n, k in NAMES.items() if k.layer(activation)]
        raise UserError(
            f"loss {name}: this data needs a {activation.lower()} network, which the "
            f"loss does not support: choose from {', '.join(fitting)}"
        )
    params = dict(kind.params)
    options = registry.options_of(layer)
    if "activation" in options.model_fields:
        params["activation"] = activation
    common: dict[str, Any] = {"cells": True} if kind.cells else {}
    given: set[str] = set()
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            key, value = kind.short, key
        if not key:
            raise UserError(f"loss {text}: {item!r} must have the form KEY=VALUE")
        if key in given:
            raise UserError(f"loss {text}: {key} appears twice: give it once")
        given.add(key)
        if key == "weight":
            common[key] = _number(text, key, value)
            if not 0 < common[key] < float("inf"):
                raise UserError(
                    f"loss {text}: weight is {value}: give a number above 0, or "
                    "remove this loss"
                )
        elif key == "cells":
            if layer not in LAYERS or not LAYERS[layer].cells:
                raise UserError(
                    f"loss {text}: cells is for dice and tversky: omit it, or add one "
                    "of them"
                )
            common[key] = _boolean(text, key, value)
        elif key == "normalization":
            common[key] = _value(text, options, key, value)
        elif key == "activation" and value != activation:
            raise UserError(
                f"loss {text}: the network has activation {activation} for all its "
                "losses: set it with train.py --activation"
            )
        elif key == "label_frequency" and value == "train":
            if frequency is None:
                raise UserError(
                    f"loss {text}: this data set has no label frequencies: give them "
                    "as a/b/c"
                )
            params[key] = list(frequency)
        else:
            params[key] = _value(text, options, key, value)
    if kind.short in given:
        for key, value in kind.implies.items():
            if key in options.model_fields and key not in given:
                params[key] = value
    wanted = {k: v for k, v in common.items() if k not in ("weight", "cells")}
    schema.check(params | wanted, options, f"loss {text}")
    field = LAYERS[layer].field if layer in LAYERS else ""
    return Loss(layer, field, params, name, python=python and field != "", **common)


def _value(text: str, model: type[registry.Options], key: str, value: str) -> Any:
    """Return the value of an option, in the type that the layer's model specifies."""
    if key not in model.model_fields:
        known = [n for n in schema.names(model) if n not in ("ignore_label", "weight")]
        raise UserError(
            f"loss {text}: unknown parameter {key!r}: choose from "
            f"{', '.join([*known, 'weight'])}"
        )
    kind = model.model_fields[key].annotation
    if get_origin(kind) is list:
        return [_number(text, key, part) for part in value.split("/")]
    if get_origin(kind) is Literal or key == "normalization":
        return value
    if kind is bool:
        return _boolean(text, key, value)
    return _number(text, key, value, whole=kind is not float)


def _boolean(text: str, key: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise UserError(f"loss {text}: {key} is {value!r}: write true or false")
    return value == "true"


def _number(text: str, key: str, value: str, whole: bool = False) -> float:
    try:
        return int(value) if whole else float(value)
    except ValueError as error:
        raise UserError(f"loss {text}: {key} is {value!r}: give a number") from error


def loss_layers(
    caffe: Any,
    net: Any,
    losses: Sequence[Loss],
    ignore_label: int | None,
    watch: Mapping[str, Any] | None = None,
    of: Any = None,
    where: str = "",
) -> None:
    """Put losses on logits, net.label and, where a loss needs it, net.cells.

    Parameters
    ----------
    caffe : module
    net : NetSpec
    losses : sequence of Loss
        A single loss has the top `loss`; of several, each has `loss_NAME`.
    ignore_label : int or None
    watch : mapping, optional
        Adds the top `mask` to the first random drop loss, and in training a
        `randrop.watch.KeptShareLayer` on it with this `param_str`.
    of : Top, optional
        The logits; net.score by default.
    where : str
        Suffix of the top names.

    Raises
    ------
    UserError
        If a loss needs cells and the data has none.
    """
    for loss in losses:
        with_mask = watch is not None and loss.is_random_drop and "mask" not in net.tops
        logits = net.score if of is None else of
        bottoms = [logits, net.label]
        if loss.cells:
            if "cells" not in net.tops:
                raise UserError(
                    f"loss {loss.name}: cells=true needs the cells of the lesions, "
                    "which only the data layer for photographs gives: omit cells"
                )
            bottoms.append(net.cells)
        top = _layer(caffe, bottoms, loss, ignore_label, 2 if with_mask else 1)
        name = ("loss" if len(losses) == 1 else f"loss_{loss.name}") + where
        if with_mask:
            net[name], net.mask = top
            _watch(caffe, net, watch)
        else:
            net[name] = top


def _layer(
    caffe: Any,
    bottoms: Sequence[Any],
    loss: Loss,
    ignore_label: int | None,
    tops: int,
) -> Any:
    common: dict[str, Any] = {}
    if ignore_label is not None:
        common["ignore_label"] = ignore_label
    if loss.normalization:
        common["normalization"] = loss.normalization
    weights = [loss.weight, 0][:tops]
    if loss.python:
        return caffe.layers.Python(
            *bottoms,
            module="randrop.layers",
            layer=f"{loss.type}Layer",
            param_str=json.dumps({**loss.params, **common}),
            loss_weight=weights,
            ntop=tops,
        )
    if "normalization" in common:
        numbers = caffe.proto.caffe_pb2.LossParameter.NormalizationMode
        common["normalization"] = numbers.Value(loss.normalization)
    fields = {loss.field: _by_number(caffe, loss)} if loss.field else {}
    return getattr(caffe.layers, loss.type)(
        *bottoms,
        loss_param=common,
        loss_weight=weights,
        ntop=tops,
        **fields,
    )


def _watch(caffe: Any, net: Any, watch: Mapping[str, Any]) -> None:
    # The solver would print a blob that no layer consumes, pixel by pixel.
    net.silence = caffe.layers.Silence(net.mask, ntop=0, include={"phase": caffe.TEST})
    net.watch = caffe.layers.Python(
        net.mask,
        net.score,
        net.label,
        module="randrop.watch",
        layer="KeptShareLayer",
        param_str=json.dumps(dict(watch)),
        include={"phase": caffe.TRAIN},
        ntop=0,
    )


def _by_number(caffe: Any, loss: Loss) -> dict[str, Any]:
    """Return the parameters with enum names as numbers, as NetSpec requires."""
    descriptor = caffe.proto.caffe_pb2.LayerParameter.DESCRIPTOR
    if loss.field not in descriptor.fields_by_name:
        raise UserError(
            f"this Caffe does not know the field {loss.field}: patch it with "
            "scripts/patch_caffe.py, or use the Python layer (--python-layer)"
        )
    message = descriptor.fields_by_name[loss.field].message_type
    values = {}
    unknown = [name for name in loss.params if name not in message.fields_by_name]
    if unknown:
        raise UserError(
            f"this Caffe was patched by an older randrop: its {loss.field} has no "
            f"{' and '.join(unknown)}: patch it again with scripts/patch_caffe.py and "
            "build it, or use the Python layer (--python-layer)"
        )
    for name, value in loss.params.items():
        enum = message.fields_by_name[name].enum_type
        values[name] = enum.values_by_name[value].number if enum else value
    return values
