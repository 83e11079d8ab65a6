"""What a network learnt before its last training, and how a card says it."""

import json

import pytest
from conftest import REPOSITORY

from randrop.files.documents import read_run
from randrop.report import model_card
from randrop.training.stages import earlier

KEYS = ("iterations", "lr")


def run_in(folder, iterations, weights=None, **more):
    folder.mkdir()
    content = {"iterations": iterations, "lr": 0.1, "seed": 7, "weights": weights}
    (folder / "run.json").write_text(json.dumps(content | more))
    return str(folder / "final.caffemodel")


def found(folder):
    return earlier(read_run(folder, ""), KEYS)


def test_a_training_from_nothing_has_no_earlier_one(tmp_path):
    run_in(tmp_path / "a", 10)
    assert found(tmp_path / "a") == []


def test_the_first_training_comes_first(tmp_path):
    first = run_in(tmp_path / "a", 10)
    second = run_in(tmp_path / "b", 20, first)
    run_in(tmp_path / "c", 30, second)
    assert found(tmp_path / "c") == [
        {"iterations": 10, "lr": 0.1},
        {"iterations": 20, "lr": 0.1},
    ]


def test_a_model_knows_its_own_past(tmp_path):
    past = [{"iterations": 5, "lr": 0.2}]
    model = run_in(tmp_path / "a", 10, field_of_view=99, started_from=past)
    run_in(tmp_path / "b", 20, model)
    now = {"iterations": 10, "lr": 0.1, "field_of_view": 99}
    assert found(tmp_path / "b") == [*past, now]


def test_weights_of_unknown_origin_are_named(tmp_path):
    first = run_in(tmp_path / "a", 10, "/elsewhere/vgg16.caffemodel")
    run_in(tmp_path / "b", 20, first)
    assert found(tmp_path / "b") == [
        {"weights": "vgg16.caffemodel"},
        {"iterations": 10, "lr": 0.1},
    ]


def test_a_training_that_replaced_its_own_start_ends(tmp_path):
    run_in(tmp_path / "a", 10, str(tmp_path / "a/final.caffemodel"))
    assert [stage["iterations"] for stage in found(tmp_path / "a")] == [10]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("idrid", "--start EARLIER"),
        ("idrid-small", "--weights EARLIER/final.caffemodel"),
    ],
)
def test_the_card_has_the_command_of_each_training(name, words):
    folder = REPOSITORY / "models" / name
    run, measured = (
        json.loads((folder / file).read_text()) for file in ("run.json", "metrics.json")
    )
    # With several resolutions the card tells of each: test_combine_scales.py.
    run.pop("scales", None)
    first = {key: run[key] for key in model_card.SETTINGS if key in run}
    first |= {"iterations": 77, "field_of_view": 555}
    card = model_card.card(run | {"started_from": [first]}, measured)
    training = card[card.index("## Training") : card.index("## Measured")]
    before, after = training.split("from the weights of the training above:")
    assert "--iterations 77 " in before
    assert "field of view of 555 pixels" in before
    assert words not in before
    assert f"--iterations {run['iterations']} " in after
    assert words in after
    card = model_card.card(run | {"started_from": [{"weights": "a.model"}]}, measured)
    assert "It started from `a.model`, of which no training is known." in card
