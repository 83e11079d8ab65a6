"""Training on several ranks is training on one, as far as the pages say."""

import shutil
import subprocess
import sys

import mpi
import numpy as np
import pytest
import rank_equality
import small_training
from conftest import REPOSITORY
from mpi import beside, train

from randrop.data.worker import Workers, number_of

SIGMOID = (
    "random-drop:LOG+random-drop:SQU,keep=UNIFORM+class-balanced+bin+focal+dice"
    "+cross-entropy:normalization=VALID+tversky+cc-dice-ce+top-k-dice"
)
SOFTMAX = (
    "cross-entropy+focal+dice+weighted-cross-entropy:label_frequency=0.98/0.01/0.01"
)


@pytest.fixture(scope="module", autouse=True)
def need_mpi():
    mpi.need()


@pytest.mark.parametrize("loss", [SIGMOID, SOFTMAX], ids=["sigmoid", "softmax"])
def test_two_ranks_are_one(loss, phantom, tmp_path):
    """All losses at once: the same masks, and the same weights to rounding."""
    (found,) = rank_equality.compared(
        phantom, tmp_path, [loss], ranks=(1, 2), iterations=20
    )
    assert found["ranks"]["2"]["gradient"] < 1e-4
    # A ReLU that flips at a rounding moves the weights more than the rounding.
    assert found["ranks"]["2"]["weights"] < 0.05
    assert found["largest_step"] > 1e-3


def test_two_ranks_drop_what_one_drops(phantom, tmp_path):
    (found,) = rank_equality.compared(
        phantom, tmp_path, ["random-drop:LOG"], ranks=(1, 2), iterations=20
    )
    assert found["ranks"]["2"]["gradient"] < 1e-4
    assert found["ranks"]["2"]["weights"] < 0.05
    assert found["ranks"]["2"]["mask_elements"] == 0
    assert 0.001 < found["kept"] < 0.9


@pytest.fixture(scope="module")
def on_ranks(phantom, tmp_path_factory):
    """All losses, compared on 1, 2 and 4 ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    rows = rank_equality.compared(phantom, folder, rank_equality.LOSSES)
    return {row["loss"]: row for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("loss", rank_equality.LOSSES)
def test_each_loss_on_four_ranks_is_one(loss, on_ranks):
    found = on_ranks[loss]
    for own in found.get("ranks", {}).values():
        assert own["gradient"] < 2e-5
        assert own["weights"] < 0.05
        assert not own.get("mask_elements")
    assert ("refused" in found) == (
        "=BATCH" in loss
        or "batch=true" in loss
        or loss in ("top-k:10", "exp-log", "exp-log:label_frequency=0.98/0.01/0.01")
    )


def test_one_rank_is_a_training_without_mpi(phantom, tmp_path):
    """Bit for bit, with all that depends on the order of random numbers."""
    alone = small_training.run(phantom, tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    one = train(1, phantom, tmp_path / "one")
    assert one.returncode == 0, one.stderr
    names = ("alone/final.caffemodel", "one/final.caffemodel")
    first, second = ((tmp_path / name).read_bytes() for name in names)
    assert first == second


def test_the_network_of_two_ranks_is_that_of_one(phantom, tmp_path, caffe):
    """But for its weights: the batch in final.caffemodel is the whole one."""
    for ranks in (1, 2):
        done = train(ranks, phantom, tmp_path / str(ranks), iterations=4)
        assert done.returncode == 0, done.stderr
    nets = []
    for ranks in (1, 2):
        path = tmp_path / str(ranks) / "final.caffemodel"
        net = caffe.proto.caffe_pb2.NetParameter.FromString(path.read_bytes())
        for layer in net.layer:
            del layer.blobs[:]
        nets.append(net)
    assert nets[0] == nets[1]


def test_a_resumed_training_is_an_uninterrupted_one(phantom, tmp_path):
    """On the same number of ranks, bit for bit."""
    run = tmp_path / "run"
    done = train(2, phantom, run, "--snapshot", 6)
    assert done.returncode == 0, done.stderr
    whole = (run / "final.caffemodel").read_bytes()
    for path in (*run.glob("final.*"), *run.glob("snapshots/net_iter_12.*")):
        path.unlink()
    done = train(2, phantom, run, "--snapshot", 6, "--resume")
    assert done.returncode == 0, done.stderr
    assert (run / "final.caffemodel").read_bytes() == whole


def test_a_rank_with_its_own_disk_takes_part(phantom, tmp_path, caffe):
    """It reads a copy of the data, and sees neither the run folder nor snapshots."""
    shutil.copytree(phantom, tmp_path / "copy")
    together = train(2, phantom, tmp_path / "together", "--snapshot", 6)
    assert together.returncode == 0, together.stderr
    run = tmp_path / "run"
    for more in ((), ("--resume",)):
        words = ("--snapshot", 6, "--mpi", *more)
        other = small_training.command(
            tmp_path / "copy", tmp_path / "elsewhere", *words
        )
        done = beside(small_training.command(phantom, run, *words), other)
        assert done.returncode == 0, done.stderr
        found = (run / "final.caffemodel").read_bytes()
        for path in (*run.glob("final.*"), *run.glob("snapshots/net_iter_12.*")):
            path.unlink()
    assert not (tmp_path / "elsewhere").exists()
    nets = [tmp_path / "together/final.caffemodel", tmp_path / "last.caffemodel"]
    nets[1].write_bytes(found)
    first, second = (small_training.weights(caffe, path) for path in nets)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_ranks_cut_what_one_process_cuts(workers, phantom):
    """Together the patches of one process, each once."""
    from randrop.data.layer import LesionPatchDataLayer
    from randrop.data.worker import arrays_of_patch, source_of

    whole = {
        **LesionPatchDataLayer.defaults,
        **{"root": str(phantom), "lesions": ["MA", "HE"], "patch": 16},
        **{"batch_size": 4, "first_patch": 8},
    }
    assert [number_of(whole, k) for k in range(9)] == list(range(8, 17))
    source = source_of(whole)
    for rank in range(2):
        first = 8 + 2 * rank
        own = {**whole, "batch_size": 2, "stride": 4, "first_patch": first}
        wanted = [first + k // 2 * 4 + k % 2 for k in range(6)]
        assert [number_of(own, k) for k in range(6)] == wanted
        if not workers:
            continue
        cutters = Workers({**own, "workers": workers})
        for number in wanted:
            for found, array in zip(
                cutters.read(), arrays_of_patch(source, whole, number), strict=True
            ):
                np.testing.assert_array_equal(found, array)
        cutters.close()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_labelled_set_is_shared_out_by_caffe(dimensions, tmp_path):
    """HDF5Data shuffles alike on all ranks, and each takes every second image.

    Were it otherwise, the ranks' gradient would not be that of the same batch.
    """
    organs = [
        *(sys.executable, str(REPOSITORY / "scripts/make_organs.py")),
        *(str(tmp_path / "organs"), "--train", "6", "--validation", "2"),
        *("--size", "16", "--labels", "4", "--dimensions", str(dimensions)),
    ]
    subprocess.run(organs, check=True, capture_output=True)
    words = ["--loss", "cross-entropy+dice", "--snapshot", 8]
    run = tmp_path / "run"
    child = small_training.command(tmp_path / "organs", run, *words, "--mpi")
    child.remove("--patch")
    child.remove("32")
    done = mpi.mpiexec(2, child)
    assert done.returncode == 0, done.stderr
    assert len(small_training.losses(run)) > 0
    (found,) = rank_equality.compared(
        *(tmp_path / "organs", tmp_path, ["cross-entropy+dice"]),
        ranks=(1, 2),
        iterations=12,
    )
    assert found["ranks"]["2"]["gradient"] < 1e-5
    # Adam moves weights as far whose gradient is nothing but rounding.
    assert found["ranks"]["2"]["weights"] < (1e-3 if dimensions == 2 else 0.2)
    assert found["largest_step"] > 1e-3
