"""What README.md says is typed here, or at least understood by what it is typed to."""

import argparse
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from official_idrid import write_official_idrid
from readme_blocks import blocks, small, under, words

from randrop import __main__ as command_names
from randrop import nets
from randrop.nets.losses import activation_of
from randrop.pycaffe.build import REPOSITORY, build_dir, caffe_root

COMMANDS = [command for block in blocks() for command in block.commands]


def test_every_block_is_of_a_known_kind():
    kinds = {"shell": 0, "prototxt": 0, "layout": 0}
    for block in blocks():
        if block.commands:
            kinds["shell"] += 1
        elif block.text.startswith("layer {"):
            kinds["prototxt"] += 1
        else:
            assert block.text.startswith("SOURCE/"), block.text
            kinds["layout"] += 1
    assert kinds["shell"] >= 10
    assert kinds["prototxt"] >= 2


class ParsedError(Exception):
    """The command line was understood."""


@pytest.fixture
def parsed(monkeypatch):
    """A function that has a script read its options, and returns them."""
    whole = argparse.ArgumentParser.parse_args

    def parse_args(self, *arguments):
        raise ParsedError(whole(self, *arguments))

    def parse(script, *arguments):
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(ParsedError) as found:
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
        return found.value.args[0]

    return parse


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command, parsed):
    program, *rest = words(
        re.sub(r"^PYTHONPATH=\S+( \S+/site-packages\))? ", "", command)
    )
    for word in rest:
        if word.startswith(("results/", "prototxt/", "models/", "scripts/")):
            path = REPOSITORY / word
            assert path.exists() or path.parent.is_dir(), word
    if program == "cp" or rest[:2] == ["-m", "pip"]:
        return
    if program == "randrop":
        assert rest[0] in (*command_names.NAMES, "--help")
        program, rest[0] = "python3", f"scripts/{rest[0].replace('-', '_')}.py"
        if rest[0] == "scripts/__help.py":
            return
    if program == "build/caffe/build/tools/caffe":
        assert rest[:2] == ["train", "-solver"]
        assert (REPOSITORY / rest[2]).is_file()
        return
    script = rest[0]
    assert (REPOSITORY / script).is_file()
    if program == "bash":
        told = subprocess.run(
            ["bash", REPOSITORY / script, "--help"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert all(word in told for word in rest[1:])
        return
    assert program in ("python3", "build/venv/bin/python")
    options = parsed(*rest)
    losses = getattr(options, "losses", None) or [getattr(options, "loss", None)]
    for loss in filter(None, losses):
        assert nets.parse_losses(loss, activation_of(loss), [0.9, 0.1])


@pytest.mark.parametrize("option", ["--widht 3", "--width many", "--workers"])
def test_what_a_script_does_not_know_is_found(parsed, option):
    with pytest.raises(SystemExit):
        parsed("scripts/prepare.py", "idrid", "a", "b", *option.split())


def prototxts():
    return [block.text for block in blocks() if block.text.startswith("layer {")]


@pytest.mark.parametrize("text", prototxts())
def test_every_layer_runs(caffe, tmp_path, text):
    path = tmp_path / "net.prototxt"
    inputs = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        "input_param { shape { dim: 2 dim: 2 dim: 8 dim: 8 } } }"
        for name in ("score", "label")
    ]
    path.write_text("\n".join([*inputs, "force_backward: true", text]))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["label"].data[...] = 0
    net.blobs["label"].data[..., 3:5, 3:5] = 1
    assert net.forward()["loss"] > 0


# --- Typed

UNSET = ("-u", "PYTHONPATH", "-u", "GLOG_minloglevel")
"""What the tests set for themselves, and a user's shell has not."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme data")
    return write_official_idrid(folder, 300, (*range(1, 7), 55))


@pytest.fixture
def checkout(tmp_path):
    """The repository as one sees it after scripts/build_caffe.py."""
    root = tmp_path / "randrop"
    (root / "build").mkdir(parents=True)
    for name in ("scripts", "python_layers", "models", "results", "proto"):
        (root / name).symlink_to(REPOSITORY / name)
    (root / "build/venv").symlink_to(sys.prefix)
    (root / "build/caffe").symlink_to(caffe_root())
    shutil.copytree(REPOSITORY / "prototxt", root / "prototxt")
    for path in root.glob("prototxt/*/solver.prototxt"):
        text = re.sub(r"max_iter: \d+", "max_iter: 3", path.read_text())
        text = re.sub(r"test_interval: \d+", "test_interval: 3", text)
        path.write_text(re.sub(r"test_iter: \d+", "test_iter: 2", text))
    return root


def typed(block, checkout, **folders):
    """Type a block's commands as a shell without settings of ours would."""
    text = "\n".join(["set -eu", *(small(c, **folders) for c in block.commands)])
    child = subprocess.run(
        ["env", *UNSET, f"RANDROP_BUILD={build_dir()}", "bash", "-c", text],
        **{"cwd": checkout, "capture_output": True, "text": True},
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return child


def test_train_by_caffe(caffe, checkout, source):
    block = under("Train by caffe")
    assert any("caffe train -solver" in command for command in block.commands)
    child = typed(block, checkout, source=source)
    assert "Optimization Done" in child.stderr
    assert (checkout / "build/unet_iter_3.caffemodel").is_file()
    assert len(list(checkout.glob("build/prediction/MA/*.png"))) == 2


@pytest.mark.slow
def test_the_other_networks_train_by_caffe(caffe, checkout, source):
    commands = under("Train by caffe").commands
    (train,) = (c for c in commands if "caffe train" in c)
    (organs,) = (c for c in COMMANDS if "make_organs" in c and "--dimensions 3" in c)
    for network, prepare in (("lseg", commands[1]), ("explog3d", organs)):
        block = under("Train by caffe")._replace(
            text="\n".join([prepare, train.replace("unet", network)])
        )
        child = typed(block, checkout, source=source)
        assert "Optimization Done" in child.stderr
        assert (checkout / f"build/{network}_iter_3.caffemodel").is_file()


def test_your_own_data(caffe, checkout, source):
    typed(under("Your own data"), checkout, source=source)
    for name in ("run/final.caffemodel", "prediction/prediction.json", "evaluation"):
        assert (checkout / "build" / name).exists()


def test_use_it_in_your_own_caffe(checkout, tree):
    child = typed(under("Use it in your own Caffe"), checkout, tree=tree)
    assert "+++" in child.stdout
    assert (tree / "src/caffe/layers/sigmoid_random_drop_ce_loss_layer.cpp").is_file()


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("python_layers", "No module named 'numpy'"),
        ("python_layers:{packages}", "No module named 'caffe'"),
        ("python_layers:build/caffe/python:{packages}", "root 'build/idrid'"),
    ],
)
def test_what_lacks_is_said_without_a_trace_of_c(caffe, checkout, paths, message):
    packages = Path(np.__file__).parents[1]
    program = (
        "build/caffe/build/tools/caffe train -solver prototxt/unet/solver.prototxt"
    )
    text = f"PYTHONPATH={paths.format(packages=packages)} {program}"
    child = subprocess.run(
        ["env", *UNSET, "bash", "-c", text],
        **{"cwd": checkout, "capture_output": True, "text": True},
        check=False,
    )
    assert child.returncode == 1
    assert f"UserError: {message}" in child.stderr.replace("LesionPatchDataLayer: ", "")
    assert "terminate called" not in child.stderr
    assert "stack trace" not in child.stderr
