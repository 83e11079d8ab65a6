"""What our Python layers share: parsing options and reporting errors."""

import functools
from collections.abc import Callable
from typing import Any

import caffe

from randrop.errors import UserError
from randrop.files import schema
from randrop.files.schema import Model
from randrop.pycaffe import embedded

TRAIN = 0
"""Caffe's number of the phase; not every pycaffe has a name for it."""


class PythonLayer(caffe.Layer):
    """A pycaffe layer that reports its errors.

    The `caffe` program ends silently when a Python layer raises (its handler is missing
    if only the library is compiled with Python layers). When Python is embedded, the
    methods of subclasses therefore print the error themselves and end the program.
    """

    def given_options(self) -> str:
        """Return the text of `param_str`, which older Caffes call `param_str_`.

        The oldest ones set neither, and then there is none.
        """
        for name in ("param_str", "param_str_"):
            text = getattr(self, name, None)
            if text is not None:
                return str(text)
        return ""

    def is_training(self) -> bool | None:
        """Return whether the net trains; None if this Caffe does not say.

        Caffe sets `phase` to a number. Some forks set it to a word, and those of
        before 2016 do not set it.
        """
        phase = getattr(self, "phase", None)
        if phase is None:
            return None
        if isinstance(phase, str):
            return phase.lower() == "train"
        return int(phase) == TRAIN

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("setup", "reshape", "forward", "backward"):
            if name in vars(cls):
                setattr(cls, name, _said(vars(cls)[name]))


def scalar(blob: Any) -> None:
    """Give a blob no axes; before March 2015, blobs always have four."""
    try:
        blob.reshape()
    except TypeError:
        blob.reshape(1, 1, 1, 1)


def _said(method: Callable) -> Callable:
    @functools.wraps(method)
    def call(*arguments: Any) -> Any:
        try:
            try:
                return method(*arguments)
            except UserError as error:
                # The functions that layers call do not know which layer calls them.
                name = type(arguments[0]).__name__
                if str(error).startswith(f"{name}:"):
                    raise
                raise UserError(f"{name}: {error}") from error
        except Exception as error:
            if embedded.is_embedded():
                embedded.end(error)
            raise

    return call


def parse_options(
    layer: str, param_str: str, model: type[Model], defaults: dict[str, Any]
) -> dict[str, Any]:
    """Parse `param_str`, a JSON object that fits `model`; `defaults` fill its gaps.

    Raises
    ------
    UserError
        If it is not a JSON object, a key is unknown, or a value is not allowed.
    """
    where = f"{layer}: param_str"
    given = schema.parse(param_str or "{}", where)
    return defaults | schema.check(given, model, where)
