"""Changes of the input that keep the labels: colour, sharpness and noise.

They act on the network's input, a local contrast in standard deviations, where the
brightness is already gone: libraries of augmentations (albumentations, torchvision)
expect colours from 0 to 255 or from 0 to 1 instead, and would clip what is dark. There
is no elastic warp: every patch is rotated and scaled, and a lesion of a few pixels has
little shape beyond that.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def augmented(
    rng: np.random.Generator,
    image: NDArray[np.float32],
    inside: NDArray[np.bool_],
    colour: float = 0.0,
    blur: float = 0.0,
    noise: float = 0.0,
) -> NDArray[np.float32]:
    """Return a patch with other colours, sharpness and noise.

    Parameters
    ----------
    rng : Generator
    image : float32 (P, P, 3)
        Network input.
    inside : bool (P, P)
        Field of view; the result is 0 outside wherever the image is.
    colour : float
        Standard deviation of the entries that are added to the identity, by which the
        three channels are mixed: other saturation, hue and contrast.
    blur : float
        Largest standard deviation of a Gaussian, in pixels. Half of the patches stay
        sharp.
    noise : float
        Largest standard deviation of white noise, in units of the input.

    Returns
    -------
    float32 (P, P, 3)
    """
    if colour:
        mix = np.eye(3) + rng.normal(0, colour, (3, 3))
        image = image @ mix.T.astype(np.float32)
    if blur and rng.random() < 0.5:
        sigma = blur * (1 - rng.random())
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    if noise:
        grain = rng.standard_normal(image.shape, np.float32)
        image = image + grain * np.float32(noise * rng.random())
    return image * inside[..., None]
