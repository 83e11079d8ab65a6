"""What all command-line tools of the project share."""

import argparse
import logging
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from randrop.errors import UserError

log = logging.getLogger("randrop")


class _Formatter(
    argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter
):
    pass


def wording(description: str, examples: str = "") -> dict[str, Any]:
    """Return what makes a parser show defaults and keep the example lines."""
    return {
        "description": description,
        "epilog": f"examples:\n{examples}" if examples else None,
        "formatter_class": _Formatter,
    }


def parser(description: str, examples: str = "") -> argparse.ArgumentParser:
    """Return an argument parser with `wording`."""
    return argparse.ArgumentParser(**wording(description, examples))


def finite(text: str) -> float:
    """Return a number of the command line; argparse shows the error."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def above_zero(text: str) -> float:
    """Return a finite number above 0."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0")
    return value


def typed(arguments: Sequence[str] | None = None) -> str:
    """Return the command line of this program, as one would type it.

    Parameters
    ----------
    arguments : sequence of str, optional
        In place of those that the program was started with.
    """
    words = sys.argv[1:] if arguments is None else arguments
    return f"{Path(sys.argv[0]).name} {shlex.join(words)}".strip()


def run(main: Callable[[], int | None]) -> None:
    """Run `main` and exit: 0, its own status, 2 on bad input, 130 on Ctrl-C.

    If the system refuses (no such file, no space), the status is also 2.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        print(f"error: not enough memory: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
