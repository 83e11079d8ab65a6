"""IDRiD as distributed, read by every script, from any of its folders."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from official_idrid import FOLDERS
from PIL import Image
from small_training import run as train

from randrop.data import read_dataset
from randrop.data.layouts import read_groups
from randrop.errors import UserError
from randrop.pycaffe.build import REPOSITORY

SPLIT = REPOSITORY / "results" / "idrid_split.json"
TRAIN = [f"IDRiD_{k:02}" for k in range(1, 55)]
TEST = [f"IDRiD_{k:02}" for k in range(55, 82)]
GIVEN = {"its parent": "..", "itself": "."}
PARTS = [
    "1. Original Images",
    "2. All Segmentation Groundtruths",
    "1. Original Images/a. Training Set",
    "2. All Segmentation Groundtruths/b. Testing Set",
    "2. All Segmentation Groundtruths/a. Training Set/3. Hard Exudates",
]


def script(name, *words):
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / f"{name}.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_both_subsets_are_read_with_all_their_masks(official_idrid, given):
    dataset = read_dataset(official_idrid / given)
    assert [case.name for case in dataset.cases] == TRAIN + TEST
    assert list(dataset.splits["test"]) == TEST
    assert sorted(dataset.splits["train"] + dataset.splits["validation"]) == TRAIN
    for case in dataset.cases:
        for lesion in FOLDERS:
            paths = list(official_idrid.glob(f"2*/*/*/{case.name}_{lesion}.tif"))
            mask = case.masks((lesion,))
            assert mask.any() == bool(paths)
            assert set(np.unique(mask)) <= {0, 1}
    by_name = {case.name: case for case in dataset.cases}
    same = [by_name[name].masks(tuple(FOLDERS)) for name in ("IDRiD_01", "IDRiD_55")]
    np.testing.assert_array_equal(*same)  # a palette TIFF, and one of RGBA
    modes = {
        name: Image.open(by_name[name].mask_paths["OD"]).mode
        for name in ("IDRiD_01", "IDRiD_55")
    }
    assert modes == {"IDRiD_01": "P", "IDRiD_55": "RGBA"}


def test_deeper_folders_underscores_and_what_macos_leaves(official_idrid, tmp_path):
    deep = tmp_path / "download" / "A. Segmentation" / "A. Segmentation"
    shutil.copytree(official_idrid, deep)
    (tmp_path / "download/__MACOSX/A. Segmentation").mkdir(parents=True)
    assert len(read_dataset(tmp_path / "download").cases) == 81
    for path in sorted(deep.rglob("*"), key=lambda p: -len(p.parts)):
        if path.is_dir():
            path.rename(path.with_name(path.name.replace(" ", "_")))
    dataset = read_dataset(tmp_path / "download")
    assert len(dataset.cases) == 81
    assert dataset.cases[0].masks(("MA", "EX")).any(axis=(1, 2)).all()
    shutil.copytree(deep, deep.with_name("copy"))
    with pytest.raises(UserError, match=r"more than one data set: give one of .*copy"):
        read_dataset(tmp_path / "download")


def test_what_was_not_unpacked_is_unknown_not_absent(official_idrid, tmp_path, caplog):
    part = shutil.copytree(official_idrid, tmp_path / "A. Segmentation")
    shutil.rmtree(
        part / "2. All Segmentation Groundtruths/a. Training Set" / FOLDERS["EX"]
    )
    cases = read_groups(part)["train"]
    assert {case.unknown for case in cases} == {frozenset({"EX"})}
    assert "no ground truth of EX" in caplog.text


@pytest.mark.parametrize("part", PARTS)
def test_the_folder_to_give_is_named_where_a_part_is_given(official_idrid, part):
    for layout in ("idrid", None):
        with pytest.raises(UserError) as error:
            read_groups(official_idrid / part, layout)
        assert f"Its parent {official_idrid} has them" in str(error.value)


@pytest.mark.parametrize("part", PARTS[2:4])
@pytest.mark.parametrize("name", ["prepare", "train", "predict"])
def test_a_part_of_it_is_refused_with_the_folder_to_give(
    official_idrid, tmp_path, name, part
):
    folder, out = official_idrid / part, tmp_path / "out"
    words = {
        "prepare": ("idrid", folder, out),
        "train": ("--data", folder, "--out", out),
        "predict": ("--data", folder, "--out", out, "--backend", "opencv"),
    }
    result = script(name, *words[name])
    assert result.returncode == 2
    assert f"Its parent {official_idrid} has them: give that folder" in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_the_other_parts_of_idrid_have_no_masks(official_idrid):
    with pytest.raises(UserError, match="does not have the folders of a data set"):
        read_groups(official_idrid.parent / "B. Disease Grading", "idrid")


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_prepare(official_idrid, tmp_path, given):
    out = tmp_path / "out"
    words = ("--width", 120, "--split", SPLIT, "--workers", 1)
    result = script("prepare", "idrid", official_idrid / given, out, *words)
    assert result.returncode == 0, result.stderr
    dataset = read_dataset(out)
    wanted = json.loads(SPLIT.read_text())
    assert {name: list(names) for name, names in dataset.splits.items()} == {
        **wanted, "test": TEST,
    }  # fmt: skip
    assert "left out" not in result.stderr
    found = json.loads((out / "statistics.json").read_text())
    assert found["OD"]["test"] == found["OD"]["test"] | {"photographs": 27, "with": 27}
    assert found["MA"]["train"]["photographs"] == 42


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_train_and_predict(caffe, official_idrid, tmp_path, given):
    folder = official_idrid / given
    result = train(folder, tmp_path / "run", "--split", SPLIT, "--lesions", "MA", "HE")
    assert result.returncode == 0, result.stderr
    small = ("--tile", 64, "--overlap", 16, "--backend", "opencv", "--subset", "test")
    common = ("--run", tmp_path / "run", "--out", tmp_path / "maps", *small)
    result = script("predict", *common, "--data", folder)
    assert result.returncode == 0, result.stderr
    done = json.loads((tmp_path / "maps/prediction.json").read_text())["scales"]
    assert sorted(done) == TEST


def test_a_split_with_a_test_set_of_its_own(official_idrid, tmp_path, caplog):
    path = tmp_path / "split.json"
    subsets = {"train": TRAIN[:9] + TEST[:2], "validation": TRAIN[9:12]}
    path.write_text(json.dumps(subsets))
    dataset = read_dataset(official_idrid, path)
    assert list(dataset.splits["test"]) == TEST[2:]
    assert f"42 of 81 photograph(s) are in no subset of {path}" in caplog.text
    path.write_text(json.dumps(subsets | {"test": TEST[5:]}))
    assert list(read_dataset(official_idrid, path).splits["test"]) == TEST[5:]
    assert "45 of 81 photograph(s)" in caplog.text
