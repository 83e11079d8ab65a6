"""Checks of the content of files and prototxts against models.

A model is a subclass of `Model`, or any type that pydantic knows. Nothing is converted:
"false" is not a boolean, "255" and 255.0 are not whole numbers, NaN and infinity are
not numbers. Valid values are returned unchanged.
"""

import functools
import json
import os
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from randrop.errors import UserError
from randrop.files import reading

DEEPEST = 64
"""Levels of nesting; ours have six."""

_STRICT = ConfigDict(
    strict=True, allow_inf_nan=False, extra="forbid", protected_namespaces=()
)
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 60
_SHOWN.maxlevel = 2


class Model(BaseModel):
    """An object with these keys and no others."""

    model_config = _STRICT


class OpenModel(Model):
    """An object that may have other keys, which are ignored."""

    model_config = ConfigDict(extra="ignore")


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(gt=0, le=100)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[int, Field(ge=1, lt=2**31)]
Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
UInt64 = Annotated[int, Field(ge=0, lt=2**64)]


def read_json(
    path: str | os.PathLike[str],
    model: Any,
    remedy: str,
    need: Sequence[str] = (),
) -> Any:
    """Read a JSON file and check it.

    Parameters
    ----------
    path : path
    model : type
    remedy : str
        What to do if it is invalid, for the message.
    need : sequence of str
        Keys that are required here although the model does not require them.

    Returns
    -------
    The content of the file, as the json module reads it.

    Raises
    ------
    UserError
        Names the file, the key, its value and what is allowed.
    """
    text = reading.read_text(path, remedy)
    return check(parse(text, f"{path}", remedy), model, f"{path}", remedy, need)


def parse(text: str, where: str, remedy: str = "") -> Any:
    """Read JSON text; `where` names it in errors.

    Raises
    ------
    UserError
        If it is not JSON, or is nested too deeply.
    """
    remedy = f": {remedy}" if remedy else ""
    try:
        value = json.loads(text)
    except RecursionError:
        value = None
        deep = True
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}){remedy}") from error
    else:
        deep = _is_deep(value)
    if deep:
        raise UserError(f"{where} is nested more than {DEEPEST} levels deep{remedy}")
    return value


def check(
    value: Any,
    model: Any,
    where: str,
    remedy: str = "",
    need: Sequence[str] = (),
) -> Any:
    """Return `value` if it matches the model.

    Raises
    ------
    UserError
        If it does not; `where` begins the message, `remedy` ends it.
    """
    remedy = f": {remedy}" if remedy else ""
    try:
        _adapter(model).validate_python(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        shown = "; ".join(_sentence(one, model, value) for one in details[:3])
        more = f"; and {len(details) - 3} more" if len(details) > 3 else ""
        raise UserError(f"{where}: {shown}{more}{remedy}") from error
    missing = [key for key in need if value.get(key) is None]
    if missing:
        raise UserError(f"{where}: missing {', '.join(map(repr, missing))}{remedy}")
    return value


def generated(path: str | os.PathLike[str], generator: str) -> dict[str, Any] | None:
    """Return a manifest that this generator wrote; None for anything else."""
    try:
        found = parse(reading.read_text(path), f"{path}")
    except UserError:
        return None
    ours = isinstance(found, dict) and found.get("generator") == generator
    return found if ours else None


def names(model: type[BaseModel]) -> list[str]:
    """Return the keys of a model, its own before those of its base."""
    base, *_ = model.__bases__
    inherited = set(getattr(base, "model_fields", ()))
    own = [name for name in model.model_fields if name not in inherited]
    return own + (names(base) if inherited else [])


@functools.cache
def _adapter(model: Any) -> TypeAdapter:
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return TypeAdapter(model, config=None if is_model else _STRICT)


def _is_deep(value: Any) -> bool:
    level: Iterable[Any] = [value]
    for _ in range(DEEPEST):
        level = list(_inner(level))
        if not level:
            return False
    return True


def _inner(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict | list):
            yield from value.values() if isinstance(value, dict) else value


_WORDS: dict[str, str] = {
    "model_type": "a JSON object",
    "dict_type": "a JSON object",
    "list_type": "a list",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a string",
    "string_unicode": "a string",
    "finite_number": "a number, not NaN or infinity",
}


def _sentence(detail: ErrorDetails, model: Any, value: Any) -> str:
    """Return what is wrong with one value, starting with its key."""
    kind, place = detail["type"], detail["loc"]
    path = _path(place)
    if kind == "missing":
        return f"missing {path!r}"
    if kind == "extra_forbidden":
        owner = _model_at(model, place[:-1])
        known = f", choose from {', '.join(names(owner))}" if owner else ""
        return f"unknown key {path}{known}"
    if kind in ("idle", "smooth"):
        # A sentence of our own.
        return detail["msg"]
    wanted = f"be {_WORDS[kind]}" if kind in _WORDS else _wanted(detail["msg"])
    shown = _shown(detail["input"])
    subject = f"{path} is {shown}" if place else f"the value is {shown}"
    return f"{subject}: it must {wanted}"


def _wanted(message: str) -> str:
    """Return the part of pydantic's message after "should"."""
    return message.partition(" should ")[2].partition(" after validation")[0] or message


def _shown(value: Any) -> str:
    """Return a shortened value in the notation of JSON or Python."""
    words = {None: "null", True: "true", False: "false"}
    simple = value is None or isinstance(value, bool)
    return words[value] if simple else _SHOWN.repr(value)


def _path(place: Sequence[str | int]) -> str:
    text = ""
    for part in place:
        if part == "[key]":
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.replace("_", "").isalnum() else _SHOWN.repr(part)
            text += f".{shown}" if text else shown
    return text


def _model_at(model: Any, place: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model that the wrong key belongs to, if it is the outermost."""
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return model if is_model and not place else None
