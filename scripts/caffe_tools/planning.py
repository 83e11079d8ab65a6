"""The changes of patching a Caffe tree: layers, parameters, patches and mends."""

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from caffe_tools import proto, series
from caffe_tools.cuda_mends import CUDA_MENDS
from caffe_tools.errors import ToolError
from caffe_tools.hooks import HOOKS
from caffe_tools.mends import MENDS as LIBRARY_MENDS
from caffe_tools.mends import Mend
from caffe_tools.unified import FileDiff

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = REPOSITORY / "caffe_layers"
PATCHES = REPOSITORY / "caffe_patches"
MESSAGES = REPOSITORY / "proto" / "messages.proto"
FIELDS = REPOSITORY / "proto" / "layer_parameter.proto"
PROTO = "src/caffe/proto/caffe.proto"
STATE = ".randrop"
MENDS = LIBRARY_MENDS + CUDA_MENDS

_REGISTER = re.compile(r"REGISTER_LAYER_(?:CLASS|CREATOR)\(\s*(\w+)")


@dataclasses.dataclass(frozen=True)
class Change:
    """One file of the tree; `before` is None if it did not exist."""

    path: str
    before: bytes | None
    after: bytes
    why: str


def check_tree(root: Path) -> None:
    """Refuse a path that is not a Caffe tree.

    Raises
    ------
    ToolError
        Names what is missing.
    """
    if not root.is_dir():
        raise ToolError(f"{root} is not a folder: give the root of a Caffe tree")
    for needed in (PROTO, "include/caffe", "src/caffe/layers"):
        if not (root / needed).exists():
            raise ToolError(
                f"{root} is not a Caffe tree, {needed} is missing: give the folder "
                "that contains Caffe's Makefile and CMakeLists.txt"
            )


def our_fields() -> list[proto.Field]:
    """Return the fields that we add to LayerParameter."""
    text = "message LayerParameter {\n" + FIELDS.read_text() + "}\n"
    return proto.parse(text, str(FIELDS)).messages["LayerParameter"].fields


def registered_types() -> list[str]:
    """Return the layer types that our sources register."""
    text = "".join(p.read_text() for p in sorted(LAYERS.rglob("*.cpp")))
    return _REGISTER.findall(text)


def plan(root: Path, numbers: dict[str, int], mends_only: bool = False) -> list[Change]:
    """Return the changes that patch the tree, starting from its original state.

    Raises
    ------
    ToolError
        If a number, name, layer type or file of ours is taken; names the owner.
    """
    originals = read_originals(root)

    def before(path: str) -> bytes | None:
        if path in originals:
            return originals[path]
        file = root / path
        return file.read_bytes() if file.exists() else None

    changes = []
    if not mends_only:
        changes.append(_proto_change(before(PROTO), numbers))
        changes += _layer_changes(root, before)
    steps = [(f"{mend.name}: {mend.why}", mend) for mend in MENDS]
    if not mends_only and not _without_place(before):
        steps += _engine()
    for path in dict.fromkeys(step.path for _, step in steps):
        content = before(path)
        if content is None:
            continue
        text, whys = decode(content), []
        for why, step in steps:
            if step.path == path:
                changed = step.apply(text)
                if changed != text:
                    whys.append(why)
                text = changed
        if whys:
            after = text.encode("utf-8", "surrogateescape")
            changes.append(Change(path, content, after, "; ".join(whys)))
    return changes


def _engine() -> list[tuple[str, Mend | FileDiff]]:
    """Return the engine's changes to Caffe's own files, and their purposes."""
    patched = [
        (f"{patch.name}: {patch.what}", diff)
        for patch in series.read(PATCHES)
        for diff in patch.diffs
    ]
    return patched + [(f"{hook.name}: {hook.why}", hook) for hook in HOOKS]


def engine_left_out(root: Path) -> list[str]:
    """Return the files of the tree in which a change of the CPU engine does not fit.

    If there is one, the tree keeps Caffe's own layers.
    """
    originals = read_originals(root)

    def before(path: str) -> bytes | None:
        return originals[path] if path in originals else read_file(root / path)

    return _without_place(before)


def _without_place(before: Callable[[str], bytes | None]) -> list[str]:
    """Return the files in which one of the engine's changes does not fit."""
    texts: dict[str, str] = {}
    missing = []
    for _, step in _engine():
        if step.path not in texts:
            texts[step.path] = _mended(step.path, decode(before(step.path) or b""))
        if step.fits(texts[step.path]):
            texts[step.path] = step.apply(texts[step.path])
        else:
            missing.append(step.path)
    return list(dict.fromkeys(missing))


def _mended(path: str, text: str) -> str:
    for mend in MENDS:
        if mend.path == path:
            text = mend.apply(text)
    return text


def _proto_change(before: bytes, numbers: dict[str, int]) -> Change:
    text = decode(before)
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
    inner = _block(
        "fields", "".join(f"  {line}\n" for line in lines.splitlines()), "  "
    )
    at = text.rindex("\n", 0, layer.end) + 1 if "\n" in text[: layer.end] else layer.end
    if text[at : layer.end].strip():
        at = layer.end
    outer = _block("messages", MESSAGES.read_text(), "")
    end = "" if text.endswith("\n") else "\n"
    patched = (
        text[:at]
        + inner.replace("\n", newline)
        + text[at:]
        + (end + "\n" + outer).replace("\n", newline)
    )
    return Change(
        PROTO, before, patched.encode("utf-8", "surrogateescape"), "our parameters"
    )


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


def _layer_changes(root: Path, before: Callable[[str], bytes | None]) -> list[Change]:
    changes = []
    known = read_manifest(root)
    left_out = second_names_taken(root)
    for source in sorted(p for p in LAYERS.rglob("*") if p.is_file()):
        path = source.relative_to(LAYERS).as_posix()
        if path in left_out:
            continue
        content = before(path)
        is_new = path not in known.get("files", {})
        if is_new and content not in (None, source.read_bytes()):
            raise ToolError(
                f"{root / path} already exists and is not ours. Nothing was written. "
                "Move it away, and run this again"
            )
        changes.append(Change(path, content, source.read_bytes(), "our layers"))
    needed = set(registered_types()) - {name for name, _ in left_out.values()}
    for name, file in _types_of_others(root).items():
        if name in needed:
            raise ToolError(
                f"{file} already registers the layer type {name}, and Caffe allows "
                "each type once. Nothing was written. Move that file (and its .cu "
                "and .hpp) out of the tree, and run this again"
            )
    return changes


def second_names_taken(root: Path) -> dict[str, tuple[str, Path]]:
    """Return which of our files are left out because the tree already has their type.

    Some of our layers are also registered under a second name, each in a file
    *_name.cpp. If a fork of Caffe uses that name for its own layer, that layer stays.

    Returns
    -------
    dict of str to (str, Path)
        Maps our path to the layer type and the tree's file that registers it.
    """
    others = _types_of_others(root)
    return {
        file.relative_to(LAYERS).as_posix(): (name, others[name])
        for file in sorted(LAYERS.rglob("*_name.cpp"))
        for name in _REGISTER.findall(file.read_text())
        if name in others
    }


def _types_of_others(root: Path) -> dict[str, Path]:
    """Return the layer types registered in files that are not ours."""
    ours = {p.relative_to(LAYERS).as_posix() for p in LAYERS.rglob("*.cpp")}
    return {
        name: file
        for file in sorted((root / "src" / "caffe").rglob("*.cpp"))
        if file.relative_to(root).as_posix() not in ours
        for name in _REGISTER.findall(decode(file.read_bytes()))
    }


def differences(changes: list[Change], root: Path) -> Iterator[str]:
    """Yield a unified diff from the current tree to the planned one."""
    for change in changes:
        old = read_file(root / change.path)
        if old == change.after:
            continue
        yield from difflib.unified_diff(
            decode(old or b"").splitlines(keepends=True),
            decode(change.after).splitlines(keepends=True),
            "/dev/null" if old is None else f"a/{change.path}",
            f"b/{change.path}",
        )


def read_originals(root: Path) -> dict[str, bytes | None]:
    """Return the original content of the files that the patch changed."""
    records = read_manifest(root).get("files", {})
    return {
        path: None
        if record["before"] is None
        else (root / STATE / "originals" / path).read_bytes()
        for path, record in records.items()
    }


def read_manifest(root: Path) -> dict:
    """Return the manifest of a patched tree; empty if it is not patched."""
    path = root / STATE / "manifest.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ToolError(
            f"{path} is damaged ({error}): use a fresh Caffe tree"
        ) from error


def read_file(path: Path) -> bytes | None:
    """Return a file's content, or None if there is none."""
    return path.read_bytes() if path.exists() else None


def decode(content: bytes) -> str:
    """Decode a file of any encoding so that encoding restores the same bytes."""
    return content.decode("utf-8", "surrogateescape")
