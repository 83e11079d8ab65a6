"""Write proto/LAYERS.md: every layer, its parameters, bottoms and tops."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import subprocess
import tempfile
from pathlib import Path

import _start  # noqa: F401

from google.protobuf import descriptor_pb2

from randrop import cli
from randrop.errors import UserError
from randrop.files import ownership, write_text
from randrop.losses.registry import LAYERS
from randrop.pycaffe.build import REPOSITORY

log = logging.getLogger("randrop")

PROTO = REPOSITORY / "proto"
PAGE = PROTO / "LAYERS.md"

BOTTOMS = {
    "SIGMOID": "logits N × C × spatial; label of the same shape: 0, 1 or the ignore "
    "label",
    "SOFTMAX": "logits N × C × spatial; label N × 1 × spatial or N × spatial: classes "
    "0 to C − 1 or the ignore label",
}
CELLS = (
    "optional cells N × C × spatial: the cell of each pixel in each class, numbered "
    "from 0. The loss of a class of an image is then the mean over its cells; with "
    "`batch`, that of a class is the mean over its cells in all images"
)
LOSS = "loss"
MASK = "loss; optional mask in the label's shape: 1 takes part, 0 left out, −1 ignored"


HEAD = """\
# The layers

Written by `scripts/make_layer_table.py` from `messages.proto`. A Python layer is named
after the native one, with `Layer` at the end (`randrop.layers`, class
`SoftDiceLossLayer`), and takes the same parameters in `param_str`. Several types in one
heading name the same layer. If a fork of Caffe has its own layer of one of the further
names, the patch tool leaves that name to it.

All of them take `loss_param { ignore_label }`: pixels with that label have no loss and
no gradient, and are counted nowhere, whatever their logits. At any other pixel a NaN or
infinite logit makes the loss NaN, with one exception: minus infinity for a class of a
softmax that is not the true one counts as p = 0. Use it, or a number like -1e30, to
rule out classes. Parameters must be finite in single precision.

`loss_param { normalization }` is the divisor of a sum over pixels: `FULL` all labels,
`VALID` those that take part (random drop, EXACT and BIN: those not ignored),
`BATCH_SIZE` N, `NONE` 1. The default is that of Caffe's own losses: `BATCH_SIZE` for a
sigmoid, `VALID` for a softmax and for PERCENT. The Dice losses and ExpLogLoss are means
by definition and take none.
"""


def page() -> str:
    """Return the text of the page."""
    file = _descriptors()
    comments = {}
    for place in file.source_code_info.location:
        text = place.leading_comments or place.trailing_comments
        comments[tuple(place.path)] = " ".join(text.split()).replace("|", "&#124;")
    indices = {message.name: k for k, message in enumerate(file.message_type)}
    fields = {
        field.name: field.type_name.rpartition(".")[2]
        for field in file.message_type[indices["LayerParameter"]].field
    }
    enums = {
        f".{message.name}.{enum.name}": (4, m, 4, e)
        for m, message in enumerate(file.message_type)
        for e, enum in enumerate(message.enum_type)
    }
    parts = [HEAD]
    for layer in LAYERS.values():
        index = indices[fields[layer.field]]
        bottoms = [BOTTOMS[activation] for activation in layer.activations]
        if len(bottoms) > 1:
            pairs = zip(layer.activations, bottoms, strict=True)
            bottoms = [f"with `activation: {name}` {text}" for name, text in pairs]
        if layer.cells:
            bottoms.append(CELLS)
        parts.append(
            f"\n## {', '.join((layer.type, *layer.other_types))}\n\n{layer.about} "
            f"{comments[4, index]}\n\n- bottoms: {'; '.join(bottoms)}\n"
            f"- tops: {MASK if layer.mask else LOSS}\n\n"
            f"| `{layer.field}` | default | |\n|---|---|---|\n"
        )
        for k, field in enumerate(file.message_type[index].field):
            if field.name not in layer.parameters:
                continue
            text = comments.get((4, index, 2, k), "")
            if field.type_name in enums:
                text += _choices(file, enums[field.type_name], comments)
            default = field.default_value or "–"
            if field.label == field.LABEL_REPEATED:
                default = "none"
            parts.append(f"| `{field.name}` | {default} | {text.strip()} |\n")
    return "".join(parts)


def _choices(
    file: descriptor_pb2.FileDescriptorProto,
    path: tuple[int, ...],
    comments: dict[tuple[int, ...], str],
) -> str:
    """Return the descriptions of an enum and of each of its values."""
    enum = file.message_type[path[1]].enum_type[path[3]]
    values = []
    for v, value in enumerate(enum.value):
        said = comments.get((*path, 2, v), "")
        values.append(f"`{value.name}`" + (f" {said}" if said else ""))
    return f" {comments.get(path, '')} Choices: {'; '.join(values)}."


def _descriptors() -> descriptor_pb2.FileDescriptorProto:
    """Return protoc's descriptors of our messages, including comments."""
    text = 'syntax = "proto2";\n' + (PROTO / "messages.proto").read_text()
    text += "message LayerParameter {\n"
    text += (PROTO / "layer_parameter.proto").read_text() + "}\n"
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "all.proto"), Path(folder, "all.pb")
        source.write_text(text)
        try:
            done = subprocess.run(
                [
                    *("protoc", f"-I{folder}", "--include_source_info"),
                    *(f"--descriptor_set_out={result}", str(source)),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise UserError(
                "protoc is missing: install it with 'python3 scripts/build_caffe.py'"
            ) from error
        if done.returncode:
            raise UserError(f"protoc: {done.stderr.strip()}")
        files = descriptor_pb2.FileDescriptorSet()
        files.ParseFromString(result.read_bytes())
    return files.file[0]


def main() -> None:
    """Write the page."""
    parser = cli.parser(__doc__)
    parser.add_argument("--out", type=Path, default=PAGE)
    options: argparse.Namespace = parser.parse_args()
    ownership.check_kind(options.out, ".md", "make_layer_table")
    write_text(options.out, page())
    log.info("%s", options.out)


if __name__ == "__main__":
    cli.run(main)
