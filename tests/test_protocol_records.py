"""The records of a protocol: which ones count."""

import dataclasses
import json
import pickle

import pytest
import small_protocol
from small_protocol import CONTENT, arm, record

from randrop.cluster import slurm
from randrop.errors import UserError
from randrop.training import protocol, protocol_runs


@pytest.fixture
def written(phantom, tmp_path):
    return small_protocol.write(phantom, tmp_path / "protocol.json")


def placed(written, tmp_path, **change):
    """Return a place whose only record has a change."""
    wanted = protocol.read(written)
    place = protocol.Place(wanted, None, None, tmp_path / "records")
    place.records.mkdir()
    path = protocol.record_path(place, protocol.Run("cross-entropy", 0.001, 1))
    path.write_text(json.dumps(record(wanted, **change)))
    return place


def test_a_record_of_the_protocol_counts(written, tmp_path):
    place = placed(written, tmp_path)
    assert protocol.scores_of(place, "cross-entropy") == {0.001: 0.5}


def test_each_training_can_be_a_job(written, tmp_path):
    """Slurm knows a job by what it calls, and gets it pickled."""
    place = dataclasses.replace(placed(written, tmp_path), out=tmp_path / "out")
    given = []

    def execute(works):
        given.extend(works)
        return [None] * len(works), ["not run"] * len(works)

    assert len(protocol_runs.run_queued(place, execute)) == 3
    assert len({slurm.name_of(work) for work in given}) == 3
    assert pickle.loads(pickle.dumps(given[0])).arguments == given[0].arguments


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arm": "dice"}, r"another protocol \(other arm\)"),
        ({"fold": 2}, r"another protocol \(other fold\)"),
        ({"curve": {}}, "curve"),
        ({"lesions": {}}, "lesions"),
        ({"curve": {"2": {"MA": 0.5, "HE": 0.5}, "4": {"MA": 7.5, "HE": 0.5}}}, "7.5"),
        ({"lesions": {"MA": {"average_precision": 1}}}, "missing"),
        ({"origin": None}, "origin"),
        ({"curve": {"2": {"MA": 0.5}, "4": {"MA": 0.5}}}, r"other lesions\)"),
        ({"curve": {"4": {"MA": 0.5, "HE": 0.5}}}, "other points of the curve"),
        (lambda c: c["lesions"]["MA"].update(edges="AAAA"), "edges is 'AAAA'"),
        (lambda c: c["lesions"]["MA"]["photographs"].popitem(), "other photographs"),
    ],
)
def test_a_record_of_something_else_does_not_count(written, tmp_path, change, words):
    if callable(change):
        content = json.loads(json.dumps(record(protocol.read(written))))
        change(content)
        change = content
    place = placed(written, tmp_path, **change)
    with pytest.raises(UserError, match=words):
        protocol.scores_of(place, "cross-entropy")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", [*CONTENT["training"], "--batch", "4"]),
        ("types", ["MA", "HE", "EX"]),
        ("curve", [4]),
        ("lesions", ["MA"]),
        ("arms", [arm("cross-entropy", training=["--batch", "1"], name="x")]),
    ],
)
def test_a_changed_protocol_does_not_take_its_old_records(
    written, tmp_path, key, value
):
    place = placed(written, tmp_path)
    changed = json.loads(written.read_text()) | {key: value}
    changed["arms"][0]["name"] = changed["reference"] = "cross-entropy"
    written.write_text(json.dumps(changed))
    wanted = protocol.read(written)
    again = protocol.Place(wanted, None, None, place.records)
    with pytest.raises(UserError, match="is of another protocol"):
        protocol.scores_of(again, "cross-entropy")


def test_records_of_other_photographs_have_no_summary(written, tmp_path):
    place = placed(written, tmp_path)
    wanted = place.protocol
    for rate, fold, data in ((0.01, 1, "x"), (0.001, 2, "y")):
        run = protocol.Run("cross-entropy", rate, fold)
        names = wanted.folds[fold - 1].test
        lesions = record(wanted)["lesions"]
        for own in lesions.values():
            own["photographs"] = {name: ["1", "1"] for name in names}
        own = {"rate": rate, "fold": fold, "data": data, "lesions": lesions}
        own["origin"] = protocol.origin_of(wanted, run)
        path = protocol.record_path(place, run)
        path.write_text(json.dumps(record(wanted, **own)))
    with pytest.raises(UserError, match="measured on different photographs"):
        protocol.summary(place)
