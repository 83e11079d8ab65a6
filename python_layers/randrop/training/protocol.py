"""A comparison of losses that is written down before it is run.

The protocol is a JSON file, the record of each training another: a run that has a
record is not repeated, so that the work can be spread over days and machines.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.evaluation import comparison, protocol_summary
from randrop.files import schema
from randrop.training import comparing
from randrop.training.protocol_files import Arm, Protocol, RunRecord, check_networks

GENERATOR = "randrop run_protocol"
"""What marks a summary as one."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: an arm with a learning rate on a fold, numbered from 1.

    `arm` is its name. The fold's number is also the seed of the training.
    """

    arm: str
    rate: float
    fold: int

    @property
    def name(self) -> str:
        """The name of its record, without suffix."""
        arm = comparing.folder_of(Path(), self.arm, 0).name.removesuffix("-seed0")
        return f"{arm}-lr{self.rate:g}-fold{self.fold}"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a protocol is run.

    Attributes
    ----------
    protocol : Protocol
    data, out : Path or None
        The prepared photographs, and the folder that receives one folder per run; a
        summary needs neither.
    records : Path
        Folder of the records.
    only : sequence of str
        The arms to train or summarise; none stands for all.
    """

    protocol: Protocol
    data: Path | None
    out: Path | None
    records: Path
    only: Sequence[str] = ()

    @property
    def arms(self) -> list[Arm]:
        """Those to train or summarise, in the protocol's order."""
        return [a for a in self.protocol.arms if not self.only or a.called in self.only]


def read(path: Path) -> Protocol:
    """Read a protocol.

    Raises
    ------
    UserError
        If it is damaged, or contradicts itself.
    """
    remedy = "see results/lesion_protocol.json for the form"
    found = Protocol(**schema.read_json(path, Protocol, remedy))
    names = [arm.called for arm in found.arms]
    if found.reference not in names:
        raise UserError(
            f"{path}: the reference {found.reference} is not among the arms"
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"{path}: {min(twice)} occurs twice among the arms")
    for arm in found.arms:
        check_networks(path, found, arm)
        if arm.training and not arm.name:
            raise UserError(f"{path}: {arm.loss} with other arguments needs a name")
        if arm.folds > len(found.folds):
            raise UserError(
                f"{path}: {arm.called} asks for {arm.folds} folds, but there are "
                f"{len(found.folds)}: list more folds, or ask for fewer"
            )
    _check_file_names(path, found)
    if any(a >= b for a, b in itertools.pairwise(found.curve)):
        raise UserError(
            f"{path}: the iterations of the curve must increase: {found.curve}"
        )
    if not set(found.lesions) <= set(found.types):
        raise UserError(f"{path}: types lacks some of lesions, which are among them")
    for k, fold in enumerate(found.folds, 1):
        both = set(fold.test) & set(fold.validation)
        if both:
            raise UserError(
                f"{path}: fold {k} has {min(both)} in test and in validation: a "
                "photograph that chooses the rate must not measure it"
            )
    tested = [name for fold in found.folds for name in fold.test]
    again = {name for name in tested if tested.count(name) > 1}
    if again:
        raise UserError(
            f"{path}: {min(again)} is tested twice: intervals over photographs need "
            "each in one fold, once"
        )
    return found


def _check_file_names(path: Path, protocol: Protocol) -> None:
    """Refuse arms and rates whose records would have the same file name."""
    known: dict[str, str] = {}
    for arm in protocol.arms:
        for rate in protocol.learning_rates:
            # File systems may not tell capital letters from small ones.
            name = Run(arm.called, rate, 1).name.casefold()
            own = f"{arm.called} with rate {rate!r}"
            if name in known:
                raise UserError(
                    f"{path}: {known[name]} and {own} have the same record file: give "
                    "one of them another name"
                )
            known[name] = own


def arm_of(protocol: Protocol, run: Run) -> Arm:
    """Return the arm that a run belongs to."""
    return next(arm for arm in protocol.arms if arm.called == run.arm)


def trained_by(protocol: Protocol, run: Run) -> Run:
    """Return the run whose training makes the network that a run measures."""
    networks = arm_of(protocol, run).networks
    return dataclasses.replace(run, arm=networks) if networks else run


def training_of(protocol: Protocol, run: Run) -> list[str]:
    """Return the arguments of scripts/train.py that a run has from the protocol."""
    own = arm_of(protocol, trained_by(protocol, run)).training
    return [*protocol.training, *own, "--lr", f"{run.rate:g}"]


def origin_of(protocol: Protocol, run: Run) -> dict[str, Any]:
    """Return what the record of a run must have been measured by; see `Origin`."""
    fold = protocol.folds[run.fold - 1]
    arm = arm_of(protocol, run)
    return {
        "loss": arm.loss,
        "training": training_of(protocol, run),
        "types": list(protocol.types),
        "curve": list(protocol.curve),
        "validation": list(fold.validation),
        "test": list(fold.test),
        "networks": arm.networks,
        "prediction": list(arm.prediction),
        "average": arm.average,
    }


def record_path(place: Place, run: Run) -> Path:
    """Return where the record of a run is kept."""
    return place.records / f"{run.name}.json"


def record_of(place: Place, run: Run) -> dict[str, Any] | None:
    """Return the record of a run; None if it was not run.

    Raises
    ------
    UserError
        If it is damaged, or of another protocol; names what differs.
    """
    path = record_path(place, run)
    if not path.exists():
        return None
    found = schema.read_json(path, RunRecord, "move it away to run this training again")
    wanted = {
        **{"arm": run.arm, "rate": run.rate, "fold": run.fold},
        **origin_of(place.protocol, run),
    }
    # Records of an earlier version have no other networks.
    known = {"networks": "", "prediction": [], "average": None}
    known |= {**found, **found["origin"]}
    other = [key for key, value in wanted.items() if known[key] != value]
    lesions, test = set(place.protocol.lesions), set(wanted["test"])
    measured = [found["lesions"], *found["curve"].values()]
    if any(set(own) != lesions for own in measured):
        other.append("lesions")
    if [*map(str, wanted["curve"])] != [*found["curve"]]:
        other.append("points of the curve")
    if any(set(own["photographs"]) != test for own in found["lesions"].values()):
        other.append("photographs")
    if other:
        raise UserError(
            f"{path} is of another protocol (other {', '.join(other)}): give another "
            "folder with --records, or move it away to run this training again"
        )
    return found


def chosen_rate(place: Place, arm: str) -> float | None:
    """Return an arm's best learning rate; None before all rates were tried."""
    by_name = {a.called: a for a in place.protocol.arms}
    if by_name[arm].networks:
        return chosen_rate(place, by_name[arm].networks)
    scores = scores_of(place, arm)
    if len(scores) < len(place.protocol.learning_rates):
        return None
    return max(scores, key=scores.__getitem__)


def scores_of(place: Place, arm: str) -> dict[float, float]:
    """Return the mean average precision of each rate that was tried."""
    scores = {}
    for rate in place.protocol.learning_rates:
        record = record_of(place, Run(arm, rate, 1))
        if record:
            last = list(record["curve"].values())[-1]
            scores[rate] = comparison.mean_average_precision(
                {f"{name} average precision": value for name, value in last.items()}
            ) or float("-inf")
    return scores


def open_runs(place: Place) -> Iterator[Run]:
    """Yield the runs without a record, in the protocol's order.

    The next one is decided when it is asked for: it can depend on the last.
    """
    # Those that train what others use come first.
    for arm in sorted(place.arms, key=lambda arm: bool(arm.networks)):
        if not arm.networks:
            for rate in place.protocol.learning_rates:
                run = Run(arm.called, rate, 1)
                if record_of(place, run) is None:
                    yield run
        for fold in range(1 if arm.networks else 2, arm.folds + 1):
            rate = chosen_rate(place, arm.called)
            if rate is None:
                # A rate failed; without it, no choice.
                break
            run = Run(arm.called, rate, fold)
            theirs = trained_by(place.protocol, run)
            if theirs != run and record_of(place, theirs) is None:
                # Its network is not trained yet.
                continue
            if record_of(place, run) is None:
                yield run


def waiting(place: Place) -> list[str]:
    """Return why folds of an arm cannot begin: a line for each arm."""
    lines = []
    chosen = {arm.called for arm in place.arms}
    for arm in place.arms:
        if arm.networks:
            if arm.networks not in chosen and chosen_rate(place, arm.networks) is None:
                lines.append(
                    f"{arm.called}: waits for records of {arm.networks}, whose "
                    "networks it uses, and which --arms leaves out: run that first, "
                    "with the same --out and --records"
                )
            continue
        runs = [Run(arm.called, rate, 1) for rate in place.protocol.learning_rates]
        missing = [run.name for run in runs if record_of(place, run) is None]
        if missing and arm.folds > 1:
            rest = "fold 2 waits" if arm.folds == 2 else f"folds 2 to {arm.folds} wait"
            lines.append(
                f"{arm.called}: {rest} for {', '.join(missing)}, "
                "since all learning rates must have been tried on fold 1. Where a "
                "training diverges each time, remove its rate from learning_rates in "
                "the protocol: the records of the others stay valid"
            )
    return lines


def state_of(place: Place) -> Mapping[str, tuple[int, int]]:
    """Return how many runs of each loss are done, and of how many."""
    found = {}
    for arm in place.arms:
        rates = [] if arm.networks else place.protocol.learning_rates
        first = 1 if arm.networks else 2
        total = len(rates) + arm.folds + 1 - first
        own = [record_of(place, Run(arm.called, rate, 1)) for rate in rates]
        rate = chosen_rate(place, arm.called)
        if rate is not None:
            own += [
                record_of(place, Run(arm.called, rate, fold))
                for fold in range(first, arm.folds + 1)
            ]
        found[arm.called] = (sum(record is not None for record in own), total)
    return found


def summary(place: Place) -> dict[str, Any]:
    """Return the content of the summary: every loss whose rate is chosen.

    Returns
    -------
    dict
        `generator`, `kind` (of what is compared), `protocol` (its head), `scores` and
        `rates` (each rate's score on the first fold's validation photographs; the
        chosen one), `done` (runs done and planned of each loss), `losses` (see
        `protocol_summary.of_loss`), `growth` (the
        precision on validation photographs along the training).

    Raises
    ------
    UserError
        If the reference is not finished: there is nothing to compare with.
    """
    protocol = place.protocol
    records: dict[str, list[dict[str, Any]]] = {}
    rates = {}
    for arm in place.arms:
        rate = chosen_rate(place, arm.called)
        if rate is None:
            continue
        rates[arm.called] = rate
        own = [
            record_of(place, Run(arm.called, rate, fold))
            for fold in range(1, arm.folds + 1)
        ]
        records[arm.called] = [record for record in own if record is not None]
        if not records[arm.called]:
            # Its networks are trained, but it is not measured yet.
            del records[arm.called], rates[arm.called]
    if protocol.reference not in records:
        raise UserError(
            f"{place.records} has too few records of {protocol.reference}, the "
            "reference: train first (--data and --out)"
        )
    theirs = records[protocol.reference]
    digests = {
        record["data"]: record_path(place, Run(arm, record["rate"], record["fold"]))
        for arm, own in records.items()
        for record in own
    }
    if len(digests) > 1:
        one, other, *_ = digests.values()
        raise UserError(
            f"{one} and {other} were measured on different photographs: move those "
            "away that are not of this protocol, or give another folder with --records"
        )
    return {
        "generator": GENERATOR,
        "kind": "setting" if any(arm.name for arm in protocol.arms) else "loss",
        "protocol": {
            key: value
            for key, value in protocol.model_dump().items()
            if key not in ("folds", "arms")
        }
        | {
            "photographs": sorted(
                {name for fold in protocol.folds for name in fold.test}
            )
        },
        "about": {arm.called: arm.about for arm in place.arms},
        "scores": {
            arm.called: {f"{r:g}": s for r, s in scores_of(place, arm.called).items()}
            for arm in place.arms
        },
        "rates": rates,
        "done": {loss: list(counts) for loss, counts in state_of(place).items()},
        "losses": {
            loss: protocol_summary.of_loss(
                own, None if loss == protocol.reference else theirs
            )
            for loss, own in records.items()
        },
        "growth": {
            loss: protocol_summary.mean_growth(own) for loss, own in records.items()
        },
    }
