"""Worker processes and the pycaffe data layer."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from randrop.data import cells, read_dataset
from randrop.data.patches import Options, PatchSource, class_map
from randrop.data.voronoi import class_cells
from randrop.data.worker import Workers
from randrop.errors import UserError
from randrop.pycaffe.build import REPOSITORY


def source(folder, subset="train", **options):
    settings = Options(**({"lesions": ("MA", "HE"), "patch": 64} | options))
    return PatchSource(read_dataset(folder), subset, settings)


LAYER = {"split": None, "subset": "train", "lesions": ["MA", "HE"], "patch": 32}
LAYER |= {
    "lesion_share": 0.5,
    "lesion_weights": None,
    "augment": True,
    "ignore_label": 255,
    "seed": 1,
    "classes": False,
    "cells": False,
}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_workers_give_the_patches_in_order(phantom, count):
    workers = Workers(
        {**LAYER, "root": str(phantom), "workers": count, "first_patch": 5}
    )
    expected = source(phantom, patch=32)
    try:
        for k in range(5, 15):
            for one, other in zip(workers.read(), expected.patch(k), strict=True):
                np.testing.assert_array_equal(one, other)
    finally:
        workers.close()


def test_a_worker_that_dies_is_an_error_and_no_hang(phantom):
    workers = Workers({**LAYER, "root": str(phantom), "workers": 1, "first_patch": 0})
    workers.read()
    workers.processes[0].kill()
    with pytest.raises(UserError, match=r"data worker ended with status -9"):
        for _ in range(10_000):
            workers.read()


def test_workers_end_with_their_program(phantom, tmp_path):
    """Even when it is killed: the pipe breaks."""
    program = (
        "import json, os, sys, signal; sys.path.insert(0, sys.argv[1])\n"
        "from randrop.data.worker import Workers\n"
        "w = Workers(json.loads(sys.argv[2])); w.read()\n"
        "print(w.processes[0].pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    options = {**LAYER, "root": str(phantom), "workers": 1, "first_patch": 0}
    result = subprocess.run(
        [
            *(sys.executable, "-c", program),
            *(str(REPOSITORY / "python_layers"), json.dumps(options)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    pid = int(result.stdout)
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
            return
        state = open(f"/proc/{pid}/stat").read().split()[2]  # noqa: PTH123, SIM115
        if state == "Z":
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail(f"the worker {pid} lives on")


def data_net(caffe, tmp_path, options, more=""):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "data" type: "Python" top: "data" top: "label" '
        f"{more} python_param {{ "
        'module: "randrop.data.layer" layer: "LesionPatchDataLayer" '
        f"param_str: '{json.dumps(options)}' }} }}"
    )
    return caffe.Net(str(path), caffe.TRAIN)


def test_layer_in_a_net(caffe, phantom, tmp_path):
    options = {"root": str(phantom), "lesions": ["MA", "HE"], "patch": 32}
    net = data_net(caffe, tmp_path, {**options, "batch_size": 3, "workers": 2})
    expected = source(phantom, patch=32)
    for batch in range(2):
        net.forward()
        for n in range(3):
            x, label = expected.patch(3 * batch + n)
            np.testing.assert_array_equal(net.blobs["data"].data[n], x)
            np.testing.assert_array_equal(net.blobs["label"].data[n], label)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_third_top_has_the_cells(caffe, phantom, tmp_path, classes, workers):
    options = {"root": str(phantom), "lesions": ["MA", "HE"], "patch": 64}
    options |= {"batch_size": 2, "workers": workers, "classes": classes, "cells": True}
    net = data_net(caffe, tmp_path, options, 'top: "cells"')
    expected = source(phantom, patch=64)
    several = 0
    for batch in range(3):
        net.forward()
        for n in range(2):
            x, label = expected.patch(2 * batch + n)
            wanted = cells(label)
            if classes:
                label = class_map(label, 255)
                wanted = class_cells(label[0], 3)
            np.testing.assert_array_equal(net.blobs["data"].data[n], x)
            np.testing.assert_array_equal(net.blobs["label"].data[n], label)
            np.testing.assert_array_equal(net.blobs["cells"].data[n], wanted)
            several += wanted.max() > 1
    assert several


def test_the_number_of_tops_is_checked(caffe, phantom, tmp_path):
    options = {"root": str(phantom), "lesions": ["MA"], "patch": 32, "workers": 0}
    with pytest.raises(UserError, match="no bottoms and two tops"):
        data_net(caffe, tmp_path, options, 'top: "cells"')
    with pytest.raises(UserError, match="no bottoms and three tops with cells"):
        data_net(caffe, tmp_path, {**options, "cells": True})


def test_classes_are_those_of_the_channels():
    label = np.zeros((2, 1, 4), np.float32)
    label[:, 0] = [[0, 1, 1, 255], [0, 0, 1, 255]]
    np.testing.assert_array_equal(class_map(label, 255), [[[0, 1, 1, 255]]])
    label[0, 0] = [0, 0, 0, 0]
    np.testing.assert_array_equal(class_map(label, 255), [[[0, 0, 2, 255]]])


def test_layer_with_a_cycle_repeats_its_patches(caffe, phantom, tmp_path):
    options = {"root": str(phantom), "lesions": ["MA"], "patch": 32, "batch_size": 2}
    options |= {"subset": "validation", "augment": False, "cycle": 4}
    net = data_net(caffe, tmp_path, options)
    batches = []
    for _ in range(4):
        net.forward()
        batches.append(net.blobs["data"].data.copy())
    np.testing.assert_array_equal(batches[0], batches[2])
    np.testing.assert_array_equal(batches[1], batches[3])
    assert (batches[0] != batches[1]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rot": 1}, "param_str: unknown key rot"),
        ({"root": None}, "root is null: it must be a string"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"patch": "big"}, "patch is 'big'"),
        ({"lesions": []}, "lesions is \\[\\]: it must have at least 1 item"),
        ({"subset": "tset"}, "a data worker ended"),
    ],
)
def test_layer_parameters_that_cannot_be(caffe, phantom, tmp_path, change, message):
    options = {"root": str(phantom), "lesions": ["MA"], "patch": 32} | change
    with pytest.raises(ValueError, match=message):
        data_net(caffe, tmp_path, options)


def test_lesion_weights_decide_what_patches_are_near(phantom):
    """Lesions of one type only, and of both."""
    dataset = read_dataset(phantom)
    for weights, near in (((1.0, 0.0), [0]), ((0.0, 1.0), [1]), ((1.0, 1.0), [0, 1])):
        options = Options(("MA", "HE"), 32, 1.0, lesion_weights=weights)
        patches = PatchSource(dataset, "train", options)
        places = patches.places
        chances = dict(zip(places.present, places.chances, strict=True))
        assert [c for c in chances if chances[c] > 0] == near
    with pytest.raises(UserError, match="no type that has lesions"):
        PatchSource(dataset, "train", Options(("MA", "HE"), 32, lesion_weights=(0, 0)))
    with pytest.raises(UserError, match="a weight of at least 0"):
        PatchSource(dataset, "train", Options(("MA", "HE"), 32, lesion_weights=(1, -1)))
