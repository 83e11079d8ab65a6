"""Cross-validations at several resolutions as one: each fold's networks together.

What a network sees around a pixel is limited: at full resolution it finds the smallest
lesions, at half of it the larger ones. Their mean has both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.exchange import merging
from randrop.files import schema, split_file, write_bytes, write_json, write_text
from randrop.files.ownership import sha256
from randrop.files.split_file import Split
from randrop.prediction import ensemble
from randrop.prediction.networks import Trained, trained
from randrop.report.model_card import NEEDED, SETTINGS
from randrop.training import snapshots
from randrop.training.cross_validating import POOLED
from randrop.training.stages import earlier

NEAR = 0.01
"""How far the ratio of two fields of view may be from that of the pixels."""


def factors_of(networks: Sequence[Trained]) -> list[int]:
    """Return by how much each cross-validation's input is reduced.

    Parameters
    ----------
    networks : sequence of Trained
        One cross-validation for each resolution.

    Raises
    ------
    UserError
        If one is no cross-validation, folds or lesion types differ, or fields of view
        are not 1, 2, 4 or 8 times as wide as each other.
    """
    if len(networks) < 2:
        raise UserError(f"--runs names {len(networks)}: give at least 2")
    first = networks[0]
    for k, one in enumerate(networks):
        if any(_same(one, other) for other in networks[:k]):
            raise UserError(
                f"{one.run} is given twice, or is a copy of another: give each once"
            )
        if not one.members or not all(member.held_out for member in one.members):
            raise UserError(
                f"{one.run} is no cross-validation with photographs that each network "
                "was not trained on: give the output folder of cross_validate.py"
            )
        if "scales" in one.facts:
            raise UserError(
                f"{one.run} is of combine_scales.py itself: give the "
                "cross-validations that it was made of, all in one command"
            )
        if _activation(one) != _activation(first):
            raise UserError(
                f"{one.run} was trained with --activation {_activation(one)}, and "
                f"{first.run} with {_activation(first)}: train both with the same"
            )
        if one.channels != first.channels:
            raise UserError(
                f"{one.run} has the lesion types {' '.join(one.channels)}, and "
                f"{first.run} {' '.join(first.channels)}: train the same, in the same "
                "order"
            )
        if _folds(one) != _folds(first):
            raise UserError(
                f"{one.run} has other folds than {first.run}, so that a network would "
                "be measured on photographs that it was trained on: repeat the "
                "photographs, --folds and --fold-seed of that one"
            )
    widths = [one.facts["field_of_view"] for one in networks]
    factors = [round(max(widths) / width) for width in widths]
    for one, width, factor in zip(networks, widths, factors, strict=True):
        ratio = max(widths) / width
        if factor not in merging.FACTORS or abs(ratio / factor - 1) > NEAR:
            wanted = min(merging.FACTORS, key=lambda f: abs(max(widths) / f - width))
            raise UserError(
                f"{one.run} was trained with a field of view of {width} pixels, which "
                f"is 1/{ratio:.3g} of the widest, {max(widths)}: prepare its "
                f"photographs {max(widths) / wanted / width:.3g} times as wide"
            )
    return factors


def combine(networks: Sequence[Trained], shares: Sequence[float], out: Path) -> Path:
    """Write the networks of each fold as one, and all of them as an ensemble.

    Parameters
    ----------
    networks : sequence of Trained
        As of `factors_of`.
    shares : sequence of float
        Weight of each resolution in the mean; empty for all alike.
    out : Path
        Receives the files of `names_of`.

    Returns
    -------
    Path
        ensemble.json.

    Raises
    ------
    UserError
        As of `factors_of` and `merging.merge`.
    """
    factors = factors_of(networks)
    widest = networks[factors.index(1)]
    # A sum of large ones would be infinite.
    shares = [share / max(shares) for share in shares] or [1.0] * len(networks)
    runs = []
    every = sorted(name for one in widest.members for name in one.held_out)
    # It would pass a mixture of two states off as whole if this is killed.
    (out / ensemble.FILE).unlink(missing_ok=True)
    write_json(out / f"{POOLED}.json", {POOLED: every})
    for k, fold in enumerate(zip(*(one.members for one in networks), strict=True)):
        merged = merging.merge(
            [(one.deploy, one.weights) for one in fold], factors, shares
        )
        run = out / f"fold{k + 1}/run"
        write_bytes(run / "final.caffemodel", merged.weights.SerializeToString())
        write_text(run / "deploy.prototxt", merging.text_of(merged.net))
        snapshots.seal(run / "final.caffemodel")
        main = fold[factors.index(1)].facts
        split = out / f"fold{k + 1}/split.json"
        write_json(
            split,
            {
                "train": sorted({*every} - {*widest.members[k].held_out}),
                "validation": sorted(widest.members[k].held_out),
                **_test_set(main),
            },
        )
        kept = {*SETTINGS, *NEEDED, "data"}
        facts: dict[str, Any] = {key: main[key] for key in main if key in kept}
        facts["split"] = str(split.resolve())
        facts["split_sha256"] = split_file.digest(split)
        if all("stride" in one.facts for one in fold):
            facts["stride"] = max(
                one.facts["stride"] * factor
                for one, factor in zip(fold, factors, strict=True)
            )
        facts["scales"] = [
            {
                **{key: one.facts[key] for key in SETTINGS if key in one.facts},
                "started_from": earlier(one.facts, SETTINGS),
                "field_of_view": whole.facts["field_of_view"],
                "share": shares[i] / sum(shares),
            }
            for i, (one, whole) in enumerate(zip(fold, networks, strict=True))
        ]
        write_json(run / "run.json", facts)
        runs.append(run)
    held_out = [member.held_out for member in widest.members]
    return ensemble.write(out, runs, held_out, widest.facts["field_of_view"])


def _test_set(facts: Mapping[str, Any]) -> Split:
    """Return the test set in the split of a fold, if it is there and has one."""
    path = facts.get("split")
    if not path or not Path(path).is_file():
        return {}
    found = schema.read_json(path, Split, "run cross_validate.py again")
    return {name: names for name, names in found.items() if name == "test"}


def names_of(folds: int) -> list[str]:
    """Return the files that `combine` writes, relative to its folder."""
    own = ("deploy.prototxt", "final.caffemodel", "final.sha256", "run.json")
    return [
        ensemble.FILE,
        f"{POOLED}.json",
        *(f"fold{k}/split.json" for k in range(1, folds + 1)),
        *(f"fold{k}/run/{name}" for k in range(1, folds + 1) for name in own),
    ]


def opened(runs: Sequence[Path]) -> list[Trained]:
    """Return the networks of cross-validations.

    Raises
    ------
    UserError
        If a folder holds none.
    """
    for run in runs:
        if not (run / ensemble.FILE).is_file():
            raise UserError(
                f"{run / ensemble.FILE} is missing: give the output folder of a "
                "finished cross_validate.py with --runs"
            )
    return [trained(run) for run in runs]


def _activation(network: Trained) -> str:
    # Earlier versions wrote none.
    return network.facts.get("activation") or "SIGMOID"


def _same(one: Trained, other: Trained) -> bool:
    """Return whether these are the same networks at the same width, or copies."""
    if one.run and other.run and one.run.resolve() == other.run.resolve():
        return True
    if one.facts.get("field_of_view") != other.facts.get("field_of_view"):
        return False
    first, second = ([m.weights for m in each.members] for each in (one, other))
    return bool(first) and [*map(sha256, first)] == [*map(sha256, second)]


def _folds(network: Trained) -> list[list[str]]:
    return [sorted(member.held_out) for member in network.members]
