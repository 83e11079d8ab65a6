"""One photograph and its masks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from randrop.data.images import image_size, read_image, read_mask
from randrop.errors import UserError

NAMES = {
    "MA": "microaneurysms",
    "HE": "haemorrhages",
    "EX": "hard exudates",
    "SE": "soft exudates",
    "OD": "optic disc",
}
"""What the letters stand for; soft exudates are cotton wool spots, too."""

STRUCTURES = tuple(NAMES)
"""All that masks may outline: the lesions and the optic disc."""

LESIONS = STRUCTURES[:4]

IGNORE_LABEL = 255


@dataclass(frozen=True)
class Case:
    """One photograph with its masks.

    Attributes
    ----------
    name : str
        File name without suffix; if names repeat among patients, prefixed with the
        patient's name.
    image_path : Path
        The photograph.
    mask_paths : dict
        Lesion type to mask file. The photograph has no lesions of a missing type.
    unknown : frozenset of str
        Types that nobody looked for in this photograph: they may be present.
    patient : str or None
        Photographs of one patient belong to one subset; None if the patient is unknown.
    """

    name: str
    image_path: Path
    mask_paths: dict[str, Path] = field(hash=False)
    unknown: frozenset[str] = frozenset()
    patient: str | None = None

    def size(self) -> tuple[int, int]:
        """Return (height, width) of the photograph in pixels."""
        return image_size(self.image_path)

    def image(self) -> np.ndarray:
        """Return the photograph, uint8 (H, W, 3), RGB.

        Raises
        ------
        UserError
            If it is missing, damaged or not in colour.
        """
        return read_image(self.image_path)

    def masks(self, lesions: Sequence[str] = LESIONS) -> np.ndarray:
        """Return the masks of the named lesion types.

        Parameters
        ----------
        lesions : sequence of str
            C names from `STRUCTURES`.

        Returns
        -------
        uint8 (C, H, W)
            0 and 1; all zero for a type without a mask file, all `IGNORE_LABEL` for an
            unknown type.

        Raises
        ------
        UserError
            If a mask is missing, damaged, not binary, or differs in size from the
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
            elif lesion in self.unknown:
                mask[:] = IGNORE_LABEL
        return masks

    def check_headers(self, lesions: Sequence[str] = LESIONS) -> None:
        """Check the headers: image and masks exist and have the same size.

        Raises
        ------
        UserError
            If a file is missing or not an image, or sizes differ.
        """
        size = self.size()
        for lesion in lesions:
            if lesion in self.mask_paths:
                path = self.mask_paths[lesion]
                _check_same_size(self.image_path, size, path, image_size(path))


def check_lesions(lesions: Sequence[str]) -> None:
    """Check names of lesion types.

    Raises
    ------
    UserError
        If the list is empty, or a name is unknown or repeated.
    """
    known = ", ".join(STRUCTURES)
    if isinstance(lesions, str) or not lesions:
        raise UserError(f"lesions is {lesions!r}: give a list of some of {known}")
    for lesion in lesions:
        if lesion not in STRUCTURES:
            raise UserError(f"unknown lesion type {lesion!r}: choose from {known}")
    if len(set(lesions)) < len(lesions):
        raise UserError(
            f"lesions {list(lesions)} contains a type twice: give each type once"
        )


def _check_same_size(
    image: Path, image_shape: tuple[int, ...], mask: Path, mask_shape: tuple[int, ...]
) -> None:
    if tuple(image_shape) != tuple(mask_shape):
        raise UserError(
            f"{image} is {image_shape[1]} x {image_shape[0]} pixels, but its mask "
            f"{mask} is {mask_shape[1]} x {mask_shape[0]}: give both the same size"
        )
