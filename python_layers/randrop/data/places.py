"""Where patches lie: near lesions, near false alarms, in healthy eyes, anywhere."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from randrop.data.arrays import Arrays
from randrop.data.false_alarms import centres_of
from randrop.data.patch_options import Options
from randrop.errors import UserError


class Places:
    """Draws the photograph and the centre of patches.

    Parameters
    ----------
    ready : sequence of Arrays
        The photographs of a subset.
    options : Options
    subset : str
        What the photographs are called in errors, as "subset 'train' of build/data".

    Raises
    ------
    UserError
        If there is nothing to draw from: no lesion, no photograph without lesions, no
        false alarm; or if weights or false alarms do not fit the photographs.
    """

    def __init__(
        self, ready: Sequence[Arrays], options: Options, subset: str = "the set"
    ) -> None:
        self.ready = ready
        self.options = options
        self.near = [
            [case for case in ready if case.lesions[lesion].size]
            for lesion in options.lesions
        ]
        if not any(self.near):
            raise UserError(
                f"no mask has a lesion: {', '.join(options.lesions)} of the "
                f"{len(ready)} image(s) in {subset} are empty. Check the mask folders "
                "and --lesions"
            )
        self.present = [c for c, cases in enumerate(self.near) if cases]
        self.chances = _chances(options, self.present)
        self.healthy = [case for case in ready if _is_healthy(case, options.lesions)]
        if options.healthy_share and not self.healthy:
            raise UserError(
                f"no image in {subset} is free of {', '.join(options.lesions)}: add "
                "photographs without lesions, or omit --healthy-share"
            )
        self.alarms: list[tuple[Arrays, NDArray]] = []
        if options.false_alarms:
            found = centres_of(
                options.false_alarms, {c.name: c.size for c in ready}, options.lesions
            )
            by_name = {case.name: case for case in ready}
            self.alarms = [(by_name[name], found[name]) for name in found]

    def draw(self, rng: np.random.Generator) -> tuple[Arrays, NDArray]:
        """Return a photograph and the centre (x, y) of a patch in it."""
        options = self.options
        at = rng.random()
        if at < options.lesion_share:
            case, c = self.lesion_type(rng)
            jitter = self._jitter(rng)
            y, x = divmod(self.lesion_pixel(rng, case, c), case.size[1])
        elif at < options.lesion_share + options.false_alarm_share:
            case, centres = self.alarms[rng.integers(len(self.alarms))]
            case.check()
            jitter = self._jitter(rng)
            x, y = centres[rng.integers(len(centres))]
        else:
            rest = at - options.lesion_share - options.false_alarm_share
            some = self.healthy if rest < options.healthy_share else self.ready
            case = some[rng.integers(len(some))]
            case.check()
            jitter = np.zeros(2)
            x, y = case.inside_position(rng.integers(case.inside[-1]))
        return case, np.array([x, y]) + jitter

    def lesion_type(self, rng: np.random.Generator) -> tuple[Arrays, int]:
        """Draw a lesion type and a photograph that has it."""
        c = self.present[rng.integers(len(self.present))]
        if self.chances is not None:
            c = self.present[rng.choice(len(self.present), p=self.chances)]
        case = self.near[c][rng.integers(len(self.near[c]))]
        case.check()
        return case, c

    def lesion_pixel(self, rng: np.random.Generator, case: Arrays, c: int) -> int:
        """Draw a pixel of a lesion type, y W + x."""
        pixels = case.lesions[self.options.lesions[c]]
        if self.options.lesion_draw == "pixel":
            return int(pixels[rng.integers(pixels.size)])
        own = self.lesion(rng, case, c)
        return int(own[rng.integers(own.size)])

    def lesion(
        self, rng: np.random.Generator, case: Arrays, c: int
    ) -> NDArray[np.int32]:
        """Draw a lesion of a type; return its pixels, y W + x."""
        lesion = self.options.lesions[c]
        numbers = case.regions[lesion]
        k = rng.integers(int(numbers.max()) + 1)
        return case.lesions[lesion][numbers == k]

    def _jitter(self, rng: np.random.Generator) -> NDArray[np.float64]:
        reach = self.options.patch / 3
        return rng.uniform(-reach, reach, 2)


def _is_healthy(case: Arrays, lesions: Sequence[str]) -> bool:
    """Return whether all types were looked for and none was found."""
    return not any(case.lesions[s].size or s in case.unknown for s in lesions)


def _chances(options: Options, present: Sequence[int]) -> NDArray[np.float64] | None:
    """Return the probability of each present type among patches near a lesion."""
    weights = options.lesion_weights
    if weights is None:
        return None
    if len(weights) != len(options.lesions) or min(weights) < 0:
        raise UserError(
            f"lesion_weights is {list(weights)}: give a weight of at least 0 for each "
            f"of {', '.join(options.lesions)}"
        )
    there = np.array([weights[c] for c in present], float)
    if not there.sum() > 0:
        raise UserError(
            f"lesion_weights is {list(weights)}: no type that has lesions has a "
            "weight above 0: raise one weight"
        )
    return there / there.sum()
