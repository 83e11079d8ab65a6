import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_unet
from sklearn.metrics import average_precision_score

from randrop.data import read_dataset
from randrop.errors import UserError
from randrop.evaluation import photographs
from randrop.files.locks import locked
from randrop.prediction import maps

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def data(tmp_path):
    return small_unet.write_data(tmp_path / "data", count=5)


@pytest.fixture
def evaluate(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import evaluate

    return lambda *arguments: evaluate.main([str(a) for a in arguments])


def write_maps(data, root, lesions=("MA", "HE"), noise=1.0):
    """Write maps that match the masks more or less, and return them."""
    rng = np.random.default_rng(0)
    written = {}
    for case in read_dataset(data).cases:
        for lesion, mask in zip(lesions, case.masks(lesions), strict=True):
            logit = 3 * mask - 2 + noise * rng.normal(0, 1, mask.shape)
            probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
            path = maps.path_of(root, lesion, case.name)
            maps.write_map(path, probability)
            written[lesion, case.name] = (maps.read_map(path)[0], mask)
    return written


def test_numbers_equal_scikit_learn_on_the_pooled_pixels(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    written = write_maps(data, root)
    status = evaluate(
        *("--probabilities", root, "--data", data, "--subset", "all"),
        *("--lesions", "MA", "HE", "--out", out),
    )
    assert status == 0
    content = json.loads((out / "metrics.json").read_text())
    assert content["images"] == [f"eye{i}" for i in range(5)]
    for lesion in ("MA", "HE"):
        pairs = [value for key, value in written.items() if key[0] == lesion]
        levels, truth = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
        result = content["lesions"][lesion]
        expected = average_precision_score(truth, levels)
        assert result["average_precision"] == pytest.approx(expected, abs=1e-9)
        assert result["pixels"] == truth.size
        assert result["positives"] == truth.sum()
        assert result["prevalence"] == pytest.approx(truth.mean())
        low, high = result["average_precision_95"]
        assert low < expected < high
        levels, truth = written[lesion, "eye3"]
        own = result["per_image"]["eye3"]["average_precision"]
        expected = average_precision_score(truth.ravel(), levels.ravel())
        assert own == pytest.approx(expected, abs=1e-9)


def test_all_files_are_there_and_readable(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root)
    arguments = ("--probabilities", root, "--data", data, "--lesions", "MA")
    evaluate(*arguments, "--subset", "all", "--out", out)
    files = {str(p.relative_to(out)) for p in out.rglob("[!.]*") if p.is_file()}
    overlays = {f"overlays/MA/eye{i}.png" for i in range(5)}
    curves = {"pr_curves.png", "froc_curves.png", "reliability.png"}
    pictures = {*curves, "ranked_MA.jpg", *overlays}
    assert files == {"metrics.json", "report.html", *pictures}
    for name in pictures:
        assert cv2.imread(str(out / name)).std() > 10


def test_telling_overlays_are_best_median_and_worst(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root)
    arguments = ("--probabilities", root, "--data", data, "--lesions", "HE")
    evaluate(*arguments, "--subset", "all", "--out", out, "--overlays", "telling")
    images = json.loads((out / "metrics.json").read_text())["lesions"]["HE"]
    ranked = sorted(
        images["per_image"], key=lambda n: images["per_image"][n]["average_precision"]
    )
    drawn = {path.stem for path in (out / "overlays" / "HE").iterdir()}
    assert drawn == {ranked[0], ranked[2], ranked[4]}


def test_telling_leaves_out_photographs_without_lesions():
    images = {"a": None, "b": 0.5, "c": 0.1, "d": None}
    result = {"per_image": {n: {"average_precision": v} for n, v in images.items()}}
    assert photographs.telling(result) == {"best": "b", "worst": "c"}
    del images["b"]
    result = {"per_image": {n: {"average_precision": v} for n, v in images.items()}}
    assert photographs.telling(result) == {"the only one": "c"}
    result = {"per_image": {"a": {"average_precision": None}}}
    assert photographs.telling(result) == {}


def test_lesions_come_from_the_prediction(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root)
    arguments = ("--probabilities", root, "--data", data, "--out", out)
    with pytest.raises(UserError, match="give the --lesions"):
        evaluate(*arguments)
    record = {
        "complete": True,
        "lesions": ["HE"],
        "weights_sha256": 64 * "a",
        "backend": "opencv",
        "tile": 512,
        "overlap": 64,
        "seconds": {
            case.name: 0.25 for case in read_dataset(data).subset("validation")
        },
    }
    (root / "prediction.json").write_text(json.dumps(record))
    evaluate(*arguments)
    assert list(json.loads((out / "metrics.json").read_text())["lesions"]) == ["HE"]
    assert "aaaaaaaaaaaaaaaa…" in (out / "report.html").read_text()
    # What is left of an earlier prediction is not measured as this one's.
    for more, name in (("--lesions", "MA"), ("--subset", "all")):
        with pytest.raises(UserError, match="records no prediction of"):
            evaluate(*arguments, more, name)
    (root / "prediction.json").write_text("{")
    with pytest.raises(UserError, match=r"prediction\.json is not JSON"):
        evaluate(*arguments)


def test_missing_maps_are_counted_and_named(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root)
    gone = [maps.path_of(root, "MA", "eye1"), maps.path_of(root, "HE", "eye4")]
    for path in gone:
        path.unlink()
    arguments = ("--probabilities", root, "--data", data, "--lesions", "MA", "HE")
    with pytest.raises(UserError, match="2 of 10 probability maps") as error:
        evaluate(*arguments, "--subset", "all", "--out", out)
    assert all(str(path) in str(error.value) for path in gone)
    assert not out.exists()


def test_maps_that_are_being_written_are_not_measured(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root)
    arguments = ("--probabilities", root, "--data", data, "--lesions", "MA", "HE")
    with (
        locked(root),
        pytest.raises(UserError, match=f"is writing into {root}: wait until it ends"),
    ):
        evaluate(*arguments, "--subset", "all", "--out", out)
    assert not out.exists()
    assert evaluate(*arguments, "--subset", "all", "--out", out) == 0


def test_a_map_of_another_size_is_named(evaluate, data, tmp_path):
    root = tmp_path / "maps"
    write_maps(data, root)
    path = maps.path_of(root, "MA", "eye4")
    maps.write_map(path, np.zeros((70, 95), np.float32))
    arguments = ("--probabilities", root, "--data", data, "--lesions", "MA", "HE")
    with pytest.raises(UserError, match=r"MA/eye4\.png: .*95 x 70.*96 x 70"):
        evaluate(*arguments, "--subset", "all", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_lesion_type_is_refused(evaluate, data, tmp_path):
    arguments = ("--probabilities", tmp_path, "--data", data, "--out", tmp_path / "out")
    with pytest.raises(UserError, match="unknown lesion type 'XX'"):
        evaluate(*arguments, "--lesions", "XX")


def test_no_lesion_in_any_mask_is_refused(evaluate, data, tmp_path):
    root = tmp_path / "maps"
    write_maps(data, root, lesions=("EX",))
    arguments = ("--probabilities", root, "--data", data, "--out", tmp_path / "out")
    with pytest.raises(UserError, match="has a lesion of the types EX"):
        evaluate(*arguments, "--lesions", "EX")


def test_one_type_without_lesions_is_undefined_with_a_reason(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root, lesions=("MA", "EX"))
    arguments = ("--probabilities", root, "--data", data, "--out", out)
    evaluate(*arguments, "--lesions", "MA", "EX")
    lesions = json.loads((out / "metrics.json").read_text())["lesions"]
    assert lesions["EX"]["average_precision"] is None
    assert lesions["EX"]["aupr_challenge"] is None
    assert "no mask has a pixel" in lesions["EX"]["undefined"]
    assert 0 < lesions["MA"]["average_precision"] <= 1
    assert "undefined: no mask has a pixel" in (out / "report.html").read_text()
    assert not (out / "overlays" / "EX").exists()


def not_searched(data, lesion, names=None):
    """Mark a type as one that nobody looked for in the photographs."""
    names = names or [case.name for case in read_dataset(data).cases]
    facts = {"cases": {name: {"unknown": [lesion]} for name in names}}
    (data / "manifest.json").write_text(json.dumps(facts))
    for name in names:
        for path in (data / "masks" / lesion).glob(f"{name}.*"):
            path.unlink()


def test_a_type_that_nobody_looked_for_is_left_out(evaluate, data, tmp_path, caplog):
    """As where a network of two types meets a data set of one."""
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root)
    not_searched(data, "HE")
    arguments = ("--probabilities", root, "--data", data, "--out", out)
    evaluate(*arguments, "--lesions", "MA", "HE", "--threshold", "HE=0.3")
    content = json.loads((out / "metrics.json").read_text())
    assert list(content["lesions"]) == ["MA"]
    assert "HE is not measured: nobody looked for it" in caplog.text
    with pytest.raises(UserError, match="nobody looked for HE in the"):
        evaluate(*arguments, "--lesions", "HE")


def test_photographs_without_a_search_do_not_count(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    write_maps(data, root)
    names = [case.name for case in read_dataset(data).cases]
    not_searched(data, "HE", names[:2])
    arguments = ("--probabilities", root, "--data", data, "--out", out)
    evaluate(*arguments, "--lesions", "MA", "HE", "--subset", "all")
    lesions = json.loads((out / "metrics.json").read_text())["lesions"]
    assert lesions["MA"]["images"] == len(names)
    assert list(lesions["HE"]["per_image"]) == names[2:]


def test_eight_bit_maps_are_taken_and_the_report_says_so(evaluate, data, tmp_path):
    root, out = tmp_path / "maps", tmp_path / "out"
    written = write_maps(data, root)
    for (lesion, name), (levels, _) in written.items():
        path = maps.path_of(root, lesion, name)
        cv2.imwrite(str(path), (levels // 257).astype(np.uint8))
    arguments = ("--probabilities", root, "--data", data, "--lesions", "MA")
    evaluate(*arguments, "--subset", "all", "--out", out)
    result = json.loads((out / "metrics.json").read_text())["lesions"]["MA"]
    assert result["map_bits"] == [8]
    pairs = [value for key, value in written.items() if key[0] == "MA"]
    levels, truth = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
    expected = average_precision_score(truth, levels // 257)
    assert result["average_precision"] == pytest.approx(expected, abs=1e-9)
    assert "8 bits per pixel" in (out / "report.html").read_text()


def test_a_run_without_training_is_refused(evaluate, data, tmp_path):
    root = tmp_path / "maps"
    write_maps(data, root)
    arguments = ("--probabilities", root, "--data", data, "--lesions", "MA")
    with pytest.raises(UserError, match=r"run\.json is missing"):
        evaluate(*arguments, "--run", tmp_path / "none", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_input_ends_with_status_two_and_one_sentence(data, tmp_path):
    command = [sys.executable, SCRIPTS / "evaluate.py", "--data", data]
    command += ["--probabilities", tmp_path / "none"]
    command += ["--out", tmp_path / "out"]
    child = subprocess.run(command, capture_output=True, text=True)
    assert child.returncode == 2
    assert child.stderr.startswith(f"error: {tmp_path / 'none'} is not a folder")
    assert "Traceback" not in child.stderr
