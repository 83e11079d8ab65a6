"""Data sets of photographs and lesion masks, and their subsets."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from randrop.data.cases import LESIONS, Case
from randrop.data.layouts import read_groups
from randrop.data.splits import SHARE, split_by_chance, split_of
from randrop.errors import UserError
from randrop.files import reading, schema, split_file

log = logging.getLogger("randrop")


@dataclass(frozen=True)
class Dataset:
    """Cases and how they are split.

    Attributes
    ----------
    root : Path
        The source folder.
    cases : tuple of Case
        All of them, sorted by name.
    splits : dict
        Subset ("train", "validation", perhaps "test") to names of cases.
    """

    root: Path
    cases: tuple[Case, ...]
    splits: dict[str, tuple[str, ...]] = field(hash=False)

    @property
    def lesions(self) -> tuple[str, ...]:
        """Lesion types with a mask file in at least one case, in LESIONS order."""
        return tuple(
            lesion
            for lesion in LESIONS
            if any(lesion in case.mask_paths for case in self.cases)
        )

    def subset(self, name: str) -> tuple[Case, ...]:
        """Return the cases of a subset.

        Parameters
        ----------
        name : str
            "train", "validation", "all", or another name in `splits`.

        Raises
        ------
        UserError
            If the subset does not exist or is empty.
        """
        if name == "all":
            return self.cases
        known = ", ".join([*self.splits, "all"])
        if name not in self.splits:
            raise UserError(
                f"{self.root} has no subset '{name}': choose one of {known}"
            )
        if not self.splits[name]:
            raise UserError(
                f"the subset '{name}' of {self.root} is empty ({len(self.cases)} "
                "image(s) in total): list its images in split.json"
            )
        by_name = {case.name: case for case in self.cases}
        return tuple(by_name[case] for case in self.splits[name])


def read_dataset(
    root: str | Path,
    split: str | Path | None = None,
    validation_share: float = SHARE,
) -> Dataset:
    """Read a folder of photographs and masks.

    It supports the layouts in `layouts.LAYOUTS`: *IDRiD*, *DDR* and *e-ophtha* as
    distributed, where official validation and test sets become the subsets
    "validation" and "test"; and *plain folders*: `images/<name>.jpg` (or png, tif, bmp)
    and masks at `masks/<type>/<name>_<type>.png` or `masks/<type>/<name>.png` with the
    types MA, HE, EX, SE and OD, which scripts/prepare.py also writes. A missing mask
    means that the photograph has no lesions of that type.

    The subsets come from `split`, else from `split.json` in `root`, else from the
    distribution. If that has no validation set, `validation_share` of the training
    photographs is drawn (see `split_by_chance`; scripts/prepare.py also calls it, so
    that raw and prepared sets are validated on the same photographs).

    Parameters
    ----------
    root : path
        Folder of the data set.
    split : path, optional
        JSON file `{"train": [names], "validation": [names], "test": [names]}`, the
        last two optional; without "test" the distribution's test set is used.
    validation_share : float
        Share of the training photographs kept for validation if no file specifies it,
        in (0, 1).

    Raises
    ------
    UserError
        If the layout is unknown, there is no image, a name matches two files, or the
        split is unreadable, empty, overlapping, or names unknown images.
    """
    root = Path(root)
    if not 0 < validation_share < 1:
        raise UserError(
            f"validation_share is {validation_share}: give a share between 0 and 1"
        )
    groups = read_groups(root)
    cases = tuple(sorted((c for group in groups.values() for c in group), key=_name))
    own = root / "split.json"
    path = Path(split) if split is not None else own if own.is_file() else None
    if path is not None:
        splits = split_of(groups, path)
    else:
        splits = split_by_chance(groups, validation_share)
    return Dataset(root, cases, splits)


def names_digest(dataset: Dataset) -> str:
    """Return a SHA-256 of the names in the subsets of a training.

    It is the one of `split_file.digest` for a file with these subsets.
    """
    return split_file.digest_of(split_file.of_training(dataset.splits))


def digests(dataset: Dataset, split: str | Path | None = None) -> dict[str, str | None]:
    """Return what tells whether a training can go on with these photographs.

    Parameters
    ----------
    dataset : Dataset
    split : path, optional
        The file that its split was read from, if it is not its own.

    Returns
    -------
    dict
        `split_sha256`: of the names in each subset. `photographs_sha256`: of the names
        in the subsets of a training, with the SHA-256 of each photograph and the
        settings that decide its size and its masks, as scripts/prepare.py recorded
        them. `files_sha256`: of the photographs' and the masks' contents, before they
        were prepared; None for sets of earlier versions.

    Raises
    ------
    UserError
        If the set is being changed by scripts/prepare.py, or it was stopped meanwhile.
    """
    known = schema.generated(dataset.root / "manifest.json", "randrop prepare") or {}
    if known.get("unfinished"):
        raise UserError(
            f"{dataset.root} is being changed by scripts/prepare.py, or it was stopped "
            "before it had finished: run it again with the same arguments"
        )
    names = split_file.of_training(dataset.splits)
    recorded = known.get("cases", {})
    used = sorted({name for own in names.values() for name in own})
    own = {n: recorded[n] for n in used if isinstance(recorded.get(n), dict)}
    sources = {name: case.get("sha256") for name, case in own.items()}
    how = [known.get(key) for key in ("version", "width")]
    how.append(known.get("cover") or 0.0)
    if known:
        files = {
            name: [case.get("sha256"), case["masks_sha256"]]
            for name, case in own.items()
            if "masks_sha256" in case
        }
    else:
        files = {case.name: _files(case) for case in dataset.cases if case.name in used}
    return {
        "split_sha256": (
            split_file.digest(Path(split)) if split else names_digest(dataset)
        ),
        "photographs_sha256": split_file.digest_of([names, sources, how]),
        "files_sha256": (
            split_file.digest_of(files) if files.keys() == set(used) else None
        ),
    }


def _files(case: Case) -> list[Any]:
    masks = {kind: reading.sha256(path) for kind, path in case.mask_paths.items()}
    return [reading.sha256(case.image_path), masks]


def check_looked_for(
    dataset: Dataset, lesions: Sequence[str], softmax: bool
) -> dict[str, float]:
    """Report the pixels that a training would ignore; refuse if it is all of them.

    A pixel has no label for a type that nobody looked for. A softmax has one label for
    all types, so a single unknown type makes it ignore the pixel.

    Parameters
    ----------
    dataset : Dataset
    lesions : sequence of str
    softmax : bool

    Returns
    -------
    dict of str to float
        Share of the training pixels that are ignored: per type, or with a softmax for
        all types.

    Raises
    ------
    UserError
        If all pixels are ignored, in total or for one type.
    """
    names = ["all"] if softmax else list(lesions)
    pixels, lost = 0, dict.fromkeys(names, 0)
    cases = dataset.subset("train")
    if not any(case.unknown & set(lesions) for case in cases):
        return dict.fromkeys(names, 0.0)
    for case in cases:
        unknown = case.unknown & set(lesions)
        height, width = case.size()
        pixels += height * width
        for name in names:
            if name in unknown or (softmax and unknown):
                lost[name] += height * width
    shares = {name: lost[name] / pixels for name in names}
    for name, share in shares.items():
        if share == 1:
            raise UserError(_all_ignored(name, dataset, lesions))
        if share:
            log.warning(
                "%s: %.0f %% of the training pixels are ignored, because %s",
                *(dataset.root, 100 * share),
                "some of their photographs were not annotated for all of "
                f"{', '.join(lesions)}, and a softmax needs one label for all types; "
                "a sigmoid loss uses these pixels (--activation SIGMOID)"
                if softmax
                else f"their photographs were not annotated for {name}",
            )
    return shares


def _all_ignored(name: str, dataset: Dataset, lesions: Sequence[str]) -> str:
    if name == "all":
        return (
            f"a softmax over {', '.join(lesions)} has nothing to train on: no "
            f"training photograph of {dataset.root} was annotated for all of them, "
            "and a pixel's class is unknown if one type is: use a sigmoid loss "
            "(random-drop, top-k, focal, ...; --activation SIGMOID), or --lesions "
            "that were annotated together"
        )
    return (
        f"no training photograph of {dataset.root} was annotated for {name}, so its "
        "channel has nothing to learn: remove it from --lesions"
    )


def _name(case: Case) -> str:
    return case.name
