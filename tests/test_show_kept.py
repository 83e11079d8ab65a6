import subprocess
import sys

import cv2
import numpy as np
import pytest

from randrop.pycaffe.build import REPOSITORY


def script(name, *words):
    return subprocess.run(
        [sys.executable, REPOSITORY / f"scripts/{name}.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def train(phantom, out, loss):
    result = script(
        *("train", "--data", phantom, "--lesions", "MA", "HE", "--out", out),
        *("--loss", loss, "--iterations", 4, "--snapshot", 2, "--patch", 64),
        *("--base-channels", 2, "--depth", 2, "--test-iterations", 1),
    )
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.parametrize("loss", ["random-drop:SQU", "bin+dice"])
def test_a_column_for_each_snapshot(caffe, phantom, tmp_path, loss):
    run, out = train(phantom, tmp_path / "run", loss), tmp_path / "kept.png"
    result = script("show_kept", "--run", run, "--out", out)
    assert result.returncode == 0, result.stderr
    first = cv2.imread(str(out))
    result = script("show_kept", "--run", run, "--out", out, "--iterations", 2)
    assert result.returncode == 0, result.stderr
    second = cv2.imread(str(out))
    assert first.shape[1] > 1.3 * second.shape[1]
    # Lesions and kept negatives.
    for colour in ((115, 158, 0), (0, 159, 230)):
        assert (np.abs(first.astype(int) - colour).max(axis=2) < 9).any()


def test_what_cannot_be_drawn_is_named(caffe, phantom, tmp_path):
    out = tmp_path / "kept.png"
    result = script("show_kept", "--run", tmp_path, "--out", out)
    assert result.returncode == 2
    assert "run.json is missing: name the output folder" in result.stderr
    run = train(phantom, tmp_path / "run", "cross-entropy")
    result = script("show_kept", "--run", run, "--out", out)
    assert "cross-entropy keeps all negatives" in result.stderr
    result = script("show_kept", "--run", run, "--out", out, "--iterations", 3)
    assert "no snapshot of iteration [3]: it has [2, 4]" in result.stderr
    assert not out.exists()
