"""What a landscape consists of: the plan that its command line asks for."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from randrop import __version__
from randrop.errors import UserError
from randrop.nets.losses import Loss
from randrop.surface.landscape import (
    directions,
    hessian,
    network,
    parameters,
    scene,
)
from randrop.surface.landscape.points import Result, number
from randrop.surface.landscape_file import DONE, FAILED, Landscape, Trajectory
from randrop.training import snapshots

log = logging.getLogger("randrop")

MARGIN = 0.2
"""Of the trajectory's extent, drawn around it."""

Vector = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Place:
    """A centre and two directions, with the coordinates to evaluate.

    Attributes
    ----------
    center : float64 (P,)
    directions : float64 (2, P)
        The second is 0 on a line.
    alpha, beta : float64 (n,), (m,)
    name : str
        Of the weights in the centre.
    sources : tuple of float64 (P,)
        The weights that define the place.
    iterations : tuple of int
        Of the snapshots on a trajectory.
    principal : Principal or None
        Of those snapshots.
    """

    center: Vector
    directions: Vector
    alpha: Vector
    beta: Vector
    name: str
    sources: tuple[Vector, ...]
    iterations: tuple[int, ...] = ()
    principal: directions.Principal | None = None

    @property
    def points(self) -> int:
        """How many points the line or plane has."""
        return self.alpha.size * self.beta.size

    @property
    def jobs(self) -> int:
        """How many evaluations: the points, and two for each snapshot."""
        return self.points + 2 * len(self.iterations)

    def weights(self, job: int) -> Vector:
        """Return the weights of a job: points by rows, snapshots, their projections."""
        snapshot = job - self.points
        if snapshot < 0:
            row, column = divmod(job, self.alpha.size)
            at = np.array([self.alpha[column], self.beta[row]])
        elif snapshot < len(self.iterations):
            return self.sources[snapshot]
        else:
            at = self.principal.coordinates[snapshot - len(self.iterations)]
        return self.center + at @ self.directions


def line_or_plane(
    kind: str, points: int, span: Sequence[float]
) -> tuple[Vector, Vector]:
    """Return the coordinates alpha and beta."""
    alpha = np.linspace(*span, points)
    return alpha, alpha.copy() if kind == "plane" else np.zeros(1)


def around_weights(
    layout: parameters.Layout,
    path: Path,
    kind: str,
    points: int,
    span: Sequence[float],
    seed: int,
) -> Place:
    """Return random, filter-normalised directions at weights."""
    center = parameters.read(path, layout)
    both = [
        directions.filter_normalised(layout, center, seed, k)
        if k == 0 or kind == "plane"
        else np.zeros(layout.size)
        for k in range(2)
    ]
    alpha, beta = line_or_plane(kind, points, span)
    return Place(center, np.stack(both), alpha, beta, path.name, (center,))


def between_models(
    layout: parameters.Layout,
    first: Path,
    second: Path,
    points: int,
    span: Sequence[float],
) -> Place:
    """Return the line from one model (0) to another (1), with their averages."""
    ends = [parameters.read(path, layout) for path in (first, second)]
    both = np.stack([ends[1] - ends[0], np.zeros(layout.size)])
    alpha, beta = line_or_plane("line", points, span)
    names = f"{first.parent.name}/{first.name}"
    return Place(ends[0], both, alpha, beta, names, tuple(ends))


def along_trajectory(
    layout: parameters.Layout, run: Path, kind: str, points: int
) -> Place:
    """Return the plane of a run's snapshots, as large as their trajectory.

    Averages of batch normalisation are those of the last snapshot.

    Raises
    ------
    UserError
        If there are too few snapshots, or one is damaged or of another network.
    """
    found = {}
    for path in sorted(snapshots.files(run), key=snapshots.iteration_of):
        if path.suffix != ".caffemodel":
            continue
        if snapshots.is_sealed(path) is False:
            log.warning("%s is damaged: skipped", path)
            continue
        found[snapshots.iteration_of(path)] = parameters.read(path, layout)
    iterations = tuple(sorted(found))
    vectors = tuple(found[iteration] for iteration in iterations)
    learned = layout.learned()
    moved = np.stack(vectors)[:, learned] if vectors else np.zeros((0, 0))
    plane = directions.principal(moved)
    both = np.zeros((2, layout.size))
    both[:, learned] = plane.directions
    axes = []
    for k in range(2):
        low, high = plane.coordinates[:, k].min(), plane.coordinates[:, k].max()
        margin = MARGIN * (high - low)
        axes.append(np.linspace(low - margin, high + margin, points))
    if kind == "line":
        both[1], axes[1] = 0, np.zeros(1)
        plane = _on_the_line(plane, moved)
    return Place(
        center=vectors[-1],
        directions=both,
        alpha=axes[0],
        beta=axes[1],
        name=f"{snapshots.PREFIX}_iter_{iterations[-1]}.caffemodel",
        sources=vectors,
        iterations=iterations,
        principal=plane,
    )


def _on_the_line(plane: directions.Principal, moved: Vector) -> directions.Principal:
    """Return the projections on the first direction alone."""
    coordinates = plane.coordinates * (1.0, 0.0)
    length = np.linalg.norm(moved - moved[-1], axis=1)
    distance = np.hypot(plane.distance, plane.coordinates[:, 1])
    relative = np.divide(distance, length, out=np.zeros_like(length), where=length > 0)
    return plane._replace(coordinates=coordinates, distance=distance, relative=relative)


class Hessian(NamedTuple):
    """How many eigenvalues to find, and the step of the differences."""

    number: int
    step: float | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that determines a landscape.

    Attributes
    ----------
    definition : network.Definition
    scene : scene.Scene
    losses : tuple of tuple of Loss
    place : Place
    batch_norm : str
    seed : int
    gpu : bool
    facts : mapping
        For the file, with `plan`, by which a program knows what it continues.
    hessian : Hessian
    """

    definition: network.Definition
    scene: scene.Scene
    losses: tuple[tuple[Loss, ...], ...]
    place: Place
    batch_norm: str
    seed: int
    gpu: bool
    facts: dict[str, Any]
    hessian: Hessian

    def evaluator(self) -> network.Evaluator:
        """Return the network, ready to evaluate."""
        return network.Evaluator(
            self.definition,
            self.scene,
            self.losses,
            self.seed,
            self.batch_norm == network.RECOMPUTED,
            self.gpu,
        )

    def prepare(self) -> Callable[[int], Result]:
        """Return the function of a job, for a worker process."""
        evaluator = self.evaluator()

        def evaluate(job: int) -> Result:
            values = evaluator.values(self.place.weights(job))
            return {
                "losses": [number(loss) for loss in values.losses],
                "average_precision": number(values.average_precision),
            }

        return evaluate

    def prepare_hessian(self) -> Callable[[int], Result]:
        """Return the function that finds eigenvalues, for a worker process."""
        evaluator, learned = self.evaluator(), self.definition.layout.learned()

        def evaluate(_job: int) -> Result:
            with tqdm(desc="Hessian", unit="product", dynamic_ncols=True) as bar:
                product = hessian.Product(
                    evaluator.gradient, self.place.center, learned, bar.update
                )
                found = hessian.largest(
                    product, int(learned.sum()), self.hessian.number, self.seed,
                    self.hessian.step,
                )  # fmt: skip
            return found.to_json() | {"loss": self.facts["losses"][0]}

        return evaluate

    def landscape(
        self, results: dict[int, Result], spectrum: dict[str, Any] | None
    ) -> Landscape:
        """Return the landscape of the results of all jobs, and of the eigenvalues."""
        place, names = self.place, self.facts["losses"]
        values = np.full((len(names) + 1, place.jobs), np.nan)
        for job, result in results.items():
            if job >= 0 and result:
                row = [*result["losses"], result["average_precision"]]
                values[:, job] = [np.nan if v is None else v for v in row]
        shape = (place.beta.size, place.alpha.size)
        grid = values[:, : place.points].reshape(-1, *shape)
        whole = np.isfinite(grid[:-1]).all(0)
        s = len(place.iterations)
        at, projected = np.split(values[:-1, place.points :], [s], axis=1)
        trajectory = None
        if s:
            plane = place.principal
            trajectory = Trajectory(
                np.array(place.iterations, np.int64),
                *plane.coordinates.T.copy(),
                plane.distance,
                plane.relative,
                tuple(at),
                tuple(projected),
            )
        return Landscape(
            self.facts,
            place.alpha,
            place.beta,
            tuple(grid[:-1]),
            grid[-1],
            np.where(whole, DONE, FAILED).astype(np.uint8),
            trajectory,
            spectrum,
        )


def facts_of(
    *,
    run: Path,
    kind: str,
    chosen: str,
    names: Sequence[str],
    channels: Sequence[str],
    batch_norm: str,
    seed: int,
    place: Place,
    images: scene.Scene,
    text: str,
    span: Sequence[float] | None,
    hessian: Hessian,
) -> dict[str, Any]:
    """Return the facts of a landscape, for its file."""
    plane = place.principal
    facts = {
        "run": run.resolve().name,
        "kind": kind,
        "directions": chosen,
        "losses": list(names),
        "channels": list(channels),
        "batch_norm": batch_norm,
        "seed": seed,
        "images": len(images.images),
        "center": place.name,
        "explained_variance": None if plane is None else list(plane.explained),
    }
    weights = hashlib.sha256()
    for source in place.sources:
        weights.update(source.tobytes())
    known = ("run", "explained_variance")
    plan = {name: facts[name] for name in facts if name not in known} | {
        "points": [place.alpha.size, place.beta.size],
        # The extent of a trajectory is computed, and may round differently elsewhere.
        "range": None if span is None else list(map(float, span)),
        "snapshots": list(place.iterations),
        "weights_sha256": weights.hexdigest(),
        "images_sha256": images.digest,
        "network_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "batch": images.batch,
        "hessian": list(hessian),
    }
    return facts | {"plan": plan, "made_by": f"randrop {__version__}"}


def check_kind(batch_norm: str | None, chosen: str, layout: parameters.Layout) -> str:
    """Return what becomes of the averages of batch normalisation.

    Raises
    ------
    UserError
        If the network has none.
    """
    if not layout.normalised:
        if batch_norm is not None:
            raise UserError(
                f"--batch-norm {batch_norm}: the network has no batch normalisation: "
                "omit it"
            )
        return network.NONE
    default = network.KEPT if chosen == "random" else network.RECOMPUTED
    return batch_norm or default
