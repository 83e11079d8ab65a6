"""Evaluating what a plan lacks, and writing the landscape."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from randrop.cluster import shares
from randrop.cluster.shares import SUFFIX, Share
from randrop.errors import UserError
from randrop.files import ownership
from randrop.surface.landscape import points
from randrop.surface.landscape.planning import Plan
from randrop.surface.landscape.ranks import Ranks
from randrop.surface.landscape_file import Landscape

log = logging.getLogger("randrop")

_HESSIAN = -1
"""The job in the journal that stands for the eigenvalues."""


def run(
    plan: Plan,
    out: Path,
    workers: int,
    ranks: Ranks,
    force: bool = False,
    divide: Callable[[list[int]], None] | None = None,
) -> None:
    """Compute a landscape, or what an earlier call left of it, and write it.

    Parameters
    ----------
    plan : Plan
    out : Path
        The file, beside which the results so far are in OUT.points.
    workers : int
        Processes of this rank.
    ranks : Ranks
        This is rank 0.
    force : bool
        Begin anew, whatever landscape is there.
    divide : callable, optional
        Called with the jobs that are open: has them evaluated elsewhere, by
        `run_share`.

    Raises
    ------
    UserError
        If another landscape or somebody else's file is there, a job raises, or the
        system refuses.
    """
    if force:
        old = points.path_of(out)
        ownership.check(out, old, maker=points.MAKER)
        ownership.check_kind(out, ".h5", "randrop landscape")
        ownership.check(*_shares(out), maker=points.MAKER)
        for path in (old, *_shares(out)):
            path.unlink(missing_ok=True)
    # With force, the old one stays until there is a new one.
    if out.exists() and not force:
        found = Landscape.open(out)
        points.check_plan(out, found.facts.get("plan", {}), plan.facts["plan"])
        log.info("%s is already there: %s", out, _summary(found))
        ranks.shared([])
        for _ in ranks.gathered(()):
            pass
        return
    journal = points.Journal(out, plan.facts["plan"])
    try:
        _gather(plan, journal, out, at_work=divide is not None)
        if divide is not None and (missing := _missing(plan, journal)):
            divide(missing)
            _gather(plan, journal, out)
            left = [job for job in _missing(plan, journal) if job != _HESSIAN]
            if left:
                raise UserError(
                    f"the shares lack {len(left)} points, as when their files were "
                    "removed meanwhile: run the same command again to continue"
                )
        _evaluate(plan, journal, workers, ranks)
        if not any(journal.done.values()):
            journal.remove()
            raise UserError(
                "no point could be evaluated, because every process ended: "
                + (
                    "omit --gpu if there is no GPU, or Caffe is built without CUDA"
                    if plan.gpu
                    else "use fewer --images, or --workers 1"
                )
            )
        landscape = plan.landscape(journal.done, _spectrum(plan, journal))
        landscape.write(out)
        journal.remove()
        shares.remove(folder_of(out), "surface")
    except KeyboardInterrupt:
        log.warning("Stopped. Run the same command again to continue")
        raise
    finally:
        journal.close()
    log.info("%s: %s", out, _summary(landscape))


def run_share(plan: Plan, out: Path, workers: int, share: Share) -> None:
    """Evaluate a share of the jobs for `run`, or what an earlier call left of it.

    Parameters
    ----------
    plan : Plan
    out : Path
        The file of the landscape, which is not written; see `share_path`.
    workers : int
    share : Share
        Of all jobs. The first one also has the eigenvalues.
    """
    path = share_path(out, share)
    journal = points.Journal(path, plan.facts["plan"])
    try:
        own = range(plan.place.jobs)[share.number - 1 :: share.of]
        jobs = [job for job in own if job not in journal.done]
        options: dict[str, Any] = {"unit": "point", "dynamic_ncols": True}
        with tqdm(total=len(own), initial=len(own) - len(jobs), **options) as bar:
            for job, result in points.computed(jobs, workers, plan.prepare):
                journal.add(job, result)
                bar.update()
        if share.number == 1:
            _spectrum(plan, journal)
    finally:
        journal.close()
    log.info("%s: %d points, for %s", journal.path, len(own), out)


def share_path(out: Path, share: Share) -> Path:
    """Return the file whose journal has the results of a share."""
    return folder_of(out) / str(share) / out.name


def folder_of(out: Path) -> Path:
    """Return the folder of the shares of a landscape."""
    return out.with_name(f"{out.stem}.{SUFFIX}")


def _shares(out: Path) -> list[Path]:
    """Return the journals of the shares of a landscape."""
    return sorted(folder_of(out).glob(f"*-of-*/{points.path_of(out).name}"))


def _gather(
    plan: Plan, journal: points.Journal, out: Path, at_work: bool = False
) -> None:
    """Copy what shares have found into the journal; `at_work`: they may go on."""
    for path in _shares(out):
        if at_work:
            found = points.read(path, plan.facts["plan"])
        else:
            # Refuses a share that is being evaluated.
            own = points.Journal(path.with_name(out.name), plan.facts["plan"])
            own.close()
            found = own.done
        for job, result in found.items():
            if job not in journal.done:
                journal.add(job, result)


def _missing(plan: Plan, journal: points.Journal) -> list[int]:
    wanted = [*range(plan.place.jobs), *([_HESSIAN] if plan.hessian.number else [])]
    return [job for job in wanted if job not in journal.done]


def help_out(plan: Plan, workers: int, ranks: Ranks) -> None:
    """Evaluate the share of a rank other than 0."""
    jobs = ranks.share(ranks.shared(None))
    ranks.send(points.computed(jobs, workers, plan.prepare))


def _evaluate(plan: Plan, journal: points.Journal, workers: int, ranks: Ranks) -> None:
    every = range(plan.place.jobs)
    jobs = ranks.shared([job for job in every if job not in journal.done])
    done = len(every) - len(jobs)
    if done:
        log.info("%s: continued, %d of %d are there", journal.path, done, len(every))
    results = points.computed(ranks.share(jobs), workers, plan.prepare)
    options: dict[str, Any] = {"unit": "point", "dynamic_ncols": True}
    with tqdm(total=len(every), initial=done, **options) as bar:
        holes = 0
        for job, result in ranks.gathered(results):
            journal.add(job, result)
            holes += not result or None in result["losses"]
            if holes:
                bar.set_postfix({"holes": holes}, refresh=False)
            bar.update()


def _spectrum(plan: Plan, journal: points.Journal) -> dict[str, Any] | None:
    if not plan.hessian.number:
        return None
    if _HESSIAN not in journal.done:
        # The points are there: what goes wrong now must not cost them.
        try:
            ((_, result),) = points.computed([_HESSIAN], 1, plan.prepare_hessian)
        except UserError as error:
            log.warning("The landscape is written without eigenvalues: %s", error)
            return None
        if not result:
            log.warning(
                "The landscape is written without eigenvalues: their process ended, "
                "perhaps for lack of memory; use fewer --images"
            )
            return None
        journal.add(_HESSIAN, result)
    return journal.done[_HESSIAN]


def _summary(found: Landscape) -> str:
    parts = []
    for name, height in zip(found.facts["losses"], found.heights, strict=True):
        finite = height[np.isfinite(height)]
        extent = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "none"
        parts.append(f"{name} {extent}")
    if found.facts["explained_variance"]:
        shares = " and ".join(f"{v:.1%}" for v in found.facts["explained_variance"])
        parts.append(f"the two directions explain {shares} of the snapshots' way")
    if found.hessian:
        values, residuals = found.hessian["eigenvalues"], found.hessian["residuals"]
        pairs = zip(values, residuals, strict=True)
        shown = ", ".join(f"{value:.4g} ± {error:.1g}" for value, error in pairs)
        parts.append(f"largest eigenvalues {shown}")
    parts.append(f"{found.holes} holes of {found.state.size} points")
    return "; ".join(parts)
