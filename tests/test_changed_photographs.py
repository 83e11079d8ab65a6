"""A training whose photographs, or whose own split of them, were changed since."""

import json
import shutil

import cv2
import every_script
import pytest
from test_prepare import folder, run

from randrop.files import write_json

TRAINING = (
    *("--lesions", "MA", "--snapshot", 2, "--base-channels", 2, "--depth", 2),
    *("--patch", 32, "--batch", 1, "--test-interval", 2, "--test-iterations", 1),
    *("--workers", 0, "--validate-every", 0),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("in"), 5)


def prepare(source, data, *words):
    done = run("folder", source, data, "--workers", 1, *words)
    assert done.returncode == 0, done.stderr


def train(data, out, *words):
    given = ("train", "--data", data, "--out", out, *TRAINING, *words)
    return every_script.start(*given)


def split_of(data):
    return json.loads((data / "split.json").read_text())


@pytest.fixture
def trained(caffe, source, tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    prepare(source, data, "--width", 100)
    every_script.done(train(data, out, "--iterations", 2))
    return data, out


def other_split(data, path):
    """Write a split that validates on photographs of the training."""
    own = split_of(data)
    own["train"], own["validation"] = own["validation"], own["train"]
    path.write_text(json.dumps(own))
    return path


def change_by_hand(source, data):
    other_split(data, data / "split.json")


def change_by_prepare(source, data):
    own = other_split(data, data.parent / "other.json")
    prepare(source, data, "--width", 100, "--split", own)


def change_the_size(source, data):
    shutil.rmtree(data)
    prepare(source, data, "--width", 120)


def change_a_source(source, data):
    copy = shutil.copytree(source, data.parent / "copy")
    one, two = (copy / f"images/eye{k}.jpg" for k in (0, 1))
    one.write_bytes(two.read_bytes())
    shutil.rmtree(data)
    prepare(copy, data, "--width", 100)


@pytest.mark.parametrize(
    "change", [change_by_hand, change_by_prepare, change_the_size, change_a_source]
)
def test_it_does_not_go_on(source, trained, tmp_path, change):
    data, out = trained
    kept = shutil.copytree(data, tmp_path / "kept")
    change(source, data)
    before = (out / "run.json").read_bytes()
    for words in (("--iterations", 4, "--resume"), ("--iterations", 2)):
        refused = train(data, out, *words)
        assert refused.returncode == 2
        assert "was trained on other photographs" in refused.stderr
    assert (out / "run.json").read_bytes() == before

    maps = ("predict", "--run", out, "--data", data, "--out", tmp_path / "maps")
    predicted = every_script.start(*maps)
    if split_of(data) == split_of(kept):
        every_script.done(predicted)
    else:
        assert predicted.returncode == 2
        assert "has another split than at the training" in predicted.stderr
        # As the message says.
        every_script.done(every_script.start(*maps, "--split", kept / "split.json"))
    found = json.loads((tmp_path / "maps/prediction.json").read_text())
    assert sorted(found["seconds"]) == sorted(split_of(kept)["validation"])

    shutil.rmtree(data)
    kept.rename(data)
    every_script.done(train(data, out, "--iterations", 4, "--resume"))


def test_a_copy_of_its_split_is_as_good(source, caffe, tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    prepare(source, data, "--width", 100)
    split = other_split(data, tmp_path / "split.json")
    every_script.done(train(data, out, "--iterations", 2, "--split", split))
    copy = split.rename(tmp_path / "renamed.json")
    words = ("--iterations", 4, "--resume", "--split", copy)
    every_script.done(train(data, out, *words))


def test_photographs_that_were_moved_are_the_same(trained, tmp_path):
    """And run.json tells where they are now, for prediction."""
    data, out = trained
    moved = data.rename(tmp_path / "moved")
    refused = train(moved, out, "--iterations", 4, "--resume", "--lr", 0.5)
    assert refused.returncode == 2
    assert "settings (iterations 2 -> 4, lr 0.001 -> 0.5)" in refused.stderr
    every_script.done(train(moved, out, "--iterations", 4, "--resume"))
    assert json.loads((out / "run.json").read_text())["data"] == str(moved)
    words = ("--run", out, "--data", moved, "--out", tmp_path / "maps")
    every_script.done(every_script.start("predict", *words))


def test_moved_photographs_may_be_others_for_an_earlier_version(trained, tmp_path):
    """It did not know their masks."""
    data, out = trained
    facts = json.loads((out / "run.json").read_text())
    facts["files_sha256"] = None
    write_json(out / "run.json", facts)
    moved = data.rename(tmp_path / "moved")
    refused = train(moved, out, "--iterations", 4, "--resume")
    assert refused.returncode == 2
    assert f"other settings (data '{data}' -> '{moved}', " in refused.stderr


@pytest.fixture
def unprepared(source, tmp_path):
    """The photographs as they are, and a training on them."""
    data, out = shutil.copytree(source, tmp_path / "raw"), tmp_path / "run"
    every_script.done(train(data, out, "--iterations", 2))
    return data, out


def test_photographs_that_were_not_prepared_are_known_by_their_content(
    caffe, unprepared, tmp_path
):
    data, out = unprepared
    moved = data.rename(tmp_path / "moved")
    every_script.done(train(moved, out, "--iterations", 4, "--resume"))
    one, two = (moved / f"images/eye{k}.jpg" for k in (0, 1))
    one.write_bytes(two.read_bytes())
    refused = train(moved, out, "--iterations", 6, "--resume")
    assert refused.returncode == 2
    assert "was trained on other photographs" in refused.stderr
    assert "files_sha256" in refused.stderr


def test_snapshots_are_averaged_on_the_photographs_of_the_training(
    source, trained, tmp_path
):
    data, out = trained
    every_script.done(train(data, out, "--iterations", 4, "--resume"))
    words = ("--run", out, "--last", 2, "--batches", 1, "--no-measure")
    moved = data.rename(tmp_path / "moved")
    refused = every_script.start("average_snapshots", *words)
    assert refused.returncode == 2
    assert f"{data} is missing, that {out} was trained on: put it back" in (
        refused.stderr
    )
    shutil.copytree(moved, data)
    other_split(data, data / "split.json")
    refused = every_script.start("average_snapshots", *words)
    assert refused.returncode == 2
    assert "photographs_sha256" in refused.stderr
    assert not (out / "averaged.caffemodel").exists()
    shutil.rmtree(data)
    data.symlink_to(moved)
    every_script.done(every_script.start("average_snapshots", *words))


@pytest.mark.parametrize("how", ["gone", "other"])
def test_masks_that_were_changed_are_noticed(source, caffe, tmp_path, how):
    """In the same place and elsewhere, also where the set is prepared anew."""
    own = shutil.copytree(source, tmp_path / "own")
    data, out = tmp_path / "data", tmp_path / "run"
    prepare(own, data, "--width", 100)
    every_script.done(train(data, out, "--iterations", 2))
    name = split_of(data)["train"][0]
    (mask,) = (own / "masks/MA").glob(f"{name}*")
    if how == "gone":
        mask.unlink()
    else:
        pixels = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        cv2.rectangle(pixels, (90, 90), (110, 110), 255, -1)
        cv2.imwrite(str(mask), pixels)
    prepare(own, data, "--width", 100)
    prepare(own, tmp_path / "elsewhere", "--width", 100)
    for place in (data, tmp_path / "elsewhere"):
        refused = train(place, out, "--iterations", 4, "--resume")
        assert refused.returncode == 2
        assert "files_sha256" in refused.stderr


def test_a_set_that_is_being_changed_is_no_set_to_train_on(source, trained):
    data, out = trained
    path = data / "manifest.json"
    whole = path.read_bytes()
    write_json(path, json.loads(whole) | {"unfinished": True})
    refused = train(data, out, "--iterations", 4, "--resume")
    assert refused.returncode == 2
    assert "before it had finished: run it again" in refused.stderr
    prepare(source, data, "--width", 100)
    assert json.loads(path.read_bytes()) == json.loads(whole)
    every_script.done(train(data, out, "--iterations", 4, "--resume"))


def test_photographs_elsewhere_keep_the_split_of_the_training(
    source, trained, tmp_path
):
    """Or those that it was trained on would pass for held-out ones."""
    data, out = trained
    held_out = split_of(data)["validation"]
    moved = shutil.copytree(data, tmp_path / "moved")
    other_split(data, moved / "split.json")
    for name, more in (("own", ()), ("given", ("--split", data / "split.json"))):
        words = ("predict", "--run", out, "--data", moved, "--out", tmp_path / name)
        done = every_script.start(*words, *more)
        every_script.done(done)
        assert ("is taken for its data" in done.stderr) == (name == "own")
        found = json.loads((tmp_path / name / "prediction.json").read_text())
        assert sorted(found["seconds"]) == sorted(held_out)
    # A part of them, which no split fits.
    for path in moved.rglob(f"{held_out[0]}*"):
        path.unlink()
    names = [n for n in split_of(data)["train"] if n != held_out[0]]
    part = {"train": names[1:], "validation": names[:1]}
    (moved / "split.json").write_text(json.dumps(part))
    refused = every_script.start(*words[:5], "--out", tmp_path / "part")
    assert refused.returncode == 2
    assert "photographs with names of those that the network was" in refused.stderr


def test_a_training_of_an_earlier_version_goes_on(trained):
    data, out = trained
    facts = json.loads((out / "run.json").read_text())
    for key in ("photographs_sha256", "files_sha256", "split_sha256"):
        del facts[key]
    write_json(out / "run.json", facts)
    every_script.done(train(data, out, "--iterations", 4, "--resume"))
