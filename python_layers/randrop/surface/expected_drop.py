"""The expectation of random drop over its masks."""

import functools

import numpy as np
import scipy
from numpy.typing import NDArray

from randrop.losses import drop_probability
from randrop.losses.common import balance_weights, sigmoid, softplus
from randrop.nets.losses import Loss
from randrop.surface.curve_scenes import Scene


def expected_random_drop(loss: Loss, scene: Scene, x: float) -> dict[str, float]:
    """Return the expectation of `curves.forward` for random drop over its masks.

    A background pixel is kept with probability 1 - d(p), or with `keep: UNIFORM` with
    the mean of these, independently of the others, and K are kept of N-. Positives
    weigh w+ = K / (K + N+), kept negatives w- = N+ / (K + N+). The weights are averaged
    over the exact distribution of K: those at its mean would be wrong where few pixels
    are kept. A background pixel's average is over masks that drop it, too:
    (1 - d) E[w- | kept] times its cross-entropy.

    Parameters
    ----------
    loss : Loss
        A term that drops.
    scene : Scene
    x : float
        The logit in favour of the true class.

    References
    ----------
    S. Guo et al. Random drop loss for tiny object segmentation: application to lesion
    segmentation in fundus images. ICANN 2019, doi:10.1007/978-3-030-30508-6_18.
    """
    schedule = loss.params.get("schedule_type", "LOG")
    if loss.params.get("keep") == "UNIFORM":
        keep = _mean_kept(scene, schedule, x)
        others = _binomial(scene.background - 1, keep)
    else:
        keep = float(_kept(np.float64(x), schedule))
        others = _kept_of_others(scene, schedule, x)
    counts = np.arange(len(others))
    # Of one background pixel with x: it is one of K, or it is dropped.
    positives = np.full_like(counts, scene.lesions)
    without, with_it = (balance_weights(positives, counts + k) for k in (0, 1))
    w_positive = (1 - keep) * (others @ without[0]) + keep * (others @ with_it[0])
    w_negative = keep * (others @ with_it[1])
    # Each term has the divisor N, unless its specification names another.
    factor = loss.weight * scene.pixels
    if loss.normalization not in ("BATCH_SIZE", "NONE"):
        factor /= scene.pixels
    cross_entropy, slope = (
        float(softplus(np.float64(-x))),
        -float(sigmoid(np.float64(-x))),
    )
    shares = np.array([scene.lesions, scene.background]) / scene.pixels
    values = {
        "lesion_loss": factor * w_positive * cross_entropy,
        "background_loss": factor * w_negative * cross_entropy,
        "lesion_gradient": factor * w_positive * slope,
        "background_gradient": factor * w_negative * slope,
        "used_background": keep,
    }
    # In the scene "one" this leaves the other pixels out, and is not drawn.
    values["loss"] = float(shares @ (values["lesion_loss"], values["background_loss"]))
    return {name: float(value) for name, value in values.items()}


def _kept(x: NDArray[np.float64], schedule: str) -> NDArray[np.float64]:
    """Return 1 - d(p), clipped, at logits in favour of the background."""
    return 1 - np.clip(drop_probability(-x, schedule), 0, 1)


def _kept_of_others(scene: Scene, schedule: str, x: float) -> NDArray[np.float64]:
    """Return the distribution of K without one background pixel that has x.

    Returns
    -------
    float64 (N-,)
        The probabilities of K = 0 to N- - 1, by the product of the Fourier transforms
        of binomial distributions, one for each different logit. Its rounding errors are
        about 1e-16 of the whole.
    """
    if scene.name == "one":
        return _kept_of_fixed(scene, schedule)
    return _binomial(scene.background - 1, float(_kept(np.float64(x), schedule)))


def _binomial(number: int, share: float) -> NDArray[np.float64]:
    """Return the distribution of how many of some pixels are kept."""
    return scipy.stats.binom.pmf(np.arange(number + 1), number, share)


def _other_levels(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the logits of the background pixels without x, and their numbers."""
    others = np.ones(scene.pixels, bool)
    for where in scene.probes:
        others[where] = False
    return np.unique(scene.own[others & ~scene.truth], return_counts=True)


def _mean_kept(scene: Scene, schedule: str, x: float) -> float:
    """Return the mean of 1 - d(p) over the background pixels."""
    own = float(_kept(np.float64(x), schedule))
    if scene.name != "one":
        return own
    levels, counts = _other_levels(scene)
    return float(counts @ _kept(levels, schedule) + own) / scene.background


@functools.lru_cache(8)
def _kept_of_fixed(scene: Scene, schedule: str) -> NDArray[np.float64]:
    levels, counts = _other_levels(scene)
    length = scene.background
    product = np.ones(length // 2 + 1, complex)
    for level, count in zip(levels, counts, strict=True):
        pmf = scipy.stats.binom.pmf(np.arange(count + 1), count, _kept(level, schedule))
        product *= np.fft.rfft(pmf, length)
    return np.clip(np.fft.irfft(product, length), 0, 1)
