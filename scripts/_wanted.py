"""Says which Python the scripts want. Any Python from 2.7 on can read this file.

Before 3.6 none can read the scripts themselves: it stops at their first statement,
WANTED, and shows it in its SyntaxError.
"""

import sys


def is_old():
    """Tell whether this Python is too old for the scripts."""
    return sys.version_info < (3, 10)


def check():
    """End the program with a sentence where Python is too old."""
    if is_old():
        found = (sys.version_info[0], sys.version_info[1], sys.executable)
        sys.exit(
            "error: Python 3.10 or newer is needed, this is %d.%d (%s): call another, "
            "for example python3.11 %s" % (found + (" ".join(sys.argv),))  # noqa: RUF005
        )
