"""Where training patches lie and what is done to them, beyond the defaults."""

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from randrop.data import read_dataset
from randrop.data.augmentation import augmented
from randrop.data.false_alarms import GENERATOR, centres_of
from randrop.data.patch_options import MORE_DEFAULTS, Options, check_more, more_of
from randrop.data.patches import PatchSource
from randrop.errors import UserError
from randrop.nets.feeds import PatchFeed

OPTIONS = Options(("MA", "HE"), 64)
SIDE = 320


def source(folder, **options):
    own = dataclasses.replace(OPTIONS, **options)
    return PatchSource(read_dataset(folder), "train", own)


@pytest.fixture
def copy(phantom, tmp_path):
    return shutil.copytree(phantom, tmp_path / "set")


def without_lesions(folder, name="phantom_0001"):
    for path in folder.glob(f"masks/*/{name}*"):
        path.unlink()
    return name


def alarms_file(path, names, sizes, places, lesion="MA"):
    one = [{"type": lesion, "x": x, "y": y, "probability": 0.5} for x, y in places]
    content = {"generator": GENERATOR, "lesions": ["MA", "HE"]}
    content["photographs"] = {
        name: {"size": list(size), "alarms": one}
        for name, size in zip(names, sizes, strict=True)
    }
    path.write_text(json.dumps(content))
    return path


def drawn(patches, number=200):
    """Names and centres of patches."""
    found = [patches.places.draw(np.random.default_rng(k)) for k in range(number)]
    return [case.name for case, _ in found], np.array([centre for _, centre in found])


# --- Photographs without lesions


def test_photographs_without_lesions_are_drawn_for_their_share(copy):
    name = without_lesions(copy)
    options = {"lesion_share": 0.2, "healthy_share": 0.6}
    patches = source(copy, **options)
    assert [case.name for case in patches.places.healthy] == [name]
    names, _ = drawn(patches, 400)
    # And a third of what lies anywhere.
    assert names.count(name) / 400 == pytest.approx(0.6 + 0.2 / 3, abs=0.07)
    only = source(copy, lesion_share=0.0, healthy_share=1.0)
    assert set(drawn(only, 50)[0]) == {name}
    assert not any((only.patch(k)[1] == 1).any() for k in range(5))


def test_photographs_where_nobody_looked_are_not_healthy(copy):
    """Even without a mask: a lesion may be there."""
    name = without_lesions(copy)
    (copy / "manifest.json").write_text(
        json.dumps({"cases": {name: {"unknown": ["HE"]}}})
    )
    case = next(c for c in read_dataset(copy).cases if c.name == name)
    assert case.unknown == {"HE"}
    with pytest.raises(UserError, match=r"no image in subset 'train' of .* is free of"):
        source(copy, healthy_share=0.1)
    patches = source(copy, lesions=("MA",), healthy_share=0.1)
    assert [c.name for c in patches.places.healthy] == [name]


# --- False alarms


def test_patches_are_centred_near_false_alarms_for_their_share(copy, tmp_path):
    names = ["phantom_0000", "phantom_0002"]
    sizes = [c.size() for c in read_dataset(copy).cases if c.name in names]
    path = alarms_file(tmp_path / "fa.json", names, sizes, [(90, 70)])
    options = {"false_alarms": str(path), "lesion_share": 0.0}
    patches = source(copy, **options, false_alarm_share=1.0, patch=30)
    found, centres = drawn(patches)
    assert set(found) == set(names)
    assert (np.abs(centres - (90, 70)) <= 10).all()
    half = source(copy, **options, false_alarm_share=0.5, patch=30)
    near = (np.abs(drawn(half, 400)[1] - (90, 70)) <= 10).all(axis=1)
    assert near.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["phantom_0003"]}, "has no false alarm of MA, HE in these 3"),
        ({"sizes": [(10, 20)]}, "was 20 x 10 pixels, but is 192 x 150 here"),
        ({"places": [(400, 10)]}, "a false alarm lies outside phantom_0000"),
        ({"lesion": "EX"}, "has no false alarm of MA, HE"),
        ({"lesion": "XX"}, "type"),
    ],
)
def test_false_alarms_that_do_not_fit(copy, tmp_path, change, message):
    arguments = {"names": ["phantom_0000"], "sizes": [(150, 192)], "places": [(9, 9)]}
    path = alarms_file(tmp_path / "fa.json", **(arguments | change))
    with pytest.raises(UserError, match=message):
        source(copy, false_alarms=str(path), false_alarm_share=0.1)


def test_false_alarms_of_other_files_are_refused(tmp_path):
    path = tmp_path / "fa.json"
    with pytest.raises(UserError, match="find_false_alarms"):
        centres_of(path, {"a": (9, 9)}, ["MA"])
    path.write_text('{"generator": "randrop prepare"}')
    with pytest.raises(UserError, match="generator"):
        centres_of(path, {"a": (9, 9)}, ["MA"])


# --- Pasting


def write_grey(folder, name, lesions, more=None):
    """Write a grey photograph with dark dots of 5 x 5 pixels at (x, y)."""
    rng = np.random.default_rng(len(name))
    image = np.full((SIDE, SIDE, 3), 150.0) + rng.normal(0, 3, (SIDE, SIDE, 3))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for x, y in lesions:
        mask[y - 2 : y + 3, x - 2 : x + 3] = 255
    image[mask > 0] -= 70
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
        folder / "images" / f"{name}.png"
    )
    masks = {"MA": mask}
    for structure, there in (more or {}).items():
        masks[structure] = there.astype(np.uint8) * 255
    for lesion, content in masks.items():
        (folder / "masks" / lesion).mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(folder / "masks" / lesion / f"{name}.png")


@pytest.fixture(params=["OD", "EX"])
def dots(request, tmp_path):
    """A photograph with three lesions, one without and with other things, one more."""
    half = np.zeros((SIDE, SIDE), bool)
    half[:, : SIDE // 2] = True
    write_grey(tmp_path / "set", "source", [(60, 60), (200, 90), (120, 250)])
    write_grey(tmp_path / "set", "target", [], {request.param: half})
    write_grey(tmp_path / "set", "validation", [(60, 60)])
    (tmp_path / "set/split.json").write_text(
        json.dumps({"train": ["source", "target"], "validation": ["validation"]})
    )
    return tmp_path / "set"


def test_pasted_lesions_are_dark_where_their_label_is(dots):
    """From the photograph without lesions, with and without pasting."""
    options = {"lesions": ("MA",), "patch": 128, "augment": False}
    options |= {"lesion_share": 0.0, "healthy_share": 1.0}
    plain, more = source(dots, **options), source(dots, **options, paste=3.0)
    lesions = 0
    for k in range(12):
        before, none = plain.patch(k)
        after, label = more.patch(k)
        there = label[0] == 1
        assert not (none == 1).any()
        lesions += cv2.connectedComponents(there.astype(np.uint8))[0] - 1
        # What is not near a pasted lesion is what it was.
        near = cv2.dilate(there.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
        np.testing.assert_array_equal(after[:, ~near], before[:, ~near])
        if there.any():
            ring = near & ~there
            assert after[1][there].mean() < before[1][there].mean() - 2
            # No seam and no offset: the surroundings are as bright as before.
            assert abs(after[1][ring].mean() - before[1][ring].mean()) < 0.3
            assert after[1][ring].std() < 1.3 * before[1][ring].std() + 0.3
    assert lesions / 12 == pytest.approx(3, abs=1.2)


def test_pasted_lesions_keep_off_disc_other_lesions_and_frame(dots):
    options = {"lesions": ("MA",), "patch": 128, "augment": False, "paste": 3.0}
    patches = source(dots, **options, lesion_share=0.0, healthy_share=1.0)
    for k in range(12):
        case, centre = patches.places.draw(np.random.default_rng((1, k)))
        left = round(centre[0]) - 64
        label = patches.patch(k)[1][0]
        columns = np.flatnonzero((label == 1).any(axis=0)) + left
        assert (columns >= SIDE // 2).all()
        assert case.name == "target"


def test_pasted_lesions_do_not_cover_others(dots):
    options = {"lesions": ("MA",), "patch": 64, "augment": False, "lesion_share": 1.0}
    plain, more = source(dots, **options), source(dots, **options, paste=2.0)
    added = 0
    for k in range(12):
        before, after = plain.patch(k)[1], more.patch(k)[1]
        assert (after[before == 1] == 1).all()
        assert (after[before == 255] == 255).all()
        added += (after == 1).sum() > (before == 1).sum()
    assert added > 6


def test_an_unknown_type_stays_unknown_under_a_pasted_lesion(dots):
    """The source was not looked at for HE: nobody knows what comes along."""
    (dots / "manifest.json").write_text(
        json.dumps({"cases": {"source": {"unknown": ["HE"]}}})
    )
    options = {"lesions": ("MA", "HE"), "patch": 128, "augment": False, "paste": 3.0}
    patches = source(dots, **options, lesion_share=0.0, healthy_share=1.0)
    label = np.stack([patches.patch(k)[1] for k in range(8)])
    assert (label[:, 0] == 1).any()
    assert (label[:, 1][label[:, 0] == 1] == 255).all()


def test_pasting_depends_on_seed_and_number_alone(phantom):
    first, second = source(phantom, paste=2.0), source(phantom, paste=2.0)
    for k in (3, 0, 3):
        for one, other in zip(first.patch(k), second.patch(k), strict=True):
            np.testing.assert_array_equal(one, other)


# --- Colour, blur, noise


def image_of_noise(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((48, 48, 3)).astype(np.float32)


INSIDE = np.arange(48 * 48).reshape(48, 48) % 48 < 40


def test_no_augmentation_changes_nothing_inside():
    image = image_of_noise()
    found = augmented(np.random.default_rng(1), image, INSIDE)
    np.testing.assert_array_equal(found[INSIDE], image[INSIDE])


def test_colour_mixes_the_channels_linearly():
    image = image_of_noise()
    found = augmented(np.random.default_rng(1), image, INSIDE, colour=0.2)
    pixels = image[INSIDE].astype(float)
    mix, residue, *_ = np.linalg.lstsq(pixels, found[INSIDE].astype(float))
    assert residue.max() < 1e-6
    assert 0.02 < np.abs(mix - np.eye(3)).mean() < 0.6


def test_blur_smooths_half_of_the_patches_and_keeps_the_mean():
    spread = []
    for k in range(60):
        image = image_of_noise(k)
        found = augmented(np.random.default_rng(k), image, INSIDE, blur=1.5)
        spread.append(found[INSIDE].std() / image[INSIDE].std())
    assert 0.3 < np.mean(np.array(spread) == 1) < 0.7
    assert min(spread) < 0.6
    assert max(spread) == 1


def test_noise_adds_up_to_its_limit():
    zero = np.zeros((48, 48, 3), np.float32)
    spread = [
        augmented(np.random.default_rng(k), zero, INSIDE, noise=0.5)[INSIDE].std()
        for k in range(60)
    ]
    assert max(spread) <= 0.55
    assert min(spread) < 0.1
    assert np.mean(spread) == pytest.approx(0.25, abs=0.07)


def test_outside_of_the_field_of_view_stays_zero():
    image = image_of_noise() * INSIDE[..., None]
    found = augmented(np.random.default_rng(1), image, INSIDE, 0.2, 1.5, 0.5)
    assert (found[~INSIDE] == 0).all()


def test_the_augmentations_leave_labels_and_places_alone(phantom):
    plain = source(phantom)
    more = source(phantom, colour=0.1, blur=1.0, noise=0.2)
    for k in range(4):
        (one, label), (other, same) = plain.patch(k), more.patch(k)
        np.testing.assert_array_equal(label, same)
        assert (one != other).any()
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.5


# --- The options together


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"healthy_share": 0.6}, "--lesion-share 0.5, --healthy-share 0.6"),
        ({"healthy_share": -0.1}, "--healthy-share is -0.1"),
        ({"false_alarm_share": 0.1}, "need each other"),
        ({"false_alarms": "a.json"}, "need each other"),
        ({"paste": -1}, "--paste is -1"),
        ({"noise": 1e9}, "--noise is 1e"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        check_more(options)


def test_validation_leaves_the_options_of_training_out(caffe):
    """So that its loss can be compared; and what is a default is not written."""
    more = {"paste": 1.0, "lesion_draw": "lesion", "blur": 0.0}
    assert more_of(more) == {"paste": 1.0, "lesion_draw": "lesion"}
    feed = PatchFeed({"root": "here", "lesions": ["MA"], **more_of(more)})
    texts = {}
    for phase, subset in ((caffe.TRAIN, "train"), (caffe.TEST, "validation")):
        spec = caffe.NetSpec()
        spec.data, spec.label = feed.layer(caffe, subset, phase)
        texts[subset] = str(spec.to_proto())
    assert all(name in texts["train"] for name in more_of(more))
    assert not any(name in texts["validation"] for name in MORE_DEFAULTS)
