"""Convolutions that multiply in bfloat16 (RANDROP_ENGINE=ONEDNN_BF16)."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_training import command
from test_engine import NO_ENGINE, child, has_engine

from randrop.pycaffe import precision

NETS = 60
ODD_LAYERS = 200


def has_bfloat16():
    """Tell whether this processor multiplies numbers in bfloat16."""
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text().split()


def whole_numbers(out, engine, **variables):
    words = "nets", "0", str(NETS)
    found, _ = child("rounded_child.py", out, engine, out, *words, **variables)
    return dict(found)


@pytest.fixture(scope="module")
def by_caffe(caffe, tmp_path_factory):
    if not has_engine():
        pytest.skip(NO_ENGINE)
    return whole_numbers(tmp_path_factory.mktemp("caffe") / "out.npz", "CAFFE")


@pytest.mark.parametrize("isa", ["ALL", "AVX512_CORE_BF16", "AVX2"])
def test_whole_numbers_are_the_same_in_bfloat16(by_caffe, tmp_path, isa):
    """In every layout that convolutions have with these instructions."""
    found = whole_numbers(tmp_path / "out.npz", "ONEDNN_BF16", ONEDNN_MAX_CPU_ISA=isa)
    assert set(found) == set(by_caffe)
    large = {
        key.split()[0]
        for key, values in by_caffe.items()
        if key.split()[1] in ("blob", "diff")
        and int(key.split()[0]) % 2 == 0
        and np.abs(values).max() > 256
    }
    assert len(large) < NETS / 10
    for key, values in found.items():
        net, what, *_ = key.split()
        bias = " param " in key and "conv" in key and key.endswith(" 1")
        if net in large or (int(net) % 2 and bias):
            # A normalisation takes constants away: the diff is nothing but rounding.
            continue
        if int(net) % 2 == 0:
            np.testing.assert_array_equal(values, by_caffe[key], key)
        else:
            # Fractions below the normalisation, in diffs alone, are rounded.
            far = np.linalg.norm(values - by_caffe[key])
            share = 1e-5 if what == "blob" else 1e-2
            assert far <= share * np.linalg.norm(by_caffe[key]) + 1e-5, key


def odd_layers(out, engine, **variables):
    words = "layers", "0", str(ODD_LAYERS)
    found, _ = child("rounded_child.py", out, engine, out, *words, **variables)
    return dict(found)


@pytest.fixture(scope="module")
def odd_by_caffe(caffe, tmp_path_factory):
    if not has_engine():
        pytest.skip(NO_ENGINE)
    return odd_layers(tmp_path_factory.mktemp("odd") / "out.npz", "CAFFE")


@pytest.mark.parametrize(
    ("isa", "threads"), [("ALL", 1), ("ALL", 2), ("AVX512_CORE_BF16", 1)]
)
def test_any_kernel_is_the_same_in_bfloat16(odd_by_caffe, tmp_path, isa, threads):
    """Also where elements of it meet nothing but the border of the image."""
    # What malloc returns is no zeros, which would hide what is left as it was.
    variables = {"ONEDNN_MAX_CPU_ISA": isa, "MALLOC_PERTURB_": "165"}
    # Threads that add up their shares overwrite what one would leave.
    variables["OMP_NUM_THREADS"] = str(threads)
    found = odd_layers(tmp_path / "out.npz", "ONEDNN_BF16", **variables)
    assert set(found) == set(odd_by_caffe)
    for key, values in odd_by_caffe.items():
        np.testing.assert_array_equal(found[key], values, key)


def test_other_numbers_are_rounded(caffe, tmp_path):
    """Or the other tests would not see whether bfloat16 is used."""
    if not has_engine():
        pytest.skip(NO_ENGINE)
    nets = {}
    for engine in ("ONEDNN", "ONEDNN_BF16"):
        out = tmp_path / f"{engine}.npz"
        nets[engine], _ = child("engine_child.py", out, engine, "unet16", out)
    exact, rounded = nets.values()
    off = {
        name: np.linalg.norm(rounded[name] - exact[name]) / np.linalg.norm(exact[name])
        for name in exact
        if name.startswith("blob ") and "diff" not in name and exact[name].any()
    }
    if not has_bfloat16():
        assert max(off.values()) == 0
        pytest.skip("this processor has no instructions for bfloat16")
    assert 1e-3 < off["blob up0_conv2"] < 5e-2
    assert off["blob down0_conv1"] < 1e-6, "three channels are not rounded"


def test_a_processor_without_bfloat16_is_told_of(caffe, tmp_path):
    if not has_engine():
        pytest.skip(NO_ENGINE)
    words = "engine_child.py", tmp_path / "out.npz"
    same, silent = child(
        *words, "ONEDNN", "unet16", words[1], ONEDNN_MAX_CPU_ISA="AVX2"
    )
    found, said = child(
        *words, "ONEDNN_BF16", "unet16", words[1], ONEDNN_MAX_CPU_ISA="AVX2"
    )
    assert "this processor has no instructions for bfloat16" in said
    assert said.count("for bfloat16") == 1
    assert "bfloat16" not in silent
    for name, values in same.items():
        np.testing.assert_array_equal(found[name], values, name)


def test_train_says_that_it_multiplies_in_bfloat16(caffe, phantom, tmp_path):
    if not has_engine():
        pytest.skip(NO_ENGINE)
    words = command(phantom, tmp_path, "--bf16", "--snapshot", 6)
    old = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(words, env=old, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "this processor has no instructions for bfloat16" in done.stdout
    assert json.loads((tmp_path / "run.json").read_text())["bf16"] is True


def test_a_training_goes_on_as_it_began(caffe, phantom, tmp_path):
    """And the variable in the environment is the option."""
    if not has_engine():
        pytest.skip(NO_ENGINE)
    rounded = {**os.environ, precision.ENGINE: precision.BFLOAT16}

    def start(*more, env=None):
        words = command(phantom, tmp_path / "run", "--snapshot", 6, *more)
        return subprocess.run(words, env=env, capture_output=True, text=True)

    done = start(env=rounded)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run/run.json"
    assert json.loads(run.read_text())["bf16"] is True
    whole = (tmp_path / "run/final.caffemodel").read_bytes()
    (tmp_path / "run/snapshots/net_iter_12.solverstate").unlink()
    (tmp_path / "run/final.caffemodel").unlink()
    refused = start("--resume")
    assert refused.returncode == 2
    assert "other settings (bf16 True -> False): repeat its argum" in refused.stderr
    done = start("--resume", "--bf16")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/final.caffemodel").read_bytes() == whole
    # Versions without the option multiplied in float.
    settings = json.loads(run.read_text())
    del settings["bf16"]
    run.write_text(json.dumps(settings))
    assert "bf16 False -> True" in start("--resume", "--bf16").stderr
    done = start("--resume")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("more", "engine", "said"),
    [
        (["--bf16", "--gpu"], "", "--bf16 is for the CPU: omit it, or omit --gpu"),
        (["--bf16"], "CAFFE", "RANDROP_ENGINE is CAFFE: unset it, or omit --bf16"),
        (["--bf16"], "ONEDNN", "RANDROP_ENGINE is ONEDNN: unset it, or omit --bf16"),
        (["--bf16"], "onednn", "RANDROP_ENGINE is 'onednn': set it to one of ONEDNN, "),
        ([], "ONEDNN_BF6", "ONEDNN_BF16, CAFFE, or unset it"),
    ],
)
def test_bfloat16_where_it_has_no_meaning(phantom, tmp_path, more, engine, said):
    done = subprocess.run(
        command(phantom, tmp_path, *more),
        env={**os.environ, "RANDROP_ENGINE": engine},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_validation_has_the_precision_of_predict():
    assert precision.in_float({"A": "b"}) == {"A": "b"}
    for engine, then in (("ONEDNN_BF16", "ONEDNN"), ("CAFFE", "CAFFE")):
        assert precision.in_float({"RANDROP_ENGINE": engine}) == {
            "RANDROP_ENGINE": then
        }
