"""How the programs that need nothing but Python end."""

import io
import sys
from collections.abc import Callable

from caffe_tools.errors import ToolError


def run(main: Callable[[], int | None], interrupted: str = "") -> None:
    """Run `main` and exit: 0, its own status, 2 on an error, 130 on Ctrl-C.

    Parameters
    ----------
    main : callable
        Returns the exit status.
    interrupted : str
        What to say after Ctrl-C.
    """
    # A name or a line of a user's tree may have what the terminal cannot show.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main() or 0)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        if interrupted:
            print(interrupted, file=sys.stderr)
        sys.exit(130)
