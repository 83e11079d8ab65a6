"""From a photograph to what the network sees: field of view, local contrast."""

import cv2
import numpy as np

from randrop.data.regions import regions

INPUT_LIMIT = 8.0
"""Network inputs are clipped to this magnitude; their standard deviation is 1."""

# The Gaussian of the local mean: wide enough to keep the interior of a large
# haemorrhage dark, narrow enough to remove illumination, macula and vignetting.
_SIGMA_SHARE = 1 / 30
# Grey levels added to the local mean, so that noise in black regions stays noise.
_DARK_LEVEL = 12.0
# Smallest standard deviation of the contrast, so that flat images are not amplified.
_SMALLEST_DEVIATION = 0.01
_WORK_WIDTH = 512


def field_of_view(image: np.ndarray) -> np.ndarray:
    """Return where a fundus photograph shows the eye rather than the black frame.

    A pixel belongs to the field of view if its brightest channel is well above the
    frame's level, which is measured in the darkest parts of the border. The result is
    the largest connected region of these pixels, with its holes filled.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        Photograph, RGB.

    Returns
    -------
    bool (H, W)
        True inside. All true if there is no dark frame.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, _WORK_WIDTH / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    bright = cv2.resize(image, size, interpolation=cv2.INTER_AREA).max(axis=2)
    bright = cv2.medianBlur(np.ascontiguousarray(bright), 5)
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    frame = float(np.percentile(border, 5))
    eye = float(np.percentile(bright, 75))
    everything = np.ones((height, width), bool)
    if eye - frame < 20 or frame > 0.3 * eye:
        return everything
    inside = (bright > frame + 0.14 * (eye - frame)).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    labels, count = regions(inside, neighbours=4)
    if not count:
        return everything
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    inside = (labels == largest).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(inside, contours, -1, 1, cv2.FILLED)
    if inside.mean() > 0.98 or inside.mean() < 0.1:
        return everything
    # Linear interpolation of the small mask gives a smooth edge at full size.
    soft = cv2.resize(inside * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    return soft > 127


def network_input(image: np.ndarray, fov: np.ndarray | None = None) -> np.ndarray:
    """Return the network's input: local contrast inside the field of view.

    Let m be the local mean: a Gaussian with a standard deviation of 1/30 of the field's
    width, normalised by the same Gaussian of the field of view, so that the frame does
    not darken the edge. A channel I becomes the contrast

        c = (I - m) / (m + 12),

    which cancels illumination, because that multiplies I and m alike. Each channel of c
    is divided by its standard deviation over the field of view and clipped to [-8, 8].
    Everything scales with the field's width: the same eye at another resolution has the
    same input values.

    Training and prediction both use this function and apply no other shift or scale.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        Photograph, RGB.
    fov : bool (H, W), optional
        Field of view; by default `field_of_view(image)`.

    Returns
    -------
    float32 (3, H, W)
        Red, green, blue; approximately zero mean and unit variance inside the field of
        view, zero outside.
    """
    fov = field_of_view(image) if fov is None else fov
    height, width = fov.shape
    output = np.zeros((3, height, width), np.float32)
    if not fov.any():
        return output
    inside = fov.astype(np.float32)
    mean = _local_mean(image, inside)
    columns = np.flatnonzero(fov.any(axis=0))
    rows = np.flatnonzero(fov.any(axis=1))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    for channel in range(3):
        local = mean[(*box, channel)]
        contrast = (image[(*box, channel)] - local) / (local + _DARK_LEVEL)
        contrast *= inside[box]
        deviation = float(
            np.sqrt(np.square(contrast).sum(dtype=np.float64) / fov.sum())
        )
        contrast /= max(deviation, _SMALLEST_DEVIATION)
        np.clip(contrast, -INPUT_LIMIT, INPUT_LIMIT, out=output[(channel, *box)])
    return output


def rescale_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Return `image` reduced by `scale`, in (0, 1], with area averaging."""
    if scale == 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def rescale_masks(
    masks: np.ndarray, size: tuple[int, int], cover: float = 0.0
) -> np.ndarray:
    """Return reduced masks in which no lesion vanishes.

    Parameters
    ----------
    masks : uint8 (C, H, W)
        0 and 1.
    size : (int, int)
        New height and width, not larger than the old.
    cover : float
        In [0, 1]: the least share of a new pixel that lesions cover. With 0 it is
        enough that they touch it, so that small lesions grow: one of 9 pixels reduced
        to a third covers 1 to 4 pixels. With 0.5 those that are larger than half a new
        pixel keep their area.

    Returns
    -------
    uint8 (C, height, width)
        1 where lesions cover that share. A lesion (8-connected region) for which no
        pixel is left keeps the one that has the centres of most of its pixels.
    """
    if tuple(size) == masks.shape[1:]:
        return masks
    reduced = np.zeros((len(masks), *size), np.uint8)
    for mask, kept in zip(masks, reduced, strict=True):
        share = cv2.resize(
            mask * np.float32(1), size[::-1], interpolation=cv2.INTER_AREA
        )
        # Sums of weights are off by rounding.
        kept[...] = share > max(cover - 1e-6, 1e-6)
        if cover:
            _keep_every_lesion(mask, kept)
    return reduced


def _keep_every_lesion(mask: np.ndarray, kept: np.ndarray) -> None:
    """Set a pixel of the reduced mask `kept` for each region that has none."""
    labels, count = regions(mask)
    y, x = np.nonzero(mask)
    region = labels[y, x]
    place = (y * 2 + 1) * kept.shape[0] // (2 * mask.shape[0]) * kept.shape[1]
    place += (x * 2 + 1) * kept.shape[1] // (2 * mask.shape[1])
    is_left = np.zeros(count + 1, bool)
    is_left[region[kept.flat[place] > 0]] = True
    for lost in np.flatnonzero(~is_left[1:]) + 1:
        places, pixels = np.unique(place[region == lost], return_counts=True)
        kept.flat[places[pixels.argmax()]] = 1


def _local_mean(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    height, width = inside.shape
    field_width = int(np.count_nonzero(inside.any(axis=0)))
    # A blur this wide loses nothing on a small copy and costs a hundredth of the time.
    shrink = min(1.0, _WORK_WIDTH / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    sigma = max(field_width * shrink * _SIGMA_SHARE, 0.5)
    masked = image * inside.astype(np.uint8)[..., None]
    small = cv2.resize(masked, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    weight = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    mean = small / np.maximum(weight, 1e-3)[..., None]
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
