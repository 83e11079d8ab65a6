"""For a child: it prepares a set, and dies before its N-th file gets its name."""

import os
import signal
from pathlib import Path

from test_prepare import settings

from randrop.data.layouts import read_groups
from randrop.data.prepare import prepare


def prepared(source, out, width):
    own = settings(width=width)
    return prepare(read_groups(source, own.layout), out, own, workers=1, arrays=True)


def main(source, out, count, width):
    """Prepare `source`; die as `count` files are complete, but for the last one's name.

    Workers are children: they count together, through a file.
    """
    real = Path.replace
    tally = out.with_name("tally")
    tally.parent.mkdir(parents=True, exist_ok=True)
    tally.write_text("")

    def replace(self, target):
        with tally.open("a") as stream:
            stream.write("x")
        if tally.stat().st_size >= count:
            os.killpg(0, signal.SIGKILL)
        return real(self, target)

    Path.replace = replace
    prepared(source, out, width)


def removing(source, out, count, width, order):
    """Prepare anew; die before the `count`-th removal in a folder of an `order`."""
    left = [count]
    listed = Path.iterdir

    def iterdir(self):
        return iter(sorted(listed(self), reverse=order == "reversed"))

    def dying(function):
        def remove(*words, **more):
            left[0] -= 1
            if left[0] == 0:
                os.killpg(0, signal.SIGKILL)
            return function(*words, **more)

        return remove

    Path.iterdir = iterdir
    os.unlink, os.rmdir = dying(os.unlink), dying(os.rmdir)
    prepared(source, out, width)
