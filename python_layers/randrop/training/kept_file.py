"""kept.jsonl: what random drop keeps during training, one line every few passes."""

import json
from collections.abc import Mapping
from pathlib import Path

from randrop.errors import UserError
from randrop.files import reading, schema
from randrop.files.schema import Count, Model, NotNegative

_BEGIN = '{"iteration": '


class Line(Model):
    """The sums since the previous line."""

    iteration: Count
    negatives: NotNegative
    kept: NotNegative
    expected: NotNegative
    variance: NotNegative


def read(path: Path) -> list[dict[str, float]]:
    """Return the lines of a file that `randrop.watch` wrote.

    A last line truncated by a kill is skipped.

    Raises
    ------
    UserError
        If the file holds anything else.
    """
    remedy = "give a new file, or one that KeptShareLayer wrote"
    *whole, last = reading.read_text(path, remedy).split("\n")
    if not (last.startswith(_BEGIN) or _BEGIN.startswith(last)):
        raise UserError(
            f"{path} was not written by KeptShareLayer (it ends with {last[:40]!r}): "
            f"{remedy}"
        )
    return [
        schema.check(schema.parse(text, where, remedy), Line, where, remedy)
        for k, text in enumerate(whole)
        for where in [f"{path}, line {k + 1}"]
    ]


def text_of(line: Mapping[str, float]) -> str:
    """Return a line in the form of the file."""
    return json.dumps(dict(line)) + "\n"
