"""Sets larger than the memory: what workers keep, and what they need to start."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from stored_sets import assert_same, patches_of, write_all_arrays

from randrop import mpiexec
from randrop.benchmarks import watched
from randrop.data import memory, phantom, read_dataset
from randrop.errors import UserError
from randrop.training import settings

SIDE = 640


def write_set(folder, count, width=SIDE):
    """Write one photograph under many names; all are for training."""
    (folder / "images").mkdir(parents=True)
    image, masks = phantom.fundus(np.random.default_rng(0), width)
    names = [f"eye{k:03}" for k in range(count)]
    for name in names:
        Image.fromarray(image).save(folder / f"images/{name}.png", compress_level=1)
        for lesion, mask in masks.items():
            path = folder / "masks" / lesion / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask * 255).save(path)
    split = {"train": names[:-1], "validation": names[-1:]}
    (folder / "split.json").write_text(json.dumps(split))
    return folder


@pytest.fixture
def copy(phantom, tmp_path):
    return shutil.copytree(phantom, tmp_path / "set")


# --- Memory

OWN = """
import json, resource, sys, threading
from randrop.data import read_dataset
from randrop.data.patches import Options, PatchSource
root, keep, files = json.loads(sys.argv[1])
if files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
source = PatchSource(read_dataset(root), "train", Options(("MA", "HE"), 64), keep)
def cut():
    for k in range(120):
        source.patch(k)
# As workers do.
thread = threading.Thread(target=cut)
thread.start()
thread.join()
fields = dict(line.split(":") for line in open("/proc/self/status"))
print(int(fields["RssAnon"].split()[0]) / 1024)
"""


def own_megabytes(folder, keep=None, files=None):
    """Return the memory of its own that a process has after 120 patches."""
    from randrop.pycaffe import processes

    command = processes.python(OWN, json.dumps([str(folder), keep, files]))
    # Gaps between arrays, 10 to 30 MB from run to run, would hide what is kept.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "are not used" not in result.stderr
    return float(result.stdout)


def test_own_memory_does_not_grow_with_the_number_of_photographs(tmp_path):
    """Those of forty more take 27 MB: kept if there is room, not with arrays."""
    side = 480
    few, many = (write_set(tmp_path / str(n), n, side) for n in (5, 45))
    photograph = 4 * side * round(phantom.HEIGHT * side)
    forty = 40 * photograph / 2**20
    # Of the rest of a process, by which two that keep the same differ.
    spread = forty / 5
    few_own = own_megabytes(few, 3 * photograph)
    assert own_megabytes(many) - few_own > forty - spread
    assert own_megabytes(many, 3 * photograph) - few_own < spread
    more = 17 * photograph / 2**20
    assert abs(own_megabytes(many, 20 * photograph) - few_own - more) < spread
    for folder in (few, many):
        write_all_arrays(folder)
    assert own_megabytes(many) - own_megabytes(few) < spread


# The allocator of a thread keeps what is freed below something that is in use.
GIVEN_UP = """
import threading
import numpy as np
from randrop.data import memory
def own():
    fields = dict(line.split(":") for line in open("/proc/self/status"))
    return int(fields["RssAnon"].split()[0]) / 1024
def fill():
    # Makes glibc keep freed arrays of this size, as decoding photographs does.
    np.ones(30 * 2**20, np.uint8)
    before, lent, small = own(), [], []
    for k in range(30):
        lent.append(memory.lent((1024, 1024, 2)))
        lent[-1][...] = 1
        small.append(np.ones(2**16, np.uint8))
    full = own()
    lent.clear()
    print(full - before, own() - before)
thread = threading.Thread(target=fill)
thread.start()
thread.join()
"""


def test_what_is_given_up_goes_back_to_the_system():
    from randrop.pycaffe import processes

    command = processes.python(GIVEN_UP)
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    full, emptied = map(float, result.stdout.split())
    assert full > 60
    assert emptied < 6


def test_more_photographs_than_files_that_may_be_open(tmp_path):
    folder = write_set(tmp_path / "set", 150, 128)
    write_all_arrays(folder)
    assert own_megabytes(folder, files=100) > 0


@pytest.mark.parametrize("keep", [0, 2 * 4 * 150 * 192, 2**30])
def test_patches_are_the_same_whatever_is_kept(copy, keep):
    assert_same(patches_of(copy, keep), patches_of(copy))


def test_what_does_not_stay_in_memory_is_told(copy, caplog):
    patches_of(copy, 3 * 4 * 150 * 192, number=1)
    assert caplog.text == ""
    patches_of(copy, 3 * 4 * 150 * 192 - 1, number=1)
    assert "prepare.py --arrays" in caplog.text
    caplog.clear()
    write_all_arrays(copy)
    patches_of(copy, 0, number=1)
    assert caplog.text == ""


def test_what_was_used_longest_ago_goes():
    made = []

    def make(key):
        made.append(key)
        return np.zeros(key, np.uint8)

    kept = memory.Kept(10, lambda array: array.nbytes)
    for key in (4, 5, 4, 3, 4, 3, 5):
        assert kept.get(key, lambda key=key: make(key)).size == key
    assert made == [4, 5, 3, 5]
    assert kept.used == 8
    # A photograph larger than the limit is there until the next one.
    kept.get(20, lambda: make(20))
    assert kept.used == 20
    kept.get(20, lambda: pytest.fail("it was there"))


def test_workers_share_what_there_is(monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 8 * 10**9)
    assert memory.for_photographs(0) == memory.for_photographs(1) == 4 * 10**9
    assert memory.for_photographs(4) == 10**9
    for rank, ranks, local, _ in mpiexec.NAMES[:2]:
        with monkeypatch.context() as patch:
            for name, value in ((rank, "0"), (ranks, "4"), (local, "2")):
                patch.setenv(name, value)
            assert memory.for_photographs(4) == 5 * 10**8


@pytest.mark.parametrize(
    ("line", "file", "content"),
    [
        ("0::/a/b", "a/b/memory.max", "1048576"),
        ("0::/a/b", "a/memory.max", "1048576"),
        ("4:cpu,memory:/a", "memory/a/memory.limit_in_bytes", "1048576"),
        ("0::/a/b", "memory.max", "1048576"),
    ],
)
def test_the_limit_of_a_control_group_counts(
    tmp_path, monkeypatch, line, file, content
):
    path = tmp_path / "groups" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{content}\n")
    own = tmp_path / "own"
    own.write_text(f"7:cpu:/elsewhere\n{line}\n")
    assert [*memory.of_groups(own, tmp_path / "groups")] == [2**20]
    path.write_text("max\n")
    assert [*memory.of_groups(own, tmp_path / "groups")] == []


def test_a_program_knows_the_limit_of_its_group():
    code = "from randrop.data import memory; print(memory.total())"
    from randrop.pycaffe import processes

    try:
        with watched.limited(300 * 2**20) as group:
            child = watched.start(
                processes.python(code), group, stdout=subprocess.PIPE, text=True
            )
            found, _ = child.communicate()
    except UserError as error:
        pytest.skip(str(error))
    assert int(found) == 300 * 2**20
    assert memory.total() > 300 * 2**20
    assert not group.exists()


def test_a_training_tells_of_photographs_that_do_not_fit(copy, caplog, monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 2 * 2 * 3 * 4 * 150 * 192 - 2)
    caplog.set_level("INFO", "randrop")
    settings._tell_of_memory(read_dataset(copy), 1)
    assert caplog.text == ""
    settings._tell_of_memory(read_dataset(copy), 2)
    assert "2 data worker(s) may keep" in caplog.text
    assert "prepare.py --arrays" in caplog.text


def test_workers_divide_the_memory(copy):
    from randrop.data.worker import source_of

    layer = {"root": str(copy), "split": None, "subset": "train", "patch": 32}
    layer |= {"lesions": ["MA"], "lesion_share": 0.5, "lesion_weights": None}
    layer |= {"augment": True, "seed": 1, "ignore_label": 255}
    few, many = (source_of({**layer, "workers": n}) for n in (1, 10**9))
    limits = [source.ready[0].read.func.__self__.limit for source in (few, many)]
    assert limits == [memory.for_photographs(1), memory.for_photographs(10**9)]
    assert limits[1] < limits[0]
