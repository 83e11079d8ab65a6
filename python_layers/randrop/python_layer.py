"""What every Python layer of ours shares: its options, and words for its errors."""

import functools
import json
from collections.abc import Callable
from typing import Any

import caffe

from randrop import embedded
from randrop.errors import UserError


class PythonLayer(caffe.Layer):
    """A pycaffe layer whose errors are heard.

    The `caffe` program ends without a word when a Python layer raises (its handler is
    left out where only the library is compiled with Python layers). So methods of
    subclasses say the error themselves when Python is embedded, and end the program.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("setup", "reshape", "forward", "backward"):
            if name in vars(cls):
                setattr(cls, name, _said(vars(cls)[name]))


def _said(method: Callable) -> Callable:
    @functools.wraps(method)
    def call(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:
            if embedded.is_embedded():
                embedded.end(error)
            raise

    return call


def parse_options(layer: str, param_str: str, defaults: dict[str, Any]) -> dict:
    """Read `param_str`: JSON with the keys of `defaults`, whose values fill gaps.

    Raises
    ------
    UserError
        When it is no JSON object, or a key is unknown.
    """
    try:
        given = json.loads(param_str or "{}")
    except ValueError as error:
        raise UserError(
            f"{layer}: param_str is no JSON ({error}): {param_str!r}"
        ) from error
    if not isinstance(given, dict):
        raise UserError(f"{layer}: param_str is no JSON object: {param_str!r}")
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise UserError(
            f"{layer}: param_str names {', '.join(unknown)}; "
            f"known are {', '.join(defaults)}"
        )
    return defaults | given
