"""Weights of PyTorch compute in Caffe what they computed in PyTorch."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

from randrop import nets
from randrop.errors import UserError
from randrop.exchange import messages, onnx_model, torch_weights
from randrop.prediction import without_caffe
from randrop.pycaffe.build import build_dir

DEPLOY = REPOSITORY / "prototxt" / "unet" / "deploy.prototxt"


def statistics(rng, count):
    return {
        "weight": rng.uniform(0.5, 2, count),
        "bias": rng.normal(0, 1, count),
        "running_mean": rng.normal(0, 1, count),
        "running_var": rng.uniform(0.5, 2, count),
        "num_batches_tracked": np.array(7),
    }


def state_of(*parts):
    """Return a state_dict of (name, arrays)."""
    return {f"{name}.{key}": v for name, arrays in parts for key, v in arrays.items()}


NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 6 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv"
  scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "second" type: "Convolution" bottom: "conv" top: "second"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "up" type: "Deconvolution" bottom: "second" top: "up"
  convolution_param { num_output: 2 kernel_size: 2 stride: 2 } }
layer { name: "prob" type: "Sigmoid" bottom: "up" top: "prob" }
"""


def small_state(rng, bias=True):
    first = {"weight": rng.normal(0, 0.3, (4, 3, 3, 3))}
    if bias:
        first["bias"] = rng.normal(0, 1, 4)
    return state_of(
        ("a", first),
        ("b", statistics(rng, 4)),
        (
            "c",
            {"weight": rng.normal(0, 0.3, (4, 4, 3, 3)), "bias": rng.normal(0, 1, 4)},
        ),
        (
            "d",
            {"weight": rng.normal(0, 0.3, (4, 2, 2, 2)), "bias": rng.normal(0, 1, 2)},
        ),
    )


def convolved(x, weight, bias):
    """Return a 3 x 3 convolution with padding, (C, H, W), as the formula says."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    height, width = x.shape[1:]
    patches = np.stack(
        [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)],
        axis=1,
    )
    kernel = weight.reshape(*weight.shape[:2], 9)
    return np.einsum("oik,ikhw->ohw", kernel, patches) + bias[:, None, None]


def by_formula(state, x):
    """Return what PyTorch's documentation says that the module of `state` computes."""
    column = lambda name: state[name][:, None, None]  # noqa: E731
    y = convolved(x, state["a.weight"], state.get("a.bias", np.zeros(4)))
    y = (y - column("b.running_mean")) / np.sqrt(column("b.running_var") + 1e-5)
    y = np.maximum(y * column("b.weight") + column("b.bias"), 0)
    y = convolved(y, state["c.weight"], state["c.bias"])
    up = np.einsum("iokl,ihw->ohkwl", state["d.weight"], y)
    up = up.reshape(2, 2 * y.shape[1], 2 * y.shape[2]) + column("d.bias")
    return 1 / (1 + np.exp(-up))


@pytest.fixture
def deploy(tmp_path):
    path = tmp_path / "deploy.prototxt"
    path.write_text(NET)
    return path


def by_caffe(caffe, deploy, weights, x):
    path = deploy.with_name("net.caffemodel")
    path.write_bytes(weights)
    net = caffe.Net(str(deploy), str(path), caffe.TEST)
    net.blobs["data"].reshape(1, *x.shape)
    net.blobs["data"].data[0] = x
    return net.forward()["prob"][0]


@pytest.mark.parametrize("bias", [True, False])
def test_caffe_computes_the_formula(caffe, deploy, bias):
    rng = np.random.default_rng(0)
    state, x = small_state(rng, bias), rng.normal(0, 1, (3, 6, 5))
    found = torch_weights.convert(state, deploy)
    expected = by_formula(state, x)
    output = by_caffe(caffe, deploy, found.weights, x)
    assert expected.std() > 0.1
    np.testing.assert_allclose(output, expected, atol=1e-5)
    assert [(s.layer, s.module) for s in found.steps] == [
        *(("conv", "a"), ("bn", "b"), ("second", "c"), ("up", "d"))
    ]


def test_names_of_a_parallel_module_do_not_matter(deploy):
    state = small_state(np.random.default_rng(0))
    renamed = {f"module.net.{name}": values for name, values in state.items()}
    assert (
        torch_weights.convert(renamed, deploy).weights
        == torch_weights.convert(state, deploy).weights
    )


def test_the_order_of_one_shape_decides_and_map_overrides_it(deploy):
    deploy.write_text(NET.replace("dim: 3 dim: 6", "dim: 4 dim: 6"))
    rng = np.random.default_rng(0)
    state = small_state(rng)
    state["a.weight"] = rng.normal(0, 1, (4, 4, 3, 3))
    given = {"conv": "c", "second": "a"}
    steps = torch_weights.convert(state, deploy).steps
    assert {s.layer: s.module for s in steps}["conv"] == "a"
    steps = torch_weights.convert(state, deploy, given).steps
    assert {s.layer: s.module for s in steps} == {"bn": "b", "up": "d"} | given


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("d.weight") is None, "no weights fit layer 'up'.*d \\(2\\)"),
        (lambda s: s.update({"e.weight": np.ones((1, 1))}), "no layer for e \\(1x1\\)"),
        (lambda s: s.pop("b.running_var") is None, "no weights fit layer 'bn'"),
        (lambda s: s.update({"a.weight": np.ones((4, 3, 5, 5))}), "'conv'.*4x3x5x5"),
    ],
)
def test_what_does_not_fit_is_named(deploy, change, words):
    state = small_state(np.random.default_rng(0))
    change(state)
    with pytest.raises(UserError, match=words):
        torch_weights.convert(state, deploy)


def test_scales_without_normalisation_have_no_part(caffe, deploy):
    deploy.write_text(nets.lseg(2, base_channels=2, depth=2, batch_norm=False))
    rng = np.random.default_rng(0)
    wanted = {"weight": rng.normal(0, 1, (2, 3, 3, 3)), "bias": np.zeros(2)}
    with pytest.raises(UserError, match="no weights fit"):
        torch_weights.convert(state_of(("a", wanted)), deploy)


def script(*words, **more):
    return subprocess.run(
        [
            sys.executable,
            REPOSITORY / "scripts" / "import_weights.py",
            *map(str, words),
        ],
        env={**os.environ, "CAFFE_ROOT": "/none"},
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def test_the_check_finds_weights_in_the_wrong_order(caffe, deploy, tmp_path):
    deploy.write_text(NET.replace("dim: 3 dim: 6", "dim: 4 dim: 6"))
    rng = np.random.default_rng(0)
    state = small_state(rng)
    state["a.weight"] = rng.normal(0, 1, (4, 4, 3, 3))
    np.savez(tmp_path / "net.npz", **state)
    x = rng.normal(0, 1, (4, 6, 5)).astype(np.float32)
    np.savez(tmp_path / "pair.npz", input=x[None], output=by_formula(state, x)[None])
    out = tmp_path / "net.caffemodel"
    common = (tmp_path / "net.npz", "--deploy", deploy, "--out", out)
    checked = (*common, "--check", tmp_path / "pair.npz")
    good = script(*checked)
    assert good.returncode == 0, good.stderr
    assert "Equal to PyTorch" in good.stderr
    kept = out.read_bytes()
    bad = script(*checked, "--map", "conv=c", "--map", "second=a")
    assert bad.returncode == 2
    assert "the outputs differ" in bad.stderr
    assert out.read_bytes() == kept
    assert script(*common, "--map", "none=a").stderr.count("--map none=a")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "damaged"), (b"PK\3\4torn", "damaged"), (None, "missing")],
)
def test_bad_files_are_named_with_the_remedy(tmp_path, content, words):
    path = tmp_path / "net.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"net\.npz.*{words}"):
        torch_weights.read_state(path)


@pytest.mark.parametrize("name", ["net.pt", "net"])
def test_a_missing_file_is_missing_with_and_without_torch(tmp_path, name):
    with pytest.raises(UserError, match=f"{name} is missing"):
        torch_weights.read_state(tmp_path / name)


def test_weights_that_are_not_finite_are_named(tmp_path):
    np.savez(tmp_path / "net.npz", **{"a.weight": np.array([1, np.nan])})
    with pytest.raises(UserError, match=r"a\.weight has values"):
        torch_weights.read_state(tmp_path / "net.npz")


def test_without_torch_its_files_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(UserError, match=r"numpy\.savez"):
        torch_weights.read_state(tmp_path / "net.pt")


# --- with PyTorch


@pytest.fixture(scope="module")
def torch():
    sys.path.append(str(build_dir() / "judges"))
    return pytest.importorskip(
        "torch", reason="python3 scripts/build_caffe.py --judges installs it"
    )


def trained(torch, module, seed=0):
    """Give a module random weights and statistics."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, values in module.state_dict().items():
            if name.endswith("running_var") or (values.ndim == 1 and "weight" in name):
                values.uniform_(0.6, 1.6)
            elif values.is_floating_point() and values.ndim == 1:
                values.normal_(0, 0.3)
    return module.eval()


@pytest.mark.parametrize("form", ["npz", "pt", "checkpoint"])
def test_the_unet_of_torch_and_of_caffe_are_equal(caffe, torch, tmp_path, form):
    from randrop.benchmarks import torch_nets

    net = trained(torch, torch_nets.UNet(2, 16))
    state = net.state_dict()
    path = tmp_path / ("net.npz" if form == "npz" else "net.pt")
    if form == "npz":
        np.savez(path, **{name: v.numpy() for name, v in state.items()})
    else:
        torch.save(state if form == "pt" else {"epoch": 3, "state": state}, path)
    weights = torch_weights.convert(torch_weights.read_state(path), DEPLOY).weights
    x = torch.randn(1, 3, 48, 64)
    with torch.inference_mode():
        expected = torch.sigmoid(net(x)).numpy()
    assert expected.std() > 1e-3
    net = caffe.Net(str(DEPLOY), caffe.TEST)
    (tmp_path / "net.caffemodel").write_bytes(weights)
    net.copy_from(str(tmp_path / "net.caffemodel"))
    net.blobs["data"].reshape(1, 3, 48, 64)
    net.blobs["data"].data[...] = x.numpy()
    np.testing.assert_allclose(net.forward()["prob"], expected, atol=1e-5)


def test_the_volumes_of_torch_and_of_caffe_are_equal(
    caffe, torch, tmp_path, monkeypatch
):
    from randrop.benchmarks import torch_nets

    # The module adds its noise always.
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)

    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(nets.explog3d(4, shape=(1, 8, 8, 8), dropout=0))
    net = trained(torch, torch_nets.ExpLog3d(4))
    state = {name: v.double().numpy() for name, v in net.state_dict().items()}
    (tmp_path / "net.caffemodel").write_bytes(
        torch_weights.convert(state, deploy).weights
    )
    x = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        expected = torch.softmax(net(x), 1).numpy()
    model = onnx_model.convert(deploy, tmp_path / "net.caffemodel").model
    found = without_caffe.in_onnxruntime(model)(x.numpy())
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_objects_and_whole_models_are_refused(torch, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(torch.nn.Conv2d(1, 1, 1), path)
    with pytest.raises(UserError, match=r"net\.pt is no state_dict"):
        torch_weights.read_state(path)
    torch.save({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, path)
    with pytest.raises(UserError, match="2 state_dicts"):
        torch_weights.read_state(path)


def test_the_weights_are_a_caffemodel_of_named_layers(deploy):
    found = torch_weights.convert(small_state(np.random.default_rng(0)), deploy)
    net = messages.NetParameter.FromString(found.weights)
    assert {layer.name: len(layer.blobs) for layer in net.layer} == {
        **{"conv": 1, "bn": 3, "scale": 2},
        **{"second": 2, "up": 2},
    }


# --- what a state_dict cannot say in this network


def test_a_bias_that_the_scale_lacks_is_refused(tmp_path):
    path = tmp_path / "deploy.prototxt"
    path.write_text(NET.replace("bias_term: true", "bias_term: false"))
    state = small_state(np.random.default_rng(0))
    with pytest.raises(UserError, match=r"'scale' has no bias, but b adds one.*true"):
        torch_weights.convert(state, path)
    state["b.bias"][:] = 0
    assert torch_weights.convert(state, path).steps


def test_a_bias_stays_where_others_read_the_convolution(tmp_path):
    path = tmp_path / "deploy.prototxt"
    text = NET.replace('bn" type: "BatchNorm" bottom: "conv" top: "conv"',
                       'bn" type: "BatchNorm" bottom: "conv" top: "norm"')  # fmt: skip
    scale = 'scale" type: "Scale" bottom: "conv" top: "conv"'
    text = text.replace(scale, scale.replace('"conv"', '"norm"'))
    both = (
        'layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "norm" top: "sum" }'
        '\nlayer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }'
    )
    text = text.replace(
        'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }', both
    ).replace('bottom: "conv" top: "second"', 'bottom: "sum" top: "second"')
    path.write_text(text)
    with pytest.raises(UserError, match="no weights fit layer 'conv'"):
        torch_weights.convert(small_state(np.random.default_rng(0)), path)
    state = small_state(np.random.default_rng(0), bias=False)
    assert torch_weights.convert(state, path).steps


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("b.running_var", np.full(4, -1.0), "'bn' has a negative variance"),
        ("a.weight", np.full((4, 3, 3, 3), 1e200), "no finite numbers of 32 bits"),
        ("a.weight", np.full((4, 3, 3, 3), 1j), "is of complex128, not real"),
    ],
)
def test_numbers_that_caffe_cannot_use_are_refused(deploy, tmp_path, key, value, words):
    state = small_state(np.random.default_rng(0)) | {key: value}
    np.savez(tmp_path / "net.npz", **state)
    with pytest.raises(UserError, match=words):
        torch_weights.convert(torch_weights.read_state(tmp_path / "net.npz"), deploy)
