"""Images for which the curves of losses are computed.

Most losses depend on more than one pixel: on the counts of the classes, on the pixels
that are kept, or on sums over the image. The curves are therefore those of a scene: an
image of N pixels, of which a share is lesion. Let x be a pixel's logit in favour of its
own class, so that the probability of its true class is p_t = sigmoid(x): with a sigmoid
the logits are x in lesions and -x in the background, with a softmax of two classes they
are (0, x) and (0, -x). In the scene "all", all pixels have the same x. In the scene
"one", one lesion pixel and one background pixel have x, and all others keep theirs.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from randrop.errors import UserError

_LEVELS = 100
"""How many different logits the other pixels of a class have."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """An image with pixels that have a given logit.

    Attributes
    ----------
    pixels : int
        N.
    lesions : int
        N+, evenly spaced in the order of the pixels. Ties between equally hard pixels
        are broken in that order, so that a loss that takes a share of the pixels takes
        the same share of either class.
    others : pair of pairs of float, optional
        Makes the scene "one": mean and standard deviation of the logits of the other
        pixels, normally distributed, of background and lesions. Otherwise it is "all".
    """

    pixels: int
    lesions: int
    others: tuple[tuple[float, float], tuple[float, float]] | None = None

    @classmethod
    def of_share(cls, pixels: int, share: float, **options: Any) -> "Scene":
        """Return a scene with about this share of lesion.

        Raises
        ------
        UserError
            If that leaves a class without a pixel.
        """
        lesions = round(pixels * share)
        if not 0 < lesions < pixels:
            raise UserError(
                f"--share {share:g} of --pixels {pixels} is {lesions} lesion pixels: "
                "both classes need at least one; give more pixels or another share"
            )
        return cls(pixels, lesions, **options)

    @property
    def name(self) -> str:
        """All or one."""
        return "one" if self.others else "all"

    @property
    def share(self) -> float:
        """The share of the pixels that are lesion."""
        return self.lesions / self.pixels

    @property
    def background(self) -> int:
        """N-, the number of background pixels."""
        return self.pixels - self.lesions

    @functools.cached_property
    def truth(self) -> NDArray[np.bool_]:
        """Whether a pixel is lesion, bool (N,)."""
        truth = np.zeros(self.pixels, bool)
        truth[(np.arange(self.lesions) * self.pixels) // self.lesions] = True
        return truth

    @functools.cached_property
    def own(self) -> NDArray[np.float64]:
        """The logits that the pixels have before any gets x, float64 (N,)."""
        own = np.zeros(self.pixels)
        order = np.random.default_rng(0)
        for is_lesion, (mean, deviation) in enumerate(self.others or ()):
            of_class = self.truth == is_lesion
            count = int(of_class.sum())
            # The same few values for any number of pixels: quantiles of the normal.
            level = np.arange(count) * min(count, _LEVELS) // count
            z = scipy.stats.norm.ppf((level + 0.5) / min(count, _LEVELS))
            own[of_class] = order.permutation(mean + deviation * z)
        return own

    @functools.cached_property
    def probes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The lesion and the background pixels that get x, as indices."""
        where = np.flatnonzero(self.truth), np.flatnonzero(~self.truth)
        if self.others:
            where = where[0][:1], where[1][:1]
        return where

    def logits(self, x: float) -> NDArray[np.float64]:
        """Return the logits in favour of the true class, float64 (N,)."""
        logits = self.own.copy()
        for where in self.probes:
            logits[where] = x
        return logits
