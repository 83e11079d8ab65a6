"""Patching a Caffe tree with our layers, and giving it back.

What the tree was is kept in `.randrop/` in the tree: a manifest with the hash of every
file before and after, and the originals. The manifest is written before the first file
is changed, so that a run that is killed half-way can be told, completed or undone.
"""

import contextlib
import dataclasses
import difflib
import enum
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from caffe_tools import proto
from caffe_tools.errors import ToolError
from caffe_tools.mends import MENDS

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = REPOSITORY / "caffe_layers"
MESSAGES = REPOSITORY / "proto" / "messages.proto"
FIELDS = REPOSITORY / "proto" / "layer_parameter.proto"
PROTO = "src/caffe/proto/caffe.proto"
STATE = ".randrop"
_TEMPORARY = ".randrop-new"

_REGISTER = re.compile(r"REGISTER_LAYER_(?:CLASS|CREATOR)\(\s*(\w+)")


class State(enum.Enum):
    """How a tree stands to our patch."""

    PATCHED = 0
    NOT_PATCHED = 1
    PARTLY = 3
    OTHER_VERSION = 4


@dataclasses.dataclass(frozen=True)
class Change:
    """One file of the tree; `before` is None where there was none."""

    path: str
    before: bytes | None
    after: bytes
    why: str


def check_tree(root: Path) -> None:
    """Refuse a path that is no Caffe tree.

    Raises
    ------
    ToolError
        Naming what is missing.
    """
    if not root.is_dir():
        raise ToolError(f"{root} is no folder: give the root of a Caffe tree")
    for needed in (PROTO, "include/caffe", "src/caffe/layers"):
        if not (root / needed).exists():
            raise ToolError(
                f"{root} is no Caffe tree, {needed} is missing: give the folder that "
                "holds Caffe's Makefile and CMakeLists.txt"
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
    """Return the changes that patch the tree as it was before any patch of ours.

    Raises
    ------
    ToolError
        When a number, name, layer type or file of ours is taken; names by whom.
    """
    originals = _originals(root)

    def before(path: str) -> bytes | None:
        if path in originals:
            return originals[path]
        file = root / path
        return file.read_bytes() if file.exists() else None

    changes = []
    if not mends_only:
        changes.append(_proto_change(before(PROTO), numbers))
        changes += _layer_changes(root, before)
    for mend in MENDS:
        content = before(mend.path)
        if content is None:
            continue
        after = mend.apply(_text(content)).encode("utf-8", "surrogateescape")
        if after != content:
            changes.append(
                Change(mend.path, content, after, f"{mend.name}: {mend.why}")
            )
    return changes


def _proto_change(before: bytes, numbers: dict[str, int]) -> Change:
    text = _text(before)
    file = proto.parse(text, PROTO)
    layer = file.messages.get("LayerParameter")
    if layer is None:
        raise ToolError(f"{PROTO} has no message LayerParameter: is this a Caffe tree?")
    fields = our_fields()
    _check_numbers(numbers, fields)
    _check_names(file, layer, fields)
    lines = FIELDS.read_text()
    for field in fields:
        number = numbers.get(field.name, field.number)
        user = layer.used(number)
        if user:
            free = layer.free(max(1000 + field.number, number))
            raise ToolError(
                f"{PROTO}: number {number} of LayerParameter, which our field "
                f"'{field.name}' wants, is taken by {user}. Nothing was written. "
                f"Choose another number, for example --number {field.name}={free}. Prototxt "
                "files store names and do not change; caffemodel files store numbers, "
                "and those made with another number do not find this field"
            )
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
                "without 19000 to 19999, which protobuf keeps for itself"
            )
    chosen = [numbers.get(field.name, field.number) for field in fields]
    if len(set(chosen)) < len(chosen):
        raise ToolError(f"--number gives one number to two of {', '.join(names)}")


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
            f"{PROTO} has names of ours already: {'; '.join(taken)}. Nothing was "
            "written. Probably the paper's parameters were merged by hand: remove "
            "these lines (prototxt files that use them go on working) and run this again"
        )


def _layer_changes(root: Path, before: Callable[[str], bytes | None]) -> list[Change]:
    changes = []
    known = _manifest(root)
    for source in sorted(p for p in LAYERS.rglob("*") if p.is_file()):
        path = source.relative_to(LAYERS).as_posix()
        content = before(path)
        is_new = path not in known.get("files", {})
        if is_new and content not in (None, source.read_bytes()):
            raise ToolError(
                f"{root / path} is there already and not ours. Nothing was written. "
                "Move it away, then run this again"
            )
        changes.append(Change(path, content, source.read_bytes(), "our layers"))
    ours = {change.path for change in changes}
    types = set(registered_types())
    for file in sorted((root / "src" / "caffe").rglob("*.cpp")):
        if file.relative_to(root).as_posix() in ours:
            continue
        clash = types.intersection(_REGISTER.findall(_text(file.read_bytes())))
        if clash:
            raise ToolError(
                f"{file} registers the layer type {', '.join(sorted(clash))} already, "
                "and Caffe takes a type once. Nothing was written. Move that file (and "
                "its .cu and .hpp) out of the tree, then run this again"
            )
    return changes


def apply(
    root: Path, numbers: dict[str, int] | None = None, mends_only: bool = False
) -> list[str]:
    """Patch the tree, or bring it to the present patch.

    Files that are right already are not written, so that their times stay. A failure
    leaves the tree as it was.

    Parameters
    ----------
    root : Path
        Caffe tree.
    numbers : dict, optional
        Numbers for our fields, where the tree uses ours; those chosen before stay.
    mends_only : bool
        Apply the compatibility mends and nothing else.

    Returns
    -------
    list of str
        The paths that changed.

    Raises
    ------
    ToolError
        On any conflict, or when the system refuses to write.
    """
    check_tree(root)
    manifest = _manifest(root)
    if numbers is None:
        numbers = manifest.get("numbers", {})
    changes = plan(root, numbers, mends_only)
    present = {c.path: _read(root / c.path) for c in changes}
    old = manifest.get("files", {})
    for change in changes:
        if present[change.path] not in (change.before, change.after):
            _refuse_edited(root, change.path, present[change.path], old)
    planned = {change.path for change in changes}
    dropped = [path for path in old if path not in planned]
    for path in dropped:
        _refuse_edited(root, path, _read(root / path), old)
    todo = [c for c in changes if present[c.path] != c.after]
    if not todo and not dropped and manifest.get("state") == "applied":
        return []
    _check_writable(root, [c.path for c in todo])
    _write(root, changes, todo, dropped, numbers)
    return [c.path for c in todo] + dropped


def check(root: Path) -> State:
    """Say how the tree stands to the present patch.

    Raises
    ------
    ToolError
        When it is no Caffe tree, or its state cannot be read.
    """
    check_tree(root)
    manifest = _manifest(root)
    if not manifest:
        marked = "// randrop: begin" in _text((root / PROTO).read_bytes())
        return State.PARTLY if marked else State.NOT_PATCHED
    files = manifest["files"]
    present = {path: _hash(_read(root / path)) for path in files}
    if manifest["state"] != "applied" or any(
        present[path] != record["after"] for path, record in files.items()
    ):
        return State.PARTLY
    try:
        changes = plan(root, manifest["numbers"], manifest.get("mends_only", False))
    except ToolError:
        return State.OTHER_VERSION
    wanted = {change.path: _hash(change.after) for change in changes}
    return State.PATCHED if wanted == present else State.OTHER_VERSION


def revert(root: Path) -> list[str]:
    """Give the tree back byte for byte, as it was before the patch.

    Returns
    -------
    list of str
        The paths that changed.

    Raises
    ------
    ToolError
        When it is not patched, or a patched file was edited since.
    """
    check_tree(root)
    manifest = _manifest(root)
    if not manifest:
        raise ToolError(f"{root} is not patched: there is nothing to revert")
    files = manifest["files"]
    for path, record in files.items():
        content = _read(root / path)
        if _hash(content) not in (record["before"], record["after"]):
            _refuse_edited(root, path, content, files)
    _check_writable(root, list(files))
    changed = []
    # The manifest goes last: a revert that is killed can be run again.
    for path, record in files.items():
        target = root / path
        if record["before"] is None:
            if target.exists():
                target.unlink()
                changed.append(path)
        elif _hash(_read(target)) != record["before"]:
            _replace(target, (root / STATE / "originals" / path).read_bytes())
            changed.append(path)
    _remove_folders(root, manifest["folders"])
    for path in root.rglob(f"*{_TEMPORARY}"):
        path.unlink()
    shutil.rmtree(root / STATE)
    return changed


def _write(
    root: Path,
    changes: list[Change],
    todo: list[Change],
    dropped: list[str],
    numbers: dict[str, int],
) -> None:
    """Stage everything, then rename; undo all of it on failure."""
    first_time = not (root / STATE).exists()
    old_manifest = _manifest(root)
    previous = {c.path: _read(root / c.path) for c in todo}
    previous |= {path: _read(root / path) for path in dropped}
    folders = set(old_manifest.get("folders", []))
    for change in changes:
        for parent in Path(change.path).parents:
            if not (root / parent).exists():
                folders.add(parent.as_posix())
    manifest = {
        "state": "applying",
        "numbers": numbers,
        "mends_only": all(c.path != PROTO for c in changes),
        "folders": sorted(folders),
        "files": {
            c.path: {"before": _hash(c.before), "after": _hash(c.after)}
            for c in changes
        },
    }
    # While applying, what was dropped must still be known to a revert.
    dropped_records = {p: old_manifest["files"][p] for p in dropped}
    staged: list[tuple[Path, Path]] = []
    try:
        for change in changes:
            if change.before is not None:
                original = root / STATE / "originals" / change.path
                if not original.exists():
                    original.parent.mkdir(parents=True, exist_ok=True)
                    _replace(original, change.before)
        _write_manifest(
            root, {**manifest, "files": manifest["files"] | dropped_records}
        )
        for change in todo:
            target = root / change.path
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(target.name + _TEMPORARY)
            staged.append((temporary, target))
            temporary.write_bytes(change.after)
            if target.exists():
                shutil.copymode(target, temporary)
        for temporary, target in staged:
            os.replace(temporary, target)
        for path in dropped:
            before = _originals(root).get(path)
            if before is None:
                (root / path).unlink()
            else:
                _replace(root / path, before)
        _write_manifest(root, {**manifest, "state": "applied"})
    except BaseException as error:
        _undo(root, staged, previous, first_time, old_manifest, folders)
        if isinstance(error, OSError):
            raise ToolError(
                f"cannot write {error.filename or root}: {error.strerror}. The tree is "
                "as it was. Free some space, or make the tree writable, and run this "
                "again"
            ) from error
        raise


def _undo(
    root: Path,
    staged: list[tuple[Path, Path]],
    previous: dict[str, bytes | None],
    first_time: bool,
    old_manifest: dict,
    folders: set[str],
) -> None:
    for temporary, _ in staged:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    for path, content in previous.items():
        target = root / path
        if content is None:
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
        elif _read(target) != content:
            original = root / STATE / "originals" / path
            # A rename needs no space on a full disk.
            if first_time and original.exists():
                os.replace(original, target)
            else:
                _replace(target, content)
    if first_time:
        _remove_folders(root, sorted(folders))
        shutil.rmtree(root / STATE, ignore_errors=True)
    else:
        _write_manifest(root, old_manifest)


def _remove_folders(root: Path, folders: list[str]) -> None:
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            (root / folder).rmdir()


def _refuse_edited(
    root: Path, path: str, content: bytes | None, records: dict[str, dict]
) -> None:
    record = records.get(path)
    if record and _hash(content) in (record["before"], record["after"]):
        return
    what = "is gone" if content is None else "was edited"
    raise ToolError(
        f"{root / path} {what} since the tree was patched. Nothing was written. Save "
        f"your change elsewhere and put back the patched file, or, to give your change "
        f"up, copy {root / STATE / 'originals' / path} over it"
    )


def _check_writable(root: Path, paths: list[str]) -> None:
    for path in [".", *paths]:
        file = root / path
        while not file.exists():
            file = file.parent
        for place in {file, file if file.is_dir() else file.parent}:
            if not os.access(place, os.W_OK):
                raise ToolError(
                    f"{place} is not writable: make it so (chmod u+w), or copy the tree "
                    "to a place of yours. Nothing was written"
                )


def _originals(root: Path) -> dict[str, bytes | None]:
    records = _manifest(root).get("files", {})
    return {
        path: None
        if record["before"] is None
        else (root / STATE / "originals" / path).read_bytes()
        for path, record in records.items()
    }


def _manifest(root: Path) -> dict:
    path = root / STATE / "manifest.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ToolError(
            f"{path} is damaged ({error}): take a fresh Caffe tree"
        ) from error


def _write_manifest(root: Path, manifest: dict) -> None:
    (root / STATE).mkdir(exist_ok=True)
    _replace(
        root / STATE / "manifest.json", json.dumps(manifest, indent=1).encode() + b"\n"
    )


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + _TEMPORARY)
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _hash(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def differences(changes: list[Change], root: Path) -> Iterator[str]:
    """Yield a unified diff from the tree as it is to what a plan makes of it."""
    for change in changes:
        old = _read(root / change.path)
        if old == change.after:
            continue
        yield from difflib.unified_diff(
            _text(old or b"").splitlines(keepends=True),
            _text(change.after).splitlines(keepends=True),
            "/dev/null" if old is None else f"a/{change.path}",
            f"b/{change.path}",
        )
