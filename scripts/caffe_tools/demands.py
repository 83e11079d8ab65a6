"""What our layers need of a Caffe tree, told before anything is written.

Our layers are written for Caffe since March 2015: Layer<Dtype>, blobs of any number of
axes, layer types that are names. Compiling would tell, but takes minutes; the headers
tell at once.
"""

import re
from collections.abc import Callable

from caffe_tools import proto
from caffe_tools.errors import ToolError
from caffe_tools.parameters import PROTO

LAYER = "include/caffe/layer.hpp"
BLOB = "include/caffe/blob.hpp"
FACTORY = "include/caffe/layer_factory.hpp"
LOSS = "include/caffe/layers/loss_layer.hpp"
OLD_LOSS = "include/caffe/loss_layers.hpp"

_SHIM = b"""\
#ifndef CAFFE_LOSS_LAYER_HPP_
#define CAFFE_LOSS_LAYER_HPP_

// Before October 2015 Caffe declared all losses in one header.
#include "caffe/loss_layers.hpp"

#endif  // CAFFE_LOSS_LAYER_HPP_
"""
_TEMPLATE = re.compile(
    r"template\s*<([^<>]*)>\s*class\s+Layer\b\s*(?::[^{};]*)?\{", re.DOTALL
)
_NORMALIZATIONS = ("FULL", "VALID", "BATCH_SIZE", "NONE")

Read = Callable[[str], bytes | None]


def old_layout(before: Read) -> dict[str, bytes]:
    """Return the headers that a tree of before October 2015 lacks.

    Parameters
    ----------
    before : callable
        Returns the original content of a file of the tree, or None.
    """
    text = _text(before, OLD_LOSS)
    if before(LOSS) is None and re.search(r"\bclass\s+LossLayer\b", text):
        return {LOSS: _SHIM}
    return {}


def check(before: Read) -> None:
    """Refuse a tree in which our layers cannot compile.

    Raises
    ------
    ToolError
        Says what the tree lacks, how old or whose it therefore is, and what to do.
    """
    for reason in _reasons(before):
        raise ToolError(f"{reason}. Nothing was written. {_remedy(before)}")


def _reasons(before: Read) -> list[str]:
    """Return why our layers cannot compile."""
    layer, blob = _text(before, LAYER), _text(before, BLOB)
    reasons = []
    found = _TEMPLATE.search(layer)
    types = [kind.split()[-1] for kind in found[1].split(",")] if found else []
    if not found:
        reasons.append(f"{LAYER} has no class template Layer")
    elif len(types) > 1:
        whose = {
            2: "NVIDIA's Caffe has, of version 0.16 and newer",
            3: "the OpenCL branch has",
        }.get(len(types), "other Caffes have")
        reasons.append(
            f"{LAYER} declares Layer<{', '.join(types)}>, as {whose}; our layers are "
            "written for Layer<Dtype>"
        )
    if not re.search(r"vector<int>\s*&\s*shape\(\)\s*const", blob):
        reasons.append(
            f"{BLOB} has no shape(): this Caffe is from before March 2015, when a blob "
            "had four axes"
        )
    if not re.search(
        r"define\s+REGISTER_LAYER_CLASS\(\s*\w+\s*\)", _text(before, FACTORY)
    ):
        reasons.append(
            f"{FACTORY} has no REGISTER_LAYER_CLASS(type): this Caffe is from before "
            "February 2015, when layer types were numbers"
        )
    if not re.search(r"\bPhase\s+phase_", layer):
        reasons.append(
            f"{LAYER} has no phase_: this Caffe is from before February 2015"
        )
    if before(LOSS) is None and not old_layout(before):
        reasons.append(f"there is no class LossLayer in {LOSS} or {OLD_LOSS}")
    return reasons + _missing_parameters(before)


def _missing_parameters(before: Read) -> list[str]:
    text = _text(before, PROTO)
    messages = proto.parse(text, PROTO).messages
    layer, loss = messages.get("LayerParameter"), messages.get("LossParameter")
    if layer is None:
        return []  # parameters.add says so
    names = {field.name: field.type for field in layer.fields}
    if loss is None or "loss_param" not in names or names.get("type") != "string":
        return [
            f"LayerParameter in {PROTO} has no 'string type' or no 'loss_param': this "
            "Caffe is from before February 2015"
        ]
    fields = {field.name for field in loss.fields}
    if "ignore_label" not in fields:
        return [f"LossParameter in {PROTO} has no ignore_label"]
    if "normalization" in fields:
        inside = text[loss.start : loss.end]
        lacks = [x for x in _NORMALIZATIONS if not re.search(rf"\b{x}\s*=", inside)]
        if lacks:
            return [
                f"LossParameter.NormalizationMode in {PROTO} lacks {', '.join(lacks)}"
            ]
    return []


def _remedy(before: Read) -> str:
    twins = (
        "Or use the Python twins, which need no patch, only Caffe's Python layers and "
        "Python 3.10: docs/how-to/use-without-rebuilding.md"
    )
    newer = (
        "Move your own layers to a newer Caffe, such as BVLC's master, and patch that"
    )
    python = (
        "src/caffe/layers/python_layer.cpp",
        "include/caffe/python_layer.hpp",
        "include/caffe/layers/python_layer.hpp",
    )
    if any(before(path) is not None for path in python):
        return f"{newer}. {twins}"
    return newer


def _text(before: Read, path: str) -> str:
    return (before(path) or b"").decode("utf-8", "surrogateescape")
