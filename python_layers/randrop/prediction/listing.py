"""What is listed of a prediction: options by type, and the files of each photograph."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from randrop.data import Case
from randrop.errors import UserError
from randrop.files import ownership, schema, write_bytes, write_json
from randrop.files.documents import LesionList
from randrop.prediction import lesion_list, overlay

log = logging.getLogger("randrop")

TABLE = "lesions.csv"
"""Of all photographs."""

PICTURES = (*overlay.FORMATS, "none")


@dataclasses.dataclass(frozen=True)
class Lists:
    """How lesions are listed.

    Attributes
    ----------
    smallest : mapping of str to int
        By lesion type, the fewest pixels of the photograph that a listed lesion has; 1
        for others.
    picture : str
        One of `PICTURES`: the format of the picture with outlines.
    """

    smallest: Mapping[str, int] = dataclasses.field(default_factory=dict)
    picture: str = "png"


def by_type(
    words: Sequence[str],
    lesions: Sequence[str],
    option: str,
    read: Callable[[str], Any],
    wanted: str,
) -> dict[str, Any]:
    """Return the value of each type, given as VALUE for all types or as TYPE=VALUE.

    Parameters
    ----------
    words : sequence of str
        As on the command line. A value for a type has priority over one for all; of
        others, a later one replaces an earlier one.
    lesions : sequence of str
        The types that may be named.
    option, wanted : str
        Name of the option and what a value is, for the message.
    read : callable
        Returns the value of a text, or raises ValueError.

    Returns
    -------
    dict
        Only types with a value.

    Raises
    ------
    UserError
        If a value has another form, or a type is none of these.
    """
    found: dict[str, Any] = {}
    for word in sorted(words, key=lambda word: "=" in word):
        lesion, _, text = word.rpartition("=")
        try:
            value = read(text)
            if lesion and lesion not in lesions:
                raise ValueError(lesion)
        except ValueError as error:
            raise UserError(
                f"{option} {word}: give {wanted} for all types, or TYPE={wanted} with "
                f"a type from {', '.join(lesions)}"
            ) from error
        found |= {lesion: value} if lesion else dict.fromkeys(lesions, value)
    return found


def probability(text: str) -> float:
    """Return a threshold; ValueError if it is not between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value


def pixels(text: str) -> int:
    """Return a number of pixels; ValueError if it is below 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def thresholds(
    known: Mapping[str, float], lesions: Sequence[str], given: Sequence[str] = ()
) -> dict[str, float]:
    """Return the threshold of each type, given as 0.5 or as MA=0.3 HE=0.5.

    Missing thresholds default to those in `known`, or to 0.5.

    Raises
    ------
    UserError
        If a value has another form.
    """
    return {lesion: known.get(lesion, 0.5) for lesion in lesions} | by_type(
        given, lesions, "--threshold", probability, "a probability between 0 and 1"
    )


def smallest(given: Sequence[str], lesions: Sequence[str]) -> dict[str, int]:
    """Return the fewest pixels of a lesion by type, given as 5 or as MA=5 HE=20.

    Raises
    ------
    UserError
        If a value has another form.
    """
    wanted = "a number of pixels, at least 1,"
    return by_type(given, lesions, "--smallest-lesion", pixels, wanted)


def names(lists: Lists, cases: Sequence[Case]) -> list[str]:
    """Return the names of the files that `write` and the table need."""
    kinds = ["json"] if lists.picture == "none" else ["json", lists.picture]
    return [TABLE, *(f"{case.name}.{kind}" for case in cases for kind in kinds)]


def read(case: Case, out: Path) -> list[dict[str, Any]]:
    """Return the list that `write` wrote."""
    remedy = "remove it, and predict again"
    path = out / f"{case.name}.json"
    return schema.read_json(path, LesionList, remedy)["lesions"]


def earlier(lists: Lists, cases: Sequence[Case], out: Path) -> list[Path]:
    """Return the pictures and lists that an earlier prediction left in `out`."""
    now = {"prediction.json", *names(lists, cases)}
    kinds = (".json", *(f".{kind}" for kind in overlay.FORMATS))
    return [
        path
        for path in sorted(out.iterdir())
        if path.suffix in kinds
        and path.name not in now
        and ownership.is_ours(path, top=out)
    ]


def caption(count: int, threshold: float) -> str:
    """Return what a legend says of a type, in letters that its font has."""
    return f"{count}, from probability {threshold:.2g} on"


def write(
    case: Case,
    image: np.ndarray,
    probability: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
    lists: Lists,
    out: Path,
) -> list[dict[str, Any]]:
    """Write the list of a photograph's lesions and its picture; return the list.

    Parameters
    ----------
    case : Case
    image : ndarray (H, W, 3), uint8
    probability : mapping of str to ndarray (H, W)
    thresholds : mapping of str to float
    lists : Lists
    out : Path
        Receives `<name>.json` and, unless that is "none", `<name>.<lists.picture>`.
    """
    lesions = lesion_list.lesions_in(probability, thresholds, lists.smallest)
    if lists.picture != "none":
        places = {
            lesion: lesion_list.called(
                values, thresholds[lesion], lists.smallest.get(lesion, 1)
            )
            for lesion, values in probability.items()
        }
        counts = {
            lesion: sum(one["type"] == lesion for one in lesions) for lesion in places
        }
        picture = overlay.with_legend(
            overlay.outlined(image, places),
            {
                lesion: caption(count, thresholds[lesion])
                for lesion, count in counts.items()
            },
        )
        content = overlay.encoded(picture, lists.picture)
        write_bytes(out / f"{case.name}.{lists.picture}", content)
    write_json(
        out / f"{case.name}.json",
        {
            "photograph": case.image_path.name,
            "width": image.shape[1],
            "height": image.shape[0],
            "thresholds": dict(thresholds),
            "smallest_lesion": dict(lists.smallest),
            "lesions": lesions,
        },
    )
    log.info("%s: %d lesions", case.name, len(lesions))
    return lesions
