"""average_snapshots.py: the mean of weights, and batch statistics computed anew."""

import json
import shutil
from types import SimpleNamespace

import every_script
import numpy as np
import pytest
from scipy.signal import correlate
from small_training import run

from randrop.data.worker import source_of
from randrop.errors import UserError
from randrop.exchange import reading
from randrop.training import averaging, snapshots

BATCHES = 3


@pytest.fixture(scope="module")
def averaged(caffe, phantom, tmp_path_factory):
    """A training of four snapshots, of which the last three are averaged."""
    out = tmp_path_factory.mktemp("averaged") / "run"
    result = run(phantom, out, "--snapshot", 3, "--lr", 0.01, "--watch-mask")
    assert result.returncode == 0, result.stderr
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    given = ("--run", out, "--last", 3, "--batches", BATCHES)
    said = every_script.done(every_script.start("average_snapshots", *given)).stderr
    return SimpleNamespace(out=out, given=given, before=before, said=said)


def arrays(path):
    """Return the arrays of each layer, and its type."""
    net = reading.read_weights(path, "")
    return {
        layer.name: (layer.type, [reading.array_of(blob) for blob in layer.blobs])
        for layer in reading.layers_with_weights(net)
    }


def test_weights_are_the_mean_of_the_snapshots(averaged):
    parts = [
        arrays(averaged.out / f"snapshots/net_iter_{k}.caffemodel") for k in (6, 9, 12)
    ]
    found = arrays(averaged.out / "averaged.caffemodel")
    assert list(found) == list(parts[0])
    moved = 0.0
    for name, (kind, blobs) in found.items():
        if kind == "BatchNorm":
            continue
        for k, blob in enumerate(blobs):
            expected = np.mean([part[name][1][k] for part in parts], axis=0)
            np.testing.assert_allclose(blob, expected, rtol=1e-6, atol=1e-9)
            moved = max(moved, np.abs(blob - parts[2][name][1][k]).max())
    assert moved > 1e-4


def test_statistics_are_those_of_training_patches(averaged, phantom):
    """Those of the first layer, by NumPy: the mean over batches, variances unbiased."""
    options = {
        **{"root": str(phantom), "split": None, "subset": "train", "patch": 32},
        **{"lesions": ["MA", "HE"], "lesion_share": 0.5, "lesion_weights": None},
        **{"augment": True, "seed": 1, "ignore_label": 255},
    }
    source = source_of(options)
    found = arrays(averaged.out / "averaged.caffemodel")
    ((_, (kernels,)),) = (found[n] for n in found if n == "down0_conv1")
    _, (mean, variance, count) = found["down0_bn1"]
    means, variances = [], []
    # The batches of two after the 12 of the training.
    for batch in range(12, 12 + BATCHES):
        outputs = []
        for k in (2 * batch, 2 * batch + 1):
            padded = np.pad(source.patch(k)[0], ((0, 0), (1, 1), (1, 1)))
            outputs.append([correlate(padded, w, "valid")[0] for w in kernels])
        own = np.array(outputs, float).transpose(1, 0, 2, 3).reshape(len(kernels), -1)
        means.append(own.mean(axis=1))
        variances.append(own.var(axis=1, ddof=1))
    assert count.item() == BATCHES
    np.testing.assert_allclose(mean.ravel() / BATCHES, np.mean(means, 0), rtol=1e-4)
    np.testing.assert_allclose(
        variance.ravel() / BATCHES, np.mean(variances, 0), rtol=1e-3
    )


def test_nothing_else_changes_and_the_measures_are_told(averaged):
    out = averaged.out
    new = {"averaged.caffemodel", "averaged.sha256", "averaged.json"}
    for path, content in averaged.before.items():
        if path.name not in (".randrop.sha256", ".randrop.lock"):
            assert path.read_bytes() == content, path
    there = {path.name for path in out.iterdir()}
    assert there - {path.name for path in averaged.before} - {"snapshots"} == new
    facts = json.loads((out / "averaged.json").read_text())
    assert facts["iterations"] == [6, 9, 12]
    assert snapshots.is_sealed(out / "averaged.caffemodel")
    for what in ("averaged", "last"):
        value = facts[what]["HE"]["average_precision"]
        assert 0 < value <= 1
        assert f"{what}: MA average precision" in averaged.said
        assert f"HE average precision {value:.4f}" in averaged.said


def test_the_same_again_gives_the_same_bytes(averaged):
    before = (averaged.out / "averaged.caffemodel").read_bytes()
    again = (*averaged.given, "--no-measure")
    every_script.done(every_script.start("average_snapshots", *again))
    assert (averaged.out / "averaged.caffemodel").read_bytes() == before


def test_it_predicts_and_a_training_from_scratch_removes_it(
    averaged, phantom, tmp_path
):
    out = shutil.copytree(averaged.out, tmp_path / "run")
    photo = next((phantom / "images").iterdir())
    weights = ("--weights", out / "averaged.caffemodel")
    command = ("--run", out, *weights, "--out", tmp_path / "maps", photo)
    every_script.done(every_script.start("predict", *command))
    assert run(phantom, out, "--force", iterations=1).returncode == 0
    assert not list(out.glob("averaged.*"))


def test_a_damaged_snapshot_is_skipped_with_a_word(tmp_path, caplog):
    for iteration in (4, 8, 12):
        for kind in ("solverstate", "caffemodel"):
            path = tmp_path / f"snapshots/net_iter_{iteration}.{kind}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"whole")
        snapshots.seal(path, path.with_suffix(".solverstate"))
    path.write_bytes(b"cut")
    found = averaging.last_states(tmp_path, 2)
    assert [state.stem for state in found] == ["net_iter_4", "net_iter_8"]
    assert "net_iter_12.solverstate or its .caffemodel is damaged" in caplog.text


def test_snapshots_of_another_network_are_refused(averaged):
    other = reading.read_weights(averaged.out / "final.caffemodel", "")
    own = reading.read_weights(averaged.out / "final.caffemodel", "")
    other.layer.remove(reading.layers_with_weights(other)[-1])
    with pytest.raises(UserError, match="different networks"):
        averaging.put_mean(own, [own, other])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--last", 5], "has 4 complete snapshot(s), not 5: give a smaller --last"),
        (["--last", 1], "the mean takes at least 2 snapshots"),
        (["--batches", 0], "--batches must be at least 1"),
    ],
)
def test_what_cannot_be_averaged_is_refused(averaged, more, message):
    before = (averaged.out / "averaged.caffemodel").read_bytes()
    result = every_script.start("average_snapshots", "--run", averaged.out, *more)
    assert result.returncode == 2
    assert message in result.stderr
    assert (averaged.out / "averaged.caffemodel").read_bytes() == before
