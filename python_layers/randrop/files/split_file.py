"""The split of a training: which file it is, after folders moved or files changed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.files import schema

Split = dict[str, list[str]]
"""split.json: subset to names of photographs."""

KEPT = "split.json"
"""In the folder of a training: the names that it was trained and validated on."""

REMEDY = "name the split of the training, or of other photographs, with --split"


def read(path: Path) -> Split:
    """Return the names in each subset of a file, sorted.

    Raises
    ------
    UserError
        If the file is no split.
    """
    content = schema.read_json(path, Split, REMEDY)
    return {subset: sorted(own) for subset, own in content.items()}


def digest(path: Path) -> str:
    """Return a SHA-256 of `read`, whatever the order and layout of the file."""
    return digest_of(read(path))


def digest_of(names: Any) -> str:
    """Return a SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()


def found(folder: Path, run: Mapping[str, Any]) -> str | None:
    """Return the split of the training in `folder`, wherever it was moved.

    It is beside the run, as in a cross-validation, or where it was.

    Parameters
    ----------
    folder : Path
    run : mapping
        Content of its run.json.

    Returns
    -------
    str or None
        The first of these files with its names, else the recorded one.
    """
    if not run.get("split"):
        return None
    recorded, wanted = Path(run["split"]), run.get("split_sha256")
    # A run may be a link to another disk.
    beside = [f.parent / recorded.name for f in (folder.absolute(), folder.resolve())]
    for path in (*beside, recorded):
        if not path.is_file():
            continue
        if wanted is None:
            # Earlier versions wrote none: another one may be where it was.
            if path.parent.name == recorded.parent.name:
                return str(path)
        elif _is(path, wanted):
            return str(path)
    return str(recorded)


def of_training(splits: Mapping[str, Sequence[str]]) -> Split:
    """Return the subsets that a training uses."""
    return {name: sorted(splits.get(name, ())) for name in ("train", "validation")}


def kept(folder: Path, run: Mapping[str, Any]) -> str | None:
    """Return the copy of the training's split in its own folder, if there is one."""
    path, wanted = folder / KEPT, run.get("split_sha256")
    return str(path) if wanted and path.is_file() and _is(path, wanted) else None


def checked(run: Mapping[str, Any]) -> str | None:
    """Return the split in the content of a run.json, if it is that of the training.

    Raises
    ------
    UserError
        If it is missing, or has other names than at the training.
    """
    split, wanted = run.get("split"), run.get("split_sha256")
    if not split:
        return None
    if not Path(split).is_file():
        raise UserError(f"{split}, the split of the training, is missing: {REMEDY}")
    if wanted is not None and not _is(Path(split), wanted):
        raise UserError(
            f"{split} has other names than the split of the training had: {REMEDY}"
        )
    return split


def _is(path: Path, wanted: str) -> bool:
    try:
        return digest(path) == wanted
    except UserError:
        return False
