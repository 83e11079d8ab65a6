"""Phantom organs: images or volumes with objects of very different sizes."""

import dataclasses

import numpy as np
import scipy

BODY_SHARE = 0.45
"""Of the image, the first object with all that lies in it."""

SECOND = 0.15
"""Size of the second object relative to the first."""

INTENSITIES = (0.5, 0.25, 0.375, 0.625, 0.75, 0.875)
"""Of the first object; then those that another may have."""


@dataclasses.dataclass(frozen=True)
class Organ:
    """An ellipsoid in an image whose axes run from -1 to 1.

    Attributes
    ----------
    centre, radii : float (d,)
    rotation : float (d, d)
    intensity : float
        From 0 to 1.
    """

    centre: np.ndarray
    radii: np.ndarray
    rotation: np.ndarray
    intensity: float


def anatomy(
    rng: np.random.Generator, labels: int, dimensions: int, smallest: float
) -> list[Organ]:
    """Draw the organs that all images of a set share.

    Parameters
    ----------
    rng : Generator
    labels : int
        Background and organs, at least 3.
    dimensions : int
        2 or 3.
    smallest : float
        Size of the smallest organ relative to the largest; the sizes form a geometric
        sequence.

    Returns
    -------
    list of Organ
        From the largest, which contains the others, to the smallest.
    """
    number = labels - 2
    sizes = np.geomspace(SECOND, smallest, number) if number > 1 else [smallest]
    whole = 2**dimensions * BODY_SHARE
    first = whole / (1 + np.sum(sizes))
    organs = [_organ(rng, np.zeros(dimensions), whole, 0.08, INTENSITIES[0])]
    for size in sizes:
        # Place it where it overlaps the others least; later organs cover earlier ones.
        # Intensities are few, so neighbours help as much to tell organs apart.
        intensity = rng.choice(INTENSITIES[1:])
        candidates = [
            _organ(rng, _inside(rng, dimensions), first * size, 0.25, intensity)
            for _ in range(200)
        ]
        organs.append(min(candidates, key=lambda c: _crowding(c, organs)))
    return organs


def _inside(rng: np.random.Generator, dimensions: int) -> np.ndarray:
    while True:
        centre = rng.uniform(-0.7, 0.7, dimensions)
        if np.linalg.norm(centre) < 0.7:
            return centre


def _organ(
    rng: np.random.Generator,
    centre: np.ndarray,
    size: float,
    stretch: float,
    intensity: float,
) -> Organ:
    d = len(centre)
    unit = np.pi if d == 2 else 4 / 3 * np.pi
    shape = np.exp(rng.normal(0, stretch, d))
    radii = (size / unit / shape.prod()) ** (1 / d) * shape
    return Organ(centre, radii, _rotation(rng, d), intensity)


def _rotation(rng: np.random.Generator, d: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(d, d)))
    return q * np.sign(np.diag(r))


def _crowding(organ: Organ, others: list[Organ]) -> float:
    """Return how far an organ reaches into others (not the body) or out of it."""
    own = organ.radii.max()
    depth = [
        own + other.radii.max() - np.linalg.norm(organ.centre - other.centre)
        for other in others[1:]
    ]
    out = np.linalg.norm(organ.centre) + own - others[0].radii.min()
    return float(sum(max(0.0, d) for d in depth) + 3 * max(0.0, out))


def draw(
    rng: np.random.Generator,
    organs: list[Organ],
    shape: tuple[int, ...],
    noise: float = 0.07,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image of an anatomy, and its labels.

    Organs move, rotate and scale slightly. The image is warped smoothly, blurred by
    half a pixel, and has a gradual change of brightness and Gaussian noise.

    Parameters
    ----------
    rng : Generator
    organs : list of Organ
    shape : tuple of int
        Two or three axes.
    noise : float
        Standard deviation; the organs' intensities are 1/8 apart.

    Returns
    -------
    image : float32 (*shape)
    label : uint8 (*shape)
        0 background, k the k-th organ.
    """
    d = len(shape)
    grid = np.stack(
        np.meshgrid(*[(np.arange(n) + 0.5) / n * 2 - 1 for n in shape], indexing="ij")
    )
    grid = grid + _smooth(rng, (d, *shape), 0.05, 6)
    label = np.zeros(shape, np.uint8)
    image = np.zeros(shape)
    for k, organ in enumerate(organs, 1):
        centre = organ.centre + rng.normal(0, 0.04 if k > 1 else 0.02, d)
        radii = organ.radii * np.exp(rng.normal(0, 0.08))
        turned = organ.rotation @ _small_rotation(rng, d)
        offset = np.tensordot(turned.T, grid - centre.reshape(-1, *[1] * d), 1)
        inside = ((offset / radii.reshape(-1, *[1] * d)) ** 2).sum(0) < 1
        # The smallest organ may fall between pixels, but must be present.
        if not inside.any():
            at = np.clip(((centre + 1) / 2 * shape).astype(int), 0, np.array(shape) - 1)
            inside[tuple(at)] = True
        label[inside] = k
        image[inside] = organ.intensity + rng.normal(0, 0.02)
    image = scipy.ndimage.gaussian_filter(image, 0.5)
    image *= 1 + _smooth(rng, shape, 0.1, 4)
    image += rng.normal(0, noise, shape)
    return image.astype(np.float32), label


def _smooth(
    rng: np.random.Generator, shape: tuple[int, ...], amplitude: float, waves: int
) -> np.ndarray:
    """Return smooth noise of the given standard deviation, over the last axes."""
    spatial = shape[-3:] if len(shape) > 3 else shape[-2:]
    sigma = [0] * (len(shape) - len(spatial)) + [n / waves for n in spatial]
    field = scipy.ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return amplitude * field / field.std()


def _small_rotation(rng: np.random.Generator, d: int) -> np.ndarray:
    q, r = np.linalg.qr(np.eye(d) + rng.normal(0, 0.1, (d, d)))
    return q * np.sign(np.diag(r))
