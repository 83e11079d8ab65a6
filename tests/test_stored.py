"""The files of decoded photographs in a set, and their index."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import small_training
from PIL import Image
from stored_sets import OPTIONS, assert_same, patches_of, write_all_arrays

from randrop.data import read_dataset, stored
from randrop.data.arrays import arrays_of, write_arrays
from randrop.data.patches import PatchSource
from randrop.errors import UserError


@pytest.fixture
def copy(phantom, tmp_path):
    return shutil.copytree(phantom, tmp_path / "set")


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
