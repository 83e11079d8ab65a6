"""Trained networks for photographs: where their files are, and what they predict."""

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop.data import check_lesions, read_dataset
from randrop.data.datasets import names_digest
from randrop.data.layouts import read_groups
from randrop.errors import UserError
from randrop.files import ownership, reading, schema, split_file
from randrop.files.documents import read_photograph_run
from randrop.prediction import ensemble, inference, listing
from randrop.prediction.calibration import Platt, of_facts
from randrop.prediction.inference import Network

log = logging.getLogger("randrop")

_SOFTMAX = re.compile(r'\btype\s*:\s*["\']Softmax["\']')


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, not yet loaded.

    Attributes
    ----------
    deploy, weights : Path
    channels : tuple of str
        Lesion types, in the order of the network's outputs.
    run : Path or None
        Folder of its training.
    facts : mapping
        Content of its run.json; empty without one.
    members : tuple of Trained
        Those of an ensemble, whose `deploy` and `facts` are the first member's, and
        whose `weights` are the list of the members.
    held_out : tuple of str
        Photographs that a member of a cross-validation was not trained on.
    """

    deploy: Path
    weights: Path
    channels: tuple[str, ...]
    run: Path | None
    facts: Mapping[str, Any]
    members: tuple["Trained", ...] = ()
    held_out: tuple[str, ...] = ()


def read_run(folder: Path, need: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the run.json of a training, with the keys in `need`.

    Raises
    ------
    UserError
        If the folder holds no finished training.
    """
    return read_photograph_run(
        folder,
        "give the output folder of scripts/train.py, or pass --deploy, --weights and "
        "--lesions",
        need,
    )


def trained(
    run: Path | None,
    deploy: Path | None = None,
    weights: Path | None = None,
    lesions: Sequence[str] = (),
) -> Trained:
    """Return the network of a run or of separate files.

    Parameters
    ----------
    run : Path, optional
        Folder of a training, of an exported model, or of an ensemble; or a file in
        ONNX.
    deploy, weights : Path, optional
        Replace those of the run.
    lesions : sequence of str
        The channels, if there is no run.

    Raises
    ------
    UserError
        If the folder is not a run, or its weights differ from the exported ones.
    """
    if run and run.suffix.lower() == ".onnx" and not run.is_dir():
        if deploy or weights:
            raise UserError(
                f"{run} has its weights in itself: omit --deploy and --weights"
            )
        return _exported(run, lesions)
    if run and not weights and (run / ensemble.FILE).is_file():
        return _ensemble(run)
    facts = read_run(run) if run else {}
    if facts.get("weights_sha256") and not weights:
        _check_digest(run / "final.caffemodel", facts["weights_sha256"])
    channels = tuple(facts["lesions"] if facts else lesions)
    check_lesions(channels)
    return Trained(
        deploy or run / "deploy.prototxt",
        weights or run / "final.caffemodel",
        channels,
        run,
        facts,
    )


def _ensemble(folder: Path) -> Trained:
    """Return the networks of an ensemble as one."""
    content = ensemble.read(folder)
    members = tuple(
        dataclasses.replace(
            trained(folder / member["run"]), held_out=tuple(member.get("held_out", ()))
        )
        for member in content["members"]
    )
    ensemble.check_alike([member.facts for member in members], folder)
    first = members[0]
    if any(member.facts.get("calibration") for member in members):
        log.info(
            "The calibrations of single networks of %s are not used: they do not fit "
            "the mean; export_model.py calibrates it",
            folder,
        )
    # The others hold for the first member alone: another was trained on photographs
    # that validated this one.
    own = ("data", "split", "best", "calibration", "thresholds")
    facts = {name: fact for name, fact in first.facts.items() if name not in own}
    if content.get("field_of_view"):
        facts["field_of_view"] = content["field_of_view"]
    return Trained(
        first.deploy, folder / ensemble.FILE, first.channels, folder, facts, members
    )


def without(network: Trained, names: Sequence[str]) -> dict[str, int]:
    """Return the member of a cross-validation that did not see each photograph.

    Parameters
    ----------
    network : Trained
    names : sequence of str
        Of the photographs.

    Returns
    -------
    dict of str to int
        Name to the index of the member.

    Raises
    ------
    UserError
        If the network is not one of a cross-validation, or all its members may have
        seen a photograph.
    """
    found = {name: k for k, one in enumerate(network.members) for name in one.held_out}
    if not found:
        raise UserError(
            f"{network.run or network.deploy} holds no networks with photographs that "
            "they were not trained on: give the output folder of "
            "scripts/cross_validate.py; it adds them to one of an older version"
        )
    unknown = [name for name in names if name not in found]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UserError(
            f"{unknown[0]}{more} took no part in the cross-validation of "
            f"{network.run}: leave it out with --split and --subset, or predict it "
            "with all networks together"
        )
    return {name: found[name] for name in names}


def _exported(path: Path, lesions: Sequence[str]) -> Trained:
    """Return the network of a file that scripts/export_onnx.py wrote."""
    # Loading it takes a while, and other networks do without.
    from randrop.exchange import onnx_model

    facts = onnx_model.facts_of(onnx_model.read(path), path)
    channels = tuple(facts.get("lesions") or lesions)
    if not channels:
        raise UserError(
            f"{path} does not name its lesion types: it was exported from files "
            "without run.json: give the types with --lesions"
        )
    check_lesions(channels)
    return Trained(path, path, channels, path, facts)


def _check_digest(weights: Path, wanted: str) -> None:
    """Refuse weights that differ from those that a model was exported with.

    Raises
    ------
    UserError
    """
    if weights.is_file() and ownership.sha256(weights) != wanted:
        raise UserError(
            f"{weights} is damaged, or belongs to another model: its SHA-256 differs "
            "from the one in run.json beside it: get the model again, or give the "
            "file with --weights"
        )


def calibration_of(network: Trained) -> dict[str, Platt]:
    """Return the calibration of each type that belongs to these weights.

    Says so if there is one for other weights, which does not count.
    """
    stored = network.facts.get("calibration")
    if not stored:
        return {}
    if network.deploy.suffix.lower() == ".onnx":
        digest = network.facts["weights_sha256"]
    else:
        digest = reading.sha256(network.weights)
    if digest != stored["weights_sha256"]:
        log.warning(
            "The calibration in %s is of other weights than %s, and is not used: "
            "calibrate again with scripts/calibrate.py",
            *(network.run, network.weights),
        )
        return {}
    return of_facts(network.facts)


def split_of(facts: Mapping[str, Any], data: Path | str) -> str | None:
    """Return the split of a network's training if `data` are its photographs.

    With another one, photographs of the training would pass for held-out ones. Data
    elsewhere, moved or of another size, are its photographs if they have all names of
    the split. Says so.

    Parameters
    ----------
    facts : mapping
        Content of its run.json, from `read_run`.
    data : path

    Raises
    ------
    UserError
        If the split or the data cannot be read, the split is not the one of the
        training any more, or the data have only a part of its photographs.
    """
    own, split = facts.get("data"), split_file.checked(facts)
    same = bool(own) and Path(own).resolve() == Path(data).resolve()
    if same and split:
        return split
    if not split:
        wanted, split = facts.get("split_sha256"), facts.get("kept_split")
        if not wanted or names_digest(read_dataset(data)) == wanted:
            return None
        other = (
            f"{data} has another split than at the training, so photographs of the "
            f"training may be among those to predict: {split_file.REMEDY}"
        )
        if same:
            at = f"; that of the training is {split}" if split else ""
            raise UserError(other + at)
        if not split:
            log.warning("%s", other)
            return None
    known = {case.name for group in read_groups(Path(data)).values() for case in group}
    names = schema.read_json(split, split_file.Split, split_file.REMEDY)
    if set().union(*names.values()) <= known:
        log.info(
            "%s has photographs of all names of the training, and is taken for its "
            "data: the split is %s. Give another one with --split",
            *(data, split),
        )
        return split
    seen = known & set(names.get("train", ()))
    if seen:
        raise UserError(
            f"{data} has {len(seen)} photographs with names of those that the network "
            f"was trained on, {min(seen)} for one, but not all of {split}: give the "
            "names of photographs that it was not trained on in a file of the form "
            '{"unseen": [names]}, with --split FILE --subset unseen, or if all are '
            "others, their split with --split"
        )
    return None


def thresholds_of(
    network: Trained,
    lesions: Sequence[str],
    given: Sequence[str] = (),
    calibrated: bool = True,
) -> dict[str, float]:
    """Return the threshold of each type, given as 0.5 or as MA=0.3 HE=0.5.

    Missing thresholds default to the model's, or to 0.5. Those of a calibrated model
    are calibrated probabilities, and are taken back where that does not apply.

    Raises
    ------
    UserError
        If a value has another form.
    """
    known = dict(network.facts.get("thresholds", {}))
    stored = of_facts(network.facts)
    if stored and not (calibrated and calibration_of(network)):
        known |= {x: float(stored[x].undo(known[x])) for x in stored if x in known}
    return listing.thresholds(known, lesions, given)


def opened(network: Trained, backend: str = "auto", gpu: bool = False) -> Network:
    """Load a network as a function from photographs to its lesion types.

    A softmax loses its first channel, the background.

    Raises
    ------
    UserError
        If it cannot be loaded, or has other channels than `network` names.
    """
    if network.members:
        return ensemble.mean([opened(m, backend, gpu) for m in network.members])
    loaded = inference.load(network.deploy, network.weights, backend, gpu)
    if _has_background(network):
        loaded = _without_background(loaded)
    if loaded.channels != len(network.channels):
        raise UserError(
            f"{network.deploy} has {loaded.channels} output channel(s), but the "
            f"lesion types are {' '.join(network.channels)}: give one per channel, in "
            "the order of the training"
        )
    return loaded


def _has_background(network: Trained) -> bool:
    """Return whether the first channel of the output is the background."""
    if network.deploy.suffix.lower() == ".onnx":
        return network.facts["activation"] == "SOFTMAX"
    return bool(_SOFTMAX.search(reading.read_text(network.deploy)))


def _without_background(network: Network) -> Network:
    """Return a softmax network without its first channel, the background."""
    return network._replace(
        channels=network.channels - 1,
        forward=lambda batch: network.forward(batch)[:, 1:],
    )
