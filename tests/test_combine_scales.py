"""combine_scales.py: cross-validations at two resolutions as one."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import every_script
import numpy as np
import pytest
import small_unet

from randrop.data import read_dataset
from randrop.errors import UserError
from randrop.files import write_bytes
from randrop.prediction import ensemble, inference, networks
from randrop.training import scales, starting

ABOUT = {"title": "Discs", "data": "Drawn.", "licence": "None.", "limits": ["Few."]}


@pytest.fixture(scope="module")
def world(caffe, tmp_path_factory):
    """Two cross-validations of 8 photographs, of fields of 60 and 30 pixels.

    With these seeds, probabilities rise with the share of lesion pixels.
    """
    folder = tmp_path_factory.mktemp("scales")
    data = small_unet.write_data(folder / "data", count=8)
    names = sorted(case.name for case in read_dataset(data).subset("all"))
    settings = {
        **{"data": str(data), "split": None, "lesions": ["MA", "HE"], "net": "unet"},
        **{"loss": "random-drop:LOG", "iterations": 9, "batch": 2, "patch": 64},
        **{"base_channels": 4, "depth": 3, "lr": 0.001, "lesion_share": 0.5, "seed": 1},
        **{"prior": 0.01, "stride": 4, "split": "somewhere.json"},
    }
    parts = [names[::2], names[1::2]]
    for name, width, weights in (("fine", 60, ""), ("coarse", 30, "start.caffemodel")):
        runs = [
            small_unet.write_run(caffe, folder / f"{name}/run{k}", seed=k)
            for k in (19, 49)
        ]
        for run in runs:
            own = settings | ({"weights": weights} if weights else {})
            (run / "run.json").write_text(json.dumps(own))
        ensemble.write(folder / name, runs, parts, width)
    (folder / "about.json").write_text(json.dumps(ABOUT))
    return SimpleNamespace(
        folder=folder, data=data, parts=parts, runs=[folder / "fine", folder / "coarse"]
    )


def combined(world, out, *more):
    return every_script.start(
        "combine_scales", "--runs", *world.runs, *more, "--out", out
    )


def test_each_fold_is_the_mean_of_what_its_networks_see(world, tmp_path):
    every_script.done(combined(world, tmp_path / "out", "--weights", 1, 3))
    batch = np.random.default_rng(0).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    blocks = np.ascontiguousarray(batch.reshape(1, 3, 32, 2, 32, 2).mean((3, 5)))
    whole = networks.trained(tmp_path / "out")
    fine, coarse = (networks.trained(run) for run in world.runs)
    assert whole.facts["field_of_view"] == 60
    assert [m.held_out for m in whole.members] == [tuple(p) for p in world.parts]
    for one, large, small in zip(
        whole.members, fine.members, coarse.members, strict=True
    ):
        loaded = [
            inference.load(m.deploy, m.weights, "caffe") for m in (one, large, small)
        ]
        found = loaded[0].forward(batch)
        of_small = loaded[2].forward(blocks)
        # Between four pixels, bilinear: 9, 3, 3 and 1 of 16.
        a, b = of_small[..., :-1, :-1], of_small[..., :-1, 1:]
        c, d = of_small[..., 1:, :-1], of_small[..., 1:, 1:]
        enlarged = (9 * a + 3 * b + 3 * c + d) / 16
        expected = loaded[1].forward(batch)[..., 1:-1:2, 1:-1:2] / 4 + enlarged * 3 / 4
        np.testing.assert_allclose(found[..., 1:-1:2, 1:-1:2], expected, atol=5e-6)
    facts = json.loads((tmp_path / "out/fold2/run/run.json").read_text())
    assert facts["stride"] == loaded[0].stride == 8
    assert [one["share"] for one in facts["scales"]] == [0.25, 0.75]
    assert "weights" not in facts
    split = json.loads((tmp_path / "out/fold2/split.json").read_text())
    assert facts["split"] == str((tmp_path / "out/fold2/split.json").resolve())
    assert split == {"train": world.parts[0], "validation": world.parts[1]}
    pooled = json.loads((tmp_path / "out/out-of-fold.json").read_text())
    assert pooled == {"out-of-fold": sorted([*world.parts[0], *world.parts[1]])}


def test_the_model_says_how_each_resolution_was_trained(world, tmp_path):
    both, out = tmp_path / "both", tmp_path / "model"
    every_script.done(combined(world, both))
    words = ("--run", both, "--data", world.data, "--out-of-fold")
    every_script.done(every_script.start("predict", *words, "--out", tmp_path / "maps"))
    words = ("--run", both, "--about", world.folder / "about.json", "--out", out)
    every_script.done(
        every_script.start("export_model", *words, "--probabilities", tmp_path / "maps")
    )
    card = (out / "README.md").read_text()
    assert "Network 1 of 2 of each fold, for a field of view of 60 pixels" in card
    assert "Network 2 of 2 of each fold, for a field of view of 30 pixels" in card
    assert "It started from `start.caffemodel`" in card
    assert "combine_scales.py --runs RUN1 RUN2 --weights 0.5 0.5 --out RUN" in card
    photo = next((world.data / "images").iterdir())
    words = ("--run", out, "--out", tmp_path / "one", photo)
    every_script.done(every_script.start("predict", *words))
    with pytest.raises(UserError, match="one of the cross-validations"):
        starting.files(out, tmp_path, dict(enumerate(world.parts)))
    every_script.done(every_script.start("export_onnx", out, tmp_path / "a.onnx"))
    words = ("--run", tmp_path / "a.onnx", "--out", tmp_path / "two", photo)
    every_script.done(every_script.start("predict", *words))


def rewritten(world, tmp_path, change):
    """Return the coarse cross-validation with another ensemble.json."""
    other = tmp_path / "other"
    shutil.copytree(world.runs[1], other)
    content = json.loads((other / "ensemble.json").read_text())
    change(content)
    (other / "ensemble.json").write_text(json.dumps(content))
    return other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(field_of_view=25), "which is 1/2.4 of the widest, 60: .*"),
        (lambda c: c.update(field_of_view=4), "1/15 of the widest"),
        (lambda c: c["members"].reverse(), "has other folds than"),
        (lambda c: c["members"].pop(), "has other folds than"),
        (
            lambda c: [m.update(held_out=[]) for m in c["members"]],
            "no cross-validation",
        ),
    ],
)
def test_what_does_not_fit_is_named(world, tmp_path, change, words):
    other = networks.trained(rewritten(world, tmp_path, change))
    with pytest.raises(UserError, match=words):
        scales.factors_of([networks.trained(world.runs[0]), other])


def test_the_remedy_for_a_width_fits(world, tmp_path):
    def with_width(width):
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        change = lambda c: c.update(field_of_view=width)  # noqa: E731
        other = networks.trained(rewritten(world, tmp_path, change))
        return scales.factors_of([networks.trained(world.runs[0]), other])

    with pytest.raises(UserError, match=r"prepare its photographs 1\.2 times as wide"):
        with_width(25)
    assert with_width(30) == [1, 2]


def test_a_training_and_a_single_cross_validation_are_refused(world, tmp_path):
    run = world.runs[0] / "run19"
    copy = shutil.copytree(world.runs[1], tmp_path / "copy")
    for runs, words in (
        ((run, world.runs[1]), "run19/ensemble.json is missing"),
        ((tmp_path / "nowhere", world.runs[1]), "nowhere/ensemble.json is missing"),
        ((world.runs[1],), "give at least 2"),
        ((world.runs[1], world.folder / "x/../coarse"), "is given twice"),
        ((world.runs[1], copy), "is a copy of another"),
    ):
        (world.folder / "x").mkdir(exist_ok=True)
        result = every_script.start(
            "combine_scales", "--runs", *runs, "--out", tmp_path / "out"
        )
        assert result.returncode == 2 and words in result.stderr
    for weights, words in (
        ((1,), "--weights has 1 numbers, and --runs 2 folders"),
        ((1, -1), "'-1' must be above 0"),
        ((1e-45, 1), "the smallest weight is"),
    ):
        result = combined(world, tmp_path / "out", "--weights", *weights)
        assert result.returncode == 2 and words in result.stderr
    assert not (tmp_path / "out").exists()
    every_script.done(combined(world, tmp_path / "out", "--weights", 1e308, 1e308))
    facts = json.loads((tmp_path / "out/fold1/run/run.json").read_text())
    assert [one["share"] for one in facts["scales"]] == [0.5, 0.5]


def test_the_test_set_of_a_fold_stays_one(world, tmp_path):
    fine = shutil.copytree(world.runs[0], tmp_path / "fine")
    held_out, train = world.parts
    content = {"train": train, "validation": held_out, "test": ["another"]}
    (tmp_path / "split.json").write_text(json.dumps(content))
    path = fine / "run19/run.json"
    facts = json.loads(path.read_text()) | {"split": str(tmp_path / "split.json")}
    path.write_text(json.dumps(facts))
    runs = ("--runs", fine, world.runs[1], "--out", tmp_path / "out")
    every_script.done(every_script.start("combine_scales", *runs))
    first, second = (
        json.loads((tmp_path / f"out/fold{k}/split.json").read_text()) for k in (1, 2)
    )
    assert first == content and "test" not in second


def test_what_is_combined_already_is_refused(world, tmp_path):
    every_script.done(combined(world, tmp_path / "both"))
    runs = [networks.trained(run) for run in (tmp_path / "both", world.runs[1])]
    with pytest.raises(UserError, match="all in one command"):
        scales.factors_of(runs)


def test_another_activation_is_refused(world):
    fine, coarse = (networks.trained(run) for run in world.runs)
    other = dataclasses.replace(coarse, facts=coarse.facts | {"activation": "SOFTMAX"})
    with pytest.raises(UserError, match="train both with the same"):
        scales.factors_of([fine, other])
    # Runs of earlier versions do not name theirs.
    named = dataclasses.replace(coarse, facts=coarse.facts | {"activation": "SIGMOID"})
    assert scales.factors_of([fine, named]) == [1, 2]


def test_maps_of_other_weights_are_refused(world, tmp_path):
    every_script.done(combined(world, tmp_path / "both", "--weights", 1, 99))
    maps = ("--data", world.data, "--out-of-fold", "--out", tmp_path / "maps")
    every_script.done(every_script.start("predict", "--run", tmp_path / "both", *maps))
    every_script.done(combined(world, tmp_path / "both", "--weights", 99, 1))
    words = ("--run", tmp_path / "both", "--about", world.folder / "about.json")
    result = every_script.start(
        "export_model",
        *(*words, "--probabilities", tmp_path / "maps", "--out", tmp_path / "model"),
    )
    assert result.returncode == 2 and "of another cross-validation" in result.stderr


@pytest.mark.parametrize("written", ["final.caffemodel", "deploy.prototxt"])
def test_a_state_between_two_is_no_ensemble(world, tmp_path, written, monkeypatch):
    """A run that ends after its first file leaves none that passes for whole."""
    every_script.done(combined(world, tmp_path / "both", "--weights", 1, 1))
    real = {"final.caffemodel": "write_bytes", "deploy.prototxt": "write_text"}

    def last(path, content):
        write_bytes(path, content if isinstance(content, bytes) else content.encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(scales, real[written], last)
    with pytest.raises(KeyboardInterrupt):
        scales.combine(scales.opened(world.runs), [1, 9], tmp_path / "both")
    with pytest.raises(UserError):
        networks.trained(tmp_path / "both")
    # Nor on the way back, when the weights fit again and the deploy file does not.
    with pytest.raises(KeyboardInterrupt):
        scales.combine(scales.opened(world.runs), [1, 1], tmp_path / "both")
    with pytest.raises(UserError):
        networks.trained(tmp_path / "both")
    monkeypatch.undo()
    every_script.done(combined(world, tmp_path / "both", "--weights", 1, 9))
    assert len(networks.trained(tmp_path / "both").members) == 2


def test_the_network_of_a_fold_knows_what_it_was_trained_on(world, tmp_path):
    every_script.done(combined(world, tmp_path / "both"))
    run = tmp_path / "both/fold1/run"
    every_script.done(
        every_script.start("predict", "--run", run, "--out", tmp_path / "maps")
    )
    found = sorted(path.stem for path in (tmp_path / "maps/MA").iterdir())
    assert found == sorted(world.parts[0])
    words = ("--run", run, "--about", world.folder / "about.json")
    result = every_script.start("export_model", *words, "--out", tmp_path / "model")
    assert result.returncode == 2
    assert f"give {(tmp_path / 'both').resolve()}; --networks 1" in result.stderr
    words = ("--about", world.folder / "about.json", "--out", tmp_path / "model")
    shutil.copytree(run, tmp_path / "moved")
    result = every_script.start("export_model", "--run", tmp_path / "moved", *words)
    assert "give the output folder of combine_scales.py; --networks" in result.stderr
