"""The benchmarks run, and write what they say; their times are not tested."""

import json
import subprocess
import sys

from randrop.caffe_build import REPOSITORY


def bench(name, *options):
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / f"bench_{name}.py", *options],
        capture_output=True,
        text=True,
        check=False,
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


def test_a_caffe_without_cuda_is_told_before_anything_runs(caffe):
    result = bench("losses_gpu", "--losses", "none")
    assert result.returncode == 2
    assert "--gpu" in result.stderr or "no loss is left" in result.stderr


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


def test_bad_options_are_named(caffe):
    for options, word in (
        (["inference", "--tile", "100"], "--tile"),
        (["inference", "--size", "1", "1"], "--size"),
        (["losses", "--repeats", "0"], "--repeats"),
        (["training", "--rounds", "0"], "--rounds"),
    ):
        result = bench(*options)
        assert result.returncode == 2
        assert word in result.stderr
