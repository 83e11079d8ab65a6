"""scripts/prepare.py: every layout in, one layout out, nothing lost."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from distributed_sets import SIZE, ddr, eophtha, mask, photograph
from official_idrid import write_official_idrid
from PIL import Image
from test_arrays import is_mapped

from randrop.data import contact_sheet, read_dataset
from randrop.data.colours import COLOURS
from randrop.data.layouts import read_groups
from randrop.data.patches import Options, PatchSource
from randrop.data.prepare import Settings, prepare, split
from randrop.errors import UserError
from randrop.pycaffe.build import REPOSITORY


def folder(root, count=5):
    for k in range(count):
        photograph(root / "images" / f"eye{k}.jpg", k)
        mask(root / "masks/MA" / f"eye{k}_MA.png", (60 + k, 80), (75, 101 + 2 * k))
    return root


def settings(layout="folder", width=1440, share=0.4, seed=0):
    return Settings(layout, width, share, seed)


def made(source, out, **options):
    own = settings(**options)
    return prepare(read_groups(source, own.layout), out, own, workers=1)


# --- What comes out


@pytest.mark.parametrize("width", [66, 100, 1440])
def test_no_lesion_of_one_pixel_vanishes(tmp_path, width):
    manifest = made(folder(tmp_path / "in"), tmp_path / "out", width=width)
    for name, case in manifest["cases"].items():
        assert case["lesions"]["MA"]["source_pixels"] == 2
        assert case["lesions"]["MA"]["pixels"] >= 2
        assert case["lesions"]["MA"]["count"] >= 1
        content = cv2.imread(str(tmp_path / f"out/masks/MA/{name}.png"), -1)
        assert np.count_nonzero(content) == case["lesions"]["MA"]["pixels"]
        assert max(case["size"]) <= max(width, SIZE[1])


def test_photographs_are_cropped_to_the_field_of_view_with_their_masks(tmp_path):
    manifest = made(folder(tmp_path / "in", 2), tmp_path / "out")
    case = manifest["cases"]["eye0"]
    top, bottom, left, right = case["box"]
    assert (bottom - top, right - left) == tuple(case["size"])
    assert 128 <= right - left <= 140
    whole = np.asarray(Image.open(tmp_path / "in/images/eye0.jpg"))
    cropped = np.asarray(Image.open(tmp_path / "out/images/eye0.png"))
    np.testing.assert_array_equal(cropped, whole[top:bottom, left:right])
    found = np.argwhere(read_dataset(tmp_path / "out").cases[0].masks(("MA",))[0])
    np.testing.assert_array_equal(np.add(found, (top, left)), [(60, 80), (75, 101)])


def test_red_is_red(tmp_path):
    photograph(tmp_path / "in/images/eye.png", colour=(200, 60, 20))
    made(tmp_path / "in", tmp_path / "out", share=0)
    image = read_dataset(tmp_path / "out").cases[0].image()
    centre = image[image.shape[0] // 2, image.shape[1] // 2].astype(int)
    assert np.abs(centre - (200, 60, 20)).max() < 12


@pytest.mark.parametrize("level", [0, 255])
def test_a_photograph_that_shows_nothing_is_named(tmp_path, level):
    folder(tmp_path / "in")
    Image.new("RGB", SIZE[::-1], (level,) * 3).save(tmp_path / "in/images/eye1.jpg")
    with pytest.raises(UserError, match=r"eye1\.jpg shows nothing"):
        made(tmp_path / "in", tmp_path / "out")


def test_the_last_line_can_be_pasted(tmp_path):
    source = folder(tmp_path / "in")
    mask(source / "masks/OD" / "eye0_OD.png", (60, 80), (75, 101))
    out = tmp_path / "two words"
    script = REPOSITORY / "scripts/prepare.py"
    result = subprocess.run(
        [sys.executable, script, "folder", source, out, "--width", "100"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"--data '{out}' --lesions MA --out" in result.stderr.splitlines()[-1]


def test_a_prepared_set_trains(tmp_path):
    made(folder(tmp_path / "in"), tmp_path / "out")
    source = PatchSource(
        read_dataset(tmp_path / "out"), "train", Options(("MA",), 32, 1.0)
    )
    assert any((source.patch(k)[1] == 1).any() for k in range(10))


# --- Layouts


def test_eophtha_knows_what_nobody_looked_for(tmp_path):
    groups = read_groups(eophtha(tmp_path / "in"))
    cases = {case.name: case for case in groups["train"]}
    assert set(cases) == {"E01_C1", "E02_C1", "E03_C1", "HMA_DS1", "HEX_DS1"}
    assert {"EX", "HE", "SE"} <= cases["E01_C1"].unknown
    assert "MA" not in cases["E01_C1"].unknown
    assert not {"MA", "EX"} & cases["E02_C1"].unknown
    assert "MA" in cases["HEX_DS1"].unknown
    assert cases["E01_C1"].patient == "E01"
    one, other, _ = cases["E01_C1"].masks(("MA", "EX", "HE"))
    assert one.sum() == 1
    assert (other == 255).all()


def test_unknown_types_go_through_prepare_into_the_labels(tmp_path):
    made(eophtha(tmp_path / "in"), tmp_path / "out", layout="eophtha", share=0)
    dataset = read_dataset(tmp_path / "out", validation_share=0.2)
    by_name = {case.name: case for case in dataset.cases}
    assert "EX" in by_name["E01_C1"].unknown
    only = type(dataset)(dataset.root, (by_name["E01_C1"],), {"train": ("E01_C1",)})
    source = PatchSource(only, "train", Options(("MA", "EX"), 32, 1.0))
    label = source.patch(0)[1]
    assert (label[1] == 255).all()
    assert (label[0] == 0).any()


def test_a_mask_that_eophtha_lacks_is_named(tmp_path):
    (eophtha(tmp_path) / "e_optha_MA/Annotation_MA/E01/C1.png").unlink()
    with pytest.raises(UserError, match=r"E01.C1.jpg has no mask"):
        read_groups(tmp_path)


def test_eophtha_two_folders_deep_and_a_mask_of_another_patients_folder(tmp_path):
    root = eophtha(tmp_path / "download/e_ophtha")
    photograph(root / "e_optha_EX/EX/E03/X9.jpg")
    mask(root / "e_optha_EX/Annotation_EX/E77/X9_EX.png", (70, 99))
    (case,) = (
        c for c in read_groups(tmp_path / "download")["train"] if c.name == "E03_X9"
    )
    assert case.masks(("EX",)).sum() == 1


def test_ddr_has_its_own_subsets(tmp_path):
    manifest = made(ddr(tmp_path / "in"), tmp_path / "out", layout="ddr")
    dataset = read_dataset(tmp_path / "out")
    assert {k: len(v) for k, v in dataset.splits.items()} == {
        "train": 2, "validation": 2, "test": 2,
    }  # fmt: skip
    case = manifest["cases"]["valid0"]
    assert case["lesions"]["EX"]["pixels"] == 1
    assert case["lesions"]["HE"]["pixels"] == 0
    assert not (tmp_path / "out/masks/HE").exists()


def test_idrid_as_distributed(tmp_path):
    source = write_official_idrid(tmp_path / "in", 1100, (3, 8, 61))
    manifest = made(source, tmp_path / "out", layout="idrid", width=1000)
    names = ["IDRiD_03", "IDRiD_08", "IDRiD_61"]
    assert list(manifest["cases"]) == names
    assert manifest["cases"]["IDRiD_61"]["subset"] == "test"
    for case in manifest["cases"].values():
        assert case["size"][1] == 1000
        assert case["lesions"]["MA"]["count"] > 4
        assert case["lesions"]["EX"]["pixels"] > 0


# --- Subsets


def test_no_patient_is_in_two_subsets(tmp_path):
    groups = read_groups(eophtha(tmp_path))
    for seed in range(5):
        subsets = split(groups, settings(share=0.5, seed=seed))
        owners = [{name.split("_")[0] for name in names} for names in subsets.values()]
        assert not owners[0] & owners[1]
        assert all(owners)


def test_the_seed_decides_the_subsets(tmp_path):
    groups = read_groups(folder(tmp_path, 9))
    drawn = [tuple(split(groups, settings(seed=k))["validation"]) for k in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    assert len(drawn[0]) == 4


@pytest.mark.parametrize(
    ("layout", "write"),
    [("folder", lambda f: folder(f, 11)), ("eophtha", eophtha), ("ddr", ddr)],
)
def test_raw_and_prepared_data_are_validated_on_the_same(tmp_path, layout, write):
    source, out = write(tmp_path / "in"), tmp_path / "out"
    result = run(layout, source, out, "--workers", 1)
    assert result.returncode == 0, result.stderr
    raw, prepared = (read_dataset(place).splits for place in (source, out))
    assert {k: set(names) for k, names in raw.items()} == {
        k: set(names) for k, names in prepared.items()
    }
    assert raw["validation"]
    if layout == "folder":
        # Random: neighbouring names are often from one day or one patient.
        assert (
            raw["validation"] != tuple(sorted(c for s in raw.values() for c in s))[-3:]
        )


def test_a_split_file_decides_the_subsets(tmp_path):
    source = folder(tmp_path / "in")
    subsets = {"train": ["eye3"], "validation": ["eye1", "eye0"]}
    (source / "split.json").write_text(json.dumps(subsets))
    result = run("folder", source, tmp_path / "out", "--workers", 1)
    assert result.returncode == 0, result.stderr
    found = read_dataset(tmp_path / "out").splits
    assert {k: list(v) for k, v in found.items()} == subsets
    assert len(list((tmp_path / "out/images").iterdir())) == 3


# --- Refused and kept files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("truncated", "eye1.jpg cannot be decoded"),
        ("noise", "a mask has 0 and 1"),
        ("size", "give both the same size"),
        ("grey", "eye1.jpg has mode L"),
        ("twice", "both have the name 'eye1'"),
    ],
)
def test_bad_files_are_named_and_the_next_run_goes_on(tmp_path, change, message):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    image, truth = source / "images/eye1.jpg", source / "masks/MA/eye1_MA.png"
    kept = tmp_path / "kept.jpg"
    shutil.copy(image, kept)
    if change == "truncated":
        image.write_bytes(image.read_bytes()[:900])
    elif change == "noise":
        mask(truth, (50, 50), (51, 51), value=250)
    elif change == "size":
        Image.new("L", (20, 20)).save(truth)
    elif change == "grey":
        Image.open(image).convert("L").save(image)
    else:
        shutil.copy(image, image.with_suffix(".jpeg"))
    with pytest.raises(UserError, match=message):
        made(source, out)
    assert not out.exists()
    shutil.copy(kept, image)
    mask(truth, (50, 50))
    image.with_suffix(".jpeg").unlink(missing_ok=True)
    half = tmp_path / ".out.unfinished/images/eye0.png"
    before = half.stat().st_mtime_ns if half.exists() else None
    made(source, out)
    assert len(read_dataset(out).cases) == 5
    if before:
        assert (out / "images/eye0.png").stat().st_mtime_ns == before
    assert not half.parent.exists()


def test_a_prepared_set_follows_its_source(tmp_path):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    made(source, out)
    untouched = (out / "images/eye0.png").stat().st_mtime_ns
    mask(source / "masks/MA/eye2_MA.png")
    (source / "images/eye4.jpg").unlink()
    (source / "masks/MA/eye4_MA.png").unlink()
    manifest = made(source, out)
    assert set(manifest["cases"]) == {"eye0", "eye1", "eye2", "eye3"}
    assert not (out / "masks/MA/eye2.png").exists()
    assert not list(out.glob("**/eye4*"))
    assert (out / "images/eye0.png").stat().st_mtime_ns == untouched
    assert len(read_dataset(out).cases) == 4


def test_a_source_that_breaks_takes_nothing_from_a_finished_set(tmp_path):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    made(source, out)
    files = sorted(path for path in out.glob("[im]*/**/*.png"))
    before = {path: path.read_bytes() for path in files}
    (source / "images/eye1.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"eye1\.jpg"):
        made(source, out)
    assert {path: path.read_bytes() for path in files} == before
    assert len(read_dataset(out).cases) == 5


def test_a_full_disk_is_named_and_leaves_no_set(small_disk, tmp_path):
    source, out = folder(tmp_path / "in"), small_disk(60_000) / "out"
    with pytest.raises(UserError, match=r"is full after \d of 5 .*free some") as error:
        made(source, out)
    assert "Repair" not in str(error.value)
    assert not out.exists()


def test_another_folder_is_never_written_over(tmp_path):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    made(source, out)
    with pytest.raises(UserError, match="choose a new folder"):
        made(source, out, width=99)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="contains other files"):
        made(source, tmp_path / "other")


def test_names_with_spaces_and_signs_of_any_alphabet(tmp_path):
    source = tmp_path / "eyes of Müller 眼"
    photograph(source / "images/left ä 1.jpg")
    mask(source / "masks/HE/left ä 1.png", (70, 99))
    photograph(source / "images/.hidden.jpg")
    (source / "images/notes.txt").write_text("stray")
    made(source, tmp_path / "aus gabe", share=0)
    (case,) = read_dataset(tmp_path / "aus gabe").cases
    assert case.name == "left ä 1"
    assert case.masks(("HE",)).sum() == 1


@pytest.mark.parametrize("mode", ["palette", "bits", "sixteen"])
def test_masks_of_other_formats(tmp_path, mode):
    photograph(tmp_path / "in/images/eye.jpg")
    content = np.zeros(SIZE, np.uint8)
    content[70, 99] = 1
    path = tmp_path / "in/masks/MA/eye.png"
    path.parent.mkdir(parents=True)
    if mode == "palette":
        image = Image.fromarray(content, "P")
        image.putpalette([0, 0, 0, 255, 0, 0])
        image.save(path)
    elif mode == "bits":
        Image.fromarray(content.astype(bool)).save(path)
    else:
        Image.fromarray(content.astype(np.uint16) * 65535).save(path)
    made(tmp_path / "in", tmp_path / "out", share=0)
    assert read_dataset(tmp_path / "out").cases[0].masks(("MA",)).sum() == 1


# --- What a training takes from it


def train(*words):
    small = ["--iterations", 2, "--base-channels", 2, "--depth", 2, "--patch", 32]
    return subprocess.run(
        [
            *(sys.executable, REPOSITORY / "scripts/train.py"),
            *map(str, [*words, *small, "--test-iterations", 1]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_training_knows_frequencies_and_weights(caffe, tmp_path):
    out = tmp_path / "set"
    assert run("folder", folder(tmp_path / "in"), out, "--workers", 1).returncode == 0
    share = json.loads((out / "statistics.json").read_text())["MA"]["train"]["share"]
    common = ("--data", out, "--lesions", "MA", "--out", tmp_path / "run")
    result = train(
        *common, *("--loss", "exp-log:label_frequency=train"),
        *("--lesion-weights", "MA=2", "--lesion-draw", "lesion"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "run/train_val.prototxt").read_text()
    found = [
        float(line.split(":")[1])
        for line in text.splitlines()
        if "label_frequency" in line
    ]
    assert found[:2] == pytest.approx([1 - share, share], rel=1e-5)
    assert '\\"lesion_weights\\": {\\"MA\\": 2.0}' in text
    assert '\\"lesion_draw\\": \\"lesion\\"' in text
    for word in ("HE=1", "MA=-1", "MA"):
        result = train(*common, "--force", "--lesion-weights", word)
        assert result.returncode == 2
        assert f"--lesion-weights {word}" in result.stderr


def test_photographs_without_masks_are_healthy_ones(tmp_path):
    """They are prepared, split and counted like the others, and drawn on demand."""
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    for k in range(5):
        photograph(source / "images" / f"healthy{k}.jpg", 20 + k)
    manifest = made(source, out)
    healthy = {name for name in manifest["cases"] if name.startswith("healthy")}
    assert len(healthy) == 5
    assert not any(manifest["cases"][name]["lesions"] for name in healthy)
    found = read_dataset(out)
    assert sum(len(found.subset(name)) for name in ("train", "validation")) == 10
    own = Options(("MA",), 32, 0.0, healthy_share=1.0)
    patches = PatchSource(found, "train", own)
    expected = {c.name for c in found.subset("train")} & healthy
    assert {case.name for case in patches.places.healthy} == expected
    line = json.loads((tmp_path / "out/manifest.json").read_text())["cases"]
    assert {line[name]["subset"] for name in healthy} <= {"train", "validation"}
    small = made(source, tmp_path / "small", width=66)
    assert {max(small["cases"][name]["size"]) for name in healthy} <= set(range(60, 90))


def test_arrays_of_a_set_fit_it_and_are_kept_up_to_date(tmp_path):
    """First without them, then with; a new photograph and a removed one follow."""
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    plain = made(source, out)
    assert not (out / "arrays").exists()
    own = settings()

    def again(**more):
        groups = read_groups(source, own.layout)
        return prepare(groups, out, own, workers=1, **more)

    assert again(arrays=True) == plain
    for name in ("eye0", "eye4"):
        assert {p.suffix for p in (out / "arrays").glob(f"{name}.*")} == {
            ".npy",
            ".npz",
        }
    (source / "images/eye0.jpg").unlink()
    (source / "masks/MA/eye0_MA.png").unlink()
    photograph(source / "images/eye1.jpg", 77)
    again()
    assert not [*(out / "arrays").glob("eye0.*")]
    patches = PatchSource(read_dataset(out), "all", Options(("MA",), 32))
    for case in patches.ready:
        assert is_mapped(case.pixels), case.name


def test_arrays_of_large_sets_are_written_by_default(tmp_path, monkeypatch, caplog):
    """Unless the disk has no room for them, or they are refused."""
    from randrop.data import prepare as module

    source = folder(tmp_path / "in")
    monkeypatch.setattr(module, "LARGE", 5 * 4 * SIZE[0] * SIZE[1] + 1)
    made(source, tmp_path / "small")
    assert not (tmp_path / "small/arrays").exists()
    monkeypatch.setattr(module, "LARGE", 5 * 4 * SIZE[0] * SIZE[1])
    # Half of the width is a quarter of the size.
    made(source, tmp_path / "narrow", width=SIZE[1] // 2)
    assert not (tmp_path / "narrow/arrays").exists()
    caplog.set_level("INFO", "randrop")
    made(source, tmp_path / "large")
    assert (tmp_path / "large/arrays.json").exists()
    assert "--no-arrays leaves it out" in caplog.text
    prepare(read_groups(source), tmp_path / "without", settings(), 1, arrays=False)
    assert not (tmp_path / "without/arrays").exists()
    full = shutil.disk_usage(tmp_path)._replace(free=8 * 5 * SIZE[0] * SIZE[1] - 1)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: full)
    made(source, tmp_path / "full")
    assert not (tmp_path / "full/arrays").exists()
    assert "free some disk space" in caplog.text


def test_a_sheet_of_a_large_set_shows_some_of_it(tmp_path, monkeypatch):
    source = folder(tmp_path / "in", 7)
    manifest = made(source, tmp_path / "out")
    monkeypatch.setattr(contact_sheet, "MOST", 3)
    sheet = tmp_path / "sheet.png"
    contact_sheet.contact_sheet(tmp_path / "out", manifest, sheet)
    assert list(contact_sheet._some(manifest["cases"])) == ["eye0", "eye2", "eye4"]
    side = contact_sheet.SIDE + contact_sheet.GAP
    assert Image.open(sheet).width == 3 * side + contact_sheet.GAP


# --- The script


def run(*words):
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts/prepare.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_writes_a_sheet_and_statistics(tmp_path):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    result = run("folder", source, out, "--validation-share", 0.4, "--workers", 1)
    assert result.returncode == 0, result.stderr
    sheet = cv2.imread(str(out / "contact.png"))
    assert (sheet == COLOURS["MA"][::-1]).all(axis=2).any()
    found = json.loads((out / "statistics.json").read_text())
    assert found["MA"]["train"]["photographs"] == 3
    assert found["MA"]["train"]["lesions"] == 6
    assert "MA train" in result.stderr + result.stdout


def test_the_script_names_what_is_wrong(tmp_path):
    source = folder(tmp_path / "in", 2)
    for words, message in (
        (("folder", source, source / "out"), "which must stay unchanged"),
        (("idrid", source, tmp_path / "out"), "1. Original Images"),
        (("folder", tmp_path / "none", tmp_path / "out"), "is not a folder"),
        (("folder", source, tmp_path / "out", "--width", 3), "at least 64"),
        (("folder", source, tmp_path / "out", "--validation-share", 2), "below 1"),
    ):
        result = run(*words)
        assert result.returncode == 2
        assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_masks_is_for_prediction(tmp_path):
    photograph(tmp_path / "in/images/eye0.jpg")
    photograph(tmp_path / "in/images/eye1.jpg")
    (tmp_path / "in/masks/Microaneurysms").mkdir(parents=True)
    for masks in (True, False):
        out = tmp_path / f"out{masks}"
        result = run("folder", tmp_path / "in", out, "--workers", 1)
        assert result.returncode == 0, result.stderr
        assert "No mask has a lesion" in result.stderr
        assert "Train:" not in result.stderr
        assert ("name mask folders MA, HE" in result.stderr) == masks
        assert len(read_dataset(out).cases) == 2
        shutil.rmtree(tmp_path / "in/masks", ignore_errors=True)


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path):
    source = folder(tmp_path / "in", 2)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in ("file", "file/out", "file/deep/out", "x" * 300, "link/y"):
        result = run("folder", source, tmp_path / out, "--workers", 1)
        if out == "link/y":
            assert result.returncode == 0, result.stderr
            continue
        assert result.returncode == 2, result.stderr
        assert "Traceback" not in result.stderr
        assert str(tmp_path / out)[:200] in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_mask_pixels_outside_the_field_of_view_are_counted(tmp_path):
    source = folder(tmp_path / "in", 2)
    pixels = [(y, x) for y in range(60, 65) for x in range(183, 200)]
    mask(source / "masks/MA/eye1_MA.png", (75, 101), *pixels, (12, 75))
    for _ in range(2):  # reported again if everything is prepared already
        result = run("folder", source, tmp_path / "out", "--workers", 1)
        assert result.returncode == 0, result.stderr
        (line,) = (x for x in result.stderr.splitlines() if "field of view" in x)
        assert "eye1: 86 pixel(s) of its MA mask" in line
        assert "85 of them are cropped" in line
