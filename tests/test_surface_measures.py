"""`surface.py measures`: the measures of recordings as JSON; no Caffe is needed."""

import argparse
import json

import h5py
import numpy as np
import pytest
import surface_files

from randrop.errors import UserError
from randrop.surface.commands import measures as command
from randrop.surface.recording import Recording
from randrop.surface.summary import MEASURES


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


@pytest.mark.parametrize("subset", ["training", "validation"])
def test_measures_are_those_of_the_recordings(tmp_path, subset):
    a = surface_files.write_recording(tmp_path / "a.h5")
    losses = ("focal:gamma=5", "dice")
    b = surface_files.write_recording(tmp_path / "b.h5", run="<b>", losses=losses)
    out = tmp_path / "measures.json"
    assert run(a, b, "--subset", subset, "--out", out) == 0
    content = json.loads(out.read_text())
    assert content["subset"] == subset
    assert [x["run"] for x in content["recordings"]] == ["run", "<b>"]
    for path, found in zip((a, b), content["recordings"], strict=True):
        with Recording.open(path) as recording:
            steps = range(len(recording.iterations))
            every = [recording.measures(t)[subset] for t in steps]
            i = recording.subsets.index(subset)
            truth = recording.truth(i)
            last = recording.probability(len(steps) - 1, i)
            loss = recording.facts["loss"]
        assert found["iterations"] == [100, 200, 400]
        wanted = [m["loss"][loss] for m in every]
        np.testing.assert_allclose(found["training_loss"], wanted, atol=1e-6)
        for c, channel in enumerate(("MA", "HE")):
            for name in MEASURES:
                wanted = [m["channels"][channel][name] for m in every]
                values = found["channels"][channel][name]
                np.testing.assert_allclose(values, wanted, atol=1e-6)
            found_there, there = last[c] >= 0.5, truth[c] == 1
            found_there &= truth[c] != 255
            iou = (found_there & there).sum() / (found_there | there).sum()
            values = found["channels"][channel]["binary_iou"]
            assert values[-1] == pytest.approx(iou, abs=1e-6)
            share = (truth[c] == 1).sum() / (truth[c] != 255).sum()
            assert found["channels"][channel]["foreground_share"] == pytest.approx(
                share, abs=1e-6
            )


def test_an_undefined_measure_is_null(tmp_path):
    path = surface_files.write_recording(tmp_path / "a.h5", iterations=(100,))
    with h5py.File(path, "a") as file:
        step = file["steps/00000100"].attrs
        content = json.loads(step["measures"])
        content["validation"]["channels"]["MA"]["iou"] = None
        curve = content["validation"]["channels"]["MA"]["reliability"]
        curve["frequency"], curve["count"] = [None] * 10, [0] * 10
        content["validation"]["loss"] = {}
        step["measures"] = json.dumps(content)
    assert run(path, "--out", tmp_path / "a.json") == 0
    (found,) = json.loads((tmp_path / "a.json").read_text())["recordings"]
    channel = found["channels"]["MA"]
    assert channel["iou"] == [None] == found["training_loss"]
    assert channel["binary_iou"] == [None]
    assert channel["foreground_share"] is None


def test_a_softmax_and_a_sigmoid_of_the_same_images_compare(tmp_path):
    options = {"losses": ("exp-log",), "activation": "softmax"}
    options["channels"] = ("background", "MA", "HE")
    a = surface_files.write_recording(tmp_path / "a.h5")
    b = surface_files.write_recording(tmp_path / "b.h5", **options)
    with h5py.File(a) as one, h5py.File(b, "a") as file:
        file["images/picture"][...] = one["images/picture"][...]
        for step in one["steps"]:
            made = json.loads(file[f"steps/{step}"].attrs["measures"])
            there = json.loads(one[f"steps/{step}"].attrs["measures"])
            for subset, found in made.items():
                for channel in found["channels"].values():
                    wanted = there[subset]["channels"]["MA"]["reliability"]
                    channel["reliability"] = wanted
            file[f"steps/{step}"].attrs["measures"] = json.dumps(made)
    out = tmp_path / "out.json"
    assert run(a, b, "--out", out) == 0
    last = json.loads(out.read_text())["recordings"][-1]
    assert list(last["channels"]) == ["background", "MA", "HE"]
    with h5py.File(b, "a") as file:
        file["images/picture"][0, 0, 0, 0] += 1
    with pytest.raises(UserError, match="their pictures differ"):
        run(a, b, "--out", out)


def test_what_does_not_compare_and_files_of_others_are_refused(tmp_path):
    a = surface_files.write_recording(tmp_path / "a.h5", iterations=(100,))
    b = surface_files.write_recording(tmp_path / "b.h5", size=(32, 32))
    out = tmp_path / "measures.json"
    with pytest.raises(
        UserError, match=r"b\.h5 is not of the images of .*a\.h5: their s"
    ):
        run(a, b, "--out", out)
    with h5py.File(a, "a") as file:
        file["steps/00000100"].attrs["complete"] = 0
    with pytest.raises(UserError, match=r"a\.h5 has no recorded snapshot yet"):
        run(a, "--out", out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(UserError, match="did not write"):
        run(b, "--out", out)
    assert out.read_text() == "mine"
