"""Whole networks give the same results through oneDNN and Caffe's own layers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
NO_ENGINE = "this Caffe was built without oneDNN"


def has_engine():
    from randrop.pycaffe.build import caffe_root

    return (caffe_root() / "build" / "test" / "test_engine.testbin").exists()


def child(script, out, engine, *words, **variables):
    """Return what a script writes in a process with this engine, and its log."""
    done = subprocess.run(
        [sys.executable, HERE / script, *words],
        env={
            **os.environ,
            "RANDROP_ENGINE": engine,
            "PYTHONPATH": str(HERE.parent / "python_layers"),
            "GLOG_minloglevel": "1",
            **variables,
        },
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    return np.load(out), done.stderr


def run(net, out, engine):
    return child("engine_child.py", out, engine, net, out)[0]


@pytest.mark.parametrize("net", ["unet16", "unet5", "explog3d"])
def test_a_network_is_the_same_through_onednn(caffe, tmp_path, net):
    if not has_engine():
        pytest.skip(NO_ENGINE)
    ours = run(net, tmp_path / "ours.npz", "ONEDNN")
    caffes = run(net, tmp_path / "caffes.npz", "CAFFE")
    assert set(ours.files) == set(caffes.files)
    off = {
        name: np.linalg.norm(ours[name] - caffes[name])
        / max(np.linalg.norm(caffes[name]), 1e-6)
        for name in caffes.files
    }
    # Rounding decides whether a number near 0 passes a ReLU, and with it a gradient:
    # some gradients may differ by more than rounding.
    for name, error in off.items():
        forward = name.startswith("blob ") and not name.startswith("blob diff")
        assert error < (1e-4 if forward else 2e-2), name
    assert np.median(list(off.values())) < 1e-6


def test_an_engine_that_is_none_is_named(caffe, tmp_path):
    if not has_engine():
        pytest.skip(NO_ENGINE)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("unet5", tmp_path / "none.npz", "CUDNN")
    assert (
        "RANDROP_ENGINE must be CAFFE, ONEDNN (the default) or" in failed.value.stderr
    )


SHARED = """
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 16 dim: 8 dim: 8 }} }} }}
layer {{ name: "a" type: "Convolution" bottom: "data" top: "a"
  convolution_param {{ num_output: 16 kernel_size: 3 pad: 1
    weight_filler {{ type: "msra" }} {engine} }} }}
layer {{ name: "b" type: "Convolution" bottom: "a" top: "b"
  convolution_param {{ num_output: 16 kernel_size: 3 pad: 1
    weight_filler {{ type: "msra" }} {engine} }} }}
"""


def test_a_view_of_a_blob_stays_one(caffe, tmp_path):
    """A caller that once asked for a blob's data sees the results of later passes."""
    path = tmp_path / "net.prototxt"
    path.write_text(SHARED.format(engine=""))
    net = caffe.Net(str(path), caffe.TEST)
    net.blobs["data"].data[...] = 1
    net.forward()
    view = net.blobs["a"].data
    before = view.copy()
    net.blobs["data"].data[...] = 2
    net.forward()
    np.testing.assert_allclose(view, 2 * before, rtol=1e-5)
    np.testing.assert_array_equal(view, net.blobs["a"].data)


def test_what_is_written_between_two_layers_is_used(caffe, tmp_path):
    nets = []
    for engine in ("", "engine: CAFFE"):
        path = tmp_path / f"net{len(nets)}.prototxt"
        path.write_text(SHARED.format(engine=engine))
        nets.append(caffe.Net(str(path), caffe.TEST))
    for ours, caffes in zip(
        nets[0].params.values(), nets[1].params.values(), strict=True
    ):
        for mine, theirs in zip(ours, caffes, strict=True):
            theirs.data[...] = mine.data
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (1, 16, 8, 8))
    for net in nets:
        net.blobs["data"].data[...] = rng.normal(0, 1, (1, 16, 8, 8))
        for _ in range(2):
            net.forward(end="a")
            net.blobs["a"].data[...] = values
            net.forward(start="b")
    np.testing.assert_allclose(
        nets[0].blobs["b"].data, nets[1].blobs["b"].data, rtol=1e-4, atol=1e-5
    )
    # A manually changed weight takes effect at once.
    for net in nets:
        net.params["b"][0].data[...] *= 2
        net.forward(start="b")
    np.testing.assert_allclose(
        nets[0].blobs["b"].data, nets[1].blobs["b"].data, rtol=1e-4, atol=1e-5
    )


def test_reshaping_keeps_the_data_right(caffe, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(SHARED.format(engine=""))
    net = caffe.Net(str(path), caffe.TEST)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (3, 16, 12, 20)).astype(np.float32)
    alone = []
    for image in x:
        net.blobs["data"].reshape(1, 16, 12, 20)
        net.blobs["data"].data[...] = image
        alone.append(net.forward()["b"].copy())
    net.blobs["data"].reshape(3, 16, 12, 20)
    net.blobs["data"].data[...] = x
    together = net.forward()["b"]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-5)


SCALE = "Scale scale_param { bias_term: true }"
CHAINS = {
    "all ours": ("BatchNorm", SCALE, "ReLU"),
    "without a Scale": ("BatchNorm", "ReLU"),
    "PReLU": ("BatchNorm", SCALE, "PReLU"),
    "Power last": ("BatchNorm", SCALE, "ReLU", "Power power_param { scale: 2 }"),
    "Power first": ("Power power_param { scale: 2 }", "BatchNorm", SCALE, "ReLU"),
}


def write_chain(path, layers, engine=""):
    """Write three convolutions, each followed by these in-place layers."""
    text, bottom = SHAPES, "data"
    for i in range(3):
        top = f"conv{i}"
        text += (
            f'layer {{ name: "{top}" type: "Convolution" bottom: "{bottom}" '
            f'top: "{top}" convolution_param {{ num_output: 16 kernel_size: 3 pad: 1 '
            'bias_term: false weight_filler { type: "msra" } } }\n'
        )
        for k, layer in enumerate(layers):
            kind, _, rest = layer.partition(" ")
            text += (
                f'layer {{ name: "{kind}{i}{k}" type: "{kind}" bottom: "{top}" '
                f'top: "{top}" {rest} {engine} }}\n'
            )
        bottom = top
    path.write_text(
        text + f'layer {{ name: "loss" type: "EuclideanLoss" bottom: "{bottom}" '
        'bottom: "label" top: "loss" }\n'
    )
    return path


SHAPES = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 20 dim: 24 } } }
layer { name: "label" type: "Input" top: "label"
  input_param { shape { dim: 2 dim: 16 dim: 20 dim: 24 } } }
"""


def gradients(net, seed):
    """Return the contents of the parameters after one training pass."""
    rng = np.random.default_rng(seed)
    for name in ("data", "label"):
        net.blobs[name].data[...] = rng.normal(0, 1, net.blobs[name].data.shape)
    net.clear_param_diffs()
    net.forward()
    net.backward()
    blobs = [blob for layer in net.params.values() for blob in layer]
    return [array.copy() for blob in blobs for array in (blob.diff, blob.data)]


@pytest.mark.parametrize("layers", CHAINS.values(), ids=CHAINS)
def test_a_training_that_goes_on_in_a_new_process_has_the_same_bits(
    caffe, tmp_path, layers
):
    """The first pass detects who reads which data; the numbers do not depend on it."""
    if not has_engine():
        pytest.skip(NO_ENGINE)
    path = str(write_chain(tmp_path / "net.prototxt", layers))
    caffe.set_random_seed(3)
    net = caffe.Net(path, caffe.TRAIN)
    for seed in range(3):
        gradients(net, seed)
    new = caffe.Net(path, caffe.TRAIN)
    for key, blobs in net.params.items():
        for mine, theirs in zip(blobs, new.params[key], strict=True):
            theirs.data[...] = mine.data
    for seed in (3, 4):
        for mine, theirs in zip(
            gradients(net, seed), gradients(new, seed), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_what_is_put_off_is_there_for_whoever_looks(caffe, tmp_path):
    """BatchNorm, Scale and ReLU are one pass, unless a caller reads in between."""
    if not has_engine():
        pytest.skip(NO_ENGINE)
    caffe.set_random_seed(3)
    own = "randrop_engine_param { engine: CAFFE }"
    ours = caffe.Net(
        str(write_chain(tmp_path / "ours.prototxt", CHAINS["all ours"])), caffe.TRAIN
    )
    theirs = caffe.Net(
        str(write_chain(tmp_path / "theirs.prototxt", CHAINS["all ours"], own)),
        caffe.TRAIN,
    )
    theirs.copy_from(save(ours, tmp_path / "weights.caffemodel"))
    rng = np.random.default_rng(0)
    inputs = {k: rng.normal(0, 1, ours.blobs[k].shape) for k in ("data", "label")}
    names = list(ours._layer_names)
    for stop in ("BatchNorm10", "Scale11", "ReLU12"):
        seen = []
        for net in (ours, theirs):
            for name, values in inputs.items():
                net.blobs[name].data[...] = values
            net.forward(end=stop)
            # Do not read the blob, which would disable this for later passes.
            if stop == "ReLU12":
                net.forward(start=names[names.index(stop) + 1])
                net.backward(end=stop)
                seen.append(net.blobs["conv1"].diff.copy())
            seen.append(net.blobs["conv1"].data.copy())
        for mine, other in zip(
            seen[: len(seen) // 2], seen[len(seen) // 2 :], strict=True
        ):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def save(net, path):
    net.save(str(path))
    return str(path)


def test_threads_that_wait_sleep_unless_the_environment_says_how(caffe):
    """`caffe train` runs beside other programs, without environment variables."""
    from randrop.pycaffe.build import caffe_root

    if not has_engine():
        pytest.skip(NO_ENGINE)
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor: threads sleep there anyway")
    plain = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        plain.pop(name, None)

    def waiting(**variables):
        words = [sys.executable, HERE / "waiting_child.py"]
        env = {**plain, "PYTHONPATH": str(caffe_root() / "python"), **variables}
        told = subprocess.run(words, env=env, check=True, capture_output=True)
        return float(told.stdout)

    assert waiting() < 0.1 < waiting(OMP_WAIT_POLICY="ACTIVE")
    assert waiting(GOMP_SPINCOUNT="100000000") > 0.1


RELU = """
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 16 dim: 5 dim: 7 }} }} }}
layer {{ name: "first" type: "{first}" bottom: "data" top: "first" {engine}
  {param} }}
layer {{ name: "relu" type: "ReLU" bottom: "first" top: "{top}" {engine}
  relu_param {{ negative_slope: {slope} }} }}
layer {{ name: "last" type: "Power" bottom: "{top}" top: "last" }}
"""
CONVOLUTION = """convolution_param { num_output: 16 kernel_size: 1
  weight_filler { type: "constant" value: 0.1 } }"""
NO_CHANGE = "scale_param { filler { value: 1 } }"
STATISTICS = "batch_norm_param { use_global_stats: true }"


@pytest.mark.parametrize("slope", [0, 0.25])
@pytest.mark.parametrize("top", ["first", "relu"])
@pytest.mark.parametrize(
    ("first", "param"),
    [
        *(("Convolution", CONVOLUTION), ("Scale", NO_CHANGE), ("TanH", "")),
        ("BatchNorm", STATISTICS),
    ],
)
def test_nan_and_infinity_pass_as_in_caffe(caffe, tmp_path, first, param, top, slope):
    """A network that has overflowed must not look right."""
    if not has_engine():
        pytest.skip(NO_ENGINE)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (1, 16, 5, 7)).astype(np.float32)
    for k, value in enumerate((np.nan, np.inf, -np.inf)):
        x[0, k, k, k] = value
    found = {}
    for engine in ("DEFAULT", "CAFFE"):
        own = f"randrop_engine_param {{ engine: {engine} }}"
        path = tmp_path / f"{engine}.prototxt"
        path.write_text(
            "force_backward: true\n"
            + RELU.format(first=first, param=param, top=top, slope=slope, engine=own)
        )
        net = caffe.Net(str(path), caffe.TEST)
        if first == "BatchNorm":
            net.params["first"][1].data[...] = 1
            net.params["first"][2].data[...] = 1
        net.blobs["data"].data[...] = x
        net.forward()
        net.blobs["last"].diff[...] = 1
        net.backward()
        found[engine] = [
            *(net.blobs[name].data.copy() for name in ("first", "last")),
            net.blobs[top].diff.copy(),
        ]
    assert np.isnan(found["CAFFE"][1]).any()
    # The slope at NaN is arbitrary: 0 in Caffe's layer, the negative slope in ours.
    for blobs in found.values():
        blobs[2][np.isnan(found["CAFFE"][1])] = 0
    for ours, caffes in zip(*found.values(), strict=True):
        np.testing.assert_allclose(ours, caffes, rtol=1e-5, atol=1e-6)
