"""The file of a landscape: heights over a line or a plane of weights, in HDF5.

docs/reference/file-formats.md lists what it holds.
"""

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.files import ownership, write_bytes
from randrop.files.reading import check_regular

FORMAT = "randrop landscape"
VERSION = 1

TO_DO, DONE, FAILED = 0, 1, 2
"""The states of a point."""

FACTS = (
    *("run", "kind", "directions", "losses", "channels", "batch_norm", "seed"),
    *("images", "center", "explained_variance", "made_by"),
)
"""The facts that every landscape has."""

_REMEDY = "compute it again with 'surface.py landscape'"

Numbers = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The snapshots of a training, projected into the plane.

    Attributes
    ----------
    iteration : int (s,)
    alpha, beta : float64 (s,)
        Coordinates of the projections.
    distance : float64 (s,)
        L2 distance of the weights from the plane.
    relative_distance : float64 (s,)
        The same, divided by the distance from the centre; 0 at the centre.
    loss, plane_loss : tuple of float64 (s,)
        Of each loss: its value at the snapshot, and at the projection. NaN where it
        could not be computed.
    """

    iteration: NDArray[np.int64]
    alpha: Numbers
    beta: Numbers
    distance: Numbers
    relative_distance: Numbers
    loss: tuple[Numbers, ...]
    plane_loss: tuple[Numbers, ...]


@dataclasses.dataclass(frozen=True)
class Landscape:
    """Heights over a line or a plane of weights.

    Attributes
    ----------
    facts : mapping
        How it was made; has the keys of `FACTS`.
    alpha, beta : float64 (n,), (m,)
        The coordinates; on a line, beta is (0,).
    heights : tuple of float64 (m, n)
        One for each loss of the facts; NaN where a point is missing.
    average_precision : float64 (m, n)
        Mean over the channels; NaN where undefined.
    state : uint8 (m, n)
        `TO_DO`, `DONE` or `FAILED`: the network failed there, or a loss is not finite.
    trajectory : Trajectory or None
    hessian : mapping or None
        `eigenvalues`, `residuals` and `loss`.
    """

    facts: Mapping[str, Any]
    alpha: Numbers
    beta: Numbers
    heights: tuple[Numbers, ...]
    average_precision: Numbers
    state: NDArray[np.uint8]
    trajectory: Trajectory | None = None
    hessian: Mapping[str, Any] | None = None

    def height(self, k: int) -> Numbers:
        """Return the heights (m, n) of loss k of the facts."""
        return self.heights[k]

    @property
    def holes(self) -> int:
        """How many points failed."""
        return int((self.state == FAILED).sum())

    @classmethod
    def open(cls, path: str | Path) -> "Landscape":
        """Read a landscape whole.

        Raises
        ------
        UserError
            If the file is missing, truncated, not a landscape, of a newer version, or
            its arrays do not fit each other.
        """
        path = Path(path)
        check_regular(path)
        if not path.exists():
            raise UserError(f"{path} does not exist: make it with surface.py landscape")
        ownership.warn_if_changed(path)
        try:
            with h5py.File(path, "r") as file:
                _check_kind(path, file)
                found = _read(file)
        except UserError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{path} is damaged or not a landscape ({error}): {_REMEDY}"
            ) from error
        _check(path, found)
        return found

    def write(self, path: Path) -> None:
        """Write the file atomically.

        Raises
        ------
        UserError
            If somebody else's file is there, or the system refuses.
        """
        # The HDF5 library does not survive a full disk, so let it write to memory.
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["facts"] = json.dumps(dict(self.facts), allow_nan=False)
            file["alpha"], file["beta"] = self.alpha, self.beta
            for k, height in enumerate(self.heights):
                file[f"height/{k}"] = height
            file["average_precision"] = self.average_precision
            file["state"] = self.state
            if self.hessian is not None:
                file.attrs["hessian"] = json.dumps(dict(self.hessian), allow_nan=False)
            if self.trajectory is not None:
                _write_trajectory(file, self.trajectory)
        write_bytes(path, content.getvalue())


def _check_kind(path: Path, file: h5py.File) -> None:
    kind, version = file.attrs.get("format"), file.attrs.get("version")
    if kind != FORMAT:
        what = f"a {kind}" if isinstance(kind, str) else "another HDF5 file"
        raise UserError(
            f"{path} is {what}, not a landscape: name a file of 'surface.py landscape'"
        )
    if version != VERSION:
        remedy = _REMEDY if version < VERSION else "use a newer randrop to read it"
        raise UserError(
            f"{path} has version {version} of the format, and this randrop reads "
            f"version {VERSION}: {remedy}"
        )


def _read(file: h5py.File) -> Landscape:
    facts = json.loads(file.attrs["facts"])
    hessian = file.attrs.get("hessian")
    losses = range(len(facts["losses"]))
    trajectory = None
    if "trajectory" in file:
        group = file["trajectory"]
        trajectory = Trajectory(
            group["iteration"][()],
            *(group[name][()] for name in _COLUMNS),
            loss=tuple(group[f"loss/{k}"][()] for k in losses),
            plane_loss=tuple(group[f"plane_loss/{k}"][()] for k in losses),
        )
    return Landscape(
        facts=facts,
        alpha=file["alpha"][()],
        beta=file["beta"][()],
        heights=tuple(file[f"height/{k}"][()] for k in losses),
        average_precision=file["average_precision"][()],
        state=file["state"][()],
        trajectory=trajectory,
        hessian=None if hessian is None else json.loads(hessian),
    )


_COLUMNS = ("alpha", "beta", "distance", "relative_distance")


def _write_trajectory(file: h5py.File, trajectory: Trajectory) -> None:
    group = file.create_group("trajectory")
    for name in ("iteration", *_COLUMNS):
        group[name] = getattr(trajectory, name)
    for name in ("loss", "plane_loss"):
        for k, values in enumerate(getattr(trajectory, name)):
            group[f"{name}/{k}"] = values


def _check(path: Path, found: Landscape) -> None:
    missing = [name for name in FACTS if name not in found.facts]
    if missing:
        raise UserError(f"{path} lacks the facts {', '.join(missing)}: {_REMEDY}")
    shape = (found.beta.size, found.alpha.size)
    grids = {"average_precision": found.average_precision, "state": found.state}
    grids |= {f"height/{k}": height for k, height in enumerate(found.heights)}
    _check_shapes(path, grids, shape)
    if found.trajectory is not None:
        values = dataclasses.asdict(found.trajectory)
        columns = {name: values[name] for name in ("iteration", *_COLUMNS)}
        for name in ("loss", "plane_loss"):
            columns |= {f"{name}/{k}": v for k, v in enumerate(values[name])}
        columns = {f"trajectory/{name}": v for name, v in columns.items()}
        _check_shapes(path, columns, found.trajectory.iteration.shape)


def _check_shapes(
    path: Path, arrays: Mapping[str, np.ndarray], shape: Sequence[int]
) -> None:
    for name, array in arrays.items():
        if array.shape != tuple(shape):
            raise UserError(
                f"{path}: {name} has shape {array.shape}, but its coordinates need "
                f"{tuple(shape)}: {_REMEDY}"
            )
