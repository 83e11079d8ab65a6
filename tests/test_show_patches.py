"""The picture of training patches."""

import subprocess
import sys

import numpy as np
from conftest import REPOSITORY
from PIL import Image

from randrop.data import read_dataset
from randrop.data.contact_sheet import COLOURS, GAP, TEXT
from randrop.data.patch_options import Options
from randrop.data.patches import PatchSource
from randrop.report.patch_sheet import patch_sheet

SCRIPT = REPOSITORY / "scripts" / "show_patches.py"


def test_a_patch_is_drawn_plain_and_with_outlines_around_its_lesions():
    image = np.zeros((3, 32, 32), np.float32)
    label = np.zeros((2, 32, 32), np.float32)
    label[0, 10:13, 10:13] = 1
    label[1, 20, 20] = 1
    label[:, :, 28:] = 255
    sheet = patch_sheet([(image, label)], ("MA", "HE"), 255)
    top = TEXT + GAP
    plain, outlined = (sheet[top : top + 32, x : x + 32] for x in (GAP, GAP + 32))
    assert (plain == 128).all()
    for lesion, count in (("MA", 25 - 9), ("HE", 9 - 1)):
        assert (outlined == COLOURS[lesion]).all(axis=-1).sum() == count
    assert (outlined[11, 11] == 128).all()
    striped = (outlined == 255).all(axis=-1)
    assert striped[:, 28:].any()
    assert not striped[:, :28].any()


def test_the_script_draws_the_patches_of_the_training(phantom, tmp_path):
    out = tmp_path / "patches.png"
    words = ("--patch", 32, "--number", 5, "--columns", 2, "--paste", 1, "--seed", 3)
    words += ("--lesion-weights", "HE=5")
    result = subprocess.run(
        [sys.executable, SCRIPT, "--data", phantom, "--out", out, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    options = Options(("MA", "HE"), 32, lesion_weights=(1.0, 5.0), paste=1.0, seed=3)
    source = PatchSource(read_dataset(phantom), "train", options)
    patches = [source.patch(k) for k in range(5)]
    expected = patch_sheet(patches, ("MA", "HE"), 255, 2)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


def test_options_that_cannot_be_are_named(phantom, tmp_path):
    for words, message in (
        (("--number", "0"), "--number and --columns must be at least 1"),
        (("--columns", "-3"), "--number and --columns must be at least 1"),
        (("--seed", "-1"), "--seed is -1"),
        (("--patch", "1000000"), "more than 65500 along a side"),
        (("--lesion-weights", "EX=2"), "--lesion-weights EX=2"),
        (("--out", "a.gif"), "a.gif: give a name that ends in .png or .jpg"),
        (("--healthy-share", "0.7"), "together more than all patches"),
    ):
        out = ("--out", str(tmp_path / "a.png"))
        result = subprocess.run(
            [sys.executable, SCRIPT, "--data", phantom, *out, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 2
        assert message in result.stderr
        assert list(tmp_path.iterdir()) == []
