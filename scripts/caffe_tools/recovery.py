"""A patched tree that somebody changed since: with git, by hand, or by a merge.

`take_stock` brings the record up to date before the tool goes on:

- A file of Caffe's that was edited: the same edit is made to its original, so that the
  patch is made anew around it, and a revert keeps the edit.
- The record is gone, as after `git clean`: the originals come from git where they fit
  to the byte; else our blocks, patches and hooks are taken out of the files again.
  Mends stay in them then.
"""

import re
import shlex
import subprocess
from pathlib import Path

from caffe_tools import (
    demands,
    engine,
    mends,
    merging,
    parameters,
    planning,
    record,
)
from caffe_tools.errors import ToolError
from caffe_tools.hooks import ENGINE, MAKE_ENGINE, MAKE_THREADS, THREADS, Hook
from caffe_tools.parameters import PROTO
from caffe_tools.planning import decode, read_file

_HOOK = re.compile(
    r'^.*(?:#\s*include\s*"caffe/randrop/(?!compat/)|\bNewCpuEngineLayer\b).*$', re.M
)


def traces(root: Path) -> bool:
    """Return whether a tree without a record is patched, by this tool or by hand."""
    text = _text(root, PROTO)
    if parameters.marked(text) or parameters.by_hand(text):
        return True
    return any(
        part.lines in _text(root, hook.path).replace("\r\n", "\n")
        for hook in (*ENGINE, THREADS)
        for part in hook.insertions
    )


def edited(root: Path, manifest: dict) -> list[str]:
    """Return the files that are neither as they were nor as the patch made them."""
    return [
        path
        for path, entry in manifest.get("files", {}).items()
        if not known(entry, read_file(root / path))
    ]


def known(entry: dict, content: bytes | None) -> bool:
    """Return whether a file's content is one that this tool has read or written."""
    found = record.digest(content)
    return found in (entry["before"], entry["after"], *entry.get("was", ()))


def take_stock(root: Path) -> dict:
    """Return the manifest, brought up to date with the tree; empty if not patched.

    Raises
    ------
    ToolError
        If an edit touches what the patch writes; says what to do.
    """
    manifest = record.read_manifest(root)
    if not manifest:
        if not traces(root):
            record.clean(root)
            return {}
        return _adopt(root)
    changed = edited(root, manifest)
    if not changed:
        return manifest
    originals, errors = _originals(root, manifest, changed)
    if errors:
        raise ToolError("\n".join(errors))
    files = dict(manifest["files"])
    for path, content in originals.items():
        entry = dict(files[path])
        if content is not None:
            name = record.keep_original(root, path, content)
            entry |= {"before": record.digest(content), "original": name}
        entry["was"] = [record.digest(read_file(root / path))]
        files[path] = entry
    manifest = {**manifest, "state": "applying", "files": files}
    record.write_manifest(root, manifest)
    return manifest


def refused(root: Path, manifest: dict) -> list[str]:
    """Return the errors of edits that touch what the patch writes."""
    return _originals(root, manifest, edited(root, manifest))[1]


def _originals(
    root: Path, manifest: dict, changed: list[str]
) -> tuple[dict[str, bytes | None], list[str]]:
    originals: dict[str, bytes | None] = {}
    errors = []
    for path in changed:
        try:
            originals[path] = original_of_edited(root, path, manifest["files"][path])
        except ToolError as error:
            errors.append(str(error))
    return originals, errors


def original_of_edited(root: Path, path: str, entry: dict) -> bytes | None:
    """Return the original of an edited file, with the same edit.

    It is None for a file of ours, of which only the line ends were converted.

    Raises
    ------
    ToolError
        If the edit and the patch touch the same lines, or the file is gone or ours.
    """
    content = read_file(root / path)
    state = root / record.STATE
    if entry["before"] is None:
        plain = (content or b"").replace(b"\r\n", b"\n")
        if record.digest(plain) == entry["after"]:
            return None
        raise ToolError(
            f"{root / path} was edited after the tree was patched, and is a file of "
            "this project. Nothing was written. Make your change in "
            f"{planning.LAYERS / path}, delete {root / path}, and run this again"
        )
    original = record.original(root, path, entry)
    stored = state / "originals" / entry.get("original", path)
    copy = shlex.join(["cp", str(stored), str(root / path)])
    if content is None:
        raise ToolError(
            f"{root / path} was deleted after the tree was patched. Nothing was "
            f"written. Restore it with '{copy}', or, if you renamed it, give it its "
            "name again; then run this again"
        )
    base = record.patched(root, path, entry) or _made_again(root, path, entry)
    merged = None
    if base is not None:
        merged = _without_patch(path, *map(decode, (base, content, original)))
    if merged is None:
        how = "in lines that the patch writes"
        if base is None:
            how = f"and {state / 'patched'} does not tell the edit from the patch"
        raise ToolError(
            f"{root / path} was edited after the tree was patched, {how}. "
            "Nothing was written. Keep a copy of it, restore the original with "
            f"'{copy}', and run this again; then make your edit again, beside the "
            "lines of the patch"
        )
    return merged.encode("utf-8", "surrogateescape")


def _made_again(root: Path, path: str, entry: dict) -> bytes | None:
    """Return what the patch makes of a file's original, if it is what it made."""
    manifest = record.read_manifest(root)
    alone = manifest.get("mends_only", False)
    try:
        changes = planning.plan(root, manifest["numbers"], alone)
    except ToolError:
        return None
    made = {change.path: change.after for change in changes}.get(path)
    return made if record.digest(made) == entry["after"] else None


def _without_patch(path: str, base: str, content: str, original: str) -> str | None:
    """Return an edited text as it would be without the patch, or None."""
    windows = content.count("\n") == content.count("\r\n")
    if base.count("\r\n") != content.count("\r\n") and (
        windows or "\r\n" not in content
    ):
        # Somebody has converted the ends of all lines: that is an edit, too.
        texts = (text.replace("\r\n", "\n") for text in (base, content, original))
        merged = _without_patch(path, *texts)
        return merged.replace("\n", "\r\n") if merged and windows else merged
    if path == PROTO and parameters.blocks(base) == parameters.blocks(content):
        return parameters.remove(content)[0]
    merged = merging.merge(base, content, original)
    if merged is None and not _ours_in(base, original, content):
        return content
    return merged


def _ours_in(base: str, original: str, content: str) -> bool:
    """Return whether a text has a line that the patch has put into the file.

    However it is indented. Of a patch that only took lines out, nothing tells.
    """
    ours = _words(base) - _words(original)
    return not ours or not ours.isdisjoint(_words(content))


def _words(text: str) -> set[str]:
    """Return the lines of a text without regard to blanks; no empty ones."""
    return {" ".join(line.split()) for line in text.splitlines()} - {""}


def _adopt(root: Path) -> dict:
    """Make a record for a patched tree that has none."""
    before, numbers = found(root)
    changes = planning.plan(root, numbers, originals=before)
    files = {}
    for change in changes:
        content = read_file(root / change.path)
        entry = {
            "before": record.digest(before.get(change.path, change.before)),
            "after": record.digest(content),
        }
        if entry["before"] is not None:
            name = record.keep_original(root, change.path, change.before)
            entry["original"] = name
            record.keep_patched(root, change.path, content or change.after)
        if content is None:
            entry["after"] = record.digest(change.after)
        files[change.path] = entry
    shim = Path(demands.LOSS).parent
    folders = {
        parent.as_posix()
        for path, entry in files.items()
        if entry["before"] is None
        for parent in Path(path).parents
        if "randrop" in parent.parts or (path == demands.LOSS and parent == shim)
    }
    manifest = {
        "state": "applying",
        "numbers": numbers,
        "mends_only": False,
        "folders": sorted(folders),
        "files": files,
    }
    record.write_manifest(root, manifest)
    return manifest


def found(root: Path) -> tuple[dict[str, bytes | None], dict[str, int]]:
    """Return what a patched tree without a record was before; nothing is written.

    Returns
    -------
    before : dict
        The contents of files before the patch; None for those that are ours.
    numbers : dict
        The numbers of our fields that are not the usual ones.

    Raises
    ------
    ToolError
        If somebody has edited what is ours, so that it cannot be taken out.
    """
    before, numbers = _without_ours(root)
    before |= _from_git(root, before, numbers)
    before |= _header_of_mends(root, before)
    for path in dict.fromkeys(step.path for _, step in engine.steps(planning.PATCHES)):
        _check_no_rest(root, path, before.get(path, read_file(root / path)))
    return before, numbers


def _without_ours(root: Path) -> tuple[dict[str, bytes | None], dict[str, int]]:
    """Return files without what is ours in them, and the numbers of our fields."""
    text, numbers = parameters.remove(_text(root, PROTO))
    before: dict[str, bytes | None] = {PROTO: _bytes(text)}
    steps = [step for _, step in engine.steps(planning.PATCHES)]
    texts: dict[str, str] = {}
    for step in reversed([*steps, THREADS, *MAKE_THREADS, *MAKE_ENGINE]):
        content = texts.get(step.path, _text(root, step.path))
        if content and (isinstance(step, Hook) or step.applied(content)):
            texts[step.path] = step.undo(content)
    before |= {path: _bytes(text) for path, text in texts.items()}
    ours = {
        source.relative_to(planning.LAYERS).as_posix(): source.read_bytes()
        for source in planning.LAYERS.rglob("*")
        if source.is_file()
    }

    def read(path: str) -> bytes | None:
        return None if path == demands.LOSS else read_file(root / path)

    shim = demands.old_layout(read)
    ours |= shim
    for path, content in ours.items():
        found = read_file(root / path)
        if found == content:
            before[path] = None
    return before, numbers


def _from_git(
    root: Path, stripped: dict[str, bytes | None], numbers: dict[str, int]
) -> dict[str, bytes | None]:
    """Return the files whose last commit, patched, the tree has, maybe with an edit.

    The edit is then made to what was committed.
    """
    names = _git(root, "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".")
    committed: dict[str, bytes | None] = {}
    for path in (names or b"").decode("utf-8", "surrogateescape").split("\0"):
        there = path and (root / path).is_file()
        content = _git(root, "show", f"HEAD:./{path}") if there else None
        if content is not None:
            committed[path] = content
    if not committed:
        return {}
    try:
        changes = planning.plan(root, numbers, originals=stripped | committed)
    except ToolError:
        return {}
    before: dict[str, bytes | None] = {}
    for change in changes:
        old = committed.get(change.path)
        if old is None:
            continue
        base, content, old = map(decode, (change.after, _read(root, change), old))
        # That of the messages is known by its marks.
        merged = None if change.path == PROTO else merging.merge(base, content, old)
        if base == content:
            merged = old
        if merged is not None:
            before[change.path] = _bytes(merged)
    return before


def _read(root: Path, change: planning.Change) -> bytes:
    return read_file(root / change.path) or b""


def _check_no_rest(root: Path, path: str, content: bytes | None) -> None:
    """Refuse a file that keeps an edited part of our hook: its header would go."""
    text = decode(content or b"")
    rest = _HOOK.search(text)
    if rest:
        whole = _text(root, path)
        line = whole.count("\n", 0, whole.find(rest[0])) + 1
        raise ToolError(
            f"{root / path} has an edited rest of the patch, '{rest[0].strip()}', "
            "which needs files that this tool adds and removes. Nothing was written. "
            f"Remove what is of the patch there (near line {line}), and run this again"
        )


def _header_of_mends(
    root: Path, before: dict[str, bytes | None]
) -> dict[str, bytes | None]:
    """Return our header with OpenCV's names, if a file keeps the mend that needs it."""
    path = f"include/{mends.NAMES}"
    content = read_file(root / path) or (planning.LAYERS / path).read_bytes()
    for other in mends.paths(root):
        text = before[other] if other in before else read_file(root / other)
        if mends.NAMES.encode() in (text or b""):
            return {path: content}
    return {}


def _git(root: Path, *words: str) -> bytes | None:
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _text(root: Path, path: str) -> str:
    return decode(read_file(root / path) or b"")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
