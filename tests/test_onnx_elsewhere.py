import json
import subprocess
import sys

import cv2
from conftest import REPOSITORY

PROGRAM = REPOSITORY / "tests" / "onnx_elsewhere.py"


def test_the_programs_that_are_installed_compute_what_caffe_does(caffe, tmp_path):
    out = tmp_path / "differences.json"
    programs = ["onnxruntime", f"opencv{cv2.__version__.partition('.')[0]}"]
    words = ["--here", "--programs", *programs, "--photographs", "1"]
    words += ["--size", "128", "--threads", "1", "--out", out]
    child = subprocess.run(
        [sys.executable, PROGRAM, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(out.read_text())
    assert [run["program"] for run in found["programs"]] == programs
    for run in found["programs"]:
        ours = run["networks"]["unet"]
        assert set(ours["cases"]) == {"tile", "odd", "batch", "smallest", "black"}
        assert 0 < ours["largest"] < 1e-5
        assert run["networks"]["lseg"]["largest"] < 1e-5
        assert ours["seconds"] > 0


def test_a_result_of_something_else_is_not_replaced(tmp_path):
    out = tmp_path / "other.json"
    out.write_text("{}")
    command = [sys.executable, PROGRAM, "--programs", "onnxruntime", "--out", out]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 2
    assert out.read_text() == "{}"
