"""The networks of a cross-validation, exported as one model."""

import json
import shutil
from types import SimpleNamespace

import every_script
import numpy as np
import pytest
import small_unet

from randrop.data import read_dataset
from randrop.errors import UserError
from randrop.evaluation import calibration, metrics
from randrop.exchange import merging, reading
from randrop.prediction import ensemble, maps
from randrop.prediction.calibration import Platt
from randrop.training import starting

ABOUT = {"title": "Discs", "data": "Drawn.", "licence": "None.", "limits": ["Few."]}


@pytest.fixture(scope="module")
def folds(caffe, tmp_path_factory):
    """Two networks of random weights, as of a cross-validation of 8 photographs.

    With these seeds, probabilities rise with the share of lesion pixels.
    """
    folder = tmp_path_factory.mktemp("folds")
    data = small_unet.write_data(folder / "data", count=8)
    names = sorted(case.name for case in read_dataset(data).subset("all"))
    settings = {
        **{"data": str(data), "split": None, "lesions": ["MA", "HE"], "net": "unet"},
        **{"loss": "random-drop:LOG", "iterations": 9, "batch": 2, "patch": 64},
        **{"base_channels": 4, "depth": 3, "lr": 0.001, "lesion_share": 0.5, "seed": 1},
        "prior": 0.01,
    }
    runs = [small_unet.write_run(caffe, folder / f"run{k}", seed=k) for k in (19, 49)]
    for run in runs:
        (run / "run.json").write_text(json.dumps(settings))
    parts = [names[::2], names[1::2]]
    ensemble.write(folder, runs, parts, 60)
    (folder / "about.json").write_text(json.dumps(ABOUT))
    given = ("--run", folder, "--data", data)
    maps_of = folder / "maps"
    every_script.done(
        every_script.start("predict", *given, "--out-of-fold", "--out", maps_of)
    )
    return SimpleNamespace(
        folder=folder, data=data, parts=parts, maps=maps_of, runs=runs
    )


def export(folds, out, *more):
    about = folds.folder / "about.json"
    given = ("--run", folds.folder, "--about", about, "--out", out)
    return every_script.start("export_model", *given, *more)


@pytest.fixture(scope="module")
def model(folds, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "model"
    every_script.done(export(folds, out, "--probabilities", folds.maps))
    return out


def histograms(folds, lesion):
    """Return the pooled histogram of each fold's out-of-fold maps."""
    cases = {case.name: case for case in read_dataset(folds.data).subset("all")}
    return [
        sum(
            metrics.histogram(
                maps.read_map(maps.path_of(folds.maps, lesion, name))[0],
                cases[name].masks([lesion])[0],
            )
            for name in part
        )
        for part in folds.parts
    ]


def test_the_model_is_the_mean_of_its_networks(folds, model, tmp_path):
    photo = next((folds.data / "images").iterdir())
    found = []
    for k, run in enumerate((model, folds.folder)):
        out = tmp_path / str(k)
        words = ("--run", run, "--uncalibrated", "--out", out, photo)
        every_script.done(every_script.start("predict", *words))
        found.append(maps.read_map(maps.path_of(out, "MA", photo.stem))[0])
    assert np.abs(found[0].astype(int) - found[1]).max() <= 1
    assert np.ptp(found[0]) > 1000


@pytest.mark.parametrize("networks", [1, 2])
def test_photographs_of_the_training_are_told(folds, tmp_path, networks):
    """One network has seen what the other fold held out, two have seen all."""
    out = tmp_path / "model"
    words = ("--probabilities", folds.maps, "--networks", networks)
    every_script.done(export(folds, out, *words))
    seen = len(folds.parts[1]) + (networks == 2) * len(folds.parts[0])
    given = ("--data", folds.data, "--subset", "all", "--out", tmp_path / "maps")
    said = every_script.done(every_script.start("predict", "--run", out, *given))
    assert f"was trained on {seen} of these 8 photographs" in said.stderr


def test_a_cross_validation_has_seen_all(folds, tmp_path):
    given = ("--run", folds.folder, "--data", folds.data, "--out", tmp_path / "maps")
    said = every_script.done(every_script.start("predict", *given)).stderr
    assert "was trained on" in said
    assert "or give --out-of-fold" in said
    # As it says.
    other = (*given[:-1], tmp_path / "other", "--out-of-fold")
    said = every_script.done(every_script.start("predict", *other)).stderr
    assert "was trained on" not in said


def test_what_is_measured_was_chosen_on_the_other_fold(folds, model):
    content = json.loads((model / "metrics.json").read_text())
    for lesion in ("MA", "HE"):
        own = histograms(folds, lesion)
        levels = [metrics.best_f1_level(metrics.curve(h)) for h in own[::-1]]
        result = content["lesions"][lesion]
        fixed = result["at_threshold"]
        assert fixed["thresholds"] == pytest.approx([x / 65535 for x in levels])
        hits = sum(h[1, level:].sum() for h, level in zip(own, levels, strict=True))
        called = sum(h[:, level:].sum() for h, level in zip(own, levels, strict=True))
        lesion_pixels = sum(h[1].sum() for h in own)
        assert fixed["precision"] == pytest.approx(hits / called)
        assert fixed["sensitivity"] == pytest.approx(hits / lesion_pixels)
        whole = metrics.average_precision(metrics.curve(sum(own)))
        assert result["average_precision"] == pytest.approx(whole)
        after = sum(
            calibration.scaled(one, calibration.fit(other))
            for one, other in (own, own[::-1])
        )
        expected = calibration.measures(after)["mean_probability"]
        found = result["calibrated"]["after"]["mean_probability"]
        assert found == pytest.approx(expected, rel=1e-6)
    assert content["folds"] == folds.parts


def test_thresholds_are_calibrated(folds, model):
    run = json.loads((model / "run.json").read_text())
    for lesion, threshold in run["thresholds"].items():
        scaling = Platt(**run["calibration"]["types"][lesion])
        level = metrics.best_f1_level(metrics.curve(sum(histograms(folds, lesion))))
        assert threshold == pytest.approx(scaling.apply(level / 65535), rel=1e-5)
    assert run["members"] == 2
    assert run["field_of_view"] == 60
    card = (model / "README.md").read_text()
    assert "cross_validate.py --data DIR --lesions MA HE --folds 2 --out RUN --" in card
    assert "8 photographs in 2 folds" in card
    assert "## Calibration" in card


def test_maps_are_made_if_none_are_given(folds, model, tmp_path):
    every_script.done(export(folds, tmp_path / "model"))
    for name in ("metrics.json", "run.json", "README.md", "final.caffemodel"):
        ours, theirs = (root / name for root in (tmp_path / "model", model))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_maps_that_are_not_out_of_fold_are_refused(folds, tmp_path):
    given = ("--run", folds.folder, "--data", folds.data)
    for words, message in (
        (("--subset", "all"), "are of networks that were trained on the photographs"),
        (("--out-of-fold", "--flips"), None),
    ):
        maps_of = tmp_path / f"maps{words[0]}"
        every_script.done(
            every_script.start("predict", *given, *words, "--out", maps_of)
        )
        result = export(folds, tmp_path / "out", "--probabilities", maps_of)
        if message:
            assert result.returncode == 2
            assert message in result.stderr
            assert "predict them with --out-of-fold" in result.stderr
            assert not (tmp_path / "out").exists()
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["calibration"]["flips"] is True
    other = tmp_path / "other"
    shutil.copytree(folds.maps, other)
    record = json.loads((other / "prediction.json").read_text())
    (other / "prediction.json").write_text(json.dumps(record | {"weights_sha256": "a"}))
    result = export(folds, tmp_path / "out2", "--probabilities", other)
    assert result.returncode == 2
    assert "are of another cross-validation" in result.stderr
    (other / "prediction.json").write_text(json.dumps(record | {"lesions": ["HE"]}))
    result = export(folds, tmp_path / "out2", "--probabilities", other)
    assert result.returncode == 2
    assert "are without MA" in result.stderr
    assert "--out-of-fold and without --lesions" in result.stderr


def test_mistakes_are_said(folds, tmp_path):
    data = small_unet.write_data(tmp_path / "data", count=2)
    result = export(folds, tmp_path / "out", "--data", data)
    assert result.returncode == 2
    assert "has no photograph" in result.stderr
    single = every_script.start(
        *("export_model", "--run", folds.runs[0], "--out", tmp_path / "out"),
        *("--about", folds.folder / "about.json", "--probabilities", folds.maps),
    )
    assert single.returncode == 2
    assert "is one training" in single.stderr
    assert not (tmp_path / "out").exists()
    for name, words in (
        ("export_onnx", (folds.folder, tmp_path / "a.onnx")),
        ("average_snapshots", ("--run", folds.folder, "--last", 2)),
    ):
        result = every_script.start(name, *words)
        assert result.returncode == 2
        assert "make one of them with scripts/export_model.py" in result.stderr


def test_a_network_that_hardly_trained_is_not_calibrated(caffe, folds, tmp_path):
    """With these seeds, probabilities of MA fall with the share of lesion pixels."""
    settings = (folds.runs[0] / "run.json").read_text()
    runs = [small_unet.write_run(caffe, tmp_path / f"r{k}", seed=k) for k in (1, 7)]
    for run in runs:
        (run / "run.json").write_text(settings)
    ensemble.write(tmp_path, runs, folds.parts, 60)
    about, out = folds.folder / "about.json", tmp_path / "model"
    words = ("--run", tmp_path, "--about", about, "--out", out)
    result = every_script.done(every_script.start("export_model", *words))
    assert "MA is not calibrated" in result.stderr
    run = json.loads((out / "run.json").read_text())
    assert "MA" not in run["calibration"]["types"]
    card = (out / "README.md").read_text()
    assert "not calibrated" in card
    assert "in calibrated probabilities (but for MA)" in card


def test_fewer_networks_than_folds(caffe, folds, tmp_path):
    """A smaller model, with the figures of all folds."""
    settings = (folds.runs[0] / "run.json").read_text()
    runs = [
        small_unet.write_run(caffe, tmp_path / f"r{k}", seed=k) for k in (19, 49, 19)
    ]
    for run in runs:
        (run / "run.json").write_text(settings)
    names = sorted(name for part in folds.parts for name in part)
    parts = [names[:3], names[3:6], names[6:]]
    ensemble.write(tmp_path, runs, parts, 60)
    about, out = folds.folder / "about.json", tmp_path / "model"
    words = ("--run", tmp_path, "--about", about, "--out", out)
    for number in (0, 4):
        result = every_script.start("export_model", *words, "--networks", number)
        assert result.returncode == 2
        assert "has 3 networks: give a number from 1 to 3" in result.stderr
        assert not out.exists()
    single = every_script.start(
        *("export_model", "--run", runs[0], "--about", about),
        *("--out", out, "--networks", 2),
    )
    assert single.returncode == 2
    assert "has one network: omit it" in single.stderr
    every_script.done(every_script.start("export_model", *words, "--networks", 2))
    weights = reading.read_weights(out / "final.caffemodel", "")
    assert len(merging.parts(weights)) == 2
    run = json.loads((out / "run.json").read_text())
    assert (run["members"], run["folds"]) == (2, 3)
    content = json.loads((out / "metrics.json").read_text())
    assert content["folds"] == parts
    assert len(content["subsets"]["out-of-fold"]["photographs"]) == 8
    card = (out / "README.md").read_text()
    assert "--folds 3 --out RUN --" in card
    assert "The first 2 of the 3 networks are branches of one" in card
    assert "What you get is the mean of the first 2, which" in card
    one = tmp_path / "one"
    words = ("--run", tmp_path, "--about", about, "--out", one, "--networks", 1)
    every_script.done(every_script.start("export_model", *words))
    first, second = (
        reading.read_weights(p / "final.caffemodel", "") for p in (one, out)
    )
    own = {x.name: x.blobs for x in reading.layers_with_weights(first)}
    assert own == {
        x.name: x.blobs for x in reading.layers_with_weights(merging.parts(second)[0])
    }
    assert json.loads((one / "metrics.json").read_text()) == content
    card = (one / "README.md").read_text()
    assert "The model is the first of the 3 networks." in card
    assert "What you get is the first of them, to which" in card
    photo = next((folds.data / "images").iterdir())
    words = ("--run", one, "--out", tmp_path / "maps", photo)
    every_script.done(every_script.start("predict", *words))
    # Its networks are no start of three folds.
    for model, count in ((one, 1), (out, 2)):
        with pytest.raises(UserError, match=f"was exported with --networks {count}"):
            starting.files(model, tmp_path, dict(enumerate(parts)))
