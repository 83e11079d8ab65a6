"""Losses, data, networks and evaluation for segmenting objects of a few pixels."""

import sys

__version__ = "0.1.0"

# Old interpreters also read this file, so do not use new syntax here.
if sys.version_info < (3, 10):  # noqa: UP036
    raise ImportError(
        "randrop needs Python 3.10 or newer; this is %d.%d (%s)"  # noqa: UP031
        % (sys.version_info[0], sys.version_info[1], sys.prefix)
    )

from randrop.pycaffe import embedded

embedded.install()
