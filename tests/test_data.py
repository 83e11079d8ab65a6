"""Data sets, patches and the data layer: what they accept and refuse."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from randrop.data import field_of_view, network_input, read_dataset
from randrop.data.patches import Options, PatchSource
from randrop.data.phantom import HEIGHT, fundus
from randrop.data.phantom_set import write_phantom
from randrop.errors import UserError
from randrop.pycaffe.build import REPOSITORY

SHARED = REPOSITORY.parent / "shared" / "data"
OPTIONS = Options(lesions=("MA", "HE"), patch=64)


@pytest.fixture
def copy(phantom, tmp_path):
    return shutil.copytree(phantom, tmp_path / "data")


def source(folder, subset="train", **options):
    settings = Options(**({"lesions": ("MA", "HE"), "patch": 64} | options))
    return PatchSource(read_dataset(folder), subset, settings)


# --- Phantom


def test_phantom_is_seeded_and_has_the_prevalence_of_real_photographs():
    image, _ = fundus(np.random.default_rng(5), 256)
    again, _ = fundus(np.random.default_rng(5), 256)
    np.testing.assert_array_equal(image, again)
    assert image.shape == (round(HEIGHT * 256), 256, 3)
    assert (image != fundus(np.random.default_rng(6), 256)[0]).any()
    shares = [
        [mask.mean() for mask in fundus(np.random.default_rng(k), 256)[1].values()]
        for k in range(12)
    ]
    ma, he = np.mean(shares, axis=0)
    assert 0.0005 < ma < 0.003
    assert 0.004 < he < 0.02


def test_phantom_lesions_are_darker_than_what_surrounds_them():
    image, masks = fundus(np.random.default_rng(1), 384)
    green = image[..., 1].astype(float)
    for mask in masks.values():
        around = cv2.dilate(mask, np.ones((9, 9))) > mask
        assert green[mask > 0].mean() < 0.92 * green[around].mean()


def test_phantom_set_is_written_once_and_never_over_something_else(tmp_path):
    folder = tmp_path / "set"
    manifest = write_phantom(folder, images=2, size=128, workers=1)
    for name, lesions in manifest["cases"].items():
        for lesion, numbers in lesions.items():
            path = folder / "masks" / lesion / f"{name}_{lesion}.png"
            assert (cv2.imread(str(path), 0) > 0).sum() == numbers["pixels"]
    time = (folder / "manifest.json").stat().st_mtime_ns
    write_phantom(folder, images=2, size=128, workers=1)
    assert (folder / "manifest.json").stat().st_mtime_ns == time
    write_phantom(folder, images=3, size=128, workers=1)
    assert len(list((folder / "images").iterdir())) == 3
    with pytest.raises(UserError, match=f"{tmp_path} contains {folder}, which "):
        write_phantom(tmp_path, images=2, size=128)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="contains other files"):
        write_phantom(theirs, images=2, size=128)
    assert [p.name for p in theirs.iterdir()] == ["thesis.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set", "theirs"]


@pytest.mark.parametrize(
    "wrong", [{"images": 1}, {"size": 64}, {"lesions": ["XX"]}, {"seed": -1}]
)
def test_phantom_parameters_out_of_range(tmp_path, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        write_phantom(tmp_path / "set", **({"images": 2} | wrong))


def test_phantom_on_a_full_disk_leaves_nothing(small_disk):
    disk = small_disk(60_000)
    with pytest.raises(UserError, match="No space left"):
        write_phantom(disk / "set", images=4, size=256, workers=1)
    assert list(disk.iterdir()) == []


# --- Layouts and bad input


def idrid(official_idrid, scaled):
    """The synthetic tree, and the real photographs if they are available."""
    real = SHARED / ("idrid_1440" if scaled else "idrid_original")
    return [official_idrid, *([real] if real.exists() else [])]


def test_idrid_as_distributed(official_idrid):
    for folder in idrid(official_idrid, scaled=False):
        dataset = read_dataset(folder)
        assert {f"IDRiD_{k:02}" for k in range(1, 55)} <= {
            case.name for case in dataset.cases
        }
        case = dataset.cases[0]
        masks = case.masks(("MA", "HE", "EX"))
        size = Image.open(case.image_path).size[::-1]
        assert case.image().shape == (*size, 3)
        assert masks.shape == (3, *size)
        assert set(np.unique(masks)) == {0, 1}
        assert 1e-5 < masks[0].mean() < 0.01
        field = field_of_view(case.image())
        assert 0.6 < field.mean() < 0.95
        assert field[masks.any(0) > 0].mean() > 0.99


def test_idrid_scaled(official_idrid, tmp_path):
    """The same photographs and masks in plain folders."""
    plain = tmp_path / "plain"
    shutil.copytree(next(official_idrid.glob("1*/a*")), plain / "images")
    for folder in official_idrid.glob("2*/a*/*"):
        lesion = next(folder.iterdir()).stem[-2:]
        shutil.copytree(folder, plain / "masks" / lesion)
    for folder in idrid(plain, scaled=True):
        dataset = read_dataset(folder)
        assert len(dataset.cases) == 54
        assert len(dataset.subset("train")) + len(dataset.subset("validation")) == 54
        assert dataset.lesions == ("MA", "HE", "EX", "SE")


def test_masks_of_0_and_1_and_of_0_and_255_are_the_same(copy):
    before = read_dataset(copy).cases[0].masks(("MA",))
    path = next((copy / "masks" / "MA").glob("phantom_0000*"))
    Image.fromarray(cv2.imread(str(path), 0) // 255).save(path)
    np.testing.assert_array_equal(read_dataset(copy).cases[0].masks(("MA",)), before)


def test_a_missing_mask_means_no_lesion(copy):
    next((copy / "masks" / "MA").glob("phantom_0000*")).unlink()
    assert not read_dataset(copy).cases[0].masks(("MA",)).any()


def test_an_image_that_cannot_be_read_is_named_with_the_count_of_good_ones(copy):
    path = copy / "images" / "phantom_0001.jpg"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(
        UserError, match=r"1 of 3 images cannot be used, 2 can:\n.*phantom_0001\.jpg"
    ):
        source(copy)


def test_grey_photographs_and_noisy_masks_are_refused_by_name(copy):
    image = copy / "images" / "phantom_0000.jpg"
    Image.open(image).convert("L").save(image)
    with pytest.raises(UserError, match=r"phantom_0000\.jpg has mode L"):
        source(copy)
    mask = next((copy / "masks" / "HE").glob("phantom_0001*"))
    noisy = cv2.imread(str(mask), 0)
    noisy[:2, :2] = [[1, 3], [252, 254]]
    cv2.imwrite(str(mask), noisy)
    with pytest.raises(UserError, match=rf"{mask.name} has the values"):
        source(copy)


def test_image_and_mask_of_different_size(copy):
    mask = next((copy / "masks" / "MA").glob("phantom_0000*"))
    cv2.imwrite(str(mask), np.zeros((10, 20), np.uint8))
    with pytest.raises(UserError, match=r"0000\.jpg is 192 x 150 .*MA\.png is 20 x 10"):
        source(copy)


def test_no_lesion_in_any_mask(copy):
    for path in copy.glob("masks/*/*.png"):
        cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), 0)))
    with pytest.raises(UserError, match="no mask has a lesion: MA, HE of the 3 image"):
        source(copy)


def test_one_empty_mask_does_not_matter(copy):
    path = next((copy / "masks" / "MA").glob("phantom_0000*"))
    cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), 0)))
    source(copy).patch(0)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"train": ["phantom_0000", "nobody"], "validation": ["phantom_0001"]},
            "nobody",
        ),
        ({"train": ["phantom_0000"], "validation": ["phantom_0000"]}, "phantom_0000"),
        ({"train": ["phantom_0000"]}, "validation"),
        ([1], "split"),
    ],
)
def test_splits_that_cannot_be(copy, split, message):
    (copy / "split.json").write_text(json.dumps(split))
    with pytest.raises(UserError, match=message):
        read_dataset(copy).subset("validation")


def test_folders_without_images(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match="images/ and masks/MA"):
        read_dataset(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="contains no image"):
        read_dataset(tmp_path)
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"Unpack \S+images\.zip first"):
        read_dataset(tmp_path)
    (tmp_path / "images").rmdir()
    with pytest.raises(UserError, match=r"Unpack \S+images\.zip first"):
        read_dataset(tmp_path)


def test_folders_that_are_not_readable_are_passed_over(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    whole = Path.iterdir

    def refused(path):
        if path.name == "closed":
            raise PermissionError
        return whole(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(UserError, match="does not have the folders of a data set"):
        read_dataset(tmp_path)


def test_photographs_in_other_formats_are_told(phantom, tmp_path, caplog):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    whole = len(read_dataset(copy).cases)
    assert "format is not read" not in caplog.text
    for name in ("eye.webp", "eye.HEIC", ".eye.webp"):
        (copy / "images" / name).write_bytes(b"RIFF")
    assert len(read_dataset(copy).cases) == whole
    assert "eye.HEIC" in caplog.text
    assert "2 file(s) are skipped, because their format is not read" in caplog.text


def test_unknown_lesion_types(phantom):
    with pytest.raises(UserError, match="unknown lesion type 'XX'"):
        source(phantom, lesions=("XX",))


# --- What the network sees


def test_network_input_is_local_contrast():
    image, _ = fundus(np.random.default_rng(2), 256)
    field = field_of_view(image)
    x = network_input(image, field)
    assert x.dtype == np.float32
    assert (x[:, ~field] == 0).all()
    inside = x[:, field]
    assert abs(inside.mean()) < 0.2
    assert inside.std() == pytest.approx(1, abs=0.2)
    darker = np.rint(image * 0.7).astype(np.uint8)
    assert np.corrcoef(network_input(darker, field).ravel(), x.ravel())[0, 1] > 0.97


def test_red_stays_red():
    """Channels are red, green, blue: a red spot is bright only in channel 0."""
    image = np.full((128, 128, 3), 100, np.uint8)
    image[60:68, 60:68] = (220, 100, 100)
    x = network_input(image)
    assert x[0, 64, 64] > 2
    assert abs(x[1:, 64, 64]).max() < 0.1


def test_patch_k_depends_on_seed_and_k_alone(phantom):
    first, second = source(phantom), source(phantom)
    for k in (3, 0, 3):
        for one, other in zip(first.patch(k), second.patch(k), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (first.patch(0)[0] != first.patch(1)[0]).any()
    assert (source(phantom, seed=2).patch(0)[0] != first.patch(0)[0]).any()


def test_lesion_share_centres_patches_on_lesions(phantom):
    with_lesion = {}
    for share in (0.0, 1.0):
        patches = source(phantom, lesion_share=share, patch=32)
        with_lesion[share] = np.mean(
            [(patches.patch(k)[1] == 1).any() for k in range(60)]
        )
    assert with_lesion[1.0] > 0.9
    assert with_lesion[0.0] < with_lesion[1.0] - 0.2


def test_labels_move_with_the_image_and_small_lesions_survive(tmp_path):
    """A field of 2 x 2 pixel dots: dark in the image, 1 in the label, after any
    rotation; and none is lost."""
    image = np.full((200, 200, 3), 150, np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    for y in range(20, 190, 20):
        for x in range(20, 190, 20):
            mask[y : y + 2, x : x + 2] = 1
    image[mask > 0] = 60
    (tmp_path / "images").mkdir()
    (tmp_path / "masks" / "MA").mkdir(parents=True)
    for name in "ab":
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(mask * 255).save(tmp_path / "masks" / "MA" / f"{name}.png")
    patches = source(tmp_path, lesions=("MA",), patch=64)
    for k in range(20):
        x, label = patches.patch(k)
        lesion, valid = label[0] == 1, label[0] != 255
        assert x[1][lesion].mean() < x[1][valid & ~lesion].mean() - 2
        expected = valid.sum() / 400
        dots = cv2.connectedComponents(lesion.astype(np.uint8))[0] - 1
        assert dots > 0.6 * expected - 3


def test_outside_of_the_field_of_view_is_ignored(phantom):
    patches = source(phantom, lesion_share=0.0)
    labels = np.stack([patches.patch(k)[1] for k in range(30)])
    assert set(np.unique(labels)) == {0, 1, 255}
    inputs = np.stack([patches.patch(k)[0] for k in range(30)])
    outside = np.repeat(labels[:, :1] == 255, 3, axis=1)
    # Except on the rim, where a warped pixel lies between eye and frame.
    assert (inputs[outside] != 0).mean() < 0.1
    assert (inputs[~outside] != 0).mean() > 0.9
