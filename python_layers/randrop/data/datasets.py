"""Data sets of photographs and lesion masks: IDRiD's folders, and plain folders."""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from randrop.data.images import image_size, read_image, read_mask
from randrop.errors import UserError

log = logging.getLogger("randrop")

LESIONS = ("MA", "HE", "EX", "SE")
"""Microaneurysms, haemorrhages, hard exudates, soft exudates (cotton wool spots)."""

STRUCTURES = (*LESIONS, "OD")
"""All that masks may outline: the lesions and the optic disc."""

IGNORE_LABEL = 255

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")

# Words in the names of IDRiD's ground truth folders, such as "3. Hard Exudates".
_IDRID_WORDS = {
    "MA": "microaneurysm",
    "HE": "haemorrhage",
    "EX": "hard exudate",
    "SE": "soft exudate",
    "OD": "optic disc",
}


@dataclass(frozen=True)
class Case:
    """One photograph with its masks.

    Attributes
    ----------
    name : str
        File name without suffix.
    image_path : Path
        The photograph.
    mask_paths : dict
        Lesion type to mask file. A type that is not there is not in the photograph.
    """

    name: str
    image_path: Path
    mask_paths: dict[str, Path] = field(hash=False)

    def size(self) -> tuple[int, int]:
        """Return (height, width) of the photograph in pixels."""
        return image_size(self.image_path)

    def image(self) -> np.ndarray:
        """Return the photograph, uint8 (H, W, 3), RGB.

        Raises
        ------
        UserError
            When it is missing, damaged or not in colour.
        """
        return read_image(self.image_path)

    def masks(self, lesions: Sequence[str] = LESIONS) -> np.ndarray:
        """Return the masks of the named lesion types.

        Parameters
        ----------
        lesions : sequence of str
            C names out of `STRUCTURES`.

        Returns
        -------
        uint8 (C, H, W)
            0 and 1; zero throughout for a type without a mask file.

        Raises
        ------
        UserError
            When a mask is missing, damaged, not binary, or of another size than the
            photograph.
        """
        check_lesions(lesions)
        size = self.size()
        masks = np.zeros((len(lesions), *size), np.uint8)
        for mask, lesion in zip(masks, lesions, strict=True):
            if lesion in self.mask_paths:
                path = self.mask_paths[lesion]
                content = read_mask(path)
                _check_same_size(self.image_path, size, path, content.shape)
                mask[:] = content
        return masks

    def check_headers(self, lesions: Sequence[str] = LESIONS) -> None:
        """Check from the headers that image and masks are there and of one size.

        Raises
        ------
        UserError
            When a file is missing, is no image, or sizes differ.
        """
        size = self.size()
        for lesion in lesions:
            if lesion in self.mask_paths:
                path = self.mask_paths[lesion]
                _check_same_size(self.image_path, size, path, image_size(path))


@dataclass(frozen=True)
class Dataset:
    """Cases and how they are split.

    Attributes
    ----------
    root : Path
        Folder that was read.
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
        """Lesion types that have a mask file in some case, in the order of LESIONS."""
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
            When there is no such subset, or it is empty.
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
                "image(s) in all): name its images in a split.json"
            )
        by_name = {case.name: case for case in self.cases}
        return tuple(by_name[case] for case in self.splits[name])


def check_lesions(lesions: Sequence[str]) -> None:
    """Check names of lesion types.

    Raises
    ------
    UserError
        When there is none, one is unknown, or one is there twice.
    """
    known = ", ".join(STRUCTURES)
    if isinstance(lesions, str) or not lesions:
        raise UserError(f"lesions is {lesions!r}: give a list of some of {known}")
    for lesion in lesions:
        if lesion not in STRUCTURES:
            raise UserError(f"unknown lesion type {lesion!r}: choose from {known}")
    if len(set(lesions)) < len(lesions):
        raise UserError(f"lesions {list(lesions)} names a type twice: name each once")


def read_dataset(
    root: str | Path, split: str | Path | None = None, validation_share: float = 0.2
) -> Dataset:
    """Read a folder of photographs and masks.

    Two layouts are known. *IDRiD as distributed*: `root` is "A. Segmentation", or the
    folder that holds it; the official test set becomes the subset "test". *Plain
    folders*: `images/<name>.jpg` (or png, tif, bmp) and masks at
    `masks/<type>/<name>_<type>.png` or `masks/<type>/<name>.png` with the types MA, HE,
    EX, SE and OD. A mask that is not there means that the photograph has none of that
    type.

    The subsets "train" and "validation" come from `split`, else from `split.json` in
    `root`, else the last `validation_share` of the sorted names (rounded up, at least
    one; of a single photograph none) are for validation.

    Parameters
    ----------
    root : path
        Folder of the data set.
    split : path, optional
        JSON file `{"train": [names], "validation": [names]}`; "test" may be there.
    validation_share : float
        Share of the training photographs kept for validation where no file says it,
        in (0, 1).

    Raises
    ------
    UserError
        When the layout is unknown, no image is there, a name stands for two files, or
        the split is not readable, empty, overlapping, or names unknown images.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is no folder: give the folder of the data set")
    if not 0 < validation_share < 1:
        raise UserError(
            f"validation_share is {validation_share}: give a share between 0 and 1"
        )
    idrid = _find_folder(root, "segmentation") or root
    if _find_folder(idrid, "original images"):
        groups = _read_idrid(idrid)
    elif (root / "images").is_dir():
        groups = {"train": _read_plain(root)}
    else:
        raise UserError(
            f"{root} has neither a folder 'images' nor IDRiD's '1. Original Images': "
            "put photographs into images/ and masks into masks/MA, masks/HE, ..."
        )
    cases = tuple(sorted((c for group in groups.values() for c in group), key=_name))
    if not cases:
        raise UserError(
            f"{root} has no image ({', '.join(IMAGE_SUFFIXES)}): "
            "put the photographs into its images folder"
        )
    _check_unique((case.name, case.image_path) for case in cases)
    own = root / "split.json"
    path = Path(split) if split is not None else own if own.is_file() else None
    if path is not None:
        splits = _read_split(path, {case.name for case in cases})
    else:
        splits = _share_split(
            [c.name for c in groups.get("train", ())], validation_share
        )
    if "test" in groups and "test" not in splits:
        taken = {name for names in splits.values() for name in names}
        splits["test"] = tuple(c.name for c in groups["test"] if c.name not in taken)
    return Dataset(root, cases, splits)


def _read_idrid(root: Path) -> dict[str, list[Case]]:
    photographs = _find_folder(root, "original images")
    truths = _find_folder(root, "groundtruth")
    groups = {}
    for subset, word in (("train", "training"), ("test", "testing")):
        images = photographs and _find_folder(photographs, word)
        truth = truths and _find_folder(truths, word)
        folders = {
            lesion: truth and _find_folder(truth, text)
            for lesion, text in _IDRID_WORDS.items()
        }
        if images:
            groups[subset] = _read_cases(images, folders)
    return groups


def _read_plain(root: Path) -> list[Case]:
    folders = {lesion: root / "masks" / lesion for lesion in STRUCTURES}
    return _read_cases(root / "images", folders)


def _read_cases(images: Path, folders: dict[str, Path | None]) -> list[Case]:
    photographs = _files(images, IMAGE_SUFFIXES)
    masks: dict[str, dict[str, Path]] = {name: {} for name in photographs}
    stray = []
    for lesion, folder in folders.items():
        if folder is None or not folder.is_dir():
            continue
        found = []
        for stem, path in _files(folder, MASK_SUFFIXES).items():
            name = stem if stem in photographs else stem.removesuffix(f"_{lesion}")
            if name in photographs:
                found.append((name, path))
                masks[name][lesion] = path
            else:
                stray.append(path)
        _check_unique(found)
    if stray:
        log.warning(
            "%d mask(s) belong to no image in %s and are left out, the first is %s",
            len(stray),
            images,
            stray[0],
        )
    return [Case(name, photographs[name], masks[name]) for name in sorted(photographs)]


def _read_split(path: Path, known: set[str]) -> dict[str, tuple[str, ...]]:
    form = '{"train": [names], "validation": [names]}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read the split {path} ({error}): it is JSON, {form}"
        ) from error
    if not isinstance(content, dict) or not {"train", "validation"} <= set(content):
        raise UserError(f"the split {path} has not the form {form}: write it so")
    splits: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for subset, names in content.items():
        if subset == "all" or not isinstance(names, list):
            raise UserError(f"the split {path} has a bad entry '{subset}': use {form}")
        if not names:
            raise UserError(
                f"the subset '{subset}' in {path} is empty: name its images"
            )
        for name in names:
            if name not in known:
                raise UserError(
                    f"the split {path} names {name!r} in '{subset}', but there is no "
                    f"such image among the {len(known)}: names go without suffix"
                )
            if name in owner:
                raise UserError(
                    f"the split {path} has '{name}' in '{owner[name]}' and in "
                    f"'{subset}': each image belongs to one subset, once"
                )
            owner[name] = subset
        splits[subset] = tuple(names)
    return splits


def _share_split(names: list[str], share: float) -> dict[str, tuple[str, ...]]:
    count = min(math.ceil(share * len(names)), len(names) - 1)
    border = len(names) - max(count, 0)
    return {"train": tuple(names[:border]), "validation": tuple(names[border:])}


def _find_folder(parent: Path, words: str) -> Path | None:
    for path in sorted(parent.iterdir()):
        if words in path.name.lower() and path.is_dir():
            return path
    return None


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    # Names with a leading dot are litter: temporary files, macOS's resource forks.
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    _check_unique((path.stem, path) for path in paths)
    return {path.stem: path for path in paths}


def _check_unique(named: Iterable[tuple[str, Path]]) -> None:
    seen: dict[str, Path] = {}
    for name, path in named:
        if name in seen:
            raise UserError(
                f"both {seen[name]} and {path} stand for '{name}': remove or rename one"
            )
        seen[name] = path


def _check_same_size(
    image: Path, image_shape: tuple[int, ...], mask: Path, mask_shape: tuple[int, ...]
) -> None:
    if tuple(image_shape) != tuple(mask_shape):
        raise UserError(
            f"{image} is {image_shape[1]} x {image_shape[0]} pixels, but its mask "
            f"{mask} is {mask_shape[1]} x {mask_shape[0]}: they must be of one size"
        )


def _name(case: Case) -> str:
    return case.name
