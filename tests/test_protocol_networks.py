"""Arms of a protocol that predict otherwise by the networks of another arm."""

import json

import every_script
import pytest
import small_protocol
from small_protocol import CONTENT, arm, folds

from randrop.errors import UserError
from randrop.training import protocol


def other(loss="cross-entropy", **more):
    """Return arms of which the second predicts by the networks of the first."""
    return {"arms": [arm("cross-entropy"), arm(loss, **more)]}


def ours(**more):
    return other(networks="cross-entropy", name="x", **more)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other("dice", prediction=["--flips"]), "name the arm whose networks"),
        (other("dice", average=2), "name the arm whose networks"),
        (ours(), "give it a name, and prediction"),
        (other("dice", networks="cross-entropy", average=2), "give it a name, and"),
        (ours(average=2, training=["--paste", "1"]), "but not training"),
        (
            other("dice", networks="cross-entropy", name="x", average=2),
            "no arm that trains",
        ),
        (other(networks="focal", name="x", average=2), "no arm that trains"),
        (other(networks="x", name="x", average=2), "no arm that trains"),
        (ours(average=1), "average"),
        (ours(average=2, folds=2), "whose networks it uses, has 1"),
    ],
)
def test_an_arm_without_networks_is_refused(tmp_path, change, words):
    path = tmp_path / "protocol.json"
    path.write_text(json.dumps(CONTENT | {"folds": folds(list("abcd"))} | change))
    with pytest.raises(UserError, match=words):
        protocol.read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (ours(average=3), "write 2 snapshots"),
        (ours(prediction=["--out=a"]), "prediction has --out=a"),
        (ours(prediction=["--tile", "x"]), "invalid int value"),
        (ours(prediction=["--tile", "33"]), "prediction: --tile 33 is not a positive"),
        (ours(prediction=["--overlap", "9999"]), "prediction: --overlap 9999 is not"),
        (ours(prediction=["--scale", "0"]), "prediction: --scale is 0"),
    ],
)
def test_what_could_fail_later_fails_first(
    caffe, protocol_data, protocol_file, tmp_path, change, words
):
    protocol_file.write_text(json.dumps(json.loads(protocol_file.read_text()) | change))
    result = every_script.start(
        *(
            "run_protocol",
            protocol_file,
            "--data",
            protocol_data,
            "--out",
            tmp_path / "out",
        ),
        *("--records", tmp_path / "records"),
    )
    assert result.returncode == 2
    assert words in result.stderr
    assert not list(tmp_path.glob("out/*/*"))


def test_one_at_a_time_they_come_after_the_training(phantom, tmp_path):
    """The next run is decided when it is asked for."""
    change = ours(prediction=["--flips"]) | {"learning_rates": [1e-3]}
    change["arms"].reverse()
    path = small_protocol.write(phantom, tmp_path / "protocol.json", **change)
    wanted = protocol.read(path)
    place = protocol.Place(wanted, None, None, tmp_path)
    come = protocol.open_runs(place)
    first = next(come)
    assert first == protocol.Run("cross-entropy", 1e-3, 1)
    content = json.dumps(small_protocol.record(wanted))
    protocol.record_path(place, first).write_text(content)
    assert [*come] == [protocol.Run("x", 1e-3, 1)]


def test_without_their_networks_they_say_what_they_wait_for(phantom, tmp_path):
    change = ours(prediction=["--flips"]) | {"learning_rates": [1e-3]}
    path = small_protocol.write(phantom, tmp_path / "protocol.json", **change)
    wanted = protocol.read(path)
    place = protocol.Place(wanted, None, None, tmp_path, ["x"])
    assert [*protocol.open_runs(place)] == []
    (line,) = protocol.waiting(place)
    assert line.startswith("x: waits for records of cross-entropy, whose networks it")
    content = json.dumps(small_protocol.record(wanted))
    theirs = protocol.Run("cross-entropy", 1e-3, 1)
    protocol.record_path(place, theirs).write_text(content)
    assert protocol.waiting(place) == []
    assert [*protocol.open_runs(place)] == [protocol.Run("x", 1e-3, 1)]


def records_of(folder):
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def run(*words):
    return every_script.done(every_script.start(*words))


def test_they_train_nothing(caffe, protocol_data, protocol_file, tmp_path):
    """They have the training's rate, and measure what predict.py measures."""
    more = {"loss": "cross-entropy", "networks": "cross-entropy"}
    content = json.loads(protocol_file.read_text())
    # First, although they need the other.
    content["arms"] = [
        {**more, "name": "flips", "prediction": ["--flips"], "folds": 2},
        {**more, "name": "mean", "average": 2, "folds": 1},
        content["arms"][0],
    ]
    protocol_file.write_text(json.dumps(content))
    records, out = tmp_path / "records", tmp_path / "out"
    words = (protocol_file, "--data", protocol_data, "--out", out, "--records", records)
    run("run_protocol", *words, "--jobs", 2)
    found = records_of(records)
    [end] = [n[14:-6] for n in found if n[:5] == "cross" and n.endswith("fold2")]
    own = {f"flips-{end}-fold1", f"flips-{end}-fold2", f"mean-{end}-fold1"}
    assert {name for name in found if not name.startswith("cross-entropy")} == own
    assert len([*out.glob("*/*/run/final.caffemodel")]) == 3
    for name in own:
        plain = found[f"cross-entropy-{end}-{name[-5:]}"]["lesions"]["MA"]
        assert found[name]["lesions"]["MA"]["photographs"] != plain["photographs"]

    folder = out / f"cross-entropy-{end}-fold1" / "cross-entropy-seed1" / "run"
    run("average_snapshots", "--run", folder, "--last", 2, "--out", tmp_path)
    by_hand = {"flips": ["--flips"]}
    by_hand["mean"] = ["--weights", tmp_path / "averaged.caffemodel"]
    subset = (
        "--data",
        protocol_data,
        "--split",
        out / "fold1.json",
        "--subset",
        "test",
    )
    for name, rest in by_hand.items():
        maps = tmp_path / f"maps-{name}"
        run("predict", "--run", folder, *rest, *subset, "--out", maps)
        kept = out / f"{name}-{end}-fold1" / "cross-entropy-seed1" / "test"
        files = sorted(path.relative_to(kept) for path in kept.glob("*/*.png"))
        assert len(files) == 4
        for file in files:
            assert (kept / file).read_bytes() == (maps / file).read_bytes()

    summary = tmp_path / "summary.json"
    words = ("run_protocol", protocol_file, "--records", records, "--summary", summary)
    run(*words)
    content = json.loads(summary.read_text())
    done = {"flips": [2, 2], "mean": [1, 1], "cross-entropy": [3, 3]}
    assert content["done"] == done
    assert content["losses"]["flips"]["MA"]["common"] == 2
    (records / f"mean-{end}-fold1.json").unlink()
    run(*words)
    content = json.loads(summary.read_text())
    assert content["done"] == done | {"mean": [0, 1]}
    assert "mean" not in content["losses"]
