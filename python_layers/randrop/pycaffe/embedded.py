"""Python inside the `caffe` program: errors end it with a message, not a C++ trace.

Caffe prints errors of a layer's import through `sys.excepthook`, and nothing of what a
layer's methods raise. In both cases it ends with an uncaught exception and twenty lines
of addresses.
"""

import os
import sys
import traceback
from types import TracebackType
from typing import NoReturn

from randrop.errors import UserError

BUILT = "python_layers:build/caffe/python:$(echo build/venv/lib/python3*/site-packages)"
"""What PYTHONPATH holds for the Caffe that scripts/build_caffe.py builds."""


def is_embedded() -> bool:
    """Return whether a C++ program runs this interpreter."""
    return not sys.orig_argv


def install() -> None:
    """Inside a C++ program, let errors that Caffe prints end that program."""
    if is_embedded():
        sys.excepthook = _hook


def end(error: BaseException) -> NoReturn:
    """Print the error and end the program with status 1."""
    if isinstance(error, UserError):
        print(f"UserError: {error}", file=sys.stderr)
    elif isinstance(error, ModuleNotFoundError):
        print(f"UserError: {_missing(error)}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    sys.stderr.flush()
    # Do not unwind C++: Caffe would only add the addresses of its functions.
    os._exit(1)


def _hook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    end(error.with_traceback(trace))


def _missing(error: ModuleNotFoundError) -> str:
    version = ".".join(map(str, sys.version_info[:2]))
    return (
        f"{error}: the Python {version} inside caffe has "
        f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}. Set it to randrop's "
        "python_layers, Caffe's folder python, and a site-packages of Python "
        f"{version} with the packages of pyproject.toml. From the root of the "
        f"repository: PYTHONPATH={BUILT}"
    )
