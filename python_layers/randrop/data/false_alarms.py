"""Where a network found lesions that are none: a file to train on them again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from randrop.errors import UserError
from randrop.files import schema
from randrop.files.documents import Lesions, Structure
from randrop.files.schema import Count, Number, OpenModel, Share

GENERATOR = "randrop false alarms"


class Alarm(OpenModel):
    """A peak of a probability map outside all lesions of its type."""

    type: Structure
    x: Count
    y: Count
    probability: Share


class Photograph(OpenModel):
    """The false alarms in a photograph."""

    size: Annotated[list[Number], Field(min_length=2, max_length=2)]
    alarms: list[Alarm]


class FalseAlarms(OpenModel):
    """The file of scripts/find_false_alarms.py."""

    generator: Literal["randrop false alarms"]
    lesions: Lesions
    photographs: dict[str, Photograph]


def centres_of(
    path: str | Path, sizes: Mapping[str, tuple[int, int]], lesions: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """Return the false alarms of some photographs, of the types to be trained.

    Parameters
    ----------
    path : path
        File of scripts/find_false_alarms.py.
    sizes : mapping of str to (int, int)
        Height and width of each photograph by its name. Others in the file are left
        out.
    lesions : sequence of str

    Returns
    -------
    dict of str to int64 (N, 2)
        Columns and rows by name, for photographs that have some.

    Raises
    ------
    UserError
        If the file is missing or damaged, was made for photographs of another size, or
        has no false alarm here.
    """
    path = Path(path)
    remedy = "write it with scripts/find_false_alarms.py"
    found: dict[str, Any] = schema.read_json(
        path, FalseAlarms, remedy, ("generator", "lesions", "photographs")
    )
    centres = {}
    for name in sorted(sizes.keys() & found["photographs"].keys()):
        own = found["photographs"][name]
        height, width = sizes[name]
        if own["size"] != [height, width]:
            was = own["size"]
            raise UserError(
                f"{path}: {name} was {was[1]} x {was[0]} pixels, but is {width} x "
                f"{height} here: find the false alarms in the data set of the training"
            )
        of_types = [
            (one["x"], one["y"]) for one in own["alarms"] if one["type"] in lesions
        ]
        if any(x >= width or y >= height for x, y in of_types):
            raise UserError(f"{path}: a false alarm lies outside {name}: {remedy}")
        if of_types:
            centres[name] = np.array(of_types)
    if not centres:
        raise UserError(
            f"{path} has no false alarm of {', '.join(lesions)} in these "
            f"{len(sizes)} photograph(s), such as {min(sizes)}: find them with the "
            "same --data, --subset train, or omit --false-alarms"
        )
    return centres
