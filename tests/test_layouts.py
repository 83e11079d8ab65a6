"""Sets as distributed, and what is said where a copy differs."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from distributed_sets import ddr, eophtha, mask, photograph

from randrop.data.layouts import LAYOUTS, read_groups
from randrop.errors import UserError

WRITERS = {"ddr": ddr, "eophtha": eophtha}
DDR = "lesion_segmentation"


@pytest.mark.parametrize("name", WRITERS)
def test_the_log_and_the_help_say_what_was_not_tried(tmp_path, caplog, name):
    read_groups(WRITERS[name](tmp_path))
    assert f"The layout {name} is not tried on a real copy" in caplog.text
    command = [sys.executable, str(REPOSITORY / "scripts/prepare.py"), "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = re.search(rf"^  {name} .*\n *\((.*)$", text, re.MULTILINE)[1]
    assert line.startswith("not tried on a real copy")
    assert {k for k, layout in LAYOUTS.items() if layout.note} == set(WRITERS)


@pytest.mark.parametrize("name", WRITERS)
def test_a_copy_of_another_size_is_said(tmp_path, caplog, name):
    read_groups(WRITERS[name](tmp_path))
    numbers = {
        "ddr": ("train has 2", "383", "149", "225"),
        "eophtha": ("MA has 2", "148", "healthy has 1", "233", "47", "35"),
    }
    for words in numbers[name]:
        assert words in caplog.text


@pytest.mark.parametrize("below", ["", "DDR-dataset", "download/DDR-dataset"])
def test_ddr_is_found_below_its_folder(tmp_path, below):
    ddr(tmp_path / below)
    if below.count("/"):
        with pytest.raises(UserError, match="does not have the folders"):
            read_groups(tmp_path)
        tmp_path = tmp_path / "download"
    groups = read_groups(tmp_path)
    assert {k: len(v) for k, v in groups.items()} == {
        **{"train": 2, "validation": 2, "test": 2}
    }
    for cases in groups.values():
        for case in cases:
            assert set(case.mask_paths) == {"MA", "HE", "EX", "SE"}
            assert case.unknown == {"OD"}


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def move(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


# What differs, and what is said; files as they are in the drawn sets.
DDR_DIFFERS = {
    "a type without a folder": (
        lambda r: remove(r / "train/label/SE"),
        r"train/label has no folder SE, .*count as background",
    ),
    "a photograph without a mask": (
        lambda r: remove(r / "test/label/HE/test1.tif"),
        r"1 photograph\(s\) have no mask in .*test/label/HE: .*test/image/test1\.jpg",
    ),
    "a mask without a photograph": (
        lambda r: remove(r / "valid/image/valid0.jpg"),
        r"1 mask\(s\) match no photograph in .*valid/image: .*MA/valid0\.tif",
    ),
    "no labels": (
        lambda r: remove(r / "valid/segmentation label"),
        r"valid has no folder label or 'segmentation label'",
    ),
    "no photographs": (
        lambda r: remove(r / "test/image"),
        r"test has no folder image",
    ),
    "an empty folder": (
        lambda r: [remove(p) for p in (r / "test/image").iterdir()],
        r"test/image contains no photograph",
    ),
    "masks in one folder": (
        lambda r: [
            move(p, r / "train/label" / f"{p.stem}_MA.tif")
            for p in sorted((r / "train/label/MA").iterdir())
        ],
        r"label/train0_MA\.tif, .*train1_MA\.tif are not part",
    ),
    "a folder in each folder": (
        lambda r: move(r / "test/image", r / "test/image_/image"),
        r"test has no folder image",
    ),
    "a photograph twice": (
        lambda r: shutil.copy(r / "test/image/test0.jpg", r / "test/image/test0.png"),
        r"test0\.jpg and .*test0\.png both have the name 'test0'",
    ),
    "a photograph in two subsets": (
        lambda r: [
            shutil.copy(
                r / "test" / d / f"test0.{s}", r / "train" / d / f"test0.{s}"
            )
            for d, s in (
                ("image", "jpg"),
                *((f"label/{x}", "tif") for x in ("MA", "HE", "EX", "SE")),
            )
        ],
        r"both have the name 'test0'",
    ),
    "a subset of another name": (
        lambda r: move(r / "valid", r / "validation"),
        r"lesion_segmentation/validation is not part of the data set",
    ),
    "a photograph beside the folders": (
        lambda r: photograph(r / "train/extra.jpg"),
        r"train/extra\.jpg is not part",
    ),
    "masks in a folder of a type": (
        lambda r: mask(r / "train/label/EX/more/train0.tif", (70, 99)),
        r"label/EX/more is not part",
    ),
    "two folders of the set": (
        lambda r: shutil.copytree(r, r.with_name("lesion_segmentation_2")),
        r"contains lesion_segmentation more than once .*: move the others away",
    ),
    "a type that nobody asked for": (
        lambda r: mask(r / "test/label/IRMA/test0.tif", (70, 99)),
        r"test/label/IRMA is not part of the data set .*would be ignored",
    ),
    "more photographs one folder deeper": (
        lambda r: photograph(r / "train/image/more/train9.jpg"),
        r"train/image/more is not part",
    ),
    "more masks beside the labels": (
        lambda r: mask(r / "train/label2/MA/train0.tif", (70, 99)),
        r"train/label2 is not part",
    ),
}  # fmt: skip

MA = "e_optha_MA"
EOPHTHA_DIFFERS = {
    "no folder of photographs": (
        lambda r: remove(r / MA / "MA"),
        r"e_optha_MA has no folder MA",
    ),
    "no folder of healthy ones": (
        lambda r: remove(r / "e_optha_EX/healthy"),
        r"e_optha_EX has no folder healthy",
    ),
    "photographs without folders of patients": (
        lambda r: move(r / MA / "MA/E01/C1.jpg", r / MA / "MA/C1.jpg"),
        r"1 file\(s\) lie in .*MA/MA itself, .*for each patient: .*MA/C1\.jpg",
    ),
    "masks without folders of patients": (
        lambda r: move(
            r / MA / "Annotation_MA/E01/C1.png", r / MA / "Annotation_MA/C1.png"
        ),
        r"1 file\(s\) lie in .*Annotation_MA itself",
    ),
    "a folder too many": (
        lambda r: move(r / MA / "MA/E01", r / MA / "MA/all/E01"),
        r"all should contain the files of a patient, and contains the folder E01",
    ),
    "an ill eye without a mask": (
        lambda r: remove(r / "e_optha_EX/Annotation_EX/E03/C1_EX.png"),
        r"E03/C1\.jpg has no mask below .*Annotation_EX and is not listed as healthy",
    ),
    "a mask without a photograph": (
        lambda r: mask(r / MA / "Annotation_MA/E09/C7.png", (70, 99)),
        r"1 mask\(s\) match no photograph in .*MA: .*E09/C7\.png: move them away",
    ),
    "a mask of a healthy eye": (
        lambda r: mask(r / MA / "Annotation_MA/HMA/DS1.png", (70, 99)),
        r"HMA/DS1\.png is a mask of .*healthy/HMA/DS1\.JPG, which is listed as healthy",
    ),
    "two masks of a photograph": (
        lambda r: mask(r / MA / "Annotation_MA/E01/C1_MA.png", (70, 99)),
        r"C1\.png and .*C1_MA\.png both have the name 'E01_C1'",
    ),
    "an eye that is ill and healthy": (
        lambda r: photograph(r / MA / "healthy/E01/C1.jpg"),
        r"MA/E01/C1\.jpg is among those with MA, and .*healthy/E01/C1\.jpg",
    ),
    "a set twice": (
        lambda r: shutil.copytree(r / MA, r / "copy"),
        r"contains the set of MA more than once: give one of .*copy, .*e_optha_MA",
    ),
    "annotations of another name": (
        lambda r: move(r / "e_optha_EX/Annotation_EX", r / "e_optha_EX/Truth"),
        r"e_optha_EX is not part of the data set",
    ),
    "another photograph in the other set": (
        lambda r: photograph(r / "e_optha_EX/EX/E02/C1.jpg", 7),
        r"MA/E02/C1\.jpg and .*EX/E02/C1\.jpg have the same name, but differ",
    ),
    "more annotations": (
        lambda r: mask(r / MA / "Annotation_HE/E01/C1.png", (70, 99)),
        r"Annotation_HE is not part",
    ),
    "a photograph beside the folders": (
        lambda r: photograph(r / MA / "extra.jpg"),
        r"extra\.jpg is not part",
    ),
    "a photograph beside the sets": (
        lambda r: photograph(r / "extra.jpg"),
        r"extra\.jpg is not part",
    ),
    "more photographs": (
        lambda r: photograph(r / "more/E01/C1.jpg"),
        r"more is not part",
    ),
    "a photograph in two formats": (
        lambda r: photograph(r / MA / "MA/E01/C1.png"),
        r"C1\.jpg and .*C1\.png both have the name 'C1'",
    ),
}


@pytest.mark.parametrize("case", DDR_DIFFERS)
def test_ddr_that_differs_is_refused_and_named(tmp_path, case):
    change, message = DDR_DIFFERS[case]
    change(ddr(tmp_path) / DDR)
    with pytest.raises(UserError, match=message):
        read_groups(tmp_path, "ddr")


@pytest.mark.parametrize("case", EOPHTHA_DIFFERS)
def test_eophtha_that_differs_is_refused_and_named(tmp_path, case):
    change, message = EOPHTHA_DIFFERS[case]
    change(eophtha(tmp_path))
    with pytest.raises(UserError, match=message):
        read_groups(tmp_path, "eophtha")


@pytest.mark.parametrize(
    "change",
    [
        lambda r: (r / DDR / "train/image/Thumbs.db").touch(),
        lambda r: (r / DDR / "train/image/._train0.jpg").touch(),
        lambda r: (r / "__MACOSX" / DDR / "train/image").mkdir(parents=True),
        lambda r: (r / "DR_grading").mkdir(),
    ],
)
def test_what_archives_and_systems_leave_is_no_difference(tmp_path, change):
    change(ddr(tmp_path))
    assert len(read_groups(tmp_path, "ddr")["train"]) == 2


def test_a_subset_that_is_not_there_is_said(tmp_path, caplog):
    shutil.rmtree(ddr(tmp_path) / DDR / "test")
    assert set(read_groups(tmp_path, "ddr")) == {"train", "validation"}
    assert "test has 0 photographs, the distribution 225" in caplog.text


@pytest.mark.parametrize("lesion", ["MA", "EX"])
def test_one_of_the_two_sets_of_eophtha_is_enough(tmp_path, lesion):
    other = {"MA": "EX", "EX": "MA"}[lesion]
    shutil.rmtree(eophtha(tmp_path) / f"e_optha_{other}")
    cases = read_groups(tmp_path)["train"]
    assert len(cases) == 3
    assert all(other in case.unknown for case in cases)
