"""cross_validate.py: folds by patient, pooled maps, and the ensemble of the folds."""

import itertools
import json
import shutil
from types import SimpleNamespace

import every_script
import numpy as np
import pytest
import small_unet
from hypothesis import given
from hypothesis import strategies as st

from randrop.data import Case, read_dataset
from randrop.data.splits import folds
from randrop.errors import UserError
from randrop.exchange import reading
from randrop.prediction import ensemble, maps, networks
from randrop.prediction.inference import Network
from randrop.training import cross_validating
from randrop.training.stages import earlier

NET = ("--patch", 32, "--base-channels", 2, "--depth", 2, "--test-iterations", 1)
SHORT = ("--", *NET, "--iterations", 4, "--validate-every", 0, "--snapshot", 2)


def case(number, patient):
    return Case(f"eye{number:02}", None, {}, patient=patient and f"p{patient}")


@given(
    st.lists(st.integers(0, 8), min_size=2, max_size=40),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_folds_are_parts_that_share_no_patient(patients, count, seed):
    cases = [case(k, patient) for k, patient in enumerate(patients)]
    owners = {c.name: c.patient or c.name for c in cases}
    if len(set(owners.values())) < count:
        with pytest.raises(UserError, match="use fewer folds"):
            folds(cases, count, seed)
        return
    found = folds(cases, count, seed)
    assert sorted(itertools.chain(*found)) == sorted(owners)
    for one, other in itertools.combinations(found, 2):
        assert one
        assert other
        assert not {owners[n] for n in one} & {owners[n] for n in other}
    assert found == folds(cases[::-1], count, seed)


def test_folds_of_single_photographs_have_the_same_size():
    cases = [case(k, None) for k in range(13)]
    assert sorted(map(len, folds(cases, 5))) == [2, 2, 3, 3, 3]
    assert folds(cases, 5, 1) != folds(cases, 5, 2)


def test_an_ensemble_is_the_mean_of_its_probabilities():
    rng = np.random.default_rng(0)
    parts = [rng.random((1, 2, 8, 8), np.float32) for _ in range(3)]
    one, *_ = (
        Network("caffe", 2, stride, lambda batch, p=p: p.copy())
        for p, stride in zip(parts, (1, 2, 3), strict=True)
    )
    all_three = [
        Network("caffe", 2, stride, lambda batch, p=p: p.copy())
        for p, stride in zip(parts, (2, 4, 8), strict=True)
    ]
    found = ensemble.mean(all_three)
    assert found.stride == 8
    np.testing.assert_allclose(found.forward(None), np.mean(parts, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(ensemble.mean([one]).forward(None), parts[0])
    ones = one._replace(forward=lambda batch: np.ones((1, 2, 4, 4), np.float32))
    assert ensemble.mean([ones] * 7).forward(None).max() <= 1


@pytest.fixture(scope="module")
def validated(caffe, phantom, tmp_path_factory):
    """Two folds of four photographs, which tests only read."""
    out = tmp_path_factory.mktemp("cross") / "out"
    given = ("--data", phantom, "--folds", 2, "--out", out, "--jobs", 2)
    result = every_script.start("cross_validate", *given, *SHORT)
    assert result.returncode == 0, result.stderr
    return SimpleNamespace(out=out, command=(*given, *SHORT), said=result.stdout)


def test_each_photograph_is_predicted_by_the_network_without_it(validated, phantom):
    out = validated.out
    names = {c.name for c in read_dataset(phantom).subset("all")}
    parts = json.loads((out / "folds.json").read_text())
    assert sorted(itertools.chain(*parts.values())) == sorted(names)
    for fold, held_out in parts.items():
        split = json.loads((out / fold / "split.json").read_text())
        assert set(split["train"]) == names - set(held_out)
        run = json.loads((out / fold / "run/run.json").read_text())
        assert run["split"] == str(out / fold / "split.json")
        for name in held_out:
            own = maps.path_of(out / fold / "prediction", "MA", name)
            pooled = maps.path_of(out / "out-of-fold", "MA", name)
            assert own.read_bytes() == pooled.read_bytes()
    metrics = json.loads((out / "evaluation/metrics.json").read_text())
    assert set(metrics["images"]) == names
    assert metrics["subset"] == "out-of-fold"
    summary = json.loads((out / "summary.json").read_text())
    found = summary["pooled"]["MA"]["average_precision"]
    assert found == metrics["lesions"]["MA"]["average_precision"]
    assert [fold["photographs"] for fold in summary["folds"]] == [2, 2]
    assert f"| MA | {found:.3f} |" in validated.said


def test_the_folds_predict_together(validated, phantom, tmp_path):
    """A map of the ensemble is the mean of the maps of its members."""
    photo = next((phantom / "images").iterdir())
    runs = [validated.out, *(validated.out / f"fold{k}/run" for k in (1, 2))]
    levels = []
    for k, run in enumerate(runs):
        out = tmp_path / f"{k}"
        command = ("--run", run, "--out", out, photo)
        every_script.done(every_script.start("predict", *command))
        levels.append(maps.read_map(maps.path_of(out, "HE", photo.stem))[0])
    mean = (levels[1].astype(float) + levels[2]) / 2
    assert np.abs(levels[0] - mean).max() <= 1
    assert np.abs(levels[1].astype(int) - levels[2]).max() > 2
    result = every_script.start("predict", "--run", validated.out)
    assert result.returncode == 2
    # One of its networks was trained on any photograph of its data.
    assert "nothing to predict" in result.stderr


def test_photographs_are_predicted_out_of_fold(validated, phantom, tmp_path):
    """Also at another size, and with a record that evaluate.py reads."""
    out = tmp_path / "maps"
    # Of its own data, if no other is given.
    given = ("--run", validated.out, "--out-of-fold", "--out", out)
    every_script.done(every_script.start("predict", *given))
    pooled = validated.out / "out-of-fold"
    for case in read_dataset(phantom).subset("all"):
        for lesion in ("MA", "HE"):
            theirs = maps.path_of(pooled, lesion, case.name).read_bytes()
            assert maps.path_of(out, lesion, case.name).read_bytes() == theirs
    ours, theirs = (
        json.loads((root / "prediction.json").read_text()) for root in (out, pooled)
    )
    assert ours["out_of_fold"] and theirs["out_of_fold"]
    assert ours["weights_sha256"] == theirs["weights_sha256"]
    assert set(ours["seconds"]) == set(theirs["seconds"])

    half = tmp_path / "half"
    width = read_dataset(phantom).cases[0].size()[1] // 2
    every_script.done(
        every_script.start("prepare", "folder", phantom, half, "--width", width)
    )
    result = every_script.start(
        *("predict", "--run", validated.out, "--out", tmp_path / "small"),
        next((half / "images").iterdir()),
    )
    assert "the field of view is" in result.stderr


def test_only_held_out_photographs_are_predicted_out_of_fold(validated, tmp_path):
    data = small_unet.write_data(tmp_path / "data", count=2)
    given = ("--run", validated.out, "--data", data, "--out-of-fold")
    result = every_script.start("predict", *given, "--out", tmp_path / "maps")
    assert result.returncode == 2
    assert "took no part in the cross-validation" in result.stderr
    run = validated.out / "fold1/run"
    given = ("--run", run, "--out-of-fold", "--out", tmp_path / "maps")
    result = every_script.start("predict", *given)
    assert result.returncode == 2
    assert "give the output folder of scripts/cross_validate.py" in result.stderr
    assert not (tmp_path / "maps").exists()


def test_what_is_done_is_left_alone_and_other_folds_are_refused(validated):
    before = {
        path: path.stat().st_mtime_ns
        for name in ("**/final.caffemodel", "**/metrics.json", "**/*.png")
        for path in validated.out.glob(name)
    }
    every_script.done(every_script.start("cross_validate", *validated.command))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    result = every_script.start("cross_validate", *validated.command, "--lr", 0.5)
    assert result.returncode == 2
    assert "lr 0.001 -> 0.5): repeat the arguments of that run" in result.stderr
    longer = [a if a != 4 else 8 for a in validated.command]
    result = every_script.start("cross_validate", *longer)
    assert result.returncode == 2
    assert "iterations 4 -> 8): repeat the arguments of that run" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = ("--fold-seed", 1, *validated.command)
    result = every_script.start("cross_validate", *other)
    assert result.returncode == 2
    assert "contains a cross-validation with other folds" in result.stderr


def test_folds_that_were_trained_stay_what_they_are(validated, tmp_path):
    """Without folds.json, too: new folds would measure networks on what they saw."""
    out = tmp_path / "copy"
    shutil.copytree(validated.out, out)
    (out / "folds.json").unlink()
    command = [out if word == validated.out else word for word in validated.command]
    result = every_script.start("cross_validate", "--fold-seed", 1, *command)
    assert result.returncode == 2
    assert "contains a cross-validation with other folds" in result.stderr
    for fold in ("fold1", "fold2"):
        ours, theirs = (root / fold / "split.json" for root in (out, validated.out))
        assert ours.read_bytes() == theirs.read_bytes()
    shutil.copy(validated.out / "folds.json", out)
    (out / "ensemble.json").unlink()
    result = every_script.start("predict", "--run", out, "a.png")
    assert "is a cross-validation that is not finished" in result.stderr


def test_maps_that_were_removed_are_made_again(validated):
    """And a damaged record of them."""
    before = {
        path: path.read_bytes() for path in validated.out.glob("out-of-fold/*/*.png")
    }
    root = validated.out / "fold1/prediction"
    next((root / "MA").iterdir()).unlink()
    every_script.done(every_script.start("cross_validate", *validated.command))
    (root / "prediction.json").unlink()
    every_script.done(every_script.start("cross_validate", *validated.command))
    assert {path: path.read_bytes() for path in before} == before
    assert (root / "prediction.json").is_file()


def test_a_member_that_was_trained_again_is_named(validated, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("final.caffemodel", "final.sha256", "run.json", "deploy.prototxt"):
        content = (validated.out / "fold1/run" / name).read_bytes()
        (tmp_path / "run" / name).write_bytes(content)
    ensemble.write(tmp_path, [tmp_path / "run"], [["a"]], 50)
    assert networks.trained(tmp_path).channels == ("MA", "HE")
    (tmp_path / "run/final.caffemodel").write_bytes(b"other")
    with pytest.raises(UserError, match="was trained again"):
        networks.trained(tmp_path)
    (tmp_path / "run/final.caffemodel").unlink()
    with pytest.raises(UserError, match=r"final\.caffemodel is missing"):
        networks.trained(tmp_path)


def test_members_for_other_types_are_refused(tmp_path):
    with pytest.raises(UserError, match="the members differ in lesions"):
        ensemble.check_alike([{"lesions": ["MA"]}, {"lesions": ["HE"]}], tmp_path)


def test_a_failed_fold_is_told_and_nothing_is_pooled(caffe, phantom, tmp_path):
    out = tmp_path / "out"
    (out / "fold2").mkdir(parents=True)
    (out / "fold2/run").write_text("mine")
    given = ("--data", phantom, "--folds", 2, "--out", out, "--jobs", 1)
    result = every_script.start("cross_validate", *given, *SHORT)
    assert result.returncode == 1
    assert "error: fold 2: train.py ended with 2" in result.stderr
    assert "Traceback" not in result.stderr
    assert (out / "fold2/run").read_text() == "mine"
    summary = json.loads((out / "summary.json").read_text())
    assert [fold["fold"] for fold in summary["folds"]] == [1]
    assert summary["pooled"] == {}
    assert not (out / "ensemble.json").exists()
    assert "Failed: fold 2" in result.stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--folds", 5], "5 folds of 4 photograph(s) of 4 patient(s)"),
        (["--folds", 1], "1 folds: give at least 2"),
        (["--jobs", 0], "--jobs must be at least 1"),
        (["--", "--loss", "dise"], "loss 'dise' is unknown"),
        (["--", "--out", "x"], "--out after -- is not possible"),
        (["--", "--spl=x.json"], "--spl after -- is not possible"),
        (["--lesions", "XX"], "unknown lesion type 'XX'"),
    ],
)
def test_mistakes_are_found_before_the_first_training(phantom, tmp_path, more, message):
    out = tmp_path / "out"
    given = ("--data", phantom, "--folds", 2, "--out", out)
    result = every_script.start("cross_validate", *given, *more)
    assert result.returncode == 2
    assert message in result.stderr
    assert not out.exists()


def test_a_test_set_takes_no_part(phantom, tmp_path):
    names = sorted(c.name for c in read_dataset(phantom).subset("all"))
    split = tmp_path / "split.json"
    parts = {"train": names[:2], "validation": names[2:3], "test": names[3:]}
    split.write_text(json.dumps(parts))
    plan = cross_validating.Plan(phantom, tmp_path, folds=3, split=split)
    for fold in cross_validating.splits_of(plan):
        assert fold["test"] == tuple(names[3:])
        assert not set(fold["train"] + fold["validation"]) & set(names[3:])


def weights_of(path):
    """Return the first array of each layer."""
    layers = reading.layers_with_weights(reading.read_weights(path, ""))
    return {layer.name: reading.array_of(layer.blobs[0]) for layer in layers}


def test_folds_start_from_the_networks_without_their_photographs(
    validated, phantom, tmp_path
):
    """From a cross-validation, and from a model that was made of it."""
    about = tmp_path / "about.json"
    about.write_text('{"title": "a", "data": "b", "licence": "c", "limits": []}')
    words = ("--run", validated.out, "--about", about, "--out", tmp_path / "model")
    every_script.done(every_script.start("export_model", *words))
    found = []
    for start in (validated.out, tmp_path / "model"):
        out = tmp_path / f"from-{start.name}"
        given = ("--data", phantom, "--folds", 2, "--out", out, "--jobs", 2)
        command = (*given, "--start", start, *SHORT)
        every_script.done(every_script.start("cross_validate", *command))
        # The same command again: nothing to do.
        every_script.done(every_script.start("cross_validate", *command))
        found.append([out / f"fold{k}/run/final.caffemodel" for k in (1, 2)])
        stages = earlier(networks.read_run(out / "fold2/run"), ("iterations",))
        assert [stage["iterations"] for stage in stages] == [4]
    plain = validated.out / "fold1/run/final.caffemodel"
    for one, other in zip(*found, strict=True):
        ours, theirs = (weights_of(path) for path in (one, other))
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    first, before = weights_of(found[0][0]), weights_of(plain)
    assert not np.array_equal(first["score"], before["score"])
    for start, message in (
        (phantom, "is no cross-validation: give the output folder"),
        (validated.out, "has other folds"),
    ):
        given = ("--data", phantom, "--folds", 2, "--fold-seed", 5)
        given += ("--out", tmp_path / "other", "--start", start)
        result = every_script.start("cross_validate", *given, *SHORT)
        assert result.returncode == 2
        assert message in result.stderr
        assert not (tmp_path / "other").exists()
    for start in (validated.out, tmp_path / "model"):
        for more in (("--activation", "SOFTMAX"), ("--base-channels", 6)):
            given = ("--data", phantom, "--folds", 2, "--out", tmp_path / "other")
            command = (*given, "--start", start, *SHORT, "--loss", "focal", *more)
            result = every_script.start("cross_validate", *command)
            assert result.returncode == 2
            assert f"--start {start} belongs to another network" in result.stderr
            assert more[0] in result.stderr
            assert not (tmp_path / "other").exists()
    given = ("--data", phantom, "--folds", 2, "--out", tmp_path / "other")
    given += ("--start", validated.out, *SHORT, "--weights", "a.caffemodel")
    result = every_script.start("cross_validate", *given)
    assert "--weights after -- is not possible" in result.stderr
    shutil.copytree(validated.out, tmp_path / "copied")
    for start in (tmp_path / "copied", tmp_path / "model"):
        final = next(start.rglob("final.caffemodel"))
        final.write_bytes(final.read_bytes()[:-100])
        given = ("--data", phantom, "--folds", 2, "--out", tmp_path / "other")
        result = every_script.start("cross_validate", *given, "--start", start, *SHORT)
        assert result.returncode == 2
        assert f"{final} is damaged or was replaced" in result.stderr
        assert not (tmp_path / "other/fold1/run").exists()
