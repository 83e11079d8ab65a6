"""Synthetic fundus photographs with lesions, for users who have no data yet.

They pose the task of real ones but are not meant to pass for them: lesions of a few
pixels at realistic prevalence among vessels, texture and look-alikes.
"""

import dataclasses

import cv2
import numpy as np

# What blood absorbs of red, green and blue light, at full depth.
_BLOOD = np.array([0.42, 0.66, 0.50], np.float32)
_PIGMENT = np.array([0.30, 0.30, 0.22], np.float32)
_DUST = np.array([0.55, 0.55, 0.55], np.float32)
_EXUDATE = np.array([0.98, 0.88, 0.52], np.float32)
_SOFT_EXUDATE = np.array([0.92, 0.78, 0.60], np.float32)
# Mean share of pixels that a lesion type covers, over photographs.
PREVALENCE = {"MA": 0.001, "HE": 0.010, "EX": 0.008, "SE": 0.004}
HEIGHT = 0.78
"""Height over width: the camera cuts the round field above and below."""


@dataclasses.dataclass
class _Eye:
    """An eye under construction: colours (H, W, 3), coordinates, landmarks."""

    colour: np.ndarray
    x: np.ndarray
    y: np.ndarray
    field: np.ndarray
    disc: np.ndarray
    macula: np.ndarray
    width: int

    def spot(self, centre: np.ndarray, radius: float) -> tuple[slice, slice]:
        """Return the window that an object of this radius around a point touches."""
        height, width = self.x.shape
        x, y = centre
        rows = slice(max(0, int(y - radius)), min(height, int(y + radius) + 2))
        columns = slice(max(0, int(x - radius)), min(width, int(x + radius) + 2))
        return rows, columns

    def absorb(self, window: tuple, depth: np.ndarray, tint: np.ndarray) -> None:
        """Darken a window with a substance: depth 0 to 1, (h, w)."""
        self.colour[window] *= 1 - depth[..., None] * tint

    def cover(self, window: tuple, opacity: np.ndarray, colour: np.ndarray) -> None:
        """Paint over a window: opacity 0 to 1, (h, w)."""
        self.colour[window] += opacity[..., None] * (colour - self.colour[window])


def fundus(
    rng: np.random.Generator, width: int = 512, lesions: tuple[str, ...] = ("MA", "HE")
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw one photograph.

    Parameters
    ----------
    rng : Generator
        Source of all randomness.
    width : int
        Width in pixels, at least 128; the height is 0.78 of it.
    lesions : tuple of str
        Types to draw, from MA, HE, EX, SE.

    Returns
    -------
    image : uint8 (H, W, 3)
        RGB.
    masks : dict of str to uint8 (H, W)
        0 and 1 for each lesion type.
    """
    eye = _background(rng, width)
    _vessels(rng, eye)
    _look_alikes(rng, eye)
    masks = {}
    draw = {"EX": _exudates, "SE": _soft_exudates, "HE": _haemorrhages}
    draw["MA"] = _microaneurysms
    for lesion in draw:
        if lesion in lesions:
            masks[lesion] = np.zeros(eye.x.shape, np.uint8)
            # Some eyes have three times as many lesions as others.
            share = PREVALENCE[lesion] * rng.gamma(3, 1 / 3)
            draw[lesion](rng, eye, masks[lesion], share * eye.x.size)
            masks[lesion] *= eye.field > 0.5
    return _photograph(rng, eye), {lesion: masks[lesion] for lesion in lesions}


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float
) -> np.ndarray:
    """Return noise of unit variance with details of about `sigma` pixels."""
    shrink = max(1, int(sigma / 2))
    small = (-(-shape[0] // shrink) + 2, -(-shape[1] // shrink) + 2)
    noise = rng.standard_normal(small).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(sigma / shrink, 0.3))
    noise = cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return noise / max(float(noise.std()), 1e-6)


def _background(rng: np.random.Generator, width: int) -> _Eye:
    height = round(HEIGHT * width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    middle = np.array([width / 2, height / 2]) + rng.normal(0, 0.004 * width, 2)
    radius = 0.487 * width
    distance = np.hypot(x - middle[0], y - middle[1])
    field = np.clip((radius - distance) / 1.5 + 0.5, 0, 1)

    side = rng.choice([-1, 1])
    disc = middle + width * np.array([side * rng.uniform(0.24, 0.31), 0.0])
    disc[1] += rng.normal(0, 0.025) * width
    macula = disc - [side * rng.uniform(0.25, 0.29) * width, -0.02 * width]

    base = np.array([0.74, 0.36, 0.15]) * np.exp(rng.normal(0, [0.10, 0.14, 0.25]))
    light = 1.05 - rng.uniform(0.25, 0.45) * (distance / radius) ** 2
    tilt = rng.normal(0, 0.10, 2)
    light += tilt[0] * (x / width - 0.5) + tilt[1] * (y / height - 0.5)
    light += 0.05 * _smooth_noise(rng, x.shape, 0.12 * width)
    colour = base.astype(np.float32) * light[..., None].astype(np.float32)
    for sigma, strength in ((0.03, 0.04), (0.012, 0.035), (0.004, 0.02)):
        texture = strength * _smooth_noise(rng, x.shape, sigma * width)
        colour *= 1 + texture[..., None] * np.array([0.7, 1.0, 1.0], np.float32)
    eye = _Eye(colour, x, y, field, disc, macula, width)

    spread = 0.055 * width * rng.uniform(0.8, 1.2)
    depth = np.exp(-(_squared(eye, macula)) / (2 * spread**2))
    eye.absorb((...,), rng.uniform(0.25, 0.5) * depth, _BLOOD)
    size = rng.uniform(0.044, 0.056) * width
    reach = np.sqrt(_squared(eye, disc, rng.uniform(0.85, 1.0)))
    edge = _ramp((size - reach) / (0.18 * size))
    eye.cover((...,), 0.8 * edge, np.array([0.95, 0.74, 0.46], np.float32))
    cup = _ramp((rng.uniform(0.35, 0.55) * size - reach) / (0.3 * size))
    eye.cover((...,), 0.6 * cup, np.array([1.0, 0.92, 0.74], np.float32))
    return eye


def _squared(eye: _Eye, centre: np.ndarray, aspect: float = 1.0) -> np.ndarray:
    return ((eye.x - centre[0]) / aspect) ** 2 + (eye.y - centre[1]) ** 2


def _ramp(distance: np.ndarray) -> np.ndarray:
    """Return a smooth 0 to 1 across an edge: 0.5 where the distance is 0."""
    t = np.clip(distance / 2 + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _vessels(rng: np.random.Generator, eye: _Eye) -> None:
    """Grow arteries and veins from the disc around the macula."""
    depth = np.zeros(eye.x.shape, np.float32)
    temporal = np.sign(eye.macula[0] - eye.disc[0])
    for vertical in (-1, 1):
        for vein in (False, True):
            caliber = eye.width * (0.0105 if vein else 0.008) * rng.uniform(0.85, 1.15)
            offset = rng.normal(0, 0.12) + (0.15 if vein else -0.1)
            for direction, bend in ((temporal, 1.0), (-temporal, 0.35)):
                angle = np.arctan2(vertical * (1.2 + offset), direction * 0.7)
                scale = 1.0 if direction == temporal else 0.7
                _grow(
                    rng,
                    eye,
                    depth,
                    eye.disc,
                    angle,
                    caliber * scale,
                    bend * 0.9,
                    vein,
                    0,
                )
    depth = cv2.GaussianBlur(depth, (0, 0), 0.6)
    eye.absorb((...,), np.clip(depth, 0, 1), _BLOOD)


def _grow(
    rng: np.random.Generator,
    eye: _Eye,
    depth: np.ndarray,
    start: np.ndarray,
    angle: float,
    caliber: float,
    bend: float,
    vein: bool,
    level: int,
) -> None:
    """Draw a vessel segment by segment; it bends, tapers and branches."""
    step = 0.012 * eye.width
    position = np.array(start, float)
    # Arcades curve around the macula: towards the horizontal on its side.
    target = 0.0 if np.cos(angle) > 0 else np.pi
    strength = rng.uniform(0.75, 1.0) * (0.8 if vein else 0.65)
    wobble = 0.0
    while caliber > 0.0014 * eye.width:
        wobble = 0.8 * wobble + rng.normal(0, 0.07)
        turn = np.angle(np.exp(1j * (target - angle)))
        angle += 0.045 * bend * np.clip(turn, -1, 1) + wobble * 0.5
        end = position + step * np.array([np.cos(angle), np.sin(angle)])
        if not (0 <= end[0] < depth.shape[1] and 0 <= end[1] < depth.shape[0]):
            return
        near_fovea = np.hypot(*(end - eye.macula)) < 0.06 * eye.width
        if near_fovea:
            return
        _segment(depth, position, end, caliber, strength)
        position = end
        caliber *= 0.985 if level == 0 else 0.975
        if rng.random() < 0.09 and level < 4:
            side = rng.choice([-1, 1])
            part = rng.uniform(0.5, 0.8)
            _grow(
                rng,
                eye,
                depth,
                position,
                angle + side * rng.uniform(0.4, 0.9),
                caliber * part,
                bend * 0.3,
                vein,
                level + 1,
            )
            caliber *= 0.93
            angle -= side * 0.12


def _segment(
    depth: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    caliber: float,
    strength: float,
) -> None:
    """Draw a tube with a round profile: dark in the centre, soft at the walls."""
    margin = caliber + 2
    low = np.floor(np.minimum(start, end) - margin).astype(int).clip(0)
    high = np.ceil(np.maximum(start, end) + margin).astype(int) + 1
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    part = depth[window]
    if not part.size:
        return
    y, x = np.mgrid[low[1] : low[1] + part.shape[0], low[0] : low[0] + part.shape[1]]
    along = end - start
    t = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along)
    t = t.clip(0, 1)
    distance = np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])
    profile = np.sqrt(np.clip(1 - (distance / (caliber / 2 + 0.4)) ** 2, 0, 1))
    # Thin vessels hold less blood and are paler.
    paler = min(1.0, 0.45 + caliber / 5)
    np.maximum(part, (strength * paler * profile).astype(np.float32), out=part)


def _anywhere(rng: np.random.Generator, eye: _Eye, spread: float = 1.0) -> np.ndarray:
    """Return a point (x, y) in the field of view and outside the disc."""
    height, width = eye.x.shape
    while True:
        point = rng.uniform([0, 0], [width - 1, height - 1])
        point = eye.macula + (point - eye.macula) * spread
        x, y = point.astype(int)
        inside = 4 < x < width - 5 and 4 < y < height - 5 and eye.field[y, x] == 1
        if inside and np.hypot(*(point - eye.disc)) > 0.075 * eye.width:
            return point


def _blob(
    rng: np.random.Generator, eye: _Eye, centre: np.ndarray, radius: float, rough: float
) -> tuple[tuple, np.ndarray]:
    """Return the window and the soft shape (0.5 at the edge) of an irregular spot."""
    window = eye.spot(centre, 2.4 * radius + 3)
    x, y = eye.x[window] - centre[0], eye.y[window] - centre[1]
    angle, aspect = rng.uniform(0, np.pi), np.exp(rng.normal(0, 0.12 + rough * 0.4))
    u = (x * np.cos(angle) + y * np.sin(angle)) / aspect
    v = (-x * np.sin(angle) + y * np.cos(angle)) * aspect
    theta = np.arctan2(v, u)
    edge = radius * np.ones_like(u)
    for k in range(2, 7):
        amount = rough * rng.normal(0, 0.5) / k**0.7
        edge += radius * amount * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    softness = 0.6 + 0.10 * radius
    return window, _ramp((edge - np.hypot(u, v)) / softness)


def _microaneurysms(
    rng: np.random.Generator, eye: _Eye, mask: np.ndarray, pixels: float
) -> None:
    while mask.sum() < pixels:
        centre = _anywhere(rng, eye, rng.uniform(0.5, 1.0))
        radius = eye.width / 512 * rng.uniform(1.0, 2.6)
        window, shape = _blob(rng, eye, centre, radius, 0.08)
        eye.absorb(window, rng.uniform(0.35, 0.8) * shape, _BLOOD)
        mask[window] |= shape >= 0.5


def _haemorrhages(
    rng: np.random.Generator, eye: _Eye, mask: np.ndarray, pixels: float
) -> None:
    while mask.sum() < pixels:
        centre = _anywhere(rng, eye)
        radius = eye.width / 512 * rng.lognormal(np.log(5.0), 0.5)
        radius = float(np.clip(radius, 0.006 * eye.width, 0.04 * eye.width))
        window, shape = _blob(rng, eye, centre, radius, rng.uniform(0.15, 0.45))
        texture = 1 + 0.15 * _smooth_noise(rng, shape.shape, 2.5)
        depth = np.clip(rng.uniform(0.5, 0.95) * shape * texture, 0, 1)
        eye.absorb(window, depth, _BLOOD)
        mask[window] |= shape >= 0.5


def _exudates(
    rng: np.random.Generator, eye: _Eye, mask: np.ndarray, pixels: float
) -> None:
    while mask.sum() < pixels:
        cluster = _anywhere(rng, eye, rng.uniform(0.3, 1.0))
        for _ in range(rng.integers(3, 18)):
            centre = cluster + rng.normal(0, 0.025 * eye.width, 2)
            radius = eye.width / 512 * rng.lognormal(np.log(2.2), 0.5)
            window, shape = _blob(rng, eye, centre, radius, 0.3)
            if not shape.size:
                continue
            eye.cover(window, rng.uniform(0.5, 0.9) * shape, _EXUDATE)
            mask[window] |= shape >= 0.5


def _soft_exudates(
    rng: np.random.Generator, eye: _Eye, mask: np.ndarray, pixels: float
) -> None:
    while mask.sum() < pixels:
        radius = eye.width / 512 * rng.uniform(6, 14)
        window, shape = _blob(rng, eye, _anywhere(rng, eye), radius, 0.2)
        soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 0.25 * radius)
        eye.cover(window, rng.uniform(0.25, 0.5) * soft, _SOFT_EXUDATE)
        mask[window] |= soft >= 0.5


def _look_alikes(rng: np.random.Generator, eye: _Eye) -> None:
    """Draw objects that a network may mistake for lesions."""
    unit = eye.width / 512
    for _ in range(rng.poisson(10)):  # pigment: brown, not red
        window, shape = _blob(
            rng, eye, _anywhere(rng, eye), unit * rng.uniform(1, 3), 0.2
        )
        eye.absorb(window, rng.uniform(0.3, 0.8) * shape, _PIGMENT)
    for _ in range(rng.poisson(4)):  # dust on the lens: grey and sharp
        window, shape = _blob(
            rng, eye, _anywhere(rng, eye), unit * rng.uniform(0.8, 1.6), 0
        )
        eye.absorb(window, rng.uniform(0.4, 0.8) * shape, _DUST)
    for _ in range(rng.poisson(5)):  # reflexes
        window, shape = _blob(
            rng, eye, _anywhere(rng, eye), unit * rng.uniform(1, 4), 0.4
        )
        eye.cover(window, rng.uniform(0.1, 0.35) * shape, np.float32([1, 0.95, 0.8]))
    depth = np.zeros(eye.x.shape, np.float32)
    for _ in range(rng.poisson(14)):  # ends of vessels that emerge from below
        start = _anywhere(rng, eye)
        angle = rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(2, 7)):
            end = start + 0.01 * eye.width * np.array([np.cos(angle), np.sin(angle)])
            _segment(depth, start, end, unit * rng.uniform(1.4, 2.4), 0.5)
            start, angle = end, angle + rng.normal(0, 0.3)
    eye.absorb((...,), depth, _BLOOD)


def _photograph(rng: np.random.Generator, eye: _Eye) -> np.ndarray:
    """Take the picture: lens, field stop, sensor."""
    colour = cv2.GaussianBlur(eye.colour, (0, 0), rng.uniform(0.45, 0.8))
    colour *= eye.field[..., None]
    noise = rng.standard_normal(colour.shape).astype(np.float32)
    noise = 0.6 * noise + 0.8 * cv2.GaussianBlur(noise, (0, 0), 0.8)
    colour += rng.uniform(0.008, 0.016) * noise * (0.3 + eye.field[..., None])
    colour += np.array([0.012, 0.008, 0.008], np.float32)
    return np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)
