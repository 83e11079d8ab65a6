"""What a recording holds: measures, maps, files; no Caffe is needed."""

import json
import shutil

import cv2
import h5py
import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, average_precision_score

from randrop.data import field_of_view, network_input, read_dataset
from randrop.data.organ_set import write_organs
from randrop.errors import UserError
from randrop.nets.losses import parse_losses
from randrop.surface import numpy_losses, recorder, recording, scenes, step_files
from randrop.surface.compared import channels_of, losses_of
from randrop.surface.measures import Channel
from randrop.surface.recording import Recording

PHOTOGRAPHS = {"loss": "random-drop", "lesions": ["MA", "HE"], "stride": 4}
FACTS = {
    "run": "run",
    "loss": "top-k",
    "activation": "sigmoid",
    "channels": ["MA", "HE"],
    "losses": ["top-k", "dice"],
    "iterations": [2, 4, 6],
    "network_sha256": "0",
    "data": {"name": 'a "<b>', "sha256": "1"},
    "size": [8, 6],
    "made_by": "randrop 0",
}
LOSSES = {
    "SIGMOID": (
        *("cross-entropy", "random-drop:LOG", "random-drop:SQU", "class-balanced"),
        *("top-k", "top-k:10", "bin", "focal", "dice", "top-k-dice", "tversky"),
        *("cross-entropy:normalization=VALID", "bin+dice:weight=3"),
    ),
    "SOFTMAX": (
        *("cross-entropy", "top-k", "focal:gamma=3", "dice", "top-k-dice", "tversky"),
        *("exp-log", "weighted-cross-entropy", "cross-entropy+top-k-dice:50"),
    ),
}


def predictions(seed=0, size=(40, 50)):
    rng = np.random.default_rng(seed)
    truth = (rng.random(size) < 0.1).astype(np.uint8)
    p = 1 / (1 + np.exp(-rng.normal(4.0 * truth - 3, 1.5)))
    truth[rng.random(size) < 0.2] = 255
    return p.astype(np.float32), truth


def measured(*pairs):
    channel = Channel()
    for p, truth in pairs:
        channel.add(p, truth)
    return channel.measures()


def test_measures_equal_those_of_others():
    p, truth = predictions()
    found = measured((p, truth))
    p, y = p[truth != 255].astype(float), truth[truth != 255]
    levels = np.rint(p * 65535)
    assert found["accuracy"] == accuracy_score(y, p >= 0.5)
    assert found["average_precision"] == pytest.approx(
        average_precision_score(y, levels), rel=1e-12
    )
    overlap = (y * p).sum() / (y.sum() + p.sum() - (y * p).sum())
    assert found["iou"] == pytest.approx(overlap, rel=1e-12)
    assert found["confidence_foreground"] == pytest.approx(p[y == 1].mean())
    assert found["confidence_background"] == pytest.approx((1 - p[y == 0]).mean())
    curve = found["reliability"]
    assert curve["edges"] == [k / 10 for k in range(11)]
    assert curve["count"] == np.histogram(p, curve["edges"])[0].tolist()
    frequency, confidence = calibration_curve(y, p, n_bins=10)
    np.testing.assert_allclose([c for c in curve["confidence"] if c], confidence)
    np.testing.assert_allclose(
        [f for f in curve["frequency"] if f is not None], frequency
    )
    weight = np.array([n for n in curve["count"] if n]) / y.size
    ece = (weight * np.abs(confidence - frequency)).sum()
    assert found["ece"] == pytest.approx(ece, rel=1e-12)


def test_images_are_pooled():
    first, second = predictions(1), predictions(2)
    both = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    apart, together = measured(first, second), measured(both)
    assert apart.pop("reliability")["count"] == together.pop("reliability")["count"]
    assert apart == pytest.approx(together, rel=1e-12)


def test_what_is_undefined_is_null():
    p, truth = predictions()
    nothing = measured((p, np.where(truth == 1, 0, truth).astype(np.uint8)))
    assert nothing["iou"] is nothing["confidence_foreground"] is None
    assert nothing["average_precision"] is None
    assert nothing["accuracy"] == (p[truth != 255] < 0.5).mean()
    assert measured((p, np.ones_like(truth)))["confidence_background"] is None
    p[truth == 255] = np.nan
    assert measured((p, truth))["iou"] is not None
    p[truth == 1] = np.nan
    for found in (measured((p, truth)), measured((p, np.full_like(truth, 255)))):
        curve = found.pop("reliability")
        assert set(found.values()) == {None}
        assert curve["confidence"] == curve["frequency"] == [None] * 10
        assert curve["count"] == [0] * 10
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("activation", "text"), [(a, text) for a in LOSSES for text in LOSSES[a]]
)
def test_the_mean_of_a_map_is_the_loss(activation, text):
    rng = np.random.default_rng(3)
    logits = rng.normal(-1, 2, (1, 3, 24, 32)).astype(np.float32)
    shape = logits.shape if activation == "SIGMOID" else (1, 1, 24, 32)
    label = (rng.random(shape) < 0.1).astype(np.uint8)
    label[..., :5] = 255
    losses = parse_losses(text, activation, [0.9, 0.06, 0.04], classes=3)
    result = numpy_losses.evaluate(losses, logits, label, 255, 1, 50)
    found = recorder.loss_map(result.per_pixel[0], label[0])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), label[0] == 255)
    assert np.nanmean(found, dtype=float) == pytest.approx(result.loss, rel=1e-6)
    stored = step_files.rounded(found)
    assert np.nanmean(stored, dtype=float) == pytest.approx(result.loss, rel=1e-4)


def test_rounding_keeps_twelve_bits():
    rng = np.random.default_rng(0)
    x = rng.normal(size=9999) * 10.0 ** rng.integers(-30, 30, 9999)
    x = np.append(x, [np.nan, np.inf, -np.inf, 0, 1, -1]).astype(np.float32)
    found = step_files.rounded(x)
    np.testing.assert_allclose(found, x, rtol=2.0**-13)
    assert np.abs(found[:9999] / x[:9999] - 1).max() > 2.0**-15
    assert not (found[:9999].view(np.uint32) & 0x7FF).any()


def test_rounding_keeps_both_ends_of_probabilities():
    logit = np.random.default_rng(0).uniform(-16, 16, 9999)
    p = (1 / (1 + np.exp(-logit))).astype(np.float32)
    found = step_files.rounded_probability(np.append(p, np.float32(np.nan)))
    assert found.dtype == np.float32
    assert np.isnan(found[-1])
    found = found[:-1]
    np.testing.assert_allclose(found, p, rtol=2.0**-13)
    np.testing.assert_allclose(1 - found, 1 - p, rtol=2.0**-13, atol=2.0**-24)
    np.testing.assert_array_equal(found >= 0.5, p >= 0.5)


def test_confidence_and_outcomes():
    p = np.array([[0.2, 0.8, 0.5, 0.4, 0.9, np.nan]], np.float32)
    truth = np.array([[0, 1, 0, 1, 255, 1]], np.uint8)
    np.testing.assert_allclose(
        recording.confidence(p, truth), [[0.8, 0.8, 0.5, 0.4, np.nan, np.nan]]
    )
    names = ("TRUE_NEGATIVE", "TRUE_POSITIVE", "FALSE_POSITIVE", "FALSE_NEGATIVE")
    names += ("IGNORED", "IGNORED")
    wanted = [[getattr(recording, name) for name in names]]
    assert recording.outcomes(p, truth).tolist() == wanted


def test_each_loss_is_compared_once():
    names = list(losses_of(PHOTOGRAPHS, None))
    assert names[:2] == ["random-drop", "cross-entropy"]
    assert names.count("random-drop") == 1
    given = ["random-drop:LOG", "focal:gamma=2", "focal", "random-drop:SQU"]
    found = losses_of(PHOTOGRAPHS, given)
    assert list(found) == ["random-drop", "focal:gamma=2", "random-drop:SQU"]
    softmax = {"loss": "exp-log", "labels": ["a", "b"], "frequency": [0.9, 0.1]}
    assert "random-drop" not in losses_of(softmax, None)
    both = {"loss": "cross-entropy", "lesions": ["MA"], "activation": "SOFTMAX"}
    assert channels_of(both) == ["background", "MA"]
    with pytest.raises(UserError, match="which the loss does not support"):
        losses_of(softmax, ["bin"])


@pytest.mark.parametrize(
    ("step", "iterations", "every"),
    [
        (1000, 4000, 1000),
        (200, 4000, 200),
        (100, 4000, 200),
        (100, 4100, 300),
        (3, 15, 3),
    ],
)
def test_twenty_snapshots_suffice(step, iterations, every):
    settings = {"snapshot": step, "iterations": iterations}
    assert recorder.every_of(settings) == every
    assert len(range(every, iterations + 1, every)) <= 20


# Images


def test_crops_hold_the_lesions(phantom):
    images = scenes.read(phantom, PHOTOGRAPHS, scenes.Choice(size=64, measured=2))
    assert [s.subset for s in images] == ["training", "training", "validation"]
    assert all(s.shown for s in images)
    settings = PHOTOGRAPHS | {"lesions": ["HE"]}
    one = scenes.read(phantom, settings, scenes.Choice(size=48, shown=1, measured=0))[0]
    mask = cv2.imread(str(phantom / f"masks/HE/{one.name}_HE.png"), 0) > 0
    windows = [
        mask[y : y + 48, x : x + 48].sum()
        for y in range(mask.shape[0] - 47)
        for x in range(mask.shape[1] - 47)
    ]
    assert (one.truth == 1).sum() == max(windows)
    cases = {case.name: case for case in read_dataset(phantom).cases}
    photo = cases[one.name].image()
    whole = scenes.read(phantom, settings, scenes.Choice(size=200, names=(one.name,)))
    (big,) = (s for s in whole if s.shown)
    height, width = photo.shape[:2]
    top, left = (200 - height) // 2, (200 - width) // 2
    inside = (slice(top, top + height), slice(left, left + width))
    np.testing.assert_array_equal(big.picture[inside], photo)
    field = field_of_view(photo)
    np.testing.assert_array_equal(
        big.input[(slice(None), *inside)], network_input(photo, field)
    )
    np.testing.assert_array_equal(big.truth[0][inside] == 255, ~field)
    assert (big.truth[0][:top] == 255).all()
    assert not big.input[:, :top].any()


def test_a_softmax_has_one_class_for_each_pixel(phantom):
    settings = PHOTOGRAPHS | {"activation": "SOFTMAX"}
    scene = scenes.read(phantom, settings, scenes.Choice(size=192))[0]
    assert scene.label.shape == (1, 192, 192)
    valid = scene.label[0] != 255
    assert valid.any()
    assert not valid.all()
    assert (scene.truth[:, valid].sum(0) == 1).all()
    assert (scene.truth[:, valid].argmax(0) == scene.label[0][valid]).all()
    assert (scene.truth[:, ~valid] == 255).all()


def test_labelled_images_are_whole(tmp_path):
    write_organs(tmp_path / "set", 16, labels=3, smallest=0.1, train=3, validation=1)
    settings = {"loss": "dice", "labels": ["background", "organ1", "organ2"]}
    settings["shape"] = [1, 16, 16]
    images = scenes.read(tmp_path / "set", settings, scenes.Choice(measured=3))
    names = [(s.name, s.shown) for s in images]
    assert names == [
        *(("train 0", True), ("train 1", True), ("train 2", False)),
        ("validation 0", True),
    ]
    with h5py.File(tmp_path / "set/train.h5") as file:
        np.testing.assert_array_equal(images[2].input, file["data"][2])
        np.testing.assert_array_equal(images[2].label, file["label"][2])
    other = settings | {"labels": ["background", "liver", "organ2"]}
    with pytest.raises(UserError, match="but the run was trained with"):
        scenes.read(tmp_path / "set", other, scenes.Choice())
    with pytest.raises(UserError, match="volumes, whose maps cannot be recorded"):
        scenes.read(tmp_path / "set", settings | {"shape": [1] * 4}, scenes.Choice())


def test_images_that_do_not_fit_are_refused(phantom, tmp_path):
    labelled = {"loss": "dice", "labels": ["a", "b"], "shape": [1, 16, 16]}
    for folder, settings, choice, words in (
        (tmp_path / "no", PHOTOGRAPHS, {}, "is missing: give the folder of the images"),
        (phantom, labelled, {}, "a labelled set, but .* holds photographs with masks"),
        (phantom, PHOTOGRAPHS, {"size": 62}, "--size 62 .* use 64"),
        (phantom, PHOTOGRAPHS, {"names": ("eye",)}, "has no image 'eye'"),
    ):
        with pytest.raises(UserError, match=words):
            scenes.read(folder, settings, scenes.Choice(**choice))


def test_other_pixels_have_another_digest(phantom):
    images = scenes.read(phantom, PHOTOGRAPHS, scenes.Choice(size=64))
    same = scenes.read(phantom, PHOTOGRAPHS, scenes.Choice(size=64))
    assert scenes.digest(images) == scenes.digest(same)
    same[0].truth[0, 3, 3] ^= 1
    assert scenes.digest(images) != scenes.digest(same)


# Files


def make_scenes():
    rng = np.random.default_rng(0)
    return [
        scenes.Scene(
            name, subset, True,
            rng.integers(0, 255, (8, 6, 3)).astype(np.uint8),
            np.zeros((3, 8, 6), np.float32),
            truth, truth,
        )
        for name, subset in (("<img src=\"x\">'", "training"), ("b", "validation"))
        for truth in [rng.integers(0, 2, (2, 8, 6)).astype(np.uint8)]
    ]  # fmt: skip


def make_step(folder, iteration):
    rng = np.random.default_rng(iteration)
    arrays = {
        name: rng.random((2, 2, 8, 6)).astype(np.float32)
        for name in ("probability", "loss/0", "loss/1")
    }
    arrays["kept/0"] = rng.integers(-1, 2, (2, 2, 8, 6)).astype(np.int8)
    path = folder / f"{recording.name_of(iteration)}.h5"
    attributes = {"measures": json.dumps({"k": iteration}), "weights_sha256": "a"}
    step_files.write_step(path, arrays, attributes)
    return arrays


@pytest.fixture
def written(tmp_path):
    """A recording, its arrays and the folder of its steps."""
    folder = tmp_path / "steps"
    arrays = {k: make_step(folder, k) for k in (6, 2, 4)}
    out = tmp_path / "recording.h5"
    step_files.join(out, FACTS, make_scenes(), step_files.found(folder), None)
    return out, arrays, folder


def test_what_is_written_is_read(written):
    out, arrays, _ = written
    with Recording.open(out) as file:
        assert file.facts == FACTS
        assert file.iterations == (2, 4, 6)
        assert file.names == ('<img src="x">\'', "b")
        assert file.subsets == ("training", "validation")
        for i, scene in enumerate(make_scenes()):
            np.testing.assert_array_equal(file.picture(i), scene.picture)
            np.testing.assert_array_equal(file.truth(i), scene.truth)
            for t, k in enumerate(file.iterations):
                own = {name: array[i] for name, array in arrays[k].items()}
                np.testing.assert_array_equal(
                    file.probability(t, i), own["probability"]
                )
                np.testing.assert_array_equal(file.loss(t, 1, i), own["loss/1"])
                np.testing.assert_array_equal(file.kept(t, 0, i), own["kept/0"])
                assert file.kept(t, 1, i) is None
        assert file.measures(2) == {"k": 6}


def test_a_recording_grows_to_the_same_bytes(written, tmp_path):
    out, _, folder = written
    steps, grown = step_files.found(folder), tmp_path / "grown.h5"
    for k, old in ((4, None), (2, grown), (6, grown)):
        step_files.join(grown, FACTS, make_scenes(), {k: steps[k]}, old)
    assert grown.read_bytes() == out.read_bytes()


def test_a_step_that_is_not_complete_does_not_count(written):
    out, *_ = written
    with h5py.File(out, "r+") as file:
        del file["steps/00000004"].attrs["complete"]
    with Recording.open(out) as file:
        assert file.iterations == (2, 6)


def with_attribute(path, name, value):
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "does not exist: record again"),
        (lambda p: p.write_text("{}"), "is damaged, truncated or not a recording"),
        (lambda p: p.write_bytes(p.read_bytes()[:-900]), "is damaged, truncated"),
        (lambda p: with_attribute(p, "format", "x"), "is not a recording .*'x'"),
        (lambda p: with_attribute(p, "version", 0), "version 0, which is older"),
        (lambda p: with_attribute(p, "version", 9), "newer than .*: update randrop"),
        (lambda p: with_attribute(p, "facts", "{"), "facts is not JSON"),
        (lambda p: with_attribute(p, "facts", "{}"), "facts: missing 'run'"),
        (
            lambda p: with_attribute(p, "facts", json.dumps(FACTS | {"size": [9, 6]})),
            "picture has shape .* the file is damaged",
        ),
    ],
)
def test_what_is_no_recording_is_refused(written, damage, words):
    out, *_ = written
    damage(out)
    with pytest.raises(UserError, match=words):
        Recording.open(out)


def test_a_folder_is_no_recording(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        Recording.open(tmp_path)


def test_a_full_disk_loses_nothing(written, tmp_path, small_disk):
    out, _, folder = written
    disk = small_disk(3 * out.stat().st_size)
    steps = disk / "recording.steps"
    shutil.copytree(folder, steps)
    target = disk / "recording.h5"
    step_files.join(target, FACTS, make_scenes(), {2: steps / "00000002.h5"}, None)
    before = target.read_bytes()
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass
    with pytest.raises(UserError, match=r"cannot write .*No space left"):
        step_files.join(target, FACTS, make_scenes(), step_files.found(steps), target)
    assert target.read_bytes() == before
    assert len(step_files.found(steps)) == 3
    with pytest.raises(UserError, match=r"cannot write .*No space left"):
        make_step(steps, 8)
    assert len(step_files.found(steps)) == 3
    (disk / "filler").unlink()
    step_files.join(target, FACTS, make_scenes(), step_files.found(steps), target)
    assert target.read_bytes() == out.read_bytes()
