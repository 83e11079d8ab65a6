"""How to cut patches: the options that prototxts, run.json and scripts share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from randrop.data.cases import IGNORE_LABEL
from randrop.errors import UserError

DRAWS = ("pixel", "lesion")
"""What patches near a lesion are drawn by."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to cut patches.

    Attributes
    ----------
    lesions : tuple of str
        Output channels.
    patch : int
        Side in pixels.
    lesion_share : float
        Share of patches centred near a lesion; what no share names lies anywhere in
        the field of view.
    lesion_weights : tuple of float or None
        Relative frequency of each lesion type among those patches; None: all equal.
        Types that no mask has are skipped.
    augment : bool
        Rotate, scale, mirror and recolour the patches, differently each time. Without
        it, patch k is always the same.
    seed : int
        Patch k depends only on (seed, k).
    ignore_label : int
        Label outside the field of view.
    lesion_draw : {"pixel", "lesion"}
        What a patch near a lesion is drawn by, after type and photograph: a pixel of
        the mask, so that large lesions are seen more often, or first a lesion (an
        8-connected region), so that all of the photograph are seen equally often.
    healthy_share : float
        Share of patches from photographs that have no lesion of any type.
    false_alarms : str or None
        File of scripts/find_false_alarms.py.
    false_alarm_share : float
        Share of patches centred near a false alarm of that file.
    paste : float
        Mean number of lesions of other photographs that are blended into a patch.
    colour, blur, noise : float
        Limits of the augmentations of `randrop.data.augmentation`.
    """

    lesions: tuple[str, ...]
    patch: int = 256
    lesion_share: float = 0.5
    lesion_weights: tuple[float, ...] | None = None
    augment: bool = True
    seed: int = 1
    ignore_label: int = IGNORE_LABEL
    lesion_draw: str = "pixel"
    healthy_share: float = 0.0
    false_alarms: str | None = None
    false_alarm_share: float = 0.0
    paste: float = 0.0
    colour: float = 0.0
    blur: float = 0.0
    noise: float = 0.0


_FIRST = (
    *("lesions", "patch", "lesion_share", "lesion_weights", "augment", "seed"),
    "ignore_label",
)

MORE_DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for field in dataclasses.fields(Options)
    if field.name not in _FIRST
}
"""Options of training alone, with their defaults, under the names that they have in
param_str, run.json and train.py's arguments, too. Validation leaves them out, so that
its loss can be compared between trainings."""


def more_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of training alone that differ from their defaults."""
    return {
        name: settings[name]
        for name, default in MORE_DEFAULTS.items()
        if settings.get(name, default) != default
    }


def check_more(settings: Mapping[str, Any]) -> None:
    """Check what the options must be together, by the names of train.py's arguments.

    Parameters
    ----------
    settings : mapping
        Options by name; missing ones have their defaults.

    Raises
    ------
    UserError
        If a number is out of range, the shares sum up to more than 1, or of file and
        share of the false alarms only one is given.
    """
    own = {"lesion_share": 0.5, **MORE_DEFAULTS, **settings}
    shares = ("lesion_share", "healthy_share", "false_alarm_share")
    for name in shares:
        if not 0 <= own[name] <= 1:
            raise UserError(
                f"--{name.replace('_', '-')} is {own[name]:g}: give a share from 0 to 1"
            )
    if sum(own[name] for name in shares) > 1 + 1e-9:
        shown = ", ".join(f"--{n.replace('_', '-')} {own[n]:g}" for n in shares)
        raise UserError(f"{shown}: together more than all patches; lower one")
    for name in ("paste", "colour", "blur", "noise"):
        if not 0 <= own[name] <= 100:
            raise UserError(f"--{name} is {own[name]:g}: give a number from 0 to 100")
    if (own["false_alarms"] is None) != (own["false_alarm_share"] == 0):
        raise UserError(
            "--false-alarms FILE and --false-alarm-share SHARE need each other: give "
            "both, or none"
        )
