"""The files of a recording in progress, and how they become one.

Each snapshot is a file of its own beside the recording, in NAME.steps, written to
memory and then under a temporary name that is replaced. At the end they are joined to
NAME.h5, which replaces an older one in the same way, and are removed. So a kill or a
full disk at any time loses at most the snapshot in work.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.files import ownership, replacing, write_bytes, write_json
from randrop.files.schema import read_json
from randrop.surface import recording
from randrop.surface.scenes import Scene

MAKER = "surface record"
"""Of the files, in the lists of `files.ownership`."""

SIGNIFICANT = 12
"""Bits of the fraction that maps of floating point numbers keep, out of 23."""


def folder_of(out: Path) -> Path:
    """Return the folder of the step files of a recording."""
    return out.with_name(f"{out.stem}.steps")


def rounded(
    array: NDArray[np.floating], bits: int = SIGNIFICANT
) -> NDArray[np.float32]:
    """Return float32 numbers rounded to `bits` bits of the fraction.

    The relative error is at most 2^-(bits + 1), and the noise of the last bits, which
    cannot be compressed, is gone. NaN stays NaN.
    """
    array = np.ascontiguousarray(array, np.float32)
    drop = 23 - bits
    words = array.view(np.uint32)
    # Round half to even, as arithmetic does.
    half = np.uint32((1 << (drop - 1)) - 1) + (
        (words >> np.uint32(drop)) & np.uint32(1)
    )
    kept = (words + half) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(array), kept.view(np.float32), array)


def rounded_probability(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities of which p and 1 - p are rounded as `rounded` does.

    The losses of a confident mistake depend on 1 - p.
    """
    return np.where(p > 0.5, 1 - rounded(1 - p), rounded(p))


def write_step(
    path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
) -> None:
    """Write the file of a snapshot.

    Parameters
    ----------
    path : Path
    arrays : mapping of str to ndarray (images, channels, H, W)
        Names may have slashes.
    attributes : mapping
        `complete` is added last.

    Raises
    ------
    UserError
        If the system refuses.
    """
    # The HDF5 library does not survive a full disk, so let it write to memory.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            _add(file, name, array)
        for name, value in attributes.items():
            file.attrs[name] = value
        file.attrs["complete"] = 1
    write_bytes(path, content.getvalue())


def _add(file: h5py.Group, name: str, array: NDArray[Any]) -> None:
    chunk = (1, 1, *array.shape[2:]) if name != "picture" else (1, *array.shape[1:])
    options = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    file.create_dataset(name, data=array, chunks=chunk, **options)


def found(folder: Path) -> dict[int, Path]:
    """Return the step files by iteration."""
    paths = ownership.matching(folder, ["#.h5"])
    return {int(path.stem): path for path in paths if ownership.is_ours(path, folder)}


def check_facts(path: Path, known: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to continue a recording of something else.

    Raises
    ------
    UserError
        Names what differs.
    """
    what = {
        "network_sha256": "another network",
        "activation": "another activation",
        "channels": "other channels",
        "loss": "a training with another loss",
        "losses": "other losses",
        "size": "another size",
        "data": "other images",
    }
    differ = [words for key, words in what.items() if known.get(key) != facts[key]]
    if differ:
        raise UserError(
            f"{path} is a recording of {' and of '.join(differ)}: give the options "
            "that it was begun with, choose another --out, or replace it with --force"
        )


def begin(folder: Path, facts: dict[str, Any], force: bool) -> None:
    """Prepare the folder of step files, or check that it is of this recording.

    Raises
    ------
    UserError
        If it is of another one, or holds files of others.
    """
    ownership.claim(folder, MAKER, ["facts.json"])
    path = folder / "facts.json"
    if force:
        remove(folder, found(folder).values())
    elif path.exists():
        known = read_json(path, recording.Facts, "replace it with --force")
        check_facts(folder, known, facts)
        return
    write_json(path, facts)


def remove(folder: Path, paths: Sequence[Path]) -> None:
    """Remove files of ours."""
    for path in paths:
        if ownership.is_ours(path, folder):
            path.unlink(missing_ok=True)


def end(folder: Path) -> None:
    """Remove the folder of step files if nothing of others is in it."""
    remove(folder, [*found(folder).values(), folder / "facts.json"])
    marks = {ownership.LIST, ownership.LOCK}
    if {path.name for path in folder.iterdir()} <= marks:
        for path in folder.iterdir():
            path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()


def join(
    out: Path,
    facts: dict[str, Any],
    scenes: Sequence[Scene],
    steps: Mapping[int, Path],
    old: Path | None,
) -> None:
    """Write the recording from the step files and those of an older recording.

    Parameters
    ----------
    out : Path
    facts : dict
    scenes : sequence of Scene
        Those that are shown.
    steps : mapping of int to Path
        The file of each iteration.
    old : Path or None
        A recording whose other steps are taken over.

    Raises
    ------
    UserError
        If the system refuses; nothing is lost.
    """
    with replacing(out) as temporary, _Disk(temporary) as disk:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(h5py.File(disk, "w"))
            file.attrs["format"] = recording.FORMAT
            file.attrs["version"] = recording.VERSION
            file.attrs["facts"] = recording.facts_text(facts)
            group = file.create_group("images")
            group.attrs["names"] = json.dumps([scene.name for scene in scenes])
            group.attrs["subsets"] = json.dumps([scene.subset for scene in scenes])
            _add(group, "picture", np.stack([scene.picture for scene in scenes]))
            _add(group, "truth", np.stack([scene.truth for scene in scenes]))
            target = file.create_group("steps")
            before = stack.enter_context(recording.open_hdf5(old)) if old else None
            known = recording.complete(before) if before else []
            for iteration in sorted({*known, *steps}):
                name = recording.name_of(iteration)
                if iteration in known:
                    before.copy(before[f"steps/{name}"], target, name)
                    continue
                with recording.open_hdf5(steps[iteration]) as step:
                    step.copy(step["/"], target, name)
        disk.check()


class _Disk(io.FileIO):
    """A file that hides write errors from HDF5, which does not survive them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+")
        self._error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write everything, or note why not."""
        rest = memoryview(content).cast("B")
        size = len(rest)
        try:
            while len(rest) and self._error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Change the length, or note why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = error
            return size or 0

    def check(self) -> None:
        """Raise the first error."""
        if self._error is not None:
            raise self._error


def whole(steps: Mapping[int, Path]) -> Iterator[tuple[int, str]]:
    """Yield iteration and digest of the weights of each step file."""
    for iteration, path in steps.items():
        with recording.open_hdf5(path) as file, recording.clear_errors(path):
            yield iteration, str(file.attrs["weights_sha256"])
