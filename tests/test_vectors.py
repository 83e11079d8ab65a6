"""The vectorised native layers match double precision on any processor."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vectors_child import cases

HERE = Path(__file__).parent
CPU = Path("/proc/cpuinfo")
FLAGS = CPU.read_text() if CPU.exists() else ""
SETS = {"PLAIN": "", "AVX2": "avx2", "AVX512": "avx512dq"}


@pytest.fixture(scope="module")
def wanted():
    """The NumPy functions in double precision."""
    return {
        name: member.function(x.astype(float), t, **options)
        for name, member, options, x, t in cases()
    }


def results(tmp_path, vectors, threads):
    out = tmp_path / f"{vectors}{threads}.npz"
    subprocess.run(
        [sys.executable, HERE / "vectors_child.py", out],
        env={
            **os.environ,
            "RANDROP_VECTORS": vectors,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent / "python_layers")]),
            "GLOG_minloglevel": "2",
        },
        check=True,
    )
    return np.load(out)


@pytest.mark.parametrize("vectors", SETS)
def test_every_loss_in_vectors_equals_double_precision(
    caffe, tmp_path, wanted, vectors
):
    if SETS[vectors] not in FLAGS:
        pytest.skip(f"this processor has no {vectors}")
    found = results(tmp_path, vectors, 1)
    worst = {}
    for name, result in wanted.items():
        kind = name.split()[1]
        loss = abs(found[f"{name}|loss"] - result.loss) / abs(result.loss)
        scale = abs(result.grad).max()
        grad = abs(found[f"{name}|grad"] - result.grad).max() / scale
        worst[kind] = np.maximum(worst.get(kind, (0, 0)), (loss, grad))
        if f"{name}|mask" in found:
            np.testing.assert_array_equal(found[f"{name}|mask"], result.mask, name)
        assert max(loss, grad) <= 1e-6, (name, loss, grad)
    for kind, (loss, grad) in worst.items():
        print(f"{vectors} {kind}: loss {loss:.1e}, gradient {grad:.1e} of its largest")


def test_threads_do_not_change_a_bit(caffe, tmp_path):
    one, three = (results(tmp_path, "", threads) for threads in (1, 3))
    for name in one.files:
        np.testing.assert_array_equal(one[name], three[name], name)
