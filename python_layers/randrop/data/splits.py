"""The split into training, validation and test photographs, for all kinds of sets."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from randrop.data.cases import Case
from randrop.data.folders import Groups
from randrop.errors import UserError
from randrop.files import schema
from randrop.files.split_file import Split

log = logging.getLogger("randrop")

SHARE = 0.2
"""Of the training photographs, for validation where nothing else is said."""


def split_by_chance(
    groups: Groups, share: float = SHARE, seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """Return the names of each subset: the distribution's, or drawn at random.

    If the distribution has no validation set, patients (photographs, if no patient is
    known) are drawn from its training set until the share is reached. A single patient
    is used for training.

    Parameters
    ----------
    groups : dict of str to list of Case
        From `layouts.read_groups`.
    share : float
        Share of the training photographs, in [0, 1); 0 gives no validation set.
    seed : int
        Seed of the draw.

    Returns
    -------
    dict of str to tuple of str
        Subset to names, sorted.
    """
    subsets = {
        name: tuple(sorted(case.name for case in group))
        for name, group in groups.items()
    }
    if "validation" in subsets or share == 0:
        return subsets
    train = sorted(groups.get("train", []), key=lambda case: case.name)
    owners = sorted({case.patient or case.name for case in train})
    held_out: set[str] = set()
    chosen: list[str] = []
    for k in np.random.default_rng(seed).permutation(len(owners))[:-1]:
        if len(chosen) >= share * len(train):
            break
        held_out.add(owners[k])
        chosen = [c.name for c in train if (c.patient or c.name) in held_out]
    kept = tuple(case.name for case in train if case.name not in set(chosen))
    return {**subsets, "train": kept, "validation": tuple(chosen)}


def split_of(groups: Groups, path: Path) -> dict[str, tuple[str, ...]]:
    """Return the subsets that a file names, and the distribution's test set.

    If the file names no test set, the distribution's remains, without the photographs
    that the file puts elsewhere. The number of photographs in no subset is reported.

    Raises
    ------
    UserError
        See `read_split`.
    """
    known = {case.name for group in groups.values() for case in group}
    splits = _with_test(read_split(path, known), groups)
    left = known - {name for names in splits.values() for name in names}
    if left:
        log.warning(
            "%d of %d photograph(s) are in no subset of %s and are skipped; the first "
            "is %s",
            *(len(left), len(known), path, min(left)),
        )
    return splits


def _with_test(
    splits: dict[str, tuple[str, ...]], groups: Groups
) -> dict[str, tuple[str, ...]]:
    if "test" in splits:
        return splits
    taken = {name for names in splits.values() for name in names}
    rest = tuple(c.name for c in groups.get("test", ()) if c.name not in taken)
    return {**splits, "test": rest} if rest else splits


def read_split(path: Path, known: set[str]) -> dict[str, tuple[str, ...]]:
    """Read subsets, each a list of names from `known`, from a JSON file.

    Raises
    ------
    UserError
        If it is unreadable or malformed, or has an empty subset, or a repeated or
        unknown name.
    """
    form = '{"train": [names], "validation": [names], "test": [names]}'
    content = schema.read_json(path, Split, f"use the form {form}")
    if "validation" in content:
        # A file of other subsets alone is one for an evaluation.
        schema.check(content, Split, f"{path}", f"use the form {form}", ("train",))
    splits: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for subset, names in content.items():
        if subset == "all":
            raise UserError(f"the split {path} has a bad entry '{subset}': use {form}")
        if not names:
            raise UserError(
                f"the subset '{subset}' in {path} is empty: list its images"
            )
        for name in names:
            if name not in known:
                given = name.rpartition(".")[0] in known
                raise UserError(
                    f"the split {path} has {name!r} in '{subset}', but none of the "
                    f"{len(known)} images has that name: "
                    + (
                        "give names without suffix"
                        if given
                        else "bring it back if it was removed or renamed, or give "
                        "another split with --split"
                    )
                )
            if name in owner:
                raise UserError(
                    f"the split {path} has '{name}' in '{owner[name]}' and in "
                    f"'{subset}': list each image once"
                )
            owner[name] = subset
        splits[subset] = tuple(names)
    return splits


def held_out(cases: Sequence[Case], count: int) -> dict[str, tuple[str, ...]]:
    """Hold out the last `count` cases for validation, with no patient on both sides.

    A patient with a photograph before those is used for training.
    """
    border = len(cases) - count
    known = {case.patient for case in cases[:border]} - {None}
    train, validation = list(cases[:border]), []
    for case in cases[border:]:
        (train if case.patient in known else validation).append(case)
    return {
        "train": tuple(case.name for case in train),
        "validation": tuple(case.name for case in validation),
    }


def folds(cases: Sequence[Case], count: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Divide photographs among folds, with no patient in two of them.

    Patients (photographs, if no patient is known) come in random order, those with most
    photographs first, and each into the smallest fold so far.

    Parameters
    ----------
    cases : sequence of Case
    count : int
        Number of folds, at least 2.
    seed : int
        Seed of the draw.

    Returns
    -------
    list of tuple of str
        The names of each fold, sorted; they are disjoint, and together all names.

    Raises
    ------
    UserError
        If there are fewer than two folds, or fewer patients than folds.
    """
    owned: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda case: case.name):
        owned.setdefault(case.patient or case.name, []).append(case.name)
    if count < 2:
        raise UserError(f"{count} folds: give at least 2")
    if len(owned) < count:
        raise UserError(
            f"{count} folds of {len(cases)} photograph(s) of {len(owned)} patient(s): "
            "every fold needs a patient of its own: use fewer folds"
        )
    groups = list(owned.values())
    order = np.random.default_rng(seed).permutation(len(groups))
    found: list[list[str]] = [[] for _ in range(count)]
    for k in sorted(order, key=lambda k: -len(groups[k])):
        min(found, key=len).extend(groups[k])
    return [tuple(sorted(fold)) for fold in found]
