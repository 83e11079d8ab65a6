"""Sets larger than the memory: what workers keep, and what they need to start."""

import dataclasses
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import small_training
from PIL import Image

from randrop import mpiexec
from randrop.benchmarks import watched
from randrop.data import memory, phantom, read_dataset, stored
from randrop.data.arrays import arrays_of, write_arrays
from randrop.data.patches import Options, PatchSource
from randrop.errors import UserError
from randrop.training import settings

OPTIONS = Options(("MA", "HE"), 64, lesion_draw="lesion", paste=0.5)
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


def write_all_arrays(folder):
    (folder / "arrays").mkdir(exist_ok=True)
    cases = read_dataset(folder).cases
    for case in cases:
        write_arrays(case)
    stored.write_index(folder, cases)
    return cases


@pytest.fixture
def copy(phantom, tmp_path):
    return shutil.copytree(phantom, tmp_path / "set")


def patches_of(folder, keep=None, options=OPTIONS, number=12):
    source = PatchSource(read_dataset(folder), "train", options, keep)
    return [source.patch(k) for k in range(number)]


def assert_same(one, other):
    for some, others in zip(one, other, strict=True):
        for array, expected in zip(some, others, strict=True):
            np.testing.assert_array_equal(array, expected)


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
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "are not used" not in result.stderr
    return float(result.stdout)


def test_own_memory_does_not_grow_with_the_number_of_photographs(tmp_path):
    """Those of forty more take 49 MB: kept if there is room, not with arrays."""
    few, many = (write_set(tmp_path / str(n), n) for n in (5, 45))
    growth = own_megabytes(many) - own_megabytes(few)
    # What a process holds besides photographs differs by some megabytes.
    assert growth > 30
    photograph = 4 * SIDE * round(phantom.HEIGHT * SIDE)
    few_own = own_megabytes(few, 3 * photograph)
    assert own_megabytes(many, 3 * photograph) - few_own < 10
    # What is given up goes back to the system, too.
    more = 17 * photograph / 2**20
    assert own_megabytes(many, 20 * photograph) - few_own < more + 8
    for folder in (few, many):
        write_all_arrays(folder)
    assert own_megabytes(many) - own_megabytes(few) < 5


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


# --- The index


def reads_no_tables(folder, monkeypatch):
    """Return the patches while the photographs' own tables cannot be read."""

    def refuse(*_):
        pytest.fail("a table was read")

    with monkeypatch.context() as patch:
        patch.setattr(stored, "_read_table", refuse)
        return patches_of(folder)


def test_the_index_replaces_the_tables(copy, monkeypatch):
    expected = patches_of(copy)
    cases = write_all_arrays(copy)
    assert_same(reads_no_tables(copy, monkeypatch), expected)
    (copy / "arrays.json").unlink()
    assert_same(patches_of(copy), expected)
    alone = arrays_of(cases, ("MA",), by_lesion=True)
    stored.write_index(copy, cases)
    for one, other in zip(arrays_of(cases, ("MA",), True), alone, strict=True):
        assert one.size == other.size
        np.testing.assert_array_equal(one.inside, other.inside)
        np.testing.assert_array_equal(one.lesions["MA"], other.lesions["MA"])
        np.testing.assert_array_equal(one.regions["MA"], other.regions["MA"])


def other_numbers(folder):
    np.save(folder / "arrays.npy", np.load(folder / "arrays.npy")[1:])


def cut_index(folder):
    path = folder / "arrays.json"
    path.write_bytes(path.read_bytes()[:-20])


def cut_numbers(folder):
    path = folder / "arrays.npy"
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("harm", [other_numbers, cut_index, cut_numbers])
def test_a_damaged_index_is_told_and_not_used(copy, caplog, harm):
    expected = patches_of(copy)
    write_all_arrays(copy)
    harm(copy)
    assert_same(patches_of(copy), expected)
    assert f"{copy / 'arrays.json'} is not used" in caplog.text
    assert "prepare.py --arrays again" in caplog.text


FILES = {
    "pixels": "arrays/*.npy",
    "tables": "arrays/*.npz",
    "numbers": "arrays.npy",
    "index": "arrays.json",
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", FILES)
def test_damaged_bytes_never_reach_a_patch(copy, kind, seed):
    """The same patches as ever, or an error whose remedy helps."""
    expected = patches_of(copy)
    write_all_arrays(copy)
    if kind == "tables":
        (copy / "arrays.json").unlink()
    rng = np.random.default_rng(seed)
    for path in copy.glob(FILES[kind]):
        content = bytearray(path.read_bytes())
        # Anywhere, and where a photograph's own numbers or pixels begin.
        at = int(rng.integers(len(content) if seed else 200))
        for k in range(at, min(at + 200, len(content))):
            content[k] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
    try:
        found = patches_of(copy)
    except UserError as error:
        assert "prepare.py --arrays again" in str(error)
        assert next(copy.glob(FILES[kind])).name[-4:] in str(error)
    else:
        assert_same(found, expected)
    for path in copy.glob(FILES[kind]):
        path.unlink()
    write_all_arrays(copy)
    assert_same(patches_of(copy), expected)


def test_arrays_of_no_use_are_told_on_the_screen(copy, tmp_path, caffe):
    """And not in the log alone, which is where the data workers write."""
    cases = write_all_arrays(copy)
    Image.fromarray(255 - np.array(Image.open(cases[0].image_path))).save(
        cases[0].image_path
    )
    done = small_training.run(copy, tmp_path / "run", iterations=2)
    assert done.returncode == 0, done.stderr
    assert f"1 of {len(cases)} arrays of this set are not used" in done.stderr


def test_writing_the_arrays_again_looks_at_those_that_are_there(copy):
    cases = write_all_arrays(copy)
    path, _ = stored.paths_of(cases[1])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} is damaged.*Remove it, and run"):
        write_all_arrays(copy)
    path.unlink()
    write_all_arrays(copy)


def test_a_photograph_newer_than_the_index_is_found_in_its_table(copy, monkeypatch):
    cases = write_all_arrays(copy)
    path = cases[0].image_path
    image = np.array(Image.open(path))
    path.unlink()
    Image.fromarray(255 - image).save(path.with_suffix(".png"))
    changed = read_dataset(copy).cases[0]
    write_arrays(changed)
    found = patches_of(copy)
    shutil.rmtree(copy / "arrays")
    assert_same(found, patches_of(copy))


def test_a_copy_with_whole_seconds_is_not_read_again(copy, monkeypatch):
    """As tar keeps them; other times cost a reading, until the index knows them."""
    cases = write_all_arrays(copy)

    def compared(change):
        found = []
        for case in cases:
            for path in (case.image_path, *case.mask_paths.values()):
                time = change(path.stat().st_mtime_ns)
                os.utime(path, ns=(time, time))
        index = stored.read_index(copy)
        for case in cases:
            assert stored.find(case, index, found)[0] is not None
        return len(found)

    assert compared(lambda time: time - time % 10**9) == 0
    assert compared(lambda time: time + 10**9) == 3 * len(cases)
    stored.write_index(copy, cases)
    assert compared(lambda time: time) == 0


def test_much_that_is_compared_by_content_is_told(copy, caplog, monkeypatch):
    cases = write_all_arrays(copy)
    os.utime(cases[0].image_path, (1, 1))
    patches_of(copy, number=1)
    assert caplog.text == ""
    monkeypatch.setattr(stored, "_MUCH", cases[0].image_path.stat().st_size - 1)
    patches_of(copy, number=1)
    assert "1 files" in caplog.text
    assert "cp -a" in caplog.text


def test_pixels_that_go_while_patches_are_cut_are_named(copy):
    cases = write_all_arrays(copy)
    source = PatchSource(read_dataset(copy), "train", OPTIONS)
    for case in cases:
        stored.paths_of(case)[0].unlink()
    with pytest.raises(UserError, match=r"\.npy cannot be read .*--arrays"):
        for k in range(40):
            source.patch(k)


def test_nobody_elses_index_is_replaced(copy):
    write_all_arrays(copy)
    (copy / "arrays.json").write_text("mine")
    with pytest.raises(UserError, match="did not write the existing file"):
        stored.write_index(copy, read_dataset(copy).cases)
    assert (copy / "arrays.json").read_text() == "mine"


def test_lesions_are_drawn_as_regions_are_numbered(copy):
    """What `Places.lesion` relies on: numbers from 0 without a gap."""
    options = dataclasses.replace(OPTIONS, paste=0)
    source = PatchSource(read_dataset(copy), "train", options)
    case = source.places.near[0][0]
    numbers = case.regions["MA"]
    assert sorted(set(numbers)) == [*range(numbers.max() + 1)]
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        own = source.places.lesion(rng, case, 0)
        mask = np.isin(case.lesions["MA"], own)
        assert len(set(numbers[mask])) == 1
        assert np.array_equal(mask, numbers == numbers[mask][0])
        seen.add(int(numbers[mask][0]))
    assert seen == set(numbers.tolist())


def test_workers_divide_the_memory(copy):
    from randrop.data.worker import source_of

    layer = {"root": str(copy), "split": None, "subset": "train", "patch": 32}
    layer |= {"lesions": ["MA"], "lesion_share": 0.5, "lesion_weights": None}
    layer |= {"augment": True, "seed": 1, "ignore_label": 255}
    few, many = (source_of({**layer, "workers": n}) for n in (1, 10**9))
    limits = [source.ready[0].read.func.__self__.limit for source in (few, many)]
    assert limits == [memory.for_photographs(1), memory.for_photographs(10**9)]
    assert limits[1] < limits[0]
