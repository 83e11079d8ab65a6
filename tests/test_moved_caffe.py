"""A moved or copied Caffe build runs its own library, not one in the current folder.

The tests use the existing build, which scripts/test.sh updates.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from caffe_tools import building
from randrop.pycaffe.build import caffe_root, environment

PROGRAMS = ("build/tools/caffe", "build/lib/_caffe.so", "build/test/test.testbin")
PROGRAMS += ("build/test/test_engine.testbin", "build/lib/libcaffe.so")


def runpath(path):
    """Return the unexpanded library search path of a program."""
    lines = subprocess.run(
        ["readelf", "-d", path], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = [line for line in lines if "RUNPATH" in line or "RPATH" in line]
    return [entry for line in found for entry in line.split("[")[1][:-1].split(":")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_loader_looks_beside_the_program_and_nowhere_else(caffe, name):
    path = caffe_root() / name
    if not path.exists():
        pytest.skip(f"{path} is not built")
    entries = runpath(path)
    # An empty entry means the current folder.
    assert all(entry.startswith(("$ORIGIN", "/")) for entry in entries), entries
    assert not any(entry.startswith(str(caffe_root())) for entry in entries), entries
    if name != "build/lib/libcaffe.so":
        assert "$ORIGIN/../../build/lib" in entries


@pytest.fixture
def moved(caffe, tmp_path):
    """A copy of the build's runnable files, at another folder depth."""
    tree = tmp_path / "other" / "place"
    for name in ("build/tools", "build/lib", "python/caffe"):
        shutil.copytree(
            caffe_root() / name,
            tree / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("CMakeFiles", "*.a"),
        )
    return tree


def test_a_copy_runs_its_own_library(moved, tmp_path):
    program = moved / "build/tools/caffe"
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    assert f"{moved}/build/tools/../../build/lib/libcaffe.so" in listed or (
        f"{moved}/build/lib/libcaffe.so" in listed
    )
    assert str(caffe_root()) not in listed
    result = subprocess.run([program, "-version"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    code = (
        f"import sys; sys.path.insert(0, {str(moved / 'python')!r})\n"
        "import caffe\n"
        "print(*{line.split()[-1] for line in open('/proc/self/maps')\n"
        "        if 'caffe' in line.rpartition('/')[2]}, sep='\\n')"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(loaded) == 2
    assert all(Path(path).is_relative_to(moved.resolve()) for path in loaded), loaded


def test_a_library_that_lies_in_the_current_folder_is_not_run(moved, tmp_path):
    listed = subprocess.run(
        ["ldd", moved / "build/tools/caffe"], capture_output=True, text=True
    ).stdout
    names = [line.split()[0] for line in listed.splitlines() if "=>" in line]
    assert any(name.startswith("libgflags") for name in names)
    for name in names:
        (tmp_path / name).write_text("no library")
    result = subprocess.run(
        [moved / "build/tools/caffe", "-version"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_the_link_of_pycaffe_moves_along(tmp_path):
    library = tmp_path / "build/lib/_caffe.so"
    link = tmp_path / "python/caffe/_caffe.so"
    for path in (library, link):
        path.parent.mkdir(parents=True)
    library.write_text("")
    link.symlink_to(library)
    for _ in range(2):
        building.link_python(tmp_path)
        assert str(link.readlink()) == "../../build/lib/_caffe.so"
        assert link.exists()
