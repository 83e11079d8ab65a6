"""How far probabilities are probabilities, and the scaling that mends them.

Everything comes from the histogram of `metrics.histogram`: the pixels without and with
lesion at each of 65536 levels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.prediction.calibration import Platt
from randrop.prediction.maps import LEVELS

BINS = 10
"""Bins of equal width of the probability, as in most papers."""

FEWEST_PIXELS = 100
"""Lesion pixels that two parameters need."""


def logit_edges() -> tuple[float, ...]:
    """Return edges of bins of equal width in the logit.

    Most lesions are rare, and nearly all their pixels lie in the first of ten bins of
    equal width in p.
    """
    return (0.0, *(float(scipy.special.expit(k)) for k in range(-9, 10)), 1.0)


def probabilities() -> NDArray[np.float64]:
    """Return the probability of each level, (65536,), away from 0 and 1.

    Levels 0 and 65535 stand for a quarter and three quarters of their steps.
    """
    p = np.arange(LEVELS, dtype=np.float64)
    p[0], p[-1] = 0.25, LEVELS - 1.25
    return p / (LEVELS - 1)


def reliability(
    edges: Sequence[float],
    count: NDArray[np.floating],
    total: NDArray[np.floating],
    positives: NDArray[np.floating],
) -> dict[str, list]:
    """Return a reliability curve.

    Parameters
    ----------
    edges : sequence of float
        B + 1 edges of the bins of p.
    count, total, positives : ndarray (B,)
        Of each bin, the number of cases, the sum of p, and how many are positive.

    Returns
    -------
    dict
        edges; of each bin, confidence (mean p), frequency (share of positives), both
        None without a case, and count.
    """
    return {
        "edges": list(edges),
        "confidence": _shares(total, count),
        "frequency": _shares(positives, count),
        "count": [int(number) for number in count],
    }


def expected_error(
    count: NDArray[np.floating],
    total: NDArray[np.floating],
    positives: NDArray[np.floating],
) -> float | None:
    """Return the expected calibration error; parameters as in `reliability`.

    The mean of |mean p - share of positives| over the bins, weighted by their cases;
    None without a case.

    References
    ----------
    C. Guo et al. On calibration of modern neural networks. ICML 2017, arXiv:1706.04599,
    equation 3 (there for the predicted class, here for p itself).
    """
    number = float(count.sum())
    return float(np.abs(total - positives).sum() / number) if number else None


def _shares(of: NDArray, count: NDArray) -> list[float | None]:
    pairs = zip(of, count, strict=True)
    return [float(part / number) if number else None for part, number in pairs]


def binned(
    edges: Sequence[float], p: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return count, sum of p and positives of each bin.

    Parameters
    ----------
    edges : sequence of float
        B + 1 edges; a value on an edge is in the bin above.
    p : ndarray (N,)
    counts : ndarray (2, N)
        Cases without and with lesion at each p.
    """
    bins = len(edges) - 1
    where = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, bins - 1)
    both = counts.sum(axis=0)
    return tuple(
        np.bincount(where, weights, bins) for weights in (both, both * p, counts[1])
    )


def measures(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return how well the probabilities of a type are calibrated.

    Parameters
    ----------
    counts : ndarray (2, 65536), int64
        From `metrics.histogram`, summed over photographs.

    Returns
    -------
    dict
        mean_probability, which is the prevalence if calibrated; ece, over `BINS` equal
        bins; log_loss, in nats a pixel; skill, 1 - log_loss / log_loss of the
        prevalence said everywhere, so that 0 is no skill and 1 is perfect, None without
        a lesion pixel; reliability and reliability_logit, the curves over equal bins of
        p and of its logit.
    """
    p = np.arange(LEVELS) / (LEVELS - 1)
    pixels = counts.sum()
    equal = binned(np.arange(BINS + 1) / BINS, p, counts)
    inner = probabilities()
    loss = -(counts[0] @ np.log1p(-inner) + counts[1] @ np.log(inner)) / pixels
    share = counts[1].sum() / pixels
    skill = None
    if 0 < share < 1:
        entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        skill = float(1 - loss / entropy)
    edges, narrow = [k / BINS for k in range(BINS + 1)], logit_edges()
    return {
        "mean_probability": float(equal[1].sum() / pixels),
        "ece": expected_error(*equal),
        "log_loss": float(loss),
        "skill": skill,
        "reliability": reliability(edges, *equal),
        "reliability_logit": reliability(narrow, *binned(narrow, p, counts)),
    }


def fit(counts: NDArray[np.int64]) -> Platt:
    """Return the Platt scaling that makes a type's probabilities likeliest.

    Logistic regression of the truth on the logit, without regularisation. Pixels of
    level 0 do not take part: they lie outside the field of view or are nearly there.

    Isotonic regression, the other common choice, ties neighbouring probabilities and so
    changes the ranking; it would follow single lesions where 1 pixel in 1000 is
    positive. A temperature alone cannot move the mean probability to the prevalence,
    which losses that balance the classes need most.

    Parameters
    ----------
    counts : ndarray (2, 65536), int64
        From `metrics.histogram`, summed over photographs.

    Raises
    ------
    UserError
        If there are too few lesion pixels, or probability does not rise with truth.

    References
    ----------
    A. Niculescu-Mizil and R. Caruana. Predicting good probabilities with supervised
    learning. ICML 2005.
    """
    from sklearn.linear_model import LogisticRegression

    used = counts[:, 1:]
    positives, negatives = int(used[1].sum()), int(used[0].sum())
    if positives < FEWEST_PIXELS or not negatives:
        raise UserError(
            f"{positives} lesion pixel(s) with a probability above 0 are too few for a "
            f"calibration, which takes {FEWEST_PIXELS}: give more photographs"
        )
    x = scipy.special.logit(probabilities()[1:])
    weights = np.concatenate([used[0], used[1]]).astype(np.float64)
    kept = weights > 0
    regression = LogisticRegression(
        C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000
    ).fit(
        np.concatenate([x, x])[kept, None],
        np.repeat((0, 1), x.size)[kept],
        # The scale does not matter, and a mean of 1 is well conditioned.
        sample_weight=weights[kept] / weights[kept].mean(),
    )
    slope, intercept = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    if not slope > 0:
        raise UserError(
            "the probability does not rise with the share of lesion pixels (slope "
            f"{slope:.3g}), so no calibration helps: train the network first"
        )
    return Platt(slope, intercept)


def scaled(counts: NDArray[np.int64], scaling: Platt) -> NDArray[np.int64]:
    """Return the histogram of maps that a scaling was applied to, (2, 65536)."""
    p = np.arange(LEVELS) / (LEVELS - 1)
    to = np.rint(scaling.apply(p) * (LEVELS - 1)).astype(np.intp)
    result = np.zeros_like(counts)
    for row, source in zip(result, counts, strict=True):
        np.add.at(row, to, source)
    return result
