"""Recordings of small trainings by scripts/surface.py, for the tests."""

import contextlib
import subprocess
import sys
import time

import h5py
from conftest import REPOSITORY
from every_script import done, start

from randrop.files import ownership
from randrop.surface import step_files

SIZE = ("--size", 64)


def record(run, out, *more):
    return start("surface record", "--run", run, "--out", out, *SIZE, *more)


def whole(run, out, *more):
    result = done(record(run, out, *more))
    assert sorted(path.name for path in out.parent.iterdir()) == [
        ownership.LIST,
        out.name,
    ]
    return result


def contents(path):
    """Return all arrays and attributes of an HDF5 file."""
    found = {}

    def add(name, item):
        found.update({(name, k): v for k, v in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes()

    with h5py.File(path) as file:
        add("", file)
        file.visititems(add)
    return found


@contextlib.contextmanager
def beside(run, out):
    """A recording beside a training, which is killed if the test fails."""
    process = _begin(run, out, "--while-training")
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _begin(run, out, *more):
    words = ("record", *SIZE, "--run", run, "--out", out, *more)
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "scripts/surface.py"), *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(run, out, steps, *more):
    """Kill a recording when it has so many steps; return the folder of the steps."""
    process = _begin(run, out, *more)
    folder = step_files.folder_of(out)
    while process.poll() is None and len(list(folder.glob("0*.h5"))) < steps:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    return folder
