"""Loss and gradient of every loss against the logit and the probability.

They are those of the images that `randrop.surface.curve_scenes` describes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop import __version__
from randrop.losses import SCHEDULES
from randrop.losses.common import sigmoid
from randrop.losses.registry import ACTIVATIONS, NAMES, options_of
from randrop.nets.losses import Loss, activation_of, parse_losses
from randrop.surface.curve_scenes import Scene
from randrop.surface.expected_drop import expected_random_drop
from randrop.surface.numpy_losses import evaluate

# The names not listed here are drawn with their default options.
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "random-drop": {
        "SIGMOID": tuple(f"random-drop:{s}" for s in SCHEDULES if s != "NONE")
    },
    "top-k": {"SIGMOID": ("top-k", "top-k:10"), "SOFTMAX": ("top-k:10",)},
    "focal": dict.fromkeys(ACTIVATIONS, ("focal:1", "focal:2", "focal:3", "focal:5")),
    "tversky": dict.fromkeys(ACTIVATIONS, ("tversky", "tversky:gamma=0.75")),
    "exp-log": {"SOFTMAX": ("exp-log", "exp-log:gamma_dice=1,gamma_cross=1")},
}

_CROSS_ENTROPY = "cross-entropy and focal loss"
_OVERLAP = "overlap losses"
_HARDEST = "top-k and bin loss"
_FAMILIES = {
    "SigmoidCrossEntropyLoss": _CROSS_ENTROPY,
    "SoftmaxWithLoss": _CROSS_ENTROPY,
    "SigmoidFocalCELoss": _CROSS_ENTROPY,
    "SoftmaxFocalCELoss": _CROSS_ENTROPY,
    "SigmoidRandomDropCELoss": "random drop",
    "SigmoidTopKCELoss": _HARDEST,
    "SoftmaxTopKLoss": _HARDEST,
    "SoftDiceLoss": _OVERLAP,
    "TopKDiceLoss": _OVERLAP,
    "TverskyLoss": _OVERLAP,
    "ExpLogLoss": "exponential logarithmic loss",
}

QUANTITIES = {
    "all": ("loss", "lesion_gradient", "background_gradient", "used_background"),
    "one": (
        "lesion_loss",
        "background_loss",
        "lesion_gradient",
        "background_gradient",
        "used_background",
    ),
}
"""What the curves of each scene have; `forward` explains them."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A loss to draw: its name, the activation and the parsed terms."""

    text: str
    activation: str
    terms: tuple[Loss, ...]

    @property
    def family(self) -> str:
        """The panel that it is drawn in."""
        if len(self.terms) > 1:
            return "sums of losses"
        return _FAMILIES.get(self.terms[0].type, "other losses")


def every_loss() -> list[Spec]:
    """Return the losses of the registry, with the variants that differ in shape."""
    return [
        spec(text, activation)
        for activation in ACTIVATIONS
        for name, kind in NAMES.items()
        if kind.layer(activation)
        for text in VARIANTS.get(name, {}).get(activation, (name,))
    ]


def spec(text: str, activation: str | None = None, share: float = 0.5) -> Spec:
    """Parse a loss of the command line.

    Parameters
    ----------
    text : str
        In the form of `nets.losses.GRAMMAR`.
    activation : {"SIGMOID", "SOFTMAX"}, optional
        By default sigmoid if the loss supports it.
    share : float
        The share of lesion, for label_frequency=train.

    Raises
    ------
    UserError
        If the loss is unknown or does not have the activation.
    """
    activation = activation or activation_of(text)
    classes = 1 if activation == "SIGMOID" else 2
    terms = parse_losses(text, activation, (1 - share, share), classes=classes)
    return Spec(text, activation, tuple(_per_pixel(term) for term in terms))


def _per_pixel(loss: Loss) -> Loss:
    """Return the loss as a mean over pixels, so that scenes of any size compare."""
    if loss.normalization or "normalization" not in options_of(loss.type).model_fields:
        return loss
    return dataclasses.replace(loss, normalization="VALID")


@np.errstate(over="ignore")
def forward(
    terms: Sequence[Loss], activation: str, scene: Scene, x: float, seed: int = 0
) -> dict[str, float]:
    """Compute the losses of a scene at one logit, as a layer does.

    Parameters
    ----------
    terms : sequence of Loss
    activation : {"SIGMOID", "SOFTMAX"}
    scene : Scene
    x : float
        The logit in favour of the true class.
    seed : int
        Of random drop.

    Returns
    -------
    dict of str to float
        loss: a mean over pixels, where the loss has a divisor.
        lesion_loss, background_loss: N times the part of the loss of a pixel that has
        x, as the maps of a recording show it; the mean over pixels of that class.
        lesion_gradient, background_gradient: N times the derivative of the loss by the
        logit in favour of the pixel's class; the same mean. Cross-entropy has p_t - 1.
        used_background: the share of the background pixels with x that take part.
    """
    own = scene.logits(x)
    logits = np.where(scene.truth, own, -own)[None, None]
    if activation == "SOFTMAX":
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    label = scene.truth[None, None].astype(float)
    result = evaluate(terms, logits, label, seed=seed)
    # The softmax's classes have opposite derivatives: one says all.
    grad = result.grad[0, -1] * np.where(scene.truth, scene.pixels, -scene.pixels)
    parts = result.per_pixel[0, 0] * scene.pixels
    lesion, background = scene.probes
    return {
        "loss": result.loss,
        "lesion_loss": float(parts[lesion].mean()),
        "background_loss": float(parts[background].mean()),
        "lesion_gradient": float(grad[lesion].mean()),
        "background_gradient": float(grad[background].mean()),
        "used_background": float((result.mask[0, 0][background] > 0).mean()),
    }


def curve(
    one: Spec, scene: Scene, logits: Sequence[float]
) -> dict[str, list[float | None]]:
    """Return the values of a loss at each logit, and the expectation of random drop's.

    Returns
    -------
    dict of str to list of float
        By the scene's `QUANTITIES`; None where a value is not finite.
    """
    dropping = [term for term in one.terms if term.drops]
    fixed = [term for term in one.terms if not term.drops]
    names = QUANTITIES[scene.name]
    columns: dict[str, list[float | None]] = {name: [] for name in names}
    for x in logits:
        parts = [expected_random_drop(term, scene, x) for term in dropping]
        if fixed:
            parts.append(forward(fixed, one.activation, scene, x))
        for name in names:
            # The mask of a sum is that of its first term that selects.
            values = [part[name] for part in parts]
            value = values[0] if name.startswith("used") else sum(values)
            columns[name].append(_or_none(value))
    return columns


def _or_none(value: float) -> float | None:
    # JSON has no infinity; it shows as a gap.
    return value if np.isfinite(value) else None


def sampled(
    one: Spec, scene: Scene, logits: Sequence[float], seeds: Sequence[int]
) -> dict[str, list[list[float | None]]]:
    """Return the values of a loss with random drop for the mask of each seed.

    Returns
    -------
    dict of str to list of list of float
        By the scene's `QUANTITIES`; a list for each logit, a number for each seed.
    """
    names = QUANTITIES[scene.name]
    columns: dict[str, list[list[float | None]]] = {name: [] for name in names}
    for x in logits:
        runs = [forward(one.terms, one.activation, scene, x, seed) for seed in seeds]
        for name in names:
            columns[name].append([_or_none(values[name]) for values in runs])
    return columns


def compute(
    one: Spec,
    scene: Scene,
    logits: NDArray[np.floating],
    sampled_logits: NDArray[np.floating],
    seeds: int,
) -> dict[str, Any]:
    """Return the numbers of one loss, an entry of `document`.

    Parameters
    ----------
    one : Spec
    scene : Scene
    logits, sampled_logits : floating (P,), (S,)
        Where the curve is computed, and where masks of random drop are drawn.
    seeds : int
        How many masks are drawn.
    """
    entry: dict[str, Any] = {
        "loss": one.text,
        "activation": one.activation.lower(),
        "layers": [term.type for term in one.terms],
        "normalization": [term.normalization for term in one.terms],
        "family": one.family,
        "is_expectation": any(term.drops for term in one.terms),
        "curve": curve(one, scene, logits.tolist()),
    }
    if entry["is_expectation"] and seeds:
        entry["sampled"] = {
            "logit": sampled_logits.tolist(),
            "seeds": list(range(seeds)),
            **sampled(one, scene, sampled_logits.tolist(), range(seeds)),
        }
    return entry


def document(
    scene: Scene, logits: NDArray[np.floating], entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the content of curves-SCENE.json."""
    return {
        "format": "randrop curves",
        "version": 1,
        "made_by": f"randrop {__version__}",
        "scene": {
            "name": scene.name,
            "pixels": scene.pixels,
            "lesions": scene.lesions,
            "share": scene.share,
            "others": scene.others,
        },
        "quantities": list(QUANTITIES[scene.name]),
        "logit": logits.tolist(),
        "p_t": sigmoid(logits).tolist(),
        "losses": list(entries),
    }
