"""Our parameters in caffe.proto: marked blocks, put in and taken out.

A tree of before November 2015 also gets a block in LossParameter: the field
`normalization`, as Caffe has had it since.
"""

import re
from pathlib import Path

from caffe_tools import proto
from caffe_tools.errors import ToolError

_FOLDER = Path(__file__).resolve().parents[2] / "proto"
MESSAGES = _FOLDER / "messages.proto"
FIELDS = _FOLDER / "layer_parameter.proto"
NORMALIZATION = _FOLDER / "loss_parameter.proto"
PROTO = "src/caffe/proto/caffe.proto"

_MARK = "// randrop: "
_BLOCKS = re.compile(
    # An empty line stands before our messages.
    r"^(?:\r?\n(?=// randrop: begin messages))?"
    r"[ \t]*// randrop: begin (?P<name>\w+)\r?\n"
    r"(?P<body>(?:(?![ \t]*// randrop: begin).*\n)*?)"
    r"^[ \t]*// randrop: end (?P=name)(?:\r?\n|\Z)",
    re.MULTILINE,
)


def our_fields() -> list[proto.Field]:
    """Return the fields that we add to LayerParameter."""
    text = "message LayerParameter {\n" + FIELDS.read_text() + "}\n"
    return proto.parse(text, str(FIELDS)).messages["LayerParameter"].fields


def numbers(given: list[str] | None) -> dict[str, int] | None:
    """Return the numbers of options FIELD=N, or None without any.

    Raises
    ------
    ToolError
        If an option is not FIELD=N, or two are for one field.
    """
    if given is None:
        return None
    chosen = {}
    for text in given:
        name, _, number = text.partition("=")
        if not number.isdecimal():
            raise ToolError(f"--number {text}: give FIELD=N, with a whole number N")
        if chosen.setdefault(name, int(number)) != int(number):
            raise ToolError(
                f"--number {text}: {name} has the number {chosen[name]} already; give "
                "each field once"
            )
    _check_numbers(chosen, our_fields())
    return chosen


def marked(text: str) -> bool:
    """Return whether a caffe.proto has one of our blocks."""
    return _MARK + "begin" in text


def by_hand(text: str) -> bool:
    """Return whether a caffe.proto has our parameters as one merges them by hand.

    docs/how-to/patch-by-hand.md inserts the two files as they are, without marks.
    """
    return not marked(text) and all(part in text for part in _as_they_are())


def _as_they_are() -> tuple[str, str]:
    return MESSAGES.read_text(), FIELDS.read_text()


def add(text: str, numbers: dict[str, int]) -> str:
    """Return caffe.proto with our blocks.

    Parameters
    ----------
    text : str
        The file without them.
    numbers : dict
        Numbers of our fields that are not the usual ones.

    Raises
    ------
    ToolError
        If a number or name of ours is taken; names the owner.
    """
    file = proto.parse(text, PROTO)
    layer = file.messages.get("LayerParameter")
    if layer is None:
        raise ToolError(f"{PROTO} has no message LayerParameter: is this a Caffe tree?")
    fields = our_fields()
    _check_numbers(numbers, fields)
    _check_names(file, layer, fields)
    _check_free(layer, fields, numbers)
    lines = FIELDS.read_text()
    for field in fields:
        number = numbers.get(field.name, field.number)
        lines = re.sub(
            rf"(\b{field.name} = ){field.number}\b", rf"\g<1>{number}", lines
        )
    newline = "\r\n" if "\r\n" in text else "\n"
    outer = _block("messages", MESSAGES.read_text(), "")
    end = "" if text.endswith("\n") else "\n"
    inserts = [(layer, "fields", lines)]
    loss = file.messages.get("LossParameter")
    if loss and all(field.name != "normalization" for field in loss.fields):
        number = loss.free(3)
        field = NORMALIZATION.read_text()
        inserts.append((loss, "loss", field.replace(" = 3 [", f" = {number} [")))
    patched = text + (end + "\n" + outer).replace("\n", newline)
    for message, name, lines in sorted(inserts, key=lambda item: -item[0].end):
        inner = _block(name, "".join(f"  {x}\n" for x in lines.splitlines()), "  ")
        at = _before_brace(text, message.end)
        patched = patched[:at] + inner.replace("\n", newline) + patched[at:]
    return patched


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the names and bodies of our blocks in a caffe.proto."""
    return [(block["name"], block["body"]) for block in _BLOCKS.finditer(text)]


def remove(text: str) -> tuple[str, dict[str, int]]:
    """Return caffe.proto without our parameters, and the numbers that were chosen.

    Whether the last line had a line end before our messages came cannot be seen any
    more: it then has one.

    Raises
    ------
    ToolError
        If a block has lost its beginning or end.
    """
    numbers = {}
    usual = {field.name: field.number for field in our_fields()}
    for block in _BLOCKS.finditer(text):
        for name, number in re.findall(r"\b(\w+) = (\d+)", block["body"]):
            if usual.get(name, int(number)) != int(number):
                numbers[name] = int(number)
    if by_hand(text):
        for part in _as_they_are():
            text = text.replace(part, "", 1)
    text = _BLOCKS.sub("", text)
    if _MARK in text:
        line = text[: text.index(_MARK)].count("\n") + 1
        raise ToolError(
            f"{PROTO}, line {line}: one of our blocks has lost its first or last line, "
            "'// randrop: begin NAME' or '// randrop: end NAME'. Remove what is left "
            "of the block, with that line, and run this again"
        )
    return text, numbers


def _before_brace(text: str, brace: int) -> int:
    """Return where to insert lines before a closing brace."""
    start = text.rindex("\n", 0, brace) + 1 if "\n" in text[:brace] else brace
    return brace if text[start:brace].strip() else start


def _check_free(
    layer: proto.Message, fields: list[proto.Field], numbers: dict[str, int]
) -> None:
    taken, advice = [], []
    offered: set[int | None] = {None}
    for field in fields:
        number = numbers.get(field.name, field.number)
        user = layer.used(number)
        if user:
            free = layer.free(1000 + field.number)
            while free in offered and free is not None:
                free = layer.free(free + 1)
            offered.add(free)
            taken.append(
                f"number {number} of LayerParameter, which our field '{field.name}' "
                f"needs, is used by {user}"
            )
            advice.append(f"--number {field.name}={free or 'N'}")
    if taken:
        raise ToolError(
            f"{PROTO}: {'; '.join(taken)}. Nothing was written. Choose other numbers, "
            f"for example {' '.join(advice)}. Prototxt files store names and stay "
            "valid; caffemodel files store numbers, and those saved with another "
            "number lose this field"
        )


def _block(name: str, text: str, indent: str) -> str:
    return f"{indent}// randrop: begin {name}\n{text}{indent}// randrop: end {name}\n"


def _check_numbers(numbers: dict[str, int], fields: list[proto.Field]) -> None:
    names = [field.name for field in fields]
    for name, number in numbers.items():
        if name not in names:
            raise ToolError(f"--number {name}: our fields are {', '.join(names)}")
        if not 1 <= number <= proto.MAX_NUMBER or number in proto.RESERVED_BY_PROTOBUF:
            raise ToolError(
                f"--number {name}={number}: choose from 1 to {proto.MAX_NUMBER}, "
                "except 19000 to 19999, which protobuf reserves"
            )
    chosen = [numbers.get(field.name, field.number) for field in fields]
    if len(set(chosen)) < len(chosen):
        raise ToolError(
            f"--number gives the same number to two of {', '.join(names)}: choose "
            "different numbers"
        )


def _check_names(
    file: proto.File, layer: proto.Message, fields: list[proto.Field]
) -> None:
    taken = [
        f"message {name} in line {file.names[name]}"
        for name in proto.parse(MESSAGES.read_text(), str(MESSAGES)).names
        if name in file.names
    ]
    ours = {field.name for field in fields}
    taken += [
        f"'{f.type} {f.name} = {f.number}' in line {f.line}"
        for f in layer.fields
        if f.name in ours
    ]
    if taken:
        raise ToolError(
            f"{PROTO} already has our names: {'; '.join(taken)}. Nothing was written. "
            "Probably the paper's parameters were merged by hand: remove these lines "
            "(prototxt files that use them still work), and run this again"
        )
