"""Pictures of one photograph's prediction: overview with marks, and close-ups."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from randrop.data.regions import regions
from randrop.prediction.maps import LEVELS

Picture = NDArray[np.uint8]

# From M. Okabe and K. Ito's palette, distinguishable with all kinds of colour vision.
FOUND = (0, 190, 140)
ALARM = (240, 175, 0)
MISSED = (86, 180, 255)
LEGEND = ((FOUND, "found"), (MISSED, "missed"), (ALARM, "false alarm"))
CLOSE_UP = 384


class CloseUp(NamedTuple):
    """A square region, each picture (384, 384, 3) RGB.

    The probability is drawn from 0, black, to `top`, the largest in the photograph.
    """

    title: str
    top: float
    photo: Picture
    truth: Picture
    probability: Picture
    overlay: Picture


class Views(NamedTuple):
    """The pictures of one photograph and lesion type.

    Attributes
    ----------
    photo, overlay : ndarray (h, w, 3), uint8
        The photograph, and a grey copy with marks, at another size.
    close_ups : list of CloseUp
        Where the most lesion, missed and false alarm pixels are.
    found, lesions, alarms : int
        Connected regions of the mask that the prediction touches, all regions of the
        mask, and predicted regions that touch none.
    """

    photo: Picture
    overlay: Picture
    close_ups: list[CloseUp]
    found: int
    lesions: int
    alarms: int


def views(
    image: Picture,
    levels: NDArray[np.uint16],
    mask: NDArray[np.uint8],
    level: int,
    width: int = 1000,
) -> Views:
    """Draw what a prediction found, missed and invented.

    Parameters
    ----------
    image : ndarray (H, W, 3), uint8
        Photograph, RGB.
    levels : ndarray (H, W), uint16
        Probability x 65535.
    mask : ndarray (H, W), uint8
        Truth, 0 and 1.
    level : int
        Pixels of at least this level count as predicted.
    width : int
        Width of the overview in pixels; less for photographs below a third of it.
    """
    truth, predicted = mask != 0, levels >= level
    found, missed = _split(truth, predicted)
    _, invented = _split(predicted, truth)
    grey = _red_free(image)
    # Draw marks after resizing: small photographs are enlarged to make room.
    scale = min(3.0, width / image.shape[1])
    size = (round(image.shape[1] * scale), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    overview = cv2.resize(grey, size, interpolation=method)
    for region, colour in ((found, FOUND), (missed, MISSED), (invented, ALARM)):
        _mark(overview, region, colour)
    photo = cv2.resize(image, size, interpolation=method)
    hits = regions(found)[1]
    return Views(
        photo,
        overview,
        _close_ups(image, grey, levels, truth, predicted),
        *(hits, hits + regions(missed)[1], regions(invented)[1]),
    )


def _split(
    mask: NDArray[np.bool_], other: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Split into connected regions that touch `other` and regions that do not."""
    labels, count = regions(mask)
    touched = np.zeros(count + 1, bool)
    touched[labels[other & mask]] = True
    touched = touched[labels]
    return touched, mask & ~touched


def _red_free(image: Picture) -> Picture:
    """Return the green channel as grey RGB: it shows lesions, and marks stand out."""
    return np.repeat(image[..., 1:2], 3, axis=2)


def _mark(overview: Picture, region: NDArray[np.bool_], colour: tuple) -> None:
    """Draw rings around regions, which may be far smaller than an overview pixel."""
    size = overview.shape[1::-1]
    small = cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = (small > 0).astype(np.uint8)
    unit = max(1, size[0] // 500)
    inner, outer = (
        cv2.dilate(small, _disc(2 * unit)),
        cv2.dilate(small, _disc(3 * unit)),
    )
    overview[(outer > 0) & (inner == 0)] = colour


def _disc(radius: int) -> Picture:
    side = 2 * radius + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _close_ups(
    image: Picture,
    grey: Picture,
    levels: NDArray[np.uint16],
    truth: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
) -> list[CloseUp]:
    """Return close-ups of the most important places, without overlapping ones."""
    side = min(max(image.shape[1] // 12, 48), *image.shape[:2])
    free = np.ones(truth.shape, bool)
    result = []
    for title, wanted in (
        ("most lesion pixels", truth),
        ("most missed pixels", truth & ~predicted),
        ("most false alarm pixels", predicted & ~truth),
    ):
        box = _densest(wanted & free, side)
        if box is None:
            continue
        top, left = box
        # Half a side away, another close-up shows mostly something else.
        free[max(0, top - side // 2) : top + side * 3 // 2,
             max(0, left - side // 2) : left + side * 3 // 2] = False  # fmt: skip
        cut = (slice(top, top + side), slice(left, left + side))
        result.append(_close_up(title, image, grey, levels, truth, predicted, cut))
    return result


def _densest(wanted: NDArray[np.bool_], side: int) -> tuple[int, int] | None:
    """Return top and left of the square with the most wanted pixels."""
    sums = cv2.integral(wanted.astype(np.uint8))
    inside = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
    ) + sums[:-side, :-side]  # fmt: skip
    best = int(inside.max())
    if best == 0:
        return None
    # Among equal squares, the middle one has the lesions in its centre.
    rows, columns = np.nonzero(inside == best)
    centre = (rows.mean(), columns.mean())
    nearest = np.argmin((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2)
    return int(rows[nearest]), int(columns[nearest])


def _close_up(
    title: str,
    image: Picture,
    grey: Picture,
    levels: NDArray[np.uint16],
    truth: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    cut: tuple[slice, slice],
) -> CloseUp:
    truth, predicted = truth[cut], predicted[cut]
    overlay = _stretched(grey[cut])
    for region, colour in (
        (truth & predicted, FOUND),
        (truth & ~predicted, MISSED),
        (predicted & ~truth, ALARM),
    ):
        overlay[region] = 0.35 * overlay[region] + 0.65 * np.array(colour)
    top = max(int(levels.max()), 1)
    heat = (levels[cut] * np.float32(255 / top)).astype(np.uint8)
    heat = cv2.applyColorMap(heat, cv2.COLORMAP_MAGMA)
    white = np.repeat(truth[..., None] * np.uint8(255), 3, axis=2)
    pictures = (image[cut], white, heat[..., ::-1], overlay)
    return CloseUp(title, top / (LEVELS - 1), *map(_enlarge, pictures))


def columns(close_up: CloseUp) -> list[tuple[str, Picture]]:
    """Return the pictures of a close-up with their captions, from left to right."""
    return [
        ("photograph", close_up.photo),
        ("truth", close_up.truth),
        (f"probability, 0 to {close_up.top:.2g}", close_up.probability),
        ("overlay", close_up.overlay),
    ]


def _stretched(grey: Picture) -> Picture:
    """Return a region with stretched contrast, ignoring the outermost percents."""
    low, high = np.percentile(grey, (1, 99))
    stretched = (grey - low) * (200 / max(high - low, 20)) + 28
    return np.clip(stretched, 0, 255).astype(np.uint8)


def _enlarge(picture: Picture) -> Picture:
    shrinks = picture.shape[0] > CLOSE_UP
    method = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    return cv2.resize(
        np.ascontiguousarray(picture), (CLOSE_UP, CLOSE_UP), interpolation=method
    )


def composed(shown: Views, title: str) -> Picture:
    """Put all views of a photograph on one sheet, (h, w, 3) RGB, with a legend."""
    gap, line = 12, 30
    pair = np.hstack(_spaced([shown.photo, shown.overlay], gap))
    width = pair.shape[1]
    tile = (width - 3 * gap) // 4
    font = ImageFont.load_default(18)
    rows = [_caption({0: title}, width, line, font), pair, _legend(width, line, font)]
    for close_up in shown.close_ups:
        texts, pictures = zip(*columns(close_up), strict=True)
        pictures = [
            cv2.resize(picture, (tile, tile), interpolation=cv2.INTER_AREA)
            for picture in pictures
        ]
        row = np.hstack(_spaced(pictures, gap))
        rest = np.full((tile, width - row.shape[1], 3), 255, np.uint8)
        starts = range(0, width, tile + gap)
        texts = (f"{texts[0]}: {close_up.title}", *texts[1:])
        caption = _caption(dict(zip(starts, texts, strict=False)), width, line, font)
        rows += [caption, np.hstack([row, rest])]
    return np.vstack(rows)


def ranked(shown: Sequence[tuple[str, str, Views]]) -> Picture:
    """Put photographs below each other, each with its first close-up: (h, w, 3) RGB.

    Parameters
    ----------
    shown : sequence of (str, str, Views)
        Label, name of the photograph, and its views.
    """
    gap, line, tile = 12, 30, CLOSE_UP
    font = ImageFont.load_default(18)
    width = max(_height_of(views.overlay, tile).shape[1] for _, _, views in shown)
    rows = []
    for which, name, views in shown:
        overlay = _height_of(views.overlay, tile)
        rest = np.full((tile, width - overlay.shape[1], 3), 255, np.uint8)
        parts, texts = [np.hstack([overlay, rest])], {0: f"{which}: {name}"}
        for text, picture in columns(views.close_ups[0]) if views.close_ups else []:
            texts[width + gap + (tile + gap) * (len(parts) - 1)] = text
            parts.append(picture)
        row = np.hstack(_spaced(parts, gap))
        full = width + 4 * (tile + gap)
        rest = np.full((tile, full - row.shape[1], 3), 255, np.uint8)
        rows += [_caption(texts, full, line, font), np.hstack([row, rest])]
    return np.vstack([*rows, _legend(rows[0].shape[1], line, font)])


def _height_of(picture: Picture, height: int) -> Picture:
    width = round(picture.shape[1] * height / picture.shape[0])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _spaced(pictures: list[Picture], gap: int) -> list[Picture]:
    space = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    return [part for picture in pictures for part in (space, picture)][1:]


def _caption(
    texts: dict[int, str], width: int, height: int, font: ImageFont.FreeTypeFont
) -> Picture:
    """Return a strip with texts at the given columns."""
    strip = Image.new("RGB", (width, height), "white")
    for x, text in texts.items():
        draw = ImageDraw.Draw(strip)
        draw.text((x + 4, height // 2), text, "black", font, anchor="lm")
    return np.asarray(strip)


def _legend(width: int, height: int, font: ImageFont.FreeTypeFont) -> Picture:
    strip = Image.new("RGB", (width, height), "white")
    draw, x = ImageDraw.Draw(strip), 4
    for colour, text in LEGEND:
        draw.rectangle((x, height // 2 - 8, x + 16, height // 2 + 8), fill=colour)
        draw.text((x + 22, height // 2), text, "black", font, anchor="lm")
        x += 22 + int(draw.textlength(text, font)) + 24
    return np.asarray(strip)
