"""A training whose photographs, or whose own split of them, were changed since."""

import json
import shutil

import every_script
import pytest
from test_prepare import folder, run

from randrop.data import read_dataset
from randrop.data.datasets import digests
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


def test_without_their_sources_moved_photographs_may_be_others(trained, tmp_path):
    data, out = trained
    (data / "manifest.json").unlink()
    facts = json.loads((out / "run.json").read_text())
    facts["photographs_sha256"] = digests(read_dataset(data))[1]
    write_json(out / "run.json", facts)
    moved = data.rename(tmp_path / "moved")
    refused = train(moved, out, "--iterations", 4, "--resume")
    assert refused.returncode == 2
    assert f"other settings (data '{data}' -> '{moved}', " in refused.stderr


def test_a_training_of_an_earlier_version_goes_on(trained):
    data, out = trained
    facts = json.loads((out / "run.json").read_text())
    for key in ("photographs_sha256", "split_sha256"):
        del facts[key]
    write_json(out / "run.json", facts)
    every_script.done(train(data, out, "--iterations", 4, "--resume"))
