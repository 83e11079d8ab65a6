"""Fetching, patching and building Caffe; standard library only.

These tools run before anything is installed.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - checked before newer syntax is parsed
    sys.exit(
        "error: this script needs Python 3.10 or newer, but this is "
        + ".".join(map(str, sys.version_info[:2]))
    )
