"""Predictions in shares: what each has, and putting it together.

A share writes a whole prediction into `OUT/shares/K-of-N`, and beside it `share.json`:
the settings, and of each photograph its state, scale and time. What has the same
settings and state is not predicted again, so a share also continues its own work.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from randrop import __version__
from randrop.cluster.shares import SUFFIX, Share
from randrop.data import Case
from randrop.files import replacing, schema, write_json
from randrop.files.documents import PredictionShare

FILE = "share.json"

_CHANGING = ("complete", "seconds", "scales", "failed", "weights", "deploy", "run")
"""Keys of prediction.json that do not define the maps."""


class Known(NamedTuple):
    """A photograph that a share has predicted, or could not read."""

    folder: Path
    scale: float
    seconds: float
    failed: str | None


def root_of(out: Path) -> Path:
    """Return the folder of the shares of a prediction."""
    return out / SUFFIX


def folder_of(out: Path, share: Share) -> Path:
    """Return the folder of a share."""
    return root_of(out) / str(share)


def settings_of(record: Mapping[str, Any], lists: Any) -> dict[str, Any]:
    """Return what defines maps and lists, for `share.json`.

    Parameters
    ----------
    record : mapping
        The content of prediction.json.
    lists : Lists or None
    """
    own = {key: value for key, value in record.items() if key not in _CHANGING}
    return own | {"lists": repr(lists), "version": __version__}


class Writer:
    """Keeps the `share.json` of a share that is being predicted."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._path = folder / FILE
        self._content = {"settings": dict(settings), "photographs": {}}

    def add(self, case: Case, scale: float, seconds: float, failed: str | None) -> None:
        """Write that a photograph is done."""
        state = _state(case)
        if state:
            self._content["photographs"][case.name] = {
                **{"state": state, "scale": scale, "seconds": seconds},
                "failed": failed,
            }
            write_json(self._path, self._content)


def known(
    root: Path,
    settings: Mapping[str, Any],
    cases: Sequence[Case],
    files: Callable[[Case], Sequence[str]],
) -> dict[str, Known]:
    """Return what shares have of photographs.

    Parameters
    ----------
    root : Path
        As of `root_of`.
    settings : mapping
        As of `settings_of`.
    cases : sequence of Case
    files : callable
        Returns the names of the files of a photograph, in the folder of a prediction.
    """
    found: dict[str, Known] = {}
    for path in sorted(root.glob(f"*/{FILE}")):
        remedy = f"remove {path.parent} to predict its photographs again"
        content = schema.read_json(path, PredictionShare, remedy)
        if content["settings"] != settings:
            continue
        for case in cases:
            own = content["photographs"].get(case.name)
            if own is None or (case.name in found and own["failed"]):
                continue
            if own["state"] != _state(case):
                continue
            whole = all((path.parent / name).is_file() for name in files(case))
            if whole or own["failed"]:
                one = Known(path.parent, own["scale"], own["seconds"], own["failed"])
                found[case.name] = one
    return found


def take(known: Known, names: Sequence[str], out: Path) -> None:
    """Give the files of a photograph a second name in the output folder."""
    for name in names:
        share(known.folder / name, out / name)


def share(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has one alone."""
    with contextlib.suppress(FileNotFoundError):
        if source.samefile(target):
            return
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _state(case: Case) -> str | None:
    """Return what changes when somebody replaces a photograph."""
    try:
        found = case.image_path.stat()
    except OSError:
        return None
    return f"{found.st_size} bytes, {found.st_mtime_ns} ns"
