"""What our Python layers share: parsing options and reporting errors."""

import functools
from collections.abc import Callable
from typing import Any

import caffe

from randrop.errors import UserError
from randrop.files import schema
from randrop.files.schema import Model
from randrop.pycaffe import embedded


class PythonLayer(caffe.Layer):
    """A pycaffe layer that reports its errors.

    The `caffe` program ends silently when a Python layer raises (its handler is missing
    if only the library is compiled with Python layers). When Python is embedded, the
    methods of subclasses therefore print the error themselves and end the program.
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
