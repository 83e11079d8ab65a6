"""Reading photographs and lesion masks strictly, with errors that name the problem."""

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from randrop.errors import UserError
from randrop.files.reading import check_regular


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels from the file's header, without decoding it.

    Raises
    ------
    UserError
        If the file is missing or not an image.
    """
    with _opened(path) as image:
        return image.height, image.width


def is_turned(path: Path) -> bool:
    """Return whether viewers turn or mirror a photograph, by its EXIF orientation.

    Raises
    ------
    UserError
        If the file is missing or not an image.
    """
    with _opened(path) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def read_image(path: Path) -> np.ndarray:
    """Read a colour photograph.

    The EXIF orientation tag is ignored, because masks are drawn on the stored pixels.
    An alpha channel that is opaque everywhere is dropped.

    Parameters
    ----------
    path : Path
        JPEG, PNG, TIFF or any other format that Pillow reads.

    Returns
    -------
    uint8 (H, W, 3)
        Red, green, blue, 0 to 255.

    Raises
    ------
    UserError
        If the file is missing, truncated or not an image, or lacks three colours.
    """
    pixels, mode = _decoded(path)
    if mode == "RGBA":
        if pixels[..., 3].min() < 255:
            raise UserError(
                f"{path} has transparent pixels (mode RGBA): "
                "flatten it and save it as RGB"
            )
        return np.ascontiguousarray(pixels[..., :3])
    if mode != "RGB":
        raise UserError(
            f"{path} has mode {mode} ({_channels(pixels)} channel(s)), but the "
            "network needs colour photographs: use the RGB original"
        )
    return pixels


def read_mask(path: Path) -> np.ndarray:
    """Read a binary mask; 0 is background, 1, 255 or (16 bits) 65535 is lesion.

    Palette images (IDRiD's TIFFs) are read by index. In a colour mask the brightest
    channel counts, so red on black is valid, too. Other values are refused: they come
    from lossy files or label maps, and any threshold would be a guess.

    Parameters
    ----------
    path : Path
        PNG, TIFF, BMP or GIF.

    Returns
    -------
    uint8 (H, W)
        0 and 1.

    Raises
    ------
    UserError
        If the file is missing, truncated or not an image, or has other values.
    """
    pixels, mode = _decoded(path)
    if pixels.ndim == 3:
        colours = 1 if mode == "LA" else 3
        pixels = pixels[..., :colours].max(axis=2)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    top = int(pixels.max(initial=0))
    mask = (pixels == top) & (top > 0)
    if top not in (0, 1, 255, 65535) or np.any((pixels != 0) & ~mask):
        values = np.unique(pixels)
        shown = ", ".join(map(str, values[:6])) + (", ..." if values.size > 6 else "")
        raise UserError(
            f"{path} has the values {shown}, but a mask has 0 and 1, or 0 and 255: "
            "save it losslessly (PNG), one file per lesion type"
        )
    return mask.astype(np.uint8)


def _decoded(path: Path) -> tuple[np.ndarray, str]:
    with _opened(path) as image:
        try:
            return np.asarray(image), image.mode
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(
                f"{path} cannot be decoded ({error}): it is damaged or truncated: "
                "copy it again from its source"
            ) from error


def _opened(path: Path) -> Image.Image:
    check_regular(path)
    try:
        with warnings.catch_warnings():
            # A photograph of 100 megapixels is not a decompression bomb here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: check the path, or restore the file"
        ) from error
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS
        raise UserError(
            f"{path} has more than {limit:,} pixels: make it smaller, or remove it"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as an image ({error}): copy it again from its "
            "source, save it with 8 bits per channel, or remove it"
        ) from error


def _channels(pixels: np.ndarray) -> int:
    return 1 if pixels.ndim == 2 else pixels.shape[2]
