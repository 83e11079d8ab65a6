"""Tells which Python the scripts need. Any Python from 2.7 on can read this file.

Versions before 3.6 cannot read the scripts themselves: they stop at the first
statement, WANTED, and show it in the SyntaxError.
"""

import ast
import io
import sys


def is_old():
    """Tell whether this Python is too old for the scripts."""
    return sys.version_info < (3, 10)


def check():
    """End the program with a message if Python is too old."""
    if is_old():
        found = (sys.version_info[0], sys.version_info[1], sys.executable)
        sys.exit(
            "error: this script needs Python 3.10 or newer, but this is %d.%d (%s): "
            "use a newer one, for example python3.11 %s"
            % (found + (" ".join(sys.argv),))  # noqa: RUF005
        )


def keep_description():
    """Give the script its docstring back, which `python -OO` drops and --help shows."""
    main = sys.modules["__main__"]
    if sys.flags.optimize > 1 and getattr(main, "__file__", None):
        with io.open(main.__file__, encoding="utf-8") as script:  # noqa: UP020
            main.__doc__ = ast.get_docstring(ast.parse(script.read()))
