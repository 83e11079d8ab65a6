"""The benchmarks run and write their results; the times are not tested."""

import json
import os
import subprocess
import sys

import pytest

from randrop.pycaffe.build import REPOSITORY, build_dir


def bench(name, *options, env=None):
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / f"bench_{name}.py", *options],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )


def test_losses_on_a_device(caffe, tmp_path):
    out = tmp_path / "losses.json"
    result = bench(
        *("losses_gpu", "--device", "cpu", "--losses", "focal"),
        *("--largest", str(2**19), "--out", str(out)),
    )
    assert result.returncode == 0, result.stderr
    content = json.loads(out.read_text())
    assert [cell["activation"] for cell in content["losses"]] == ["SIGMOID", "SOFTMAX"]
    for cell in content["losses"]:
        assert 0 < cell["forward_ns_per_label"] < cell["ns_per_label"]
        assert 0 < cell["share_of_copy"] < 1


def test_losses_on_a_device_beside_pytorch(caffe, tmp_path):
    judges = build_dir() / "judges"
    if not (judges / "torch").exists():
        pytest.skip("build_caffe.py --judges was not run")
    out = tmp_path / "losses.json"
    result = bench(
        *("losses_gpu", "--device", "cpu", "--losses", "focal"),
        *("--largest", str(2**19), "--pytorch", sys.executable, "--out", str(out)),
        env={**os.environ, "PYTHONPATH": str(judges)},
    )
    assert result.returncode == 0, result.stderr
    content = json.loads(out.read_text())
    assert content["pytorch"]
    for cell in content["losses"]:
        assert cell["pytorch_ns_per_label"] > 0
        assert cell["pytorch_read_ns_per_label"] > 0


def test_a_python_without_pytorch_is_named(caffe):
    result = bench(
        *("losses_gpu", "--device", "cpu", "--losses", "focal"),
        *("--largest", str(2**19), "--pytorch", "/nowhere/python"),
    )
    assert result.returncode == 2
    assert "--pytorch /nowhere/python" in result.stderr


def test_a_caffe_without_cuda_is_told_before_anything_runs(caffe):
    result = bench("losses_gpu", "--losses", "none")
    assert result.returncode == 2
    assert "--gpu" in result.stderr or "no loss is selected" in result.stderr


def test_inference(caffe, tmp_path):
    out = tmp_path / "inference.json"
    result = bench(
        *("inference", "--contenders", "oneDNN", "caffe", "opencv", "--threads", "2"),
        *("--size", "200", "300", "--base", "4", "--tile", "128", "--out", str(out)),
    )
    assert result.returncode == 0, result.stderr
    runs = json.loads(out.read_text())["runs"]
    assert [run["contender"] for run in runs] == ["oneDNN", "caffe", "opencv"]
    assert all(run["seconds"] > 0 for run in runs)


def test_beside_other_programs(caffe, tmp_path):
    out = tmp_path / "loaded.json"
    result = bench(
        *("loaded", "--losses", "top-k", "exp-log", "--shape", "1", "2", "40", "40"),
        *("--rounds", "1", "--repeats", "2", "--iterations", "1", "--base", "8"),
        *("--batch", "2", "--side", "96", "--loops", "1", "--out", str(out)),
    )
    assert result.returncode == 0, result.stderr
    content = json.loads(out.read_text())
    timed = [(c["activation"], c["loss"]) for c in content["losses"]]
    assert timed == [("SIGMOID", "top-k"), ("SOFTMAX", "top-k"), ("SOFTMAX", "exp-log")]
    for figures in [c["ns_per_pixel"] for c in content["losses"]] + [
        c["ms"] for c in content["step"]
    ]:
        for state in ("quiet", "loaded"):
            one, two = figures[state].values()
            assert min(one, two) > 0
            ratio = figures[f"{state}_ratio_2_to_1"]
            assert abs(ratio - two / one) <= 0.005 + 0.05 * ratio
    assert [c["engine"] for c in content["step"]] == ["ONEDNN", "CAFFE"]


def test_a_set_larger_than_the_memory(caffe, tmp_path):
    """Without a limit, which takes root; before and now are the same version."""
    out = tmp_path / "large.json"
    result = bench(
        *("large_set", tmp_path / "set", "--images", "9", "--size", "128"),
        *("--limit", "0", "--patch", "32", "--patches", "6", "--exported", "5"),
        *("--iterations", "2", "--before", REPOSITORY / "python_layers"),
        *("--out", str(out)),
    )
    assert result.returncode == 0, result.stderr
    content = json.loads(out.read_text())
    assert content["images"] == 9
    assert content["decoded_MB"] > 0
    ways = [(run["version"], run["way"]) for run in content["ways"]]
    assert ways == [
        *(("before", "computed"), ("now", "computed")),
        *(("before", "arrays"), ("now", "arrays")),
    ]
    assert len({run["sha256"] for run in content["ways"]}) == 1
    for run in content["ways"]:
        assert run["ended"] is None
        assert min(run["start_s"], run["patches_per_s"], run["own_MB"]) > 0
    for part in ("export", "read", "train"):
        assert content["lmdb"][part]["own_MB"] > 1
    assert content["lmdb"]["stored_MB"] > 0


def test_bad_options_are_named(caffe):
    for options, word in (
        (["inference", "--tile", "100"], "--tile"),
        (["inference", "--size", "1", "1"], "--size"),
        (["losses", "--repeats", "0"], "--repeats"),
        (["training", "--rounds", "0"], "--rounds"),
        (["loaded", "--side", "17"], "--side"),
        (["loaded", "--losses", "top-j"], "--losses top-j"),
        (["large_set"], "FOLDER"),
        (["large_set", "nowhere", "--images", "3"], "--images"),
    ):
        result = bench(*options)
        assert result.returncode == 2
        assert word in result.stderr
