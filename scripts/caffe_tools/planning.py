"""The changes of patching a Caffe tree: layers, parameters, patches and mends."""

import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from caffe_tools import demands, engine, mends, parameters, record
from caffe_tools.errors import ToolError
from caffe_tools.hooks import MAKE_ENGINE, MAKE_THREADS, THREADS
from caffe_tools.merging import split_lines
from caffe_tools.parameters import PROTO
from caffe_tools.record import read_manifest

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = REPOSITORY / "caffe_layers"
PATCHES = REPOSITORY / "caffe_patches"
STATE = record.STATE

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
        place = root / needed
        if not (place.is_file() if needed == PROTO else place.is_dir()):
            entry = read_manifest(root).get("files", {}).get(needed)
            if entry:
                stored = root / STATE / "originals" / entry.get("original", needed)
                raise ToolError(
                    f"{place} was deleted after the tree was patched. Nothing was "
                    f"written. Restore it with 'cp {stored} {place}', and run this "
                    "again"
                )
            raise ToolError(
                f"{root} is not a Caffe tree, {needed} is missing: give the folder "
                "that contains Caffe's Makefile and CMakeLists.txt"
            )


def registered_types() -> list[str]:
    """Return the layer types that our sources register."""
    text = "".join(p.read_text() for p in sorted(LAYERS.rglob("*.cpp")))
    return _REGISTER.findall(text)


def plan(
    root: Path,
    numbers: dict[str, int],
    mends_only: bool = False,
    originals: dict[str, bytes | None] | None = None,
) -> list[Change]:
    """Return the changes that patch the tree, starting from its original state.

    Parameters
    ----------
    root : Path
        Caffe tree.
    numbers : dict
        Numbers of our fields that are not the usual ones.
    mends_only : bool
        Plan only the compatibility mends.
    originals : dict, optional
        What files were before the patch; by default, what the tree's record says.

    Raises
    ------
    ToolError
        If a number, name, layer type or file of ours is taken; names the owner.
    """
    if originals is None:
        originals = read_originals(root)

    def before(path: str) -> bytes | None:
        return originals[path] if path in originals else read_file(root / path)

    changes = []
    if not mends_only:
        demands.check(before)
        text = parameters.add(decode(before(PROTO)), numbers)
        after = text.encode("utf-8", "surrogateescape")
        changes.append(Change(PROTO, before(PROTO), after, "our parameters"))
        changes += _layer_changes(root, before)
    steps = []
    if not mends_only:
        hooks = [THREADS, *MAKE_THREADS]
        if not _engine_misfits(before):
            steps += engine.steps(PATCHES)
            hooks += MAKE_ENGINE
        steps += [(f"{hook.name}: {hook.why}", hook) for hook in hooks]
    concerned = [*mends.paths(root), *originals, *(step.path for _, step in steps)]
    for path in dict.fromkeys(concerned):
        content = before(path)
        if content is None or mends.is_ours(path):
            continue
        text, whys = mends.apply(path, decode(content))
        for why, step in steps:
            if step.path == path:
                changed = step.apply(text)
                if changed != text:
                    whys.append(why)
                text = changed
        if whys:
            after = text.encode("utf-8", "surrogateescape")
            changes.append(Change(path, content, after, "; ".join(whys)))
    if mends_only and any(mends.NAMES.encode() in c.after for c in changes):
        path = f"include/{mends.NAMES}"
        after = (LAYERS / path).read_bytes()
        changes.append(_our_file(root, path, after, before, originals))
    return changes


def engine_left_out(root: Path) -> dict[str, str]:
    """Return why the tree keeps Caffe's own layers, without the CPU engine.

    Returns
    -------
    dict of str to str
        The files of the tree in which a change of the engine does not fit, or that it
        needs and the tree lacks, and what is wrong with each. Empty if all fits.
    """
    originals = read_originals(root)

    def before(path: str) -> bytes | None:
        return originals[path] if path in originals else read_file(root / path)

    return _engine_misfits(before)


def told(root: Path, mends_only: bool = False) -> list[str]:
    """Return what a user should know of a patched tree, a paragraph each."""
    lines = []
    left = unmended(root)
    if left:
        lines.append(
            "These places may not compile with current libraries, and the tool cannot "
            "mend them:\n" + "\n".join(f"  {line}" for line in left)
        )
    if mends_only:
        return lines
    missing = engine_left_out(root)
    if missing:
        lines.append(
            "This tree keeps Caffe's own layers, without oneDNN, because these files "
            "are not as the patches of caffe_patches/ need them:\n"
            + "\n".join(f"  {path}: {what}" for path, what in missing.items())
        )
    cmake = read_file(root / THREADS.path)
    if cmake is not None and THREADS.misfits(decode(cmake)):
        lines.append(
            f"{THREADS.path} has no option for OpenMP, and no line "
            "include(cmake/Dependencies.cmake) after which to add one: our losses use "
            "one thread unless you compile with -fopenmp"
        )
    return lines


def _engine_misfits(before: Callable[[str], bytes | None]) -> dict[str, str]:
    def mended(path: str) -> str | None:
        content = before(path)
        return None if content is None else mends.apply(path, decode(content))[0]

    return engine.misfits(PATCHES, LAYERS, mended)


def unmended(root: Path) -> list[str]:
    """Return a line for each place of the tree that a mend is for but does not fit."""
    ours = {path for path, content in read_originals(root).items() if content is None}
    lines = []
    for path in mends.paths(root):
        if path not in ours:
            text, _ = mends.apply(path, decode(read_file(root / path) or b""))
            lines += mends.left(path, text)
    return lines


def _layer_changes(root: Path, before: Callable[[str], bytes | None]) -> list[Change]:
    changes = []
    known = read_manifest(root).get("files", {})
    left_out = second_names_taken(root)
    ours = {
        source.relative_to(LAYERS).as_posix(): source.read_bytes()
        for source in sorted(p for p in LAYERS.rglob("*") if p.is_file())
    }
    ours |= demands.old_layout(before)
    for path, after in ours.items():
        if path in left_out:
            continue
        changes.append(_our_file(root, path, after, before, known))
    needed = set(registered_types()) - {name for name, _ in left_out.values()}
    for name, file in _types_of_others(root).items():
        if name in needed:
            raise ToolError(
                f"{file} already registers the layer type {name}, and Caffe allows "
                "each type once. Nothing was written. Move that file (and its .cu "
                "and .hpp) out of the tree, and run this again"
            )
    return changes


def _our_file(
    root: Path,
    path: str,
    after: bytes,
    before: Callable[[str], bytes | None],
    known: Collection[str],
) -> Change:
    """Return the change that puts a file of ours into the tree."""
    content = before(path)
    if os.path.lexists(root / path) and not (root / path).is_file():
        raise ToolError(
            f"{root / path} exists and is no file, and one of ours belongs there. "
            "Nothing was written. Move it away, and run this again: "
            f"'mv {root / path} {root / path}.away'"
        )
    if path not in known and content not in (None, after):
        raise ToolError(
            f"{root / path} already exists and is not ours. Nothing was written. "
            "If an earlier version of this project put it there, remove it: 'rm "
            f"{root / path}'. Otherwise move it away. Then run this again"
        )
    return Change(path, content, after, "our layers")


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
        for name in _REGISTER.findall(decode(read_file(file) or b""))
    }


def differences(changes: list[Change], root: Path) -> Iterator[str]:
    """Yield a unified diff from the current tree to the planned one."""
    for change in changes:
        old = read_file(root / change.path)
        if old == change.after:
            continue
        # Where a name has a blank, a tab tells `patch` its end.
        end = "\t" if " " in change.path else ""
        for line in difflib.unified_diff(
            split_lines(decode(old or b"")),
            split_lines(decode(change.after)),
            "/dev/null" if old is None else f"a/{change.path}{end}",
            f"b/{change.path}{end}",
        ):
            whole = line.endswith("\n")
            yield line if whole else f"{line}\n\\ No newline at end of file\n"


def read_originals(root: Path) -> dict[str, bytes | None]:
    """Return the original content of the files that the patch changed."""
    files = read_manifest(root).get("files", {})
    return {path: record.original(root, path, files[path]) for path in files}


def read_file(path: Path) -> bytes | None:
    """Return a file's content, or None if there is no regular file.

    A link may lead nowhere, and reading a pipe would wait for ever.

    Raises
    ------
    ToolError
        If the system refuses to read it.
    """
    try:
        return path.read_bytes() if path.is_file() else None
    except PermissionError as error:
        raise ToolError(
            f"{path} cannot be read: {error.strerror}. Nothing was written. Make it "
            f"readable with 'chmod u+r {path}', as its owner, and run this again"
        ) from error


def decode(content: bytes) -> str:
    """Decode a file of any encoding so that encoding restores the same bytes."""
    return content.decode("utf-8", "surrogateescape")
