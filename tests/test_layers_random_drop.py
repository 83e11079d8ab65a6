"""The native layer, its Python twin and the NumPy function, through pycaffe."""

import json
import subprocess
import textwrap

import loss_family
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loss_family import run

from randrop.losses import drop_probability, keep_probability, random_drop
from randrop.losses.common import group_shape
from randrop.losses.philox import uniforms
from randrop.pycaffe.build import caffe_binary, environment

NATIVE = "SigmoidRandomDropCELoss"
TWIN = "SigmoidRandomDropCELossLayer"


def layer_text(kind, options, loss_weight):
    """The prototxt of one loss layer, native or Python, with the same options."""
    common = {"ignore_label", "normalization"}
    lines = [
        'name: "loss"',
        'bottom: "score"',
        'bottom: "t"',
        'top: "loss"',
        'top: "mask"',
    ]
    lines += [f"loss_weight: {loss_weight}", "loss_weight: 0"]
    if kind == "native":
        lines.append(f'type: "{NATIVE}"')
        for field in ("loss_param", "randrop_loss_param"):
            body = "".join(
                f" {key}: {str(value).lower() if isinstance(value, bool) else value}"
                for key, value in options.items()
                if (key in common) == (field == "loss_param")
            )
            lines.append(f"{field} {{{body} }}")
    else:
        lines += [
            'type: "Python"',
            f'python_param {{ module: "randrop.layers" layer: "{TWIN}"',
            f"param_str: '{json.dumps(loss_family.effective(NATIVE, options))}' }}",
        ]
    return "layer { " + "\n".join(lines) + " }"


def loss_net(caffe, folder, shape, text, phase="TRAIN"):
    return loss_family.loss_net(caffe, folder, shape, shape, text, phase)


def of_groups(x, t, options):
    """Negatives of each group (G, 1), and how many the schedule keeps of them."""
    groups = group_shape(x.shape, options["balance"])
    keep = keep_probability(x.astype(float), options["schedule_type"])
    negative = (t == 0) & (t != options.get("ignore_label"))
    kept = np.where(negative, keep, 0)
    return [a.reshape(groups).sum(1, keepdims=True) for a in (negative, kept)]


options = st.fixed_dictionaries(
    {
        "schedule_type": st.sampled_from(["LINEAR", "SQU", "LOG", "NONE"]),
        "seed": st.integers(0, 2**64 - 1),
        "first_iteration": st.integers(0, 2**40),
        "balance": st.sampled_from(["PER_CHANNEL", "PER_IMAGE", "BATCH"]),
        "normalization": st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE"]),
        "drop_in_test": st.booleans(),
        "keep": st.sampled_from(["BY_DIFFICULTY", "UNIFORM", "HARDEST"]),
    },
    optional={"ignore_label": st.sampled_from([255, -1, 2])},
)
shapes = st.lists(st.integers(1, 9), min_size=2, max_size=5).map(tuple)


@settings(deadline=None, max_examples=150)
@given(
    shapes,
    options,
    st.sampled_from(["TRAIN", "TEST"]),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.sampled_from([0.1, 3.0, 100.0]),
)
def test_native_equals_python_equals_numpy(
    caffe, tmp_path_factory, shape, options, phase, seed, share, spread
):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, spread, shape).astype(np.float32)
    t = (rng.random(shape) < share).astype(np.float32)
    if "ignore_label" in options:
        t[rng.random(shape) < 0.2] = options["ignore_label"]

    # If number and threshold agree to a few ulps, either choice is right.
    close = np.zeros(shape, bool)
    for iteration in (0, 1):
        u = uniforms(options["seed"], options["first_iteration"] + iteration, x.size)
        d = drop_probability(x.astype(float), options["schedule_type"])
        close |= abs(u.reshape(shape) - d) < 1e-6
        if options["keep"] == "UNIFORM":
            negatives, kept = of_groups(x, t, options)
            d = 1 - kept / np.maximum(1, negatives)
            assume((abs(u.reshape(d.shape[0], -1) - d) > 1e-6).all())
    if options["keep"] == "BY_DIFFICULTY":
        t[close] = 1
    elif options["keep"] == "HARDEST":
        assume((abs(of_groups(x, t, options)[1] % 1 - 0.5) > 1e-4).all())

    folder = tmp_path_factory.mktemp("net")
    drop = phase == "TRAIN" or options["drop_in_test"]
    nets = [
        loss_net(caffe, folder, shape, layer_text(kind, options, 3.7), phase)
        for kind in ("native", "python")
    ]
    for iteration in (0, 1):
        wanted = random_drop(
            x.astype(float),
            t,
            options["schedule_type"],
            options["seed"],
            options["first_iteration"] + iteration,
            options.get("ignore_label"),
            options["balance"],
            options["normalization"],
            drop,
            options["keep"],
        )
        for net in nets:
            loss, grad, mask = run(net, x, t)
            np.testing.assert_array_equal(mask, wanted.mask)
            assert loss == pytest.approx(wanted.loss, rel=1e-5, abs=1e-9)
            np.testing.assert_allclose(
                grad, 3.7 * wanted.grad, rtol=2e-6, atol=1e-9 * spread
            )


def test_unset_seed_follows_caffes_random_seed(caffe, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 1, 20, 20)).astype(np.float32)
    t = (rng.random(x.shape) < 0.1) * 1.0
    masks = {}
    for kind in ("native", "python"):
        for seed in (1, 1, 2):
            caffe.set_random_seed(seed)
            net = loss_net(caffe, tmp_path, x.shape, layer_text(kind, {}, 1))
            masks.setdefault((kind, seed), []).append(run(net, x, t)[2])
    for kind in ("native", "python"):
        np.testing.assert_array_equal(*masks[kind, 1])
        assert (masks[kind, 1][0] != masks[kind, 2][0]).any()
    np.testing.assert_array_equal(masks["native", 1][0], masks["python", 1][0])


def python_loss(param_str, rest=""):
    return f"""layer {{ name: "loss" type: "Python" bottom: "score" bottom: "t"
        top: "loss" {rest}
        python_param {{ module: "randrop.layers" layer: "{TWIN}"
        param_str: '{param_str}' }} }}"""


@pytest.mark.parametrize(
    ("param_str", "message"),
    [
        ("{", "param_str is not JSON"),
        ("[1]", r"param_str: the value is \[1\]: it must be a JSON object"),
        (
            '{"schedule": "LOG"}',
            "param_str: unknown key schedule, choose from schedule_type",
        ),
    ],
)
def test_bad_param_str_is_named(caffe, tmp_path, param_str, message):
    with pytest.raises(ValueError, match=message):
        loss_net(caffe, tmp_path, (1, 1, 2, 2), python_loss(param_str))


def test_missing_loss_weight_is_said_loudly(caffe, tmp_path, caplog):
    net = loss_net(caffe, tmp_path, (1, 1, 2, 2), python_loss("{}"))
    net.forward()
    assert "TRAINS NOTHING" in caplog.text
    assert "loss_weight: 1" in caplog.text
    caplog.clear()
    net = loss_net(caffe, tmp_path, (1, 1, 2, 2), python_loss("{}", "loss_weight: 1"))
    net.forward()
    assert not caplog.text


@pytest.mark.parametrize("where", ["force_backward: true ", ""])
def test_labels_have_a_gradient_of_zero(caffe, tmp_path, where):
    """As with Caffe's own Python losses, a net that requests it runs."""
    text = where + python_loss("{}", "loss_weight: 1")
    net = loss_net(caffe, tmp_path, (1, 1, 2, 2), text)
    net.blobs["t"].diff[...] = 7
    net.blobs["x"].data[...] = 3
    net.forward()
    net.backward()
    assert (net.blobs["t"].diff == (0 if where else 7)).all()
    net.blobs["t"].data[...] = [[[[1, 0], [0, 0]]]]
    net.forward()
    net.backward()
    assert (net.blobs["score"].diff != 0).any()


def test_starved_groups_are_said_once(caffe, tmp_path, caplog):
    net = loss_net(caffe, tmp_path, (1, 2, 4), python_loss("{}", "loss_weight: 1"))
    net.blobs["x"].data[...] = -60
    net.blobs["t"].data[0, 0, 0] = 1
    for _ in range(3):
        net.forward()
    assert caplog.text.count("no selected negative") == 1
    assert "1 of 2 groups" in caplog.text


def test_native_stops_caffe_with_a_sentence(caffe, tmp_path):
    """A label of 255 ends the program; its last message names layer, place, cause."""
    (tmp_path / "net.prototxt").write_text(
        textwrap.dedent(
            """
            layer { name: "data" type: "DummyData" top: "x" top: "t"
              dummy_data_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 }
                data_filler { value: 0 } data_filler { value: 255 } } }
            layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
              inner_product_param { num_output: 4 } }
            layer { name: "r" type: "Reshape" bottom: "y" top: "z" reshape_param {
              shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
            layer { name: "lesions" type: "SigmoidRandomDropCELoss"
              bottom: "z" bottom: "t" top: "loss" }
            """
        )
    )
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1 '
        "solver_mode: CPU snapshot_after_train: false"
    )
    result = subprocess.run(
        [caffe_binary(), "train", "-solver", "solver.prototxt"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert (
        "SigmoidRandomDropCELoss layer 'lesions': label 255 at n = 0, c = 0, y = 0, x "
        "= 0; allowed: 0 and 1. Likely: an 8-bit mask with values 0 and 255: divide"
        in result.stderr
    )
