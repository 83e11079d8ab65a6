"""The arrays that patches are cut from: in memory or mapped, they are the same."""

import dataclasses
import json
import mmap
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from randrop.data import field_of_view, network_input, read_dataset
from randrop.data.arrays import FIELD, LEVELS, ZERO, arrays_of, write_arrays
from randrop.data.cases import STRUCTURES
from randrop.data.patches import Options, PatchSource
from randrop.data.regions import regions
from randrop.errors import UserError
from randrop.training import settings

OPTIONS = Options(("MA", "HE"), 64)


@pytest.fixture
def copy(phantom, tmp_path):
    return shutil.copytree(phantom, tmp_path / "set")


def written(folder):
    """Write the arrays of all photographs; return those of the first."""
    (folder / "arrays").mkdir(exist_ok=True)
    cases = read_dataset(folder).cases
    for case in cases:
        write_arrays(case)
    return folder / "arrays" / f"{cases[0].name}.npy"


def patches_of(folder, options=OPTIONS, number=6):
    source = PatchSource(read_dataset(folder), "train", options)
    return source, [source.patch(k) for k in range(number)]


def is_mapped(array):
    """Return whether it is a file's; what is computed can be written to."""
    if array.flags.writeable:
        return False
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(getattr(array, "obj", array), mmap.mmap)


def test_arrays_hold_the_input_in_bytes_and_the_masks_in_bits(phantom):
    case = read_dataset(phantom).cases[0]
    (found,) = arrays_of([case], ("MA", "HE"), by_lesion=True)
    image = case.image()
    field = field_of_view(image)
    expected = np.rint(network_input(image, field) * LEVELS + ZERO)
    np.testing.assert_array_equal(found.pixels[..., :3].transpose(2, 0, 1), expected)
    np.testing.assert_array_equal(found.mask(FIELD), field)
    for lesion, mask in zip(("MA", "HE"), case.masks(("MA", "HE")), strict=True):
        np.testing.assert_array_equal(
            found.mask(STRUCTURES.index(lesion)), mask.astype(bool)
        )
        inside = mask * field
        np.testing.assert_array_equal(found.lesions[lesion], np.flatnonzero(inside))
        labels = regions(inside)[0].ravel()
        np.testing.assert_array_equal(
            found.regions[lesion], labels[found.lesions[lesion]] - 1
        )


def test_positions_inside_are_the_pixels_of_the_field_of_view_in_order(phantom):
    (found,) = arrays_of(read_dataset(phantom).cases[:1], ("MA",))
    pixels = np.flatnonzero(found.mask(FIELD))
    assert found.inside[-1] == pixels.size
    for n in (0, 1, pixels.size // 2, pixels.size - 1):
        y, x = divmod(pixels[n], found.size[1])
        assert found.inside_position(n) == (x, y)


@pytest.mark.parametrize("draw", ["pixel", "lesion"])
def test_mapped_files_give_the_same_patches(copy, draw):
    options = dataclasses.replace(OPTIONS, lesion_draw=draw)
    alone, before = patches_of(copy, options)
    written(copy)
    shared, after = patches_of(copy, options)
    assert [is_mapped(case.pixels) for case in alone.ready] == [False] * 3
    assert [is_mapped(case.pixels) for case in shared.ready] == [True] * 3
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_files_that_fit_are_not_written_again(copy):
    path = written(copy)
    before = path.stat().st_mtime_ns
    written(copy)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_that_was_removed_is_written_again(copy, suffix):
    path = written(copy)
    path.with_suffix(suffix).unlink()
    written(copy)
    assert all(is_mapped(case.pixels) for case in patches_of(copy)[0].ready)


def test_a_photograph_that_changed_is_written_again(copy):
    path = written(copy)
    changed_photograph(copy, path)
    written(copy)
    source, patches = patches_of(copy)
    assert all(is_mapped(case.pixels) for case in source.ready)
    shutil.rmtree(copy / "arrays")
    for one, other in zip(patches, patches_of(copy)[1], strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_what_decoded_photographs_take_is_told_where_it_is_much(
    copy, caplog, monkeypatch
):
    caplog.set_level("INFO", "randrop")
    dataset = read_dataset(copy)
    settings._tell_of_memory(dataset, 2)
    assert caplog.text == ""
    monkeypatch.setattr(settings, "LARGE", 2 * 3 * 4 * 150 * 192)
    settings._tell_of_memory(dataset, 2)
    assert "2 data worker(s) decode all photographs first" in caplog.text
    caplog.clear()
    written(copy)
    settings._tell_of_memory(dataset, 2)
    assert caplog.text == ""


def test_a_copy_of_the_set_with_another_time_is_used(copy):
    written(copy)
    for path in copy.glob("images/*"):
        os.utime(path, (1, 1))
    assert all(is_mapped(case.pixels) for case in patches_of(copy)[0].ready)


def changed_photograph(folder, path):
    photograph = next((folder / "images").glob(f"{path.stem}.*"))
    pixels = np.array(Image.open(photograph))
    Image.fromarray(255 - pixels).save(photograph)


def removed_mask(folder, path):
    next((folder / "masks" / "MA").glob(f"{path.stem}*")).unlink()


def cut_short(folder, path):
    path.write_bytes(path.read_bytes()[:-1000])


def cut_table(folder, path):
    table = path.with_suffix(".npz")
    table.write_bytes(table.read_bytes()[:100])


def other_version(folder, path):
    table = path.with_suffix(".npz")
    with np.load(table) as stored:
        content = dict(stored)
    about = json.loads(str(content["about"])) | {"libraries": ["4.0.0", "1.0"]}
    np.savez(table, **content | {"about": np.array(json.dumps(about))})


def without_pixels(folder, path):
    path.unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (changed_photograph, "has changed"),
        (removed_mask, "there are other masks now"),
        (cut_short, "is damaged"),
        (cut_table, "is damaged"),
        (other_version, "another version of OpenCV or NumPy"),
        (without_pixels, "is damaged"),
    ],
)
def test_files_that_do_not_fit_are_computed_and_reported(copy, caplog, harm, reason):
    path = written(copy)
    harm(copy, path)
    source, patches = patches_of(copy)
    assert [is_mapped(case.pixels) for case in source.ready] == [False, True, True]
    assert f"1 of 3 arrays of this set are not used ({path}: " in caplog.text
    assert reason in caplog.text
    assert "prepare.py --arrays again" in caplog.text
    if reason == "is damaged":
        remove = f"remove {path.name} and {path.stem}.npz"
        assert remove in caplog.text
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink()
        written(copy)
        assert all(is_mapped(case.pixels) for case in patches_of(copy)[0].ready)
    shutil.rmtree(copy / "arrays")
    for one, other in zip(patches, patches_of(copy)[1], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_somebody_elses_file_stays(copy):
    (copy / "arrays").mkdir()
    theirs = copy / "arrays" / f"{read_dataset(copy).cases[0].name}.npy"
    theirs.write_text("mine")
    with pytest.raises(UserError, match="did not write the existing file"):
        written(copy)
    assert theirs.read_text() == "mine"


def test_a_lesion_draw_sees_small_lesions_as_often_as_large_ones(tmp_path):
    """One lesion of 900 pixels and three of one."""
    image = np.full((200, 200, 3), 150, np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[20:50, 20:50] = 1
    for x in (100, 130, 160):
        mask[100, x] = 1
    (tmp_path / "images").mkdir()
    (tmp_path / "masks" / "HE").mkdir(parents=True)
    for name in "ab":
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(mask * 255).save(tmp_path / "masks" / "HE" / f"{name}.png")
    share = {}
    for draw in ("pixel", "lesion"):
        options = Options(("HE",), 32, 1.0, lesion_draw=draw)
        source = PatchSource(read_dataset(tmp_path), "train", options)
        rng = np.random.default_rng(0)
        places = source.places
        drawn = [places.lesion_pixel(rng, source.ready[0], 0) for _ in range(400)]
        assert mask.ravel()[drawn].all()
        share[draw] = np.mean([k // 200 < 60 for k in drawn])
    assert share["pixel"] > 0.98
    assert share["lesion"] == pytest.approx(0.25, abs=0.08)
