"""The losses that a recording compares, and what they are computed on."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from randrop.losses import registry
from randrop.losses.registry import LAYERS
from randrop.nets.losses import Loss, parse_losses

COMPARED = (
    *("cross-entropy", "random-drop", "top-k", "focal", "dice", "top-k-dice"),
    *("tversky", "exp-log"),
)
"""The losses that a recording compares by default: one of each family."""


def activation_of(settings: dict[str, Any]) -> str:
    """Return the activation of a run's network."""
    default = "SOFTMAX" if settings.get("labels") else "SIGMOID"
    return settings.get("activation") or default


def channels_of(settings: dict[str, Any]) -> list[str]:
    """Return the names of the outputs of a run's network."""
    if settings.get("labels"):
        return list(settings["labels"])
    background = ["background"] if activation_of(settings) == "SOFTMAX" else []
    return [*background, *settings["lesions"]]


def losses_of(
    settings: dict[str, Any], given: Sequence[str] | None
) -> dict[str, tuple[Loss, ...]]:
    """Return the loss of a run and those to compare with it, each once.

    Parameters
    ----------
    settings : dict
        run.json.
    given : sequence of str or None
        Losses in the form of the command line; by default `COMPARED`, as far as they
        fit the activation.

    Raises
    ------
    UserError
        If one is unknown, or does not fit the activation.
    """
    activation, classes = activation_of(settings), len(channels_of(settings))
    names = given
    if names is None:
        names = [n for n in COMPARED if registry.NAMES[n].layer(activation)]
    found: dict[str, tuple[Loss, ...]] = {}
    known = []
    for text in (settings["loss"], *names):
        losses = parse_losses(
            text, activation, settings.get("frequency"), classes=classes
        )
        meaning = [_meaning(loss) for loss in losses]
        if meaning not in known:
            known.append(meaning)
            found[text] = losses
    return found


def _meaning(loss: Loss) -> tuple[Any, ...]:
    """Return what a loss computes: `random-drop` and `random-drop:LOG` are the same."""
    common = {} if loss.normalization is None else {"normalization": loss.normalization}
    options = registry.options_of(loss.type)(**loss.params, **common)
    return loss.type, loss.weight, loss.cells, options.model_dump()


def is_sum(text: str, activation: str) -> bool:
    """Return whether a loss is a sum over pixels, whatever their number.

    Parameters
    ----------
    text : str
        In the form of `nets.losses.GRAMMAR`.
    activation : {"sigmoid", "softmax"}
    """
    # The frequencies have no influence on the answer.
    return all(
        (loss.normalization or _own_divisor(loss)) in ("BATCH_SIZE", "NONE")
        for loss in parse_losses(text, activation.upper(), ())
    )


def _own_divisor(loss: Loss) -> str:
    if loss.type not in LAYERS:
        return "BATCH_SIZE" if loss.type.startswith("Sigmoid") else "VALID"
    names = inspect.signature(LAYERS[loss.type].function).parameters
    if "normalization" not in names:
        return ""
    if loss.params.get("selection") == "PERCENT":
        return "VALID"
    return names["normalization"].default or "BATCH_SIZE"


def over_pixels(maps: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the loss maps of an image (L, H, W) over the number of pixels that count.

    A loss that is a sum over pixels then has values like those of one that is a mean.
    """
    return maps / max(1, np.count_nonzero(np.isfinite(maps)))
