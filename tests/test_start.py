"""What scripts import before they read their options: errors should come at once."""

import subprocess

import pytest
from conftest import REPOSITORY

from randrop.pycaffe import processes

SLOW = ("matplotlib", "onnx", "scipy.ndimage", "scipy.special", "scipy.stats")
SLOW += ("skimage", "sklearn", "tkinter", "torch")
OFTEN = ("calibrate", "compare", "cross_validate", "evaluate", "make_phantom")
OFTEN += ("predict", "prepare", "run_protocol", "show_patches", "surface", "train")

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
__import__(sys.argv[2])
print(*sorted(set(sys.argv[3:]).intersection(sys.modules)))
"""


@pytest.mark.parametrize("name", OFTEN)
def test_no_script_that_is_often_used_begins_with_slow_imports(name):
    command = processes.python(CODE, str(REPOSITORY / "scripts"), name, *SLOW)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
