"""Recording a training: from its snapshots to maps and measures."""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from randrop import __version__
from randrop.data import IGNORE_LABEL
from randrop.errors import UserError
from randrop.files import ownership
from randrop.files.locks import is_locked, locked
from randrop.nets.losses import Loss
from randrop.surface import numpy_losses, recording, scenes, step_files
from randrop.surface.compared import activation_of, channels_of
from randrop.surface.measures import Channel, mean
from randrop.surface.network import DamagedError, Network
from randrop.training import snapshots

log = logging.getLogger("randrop")

MOST = 20
"""Snapshots that a recording has by default; more would take more than a tenth of the
time of the training."""

_POLL = 1.0
"""Seconds between two looks at a training in progress."""

_GROWTH = 1.25
"""A recording beside a training is written anew when it has so much more snapshots."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to record.

    Attributes
    ----------
    run : Path
        Folder of the training.
    settings : dict
        Its run.json.
    losses : dict of str to tuple of Loss
        What is compared, by its text; the first is the loss of the training.
    every : int
        Record snapshots whose iteration is a multiple of this, and the last one.
    out : Path
    """

    run: Path
    settings: dict[str, Any]
    losses: dict[str, tuple[Loss, ...]]
    every: int
    out: Path

    @property
    def activation(self) -> str:
        """Return SIGMOID or SOFTMAX."""
        return activation_of(self.settings)

    @property
    def channels(self) -> list[str]:
        """Return the names of the network's outputs."""
        return channels_of(self.settings)


def every_of(settings: dict[str, Any]) -> int:
    """Return the iterations between two recorded snapshots, so that `MOST` suffice."""
    step = settings.get("snapshot", 1)
    return step * -(-settings["iterations"] // (step * MOST))


class Recorder:
    """Records snapshots one by one.

    Parameters
    ----------
    plan : Plan
    images : sequence of Scene
    data : str
        Name of their data set.
    """

    def __init__(self, plan: Plan, images: Sequence[scenes.Scene], data: str) -> None:
        self.plan = plan
        self.images = images
        self.shown = [scene for scene in images if scene.shown]
        self.network = Network(plan.run / "deploy.prototxt")
        self.network.check_channels(images[0].input.shape[0], len(plan.channels))
        self.skipped: dict[int, str] = {}
        self.seconds: list[float] = []
        self.not_finite: set[str] = set()
        self._folder = step_files.folder_of(plan.out)
        self._facts = {
            "run": plan.run.resolve().name,
            "loss": plan.settings["loss"],
            "activation": plan.activation.lower(),
            "channels": plan.channels,
            "losses": list(plan.losses),
            "iterations": [],
            "network_sha256": hashlib.sha256(self.network.text.encode()).hexdigest(),
            "data": {"name": data, "sha256": scenes.digest(images)},
            "size": list(self.shown[0].picture.shape[:2]),
            "made_by": f"randrop {__version__}",
        }

    @property
    def recorded(self) -> int:
        """Return how many snapshots the recording has."""
        return len(self._joined)

    def record(self, force: bool = False, waiting: bool = False) -> None:
        """Record the snapshots that are not recorded yet, and write the recording.

        Parameters
        ----------
        force : bool
            Replace an existing recording, whatever it is of.
        waiting : bool
            Also record the snapshots that a training in progress takes, until it ends.

        Raises
        ------
        UserError
            If the recording is of something else or no snapshot can be recorded, or
            the system refuses to write.
        """
        out = self.plan.out
        with locked(self._folder, out):
            ownership.claim(out.parent, step_files.MAKER, [out.name])
            # Of an old recording, the network, images and losses must be the same.
            if force:
                ownership.check_kind(out, ".h5", "randrop recording")
            self._joined = {} if force else self._check_old()
            step_files.begin(self._folder, self._facts, force)
            self._replace = force
            steps = step_files.found(self._folder)
            self._done = self._joined | dict(step_files.whole(steps))
            try:
                if waiting:
                    self._follow()
                else:
                    self._record_new()
                self._join()
            except KeyboardInterrupt:
                self._join()
                raise
            finally:
                if not step_files.found(self._folder):
                    step_files.end(self._folder)
        if not self._done:
            raise UserError(self._nothing())

    def _check_old(self) -> dict[int, str]:
        """Return the digest of the weights of each step of an existing recording."""
        out = self.plan.out
        if not out.exists():
            return {}
        remedy = "replace it with --force, or choose another --out"
        with (
            recording.clear_errors(out, remedy),
            recording.open_hdf5(out, remedy) as file,
        ):
            known = recording.facts_of(out, file, remedy)
            step_files.check_facts(out, known, self._facts)
            return {
                k: str(file[f"steps/{recording.name_of(k)}"].attrs["weights_sha256"])
                for k in recording.complete(file)
            }

    def _available(self, sealed: bool = False) -> dict[int, Path]:
        """Return the snapshots by iteration; `sealed`: those that are surely whole."""
        run, last = self.plan.run, self.plan.settings["iterations"]
        found = {
            snapshots.iteration_of(path): path
            for path in snapshots.files(run)
            if path.suffix == ".caffemodel"
        }
        if sealed:
            return {k: p for k, p in found.items() if p.with_suffix(".sha256").exists()}
        if last not in found and (run / "final.caffemodel").exists():
            found[last] = run / "final.caffemodel"
        return found

    def _wanted(self, iterations: Sequence[int], last: int) -> list[int]:
        every = self.plan.every
        return sorted(k for k in iterations if k % every == 0 or k == last)

    def _planned(self) -> list[int]:
        """Return what would be recorded if all snapshots were there and whole."""
        settings, there = self.plan.settings, self._available()
        end, step = settings["iterations"], settings.get("snapshot")
        newest = max([*there, *self._done], default=0)
        regular = [*range(step, end, step), end] if step else []
        planned = {*there, *(k for k in regular if k <= newest)}
        wanted = self._wanted(planned, end if newest >= end else newest)
        return sorted({*wanted, *self._done})

    def _record_new(self) -> None:
        """Record all snapshots that are there."""
        there = self._available()
        wanted = self._wanted(there, max(there, default=0))
        missing = [k for k in self._planned() if k not in there and k not in self._done]
        for iteration in missing:
            self.skipped[iteration] = "there is no snapshot"
        for iteration in tqdm(wanted, "recording", unit="snapshot", disable=None):
            self._one(iteration, there[iteration])

    def _follow(self) -> None:
        """Record the snapshots of a training until it ends."""
        run, end = self.plan.run, self.plan.settings["iterations"]
        while is_locked(run):
            there = self._available(sealed=True)
            new = [k for k in self._wanted(there, end) if k not in self._done]
            new = [k for k in new if k not in self.skipped]
            for iteration in new:
                self._one(iteration, there[iteration])
                log.info("iteration %d of %d is recorded", iteration, end)
                if len(self._done) >= _GROWTH * len(self._joined):
                    self._join()
            if not new:
                time.sleep(_POLL)
        self.skipped.clear()
        self._record_new()

    def _one(self, iteration: int, weights: Path) -> None:
        """Record a snapshot, unless it is recorded or damaged."""
        start = time.perf_counter()
        try:
            digest = ownership.sha256(weights)
        except OSError as error:
            self.skipped[iteration] = f"{weights}: {error.strerror}"
            return
        if iteration in self._done:
            self._check_same(iteration, digest, weights)
            return
        try:
            self.network.load(weights)
        except DamagedError as error:
            self.skipped[iteration] = str(error)
            return
        arrays, measures = self._computed(iteration)
        path = self._folder / f"{recording.name_of(iteration)}.h5"
        attributes = {"measures": recording.facts_text(measures)}
        attributes["weights_sha256"] = digest
        step_files.write_step(path, arrays, attributes)
        self._done[iteration] = digest
        self.seconds.append(time.perf_counter() - start)

    def _check_same(self, iteration: int, digest: str, weights: Path) -> None:
        """Refuse another training's snapshot of an iteration that is recorded.

        The final weights and the last snapshot differ in bytes, but not in values.
        """
        final = weights.name == "final.caffemodel"
        if digest != self._done[iteration] and not final:
            if snapshots.is_sealed(weights) is False:
                return
            raise UserError(
                f"{weights} is not the snapshot that {self.plan.out} recorded: the "
                "network was trained again: replace the recording with --force, or "
                "choose another --out"
            )

    def _computed(self, iteration: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the measures of the network's current weights."""
        plan, seed = self.plan, self.plan.settings.get("seed", 0)
        arrays: dict[str, list[np.ndarray]] = {}
        values: dict[str, dict[str, list[float]]] = {
            subset: {name: [] for name in plan.losses} for subset in recording.SUBSETS
        }
        channels = {s: [Channel() for _ in plan.channels] for s in recording.SUBSETS}
        for scene in self.images:
            logits, probability = self.network.forward(scene.input)
            for channel, p, y in zip(
                channels[scene.subset], probability, scene.truth, strict=True
            ):
                channel.add(p, y)
            if scene.shown:
                arrays.setdefault("probability", []).append(probability)
            for k, (name, losses) in enumerate(plan.losses.items()):
                with np.errstate(invalid="ignore", over="ignore"):
                    result = numpy_losses.evaluate(
                        losses, logits[None], scene.label[None], IGNORE_LABEL,
                        seed, iteration,
                    )  # fmt: skip
                values[scene.subset][name].append(result.loss)
                if not np.isfinite(result.loss):
                    self.not_finite.add(name)
                if not scene.shown:
                    continue
                arrays.setdefault(f"loss/{k}", []).append(
                    loss_map(result.per_pixel[0], scene.label)
                )
                if any(numpy_losses.selects(loss) for loss in losses):
                    arrays.setdefault(f"kept/{k}", []).append(result.mask[0])
        whole = {name: np.stack(parts) for name, parts in arrays.items()}
        for name, array in whole.items():
            if name == "probability":
                whole[name] = step_files.rounded_probability(array)
            elif array.dtype == np.float32:
                whole[name] = step_files.rounded(array)
        measures = {
            subset: {
                "photographs": sum(scene.subset == subset for scene in self.images),
                "loss": {name: mean(all_) for name, all_ in values[subset].items()},
                "channels": {
                    name: channel.measures()
                    for name, channel in zip(
                        plan.channels, channels[subset], strict=True
                    )
                },
            }
            for subset in recording.SUBSETS
        }
        return whole, measures

    def _join(self) -> None:
        """Write the recording if there are new steps."""
        steps = step_files.found(self._folder)
        new = {k: path for k, path in steps.items() if k not in self._joined}
        planned = self._planned()
        if new:
            out = self.plan.out
            old = out if self._joined and not self._replace else None
            facts = self._facts | {"iterations": planned}
            step_files.join(out, facts, self.shown, new, old)
            self._joined, self._replace = dict(self._done), False
        step_files.remove(self._folder, list(steps.values()))

    def _nothing(self) -> str:
        if self.skipped:
            iteration, why = next(iter(self.skipped.items()))
            return (
                f"none of the {len(self.skipped)} snapshots of {self.plan.run} can be "
                f"recorded: iteration {iteration}: {why}"
            )
        return (
            f"{self.plan.run} has no snapshot: train with a smaller --snapshot, or "
            "record --while-training"
        )


def loss_map(per_pixel: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the loss of each pixel, so that its mean is the loss of the image.

    Parameters
    ----------
    per_pixel : float64 (L, H, W)
        Each pixel's part of the loss of this image alone.
    label : uint8 (L, H, W)

    Returns
    -------
    float32 (L, H, W)
        NaN where the label is ignored, or the part is not finite.
    """
    valid = label != IGNORE_LABEL
    with np.errstate(over="ignore"):
        found = (per_pixel * np.count_nonzero(valid)).astype(np.float32)
    return np.where(valid & np.isfinite(found), found, np.float32(np.nan))
