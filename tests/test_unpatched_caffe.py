"""A Caffe with none of our layers trains with the Python twin."""

import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from randrop.pycaffe.build import build_dir

pytestmark = pytest.mark.builds


@pytest.fixture(scope="module")
def unpatched():
    """A tree with only the compatibility mends, built at first use."""
    result = subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "scripts" / "build_caffe.py")),
            *("--unpatched", "--no-tests", "--no-install"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return build_dir() / "caffe-unpatched"


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_python_layer_trains_an_unpatched_caffe(unpatched, phantom, tmp_path):
    environment = {**os.environ, "CAFFE_ROOT": str(unpatched)}
    listing = subprocess.run(
        [sys.executable, "-c", "import caffe; print(*caffe.layer_type_list())"],
        env={**environment, "PYTHONPATH": str(unpatched / "python")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Python" in listing
    assert "RandomDrop" not in listing
    command = [
        *(sys.executable, str(REPOSITORY / "scripts" / "train.py")),
        *("--data", str(phantom), "--patch", "32", "--depth", "2"),
        *("--base-channels", "4", "--batch", "4", "--test-interval", "40"),
        *("--test-iterations", "2", "--iterations", "120", "--out"),
    ]
    run = tmp_path / "run"
    result = subprocess.run(
        [*command, str(run), "--python-layer"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    curves = json.loads((run / "curves.json").read_text())
    validation = [loss for _, loss in curves["validation_loss"]]
    assert validation[-1] < 0.9 * validation[0]

    result = subprocess.run(
        [*command, str(tmp_path / "native")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "patch it with scripts/patch_caffe.py" in result.stderr
    assert "--python-layer" in result.stderr
