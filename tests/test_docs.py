"""The commands in README and docs/ run here, or their programs at least parse them."""

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slurm
from doc_blocks import FENCE, PAGES, blocks, of_page, small, words
from official_idrid import write_official_idrid

import randrop
from caffe_tools import toolchain
from randrop import __main__ as command_names
from randrop import nets
from randrop.nets.losses import activation_of
from randrop.pycaffe.build import REPOSITORY, build_dir, caffe_root

COMMANDS = list(dict.fromkeys(command for b in blocks() for command in b.commands))
FIRST = "docs/how-to/train-on-your-own-data.md"
"""The page whose outcome the other pages begin with."""


def test_every_block_is_of_a_known_kind():
    kinds = {"sh": 0, "protobuf": 0, "python": 0, "json": 0, "text": 0}
    for block in blocks():
        kinds[block.language] += 1
        if block.language == "sh":
            assert block.commands, block.text
        elif block.language == "protobuf":
            assert block.text.startswith("layer {"), block.text
    assert kinds["sh"] >= 10
    assert kinds["protobuf"] >= 2


def test_what_is_long_says_why_and_stands_before_commands():
    for page in PAGES:
        text = page.read_text()
        for block in FENCE.finditer(text):
            assert not block["long"] or block["language"] == "sh", block[0]
        assert "<!-- long" not in FENCE.sub("", text), page


def test_most_blocks_are_run():
    shell = [block for block in blocks() if block.language == "sh"]
    assert sum(block.is_typed for block in shell) > len(shell) / 2


class ParsedError(Exception):
    """The command line was understood."""


@pytest.fixture
def parsed(monkeypatch):
    """A function that lets a script parse its options, and returns them."""
    parser = argparse.ArgumentParser

    def ending(whole):
        def parse_args(self, *arguments):
            raise ParsedError(whole(self, *arguments))

        return parse_args

    wholes = {
        name: ending(getattr(parser, name))
        for name in ("parse_args", "parse_intermixed_args")
    }

    def parse(script, *arguments):
        for name, whole in wholes.items():
            monkeypatch.setattr(parser, name, whole)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(ParsedError) as found:
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
        return found.value.args[0]

    return parse


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command, parsed):
    program, *rest = words(
        re.sub(
            r"^(PYTHONPATH=\S+( \S+/site-packages\))?"
            r"|(build/venv/bin/)?mpiexec -n \d+( -hosts \S+)?) ",
            "",
            command,
        )
    )
    for word in rest:
        if word.startswith(("results/", "prototxt/", "models/", "scripts/", "tests/")):
            path = REPOSITORY / word
            assert path.exists() or path.parent.is_dir(), word
    if program in ("cat", "cp", "git", "grep", "patch", "sed"):
        return
    if rest[0] == "-m":
        assert rest[1] in ("venv", "pytest", "ruff", "mkdocs")
        return
    if program == "~/randrop-venv/bin/pip":
        assert rest == ["install", "."]
        return
    if program == "~/randrop-venv/bin/randrop":
        assert rest[0] in (*command_names.NAMES, "--help")
        program, rest[0] = "python3", f"scripts/{rest[0].replace('-', '_')}.py"
        if rest[0] == "scripts/__help.py":
            return
    if program == "build/caffe/build/tools/caffe":
        assert rest[:2] == ["train", "-solver"]
        assert rest[2].startswith("build/") or (REPOSITORY / rest[2]).is_file()
        return
    script = rest[0]
    assert (REPOSITORY / script).is_file()
    if program == "bash":
        told = subprocess.run(
            ["bash", REPOSITORY / script, "--help"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert all(word in told for word in rest[1:] if not word.isdigit())
        return
    assert program in ("python3", "build/venv/bin/python")
    options = parsed(*rest)
    losses = getattr(options, "losses", None) or [getattr(options, "loss", None)]
    for loss in filter(None, losses):
        # As train.py does with the training set's frequencies.
        loss = loss.replace("label_frequency=train", "label_frequency=0.9/0.1")
        assert nets.parse_losses(loss, activation_of(loss), [0.9, 0.1])


@pytest.mark.parametrize("option", ["--widht 3", "--width many", "--workers"])
def test_what_a_script_does_not_know_is_found(parsed, option):
    with pytest.raises(SystemExit):
        parsed("scripts/prepare.py", "idrid", "a", "b", *option.split())


def prototxts():
    found = [block.text for block in blocks() if block.text.startswith("layer {")]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("text", prototxts())
def test_every_layer_runs(caffe, tmp_path, text):
    path = tmp_path / "net.prototxt"
    channels = {"score": 2, "label": 1 if "SOFTMAX" in text else 2}
    inputs = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ dim: 2 dim: {count} dim: 8 dim: 8 }} }} }}"
        for name, count in channels.items()
    ]
    path.write_text("\n".join([*inputs, "force_backward: true", text]))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["label"].data[...] = 0
    net.blobs["label"].data[..., 3:5, 3:5] = 1
    assert net.forward()["loss"] > 0


@pytest.mark.parametrize("text", [b.text for b in blocks() if b.language == "python"])
def test_every_program_runs(text):
    if "import torch" in text:
        pytest.skip("has a test of its own")
    subprocess.run(
        [sys.executable, "-c", text],
        env={"PYTHONPATH": f"python_layers:{caffe_root()}/python"},
        check=True,
        cwd=REPOSITORY,
    )


# --- Typed

UNSET = ("-u", "PYTHONPATH", "-u", "GLOG_minloglevel")
"""What the tests set for themselves, and a user's shell has not."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme data")
    return write_official_idrid(folder, 300, (*range(1, 7), 55))


@pytest.fixture(scope="module")
def sources(source, phantom):
    """Stand-ins for the user's folders in the commands."""
    photo = next((phantom / "images").iterdir())
    return {"source": source, "folder": phantom, "photo": photo}


def checked_out(root):
    """Make the repository as it looks after scripts/build_caffe.py."""
    (root / "build").mkdir(parents=True)
    for path in REPOSITORY.iterdir():
        if path.name not in ("build", "prototxt", ".git"):
            (root / path.name).symlink_to(path)
    (root / "build/venv").symlink_to(sys.prefix)
    (root / "build/caffe").symlink_to(caffe_root())
    shutil.copytree(REPOSITORY / "prototxt", root / "prototxt")
    for path in root.glob("prototxt/*/solver.prototxt"):
        text = re.sub(r"max_iter: \d+", "max_iter: 3", path.read_text())
        text = re.sub(r"test_interval: \d+", "test_interval: 3", text)
        path.write_text(re.sub(r"test_iter: \d+", "test_iter: 2", text))
    return root


@pytest.fixture
def checkout(tmp_path):
    return checked_out(tmp_path / "randrop")


def typed(block, checkout, variables=None, **folders):
    """Run a block's commands in a shell without our settings."""
    text = "\n".join(["set -eu", *(small(c, **folders) for c in block.commands)])
    child = subprocess.run(
        ["env", *UNSET, f"RANDROP_BUILD={build_dir()}", "bash", "-c", text],
        **{"cwd": checkout, "capture_output": True, "text": True},
        env=variables,
        check=False,
    )
    assert child.returncode == 0, child.stdout[-500:] + child.stderr[-3000:]
    return child


@pytest.fixture(scope="module")
def trained(caffe, tmp_path_factory, sources):
    """What the commands of FIRST leave in build/."""
    root = checked_out(tmp_path_factory.mktemp("trained") / "randrop")
    typed(of_page(FIRST)[0], root, **sources)
    return root / "build"


def test_your_own_data(trained, sources):
    for name in ("run/final.caffemodel", "prediction/prediction.json", "evaluation"):
        assert (trained / name).exists()
    for block in of_page(FIRST)[1:]:
        typed(block, trained.parent, **sources)


BY_CAFFE = "docs/how-to/train-by-caffe.md"
TYPED = dict.fromkeys(b.page for b in blocks() if b.is_typed)


@pytest.mark.parametrize("page", [p for p in TYPED if p not in (FIRST, BY_CAFFE)])
def test_every_page_is_typed(request, checkout, sources, page):
    """Except the two that have tests of their own."""
    if page != "README.md":
        for path in request.getfixturevalue("trained").iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, checkout / "build" / path.name)
    found = of_page(page)
    folders = dict(sources)
    if any("/path/to/caffe" in block.text for block in found):
        folders["tree"] = request.getfixturevalue("tree")
    for block in found:
        typed(block, checkout, **folders)


@pytest.mark.cluster
@pytest.mark.timeout(1500)
def test_on_a_cluster(trained, checkout, sources, tmp_path):
    """The commands that a Slurm takes, on one of the test's own."""
    for path in trained.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, checkout / "build" / path.name)
    page = [b for b in blocks() if b.page == "docs/how-to/use-a-cluster.md"]
    found = [block for block in page if "Slurm" in block.long]
    assert len(found) == 2
    (tmp_path / "slurm").mkdir()
    with slurm.started(tmp_path / "slurm") as daemons:
        for block in found:
            typed(block, checkout, daemons.variables, **sources)
    assert (checkout / "build/landscape-slurm.h5").exists()


def test_weights_from_pytorch(checkout, sources):
    judges = build_dir() / "judges"
    if not (judges / "torch").exists():
        pytest.skip("build_caffe.py --judges was not run")
    page = [b for b in blocks() if b.page == "docs/how-to/leave-caffe.md"]
    (module,) = (b.text for b in page if "import torch" in b.text)
    (block,) = (b for b in page if "import_weights" in b.text and b.language == "sh")
    variables = {**os.environ, "PYTHONPATH": str(judges)}
    command = [sys.executable, "-c", module]
    subprocess.run(command, check=True, cwd=checkout, env=variables)
    child = typed(block, checkout, **sources)
    assert "Equal to PyTorch" in child.stderr
    assert list(checkout.glob("build/from-torch/MA/*.png"))


def test_train_by_caffe(caffe, checkout, sources):
    (block,) = of_page(BY_CAFFE)
    assert any("caffe train -solver" in command for command in block.commands)
    child = typed(block, checkout, **sources)
    assert "Optimization Done" in child.stderr
    assert (checkout / "build/unet_iter_3.caffemodel").is_file()
    assert len(list(checkout.glob("build/prediction-unet/MA/*.png"))) == 2


@pytest.mark.slow
def test_the_other_networks_train_by_caffe(caffe, checkout, sources):
    (page,) = of_page(BY_CAFFE)
    (train,) = (c for c in page.commands if "caffe train" in c)
    (organs,) = (c for c in COMMANDS if "make_organs" in c and "--dimensions 3" in c)
    for network, prepare in (("lseg", page.commands[1]), ("explog3d", organs)):
        block = page._replace(text="\n".join([prepare, train.replace("unet", network)]))
        child = typed(block, checkout, **sources)
        assert "Optimization Done" in child.stderr
        assert (checkout / f"build/{network}_iter_3.caffemodel").is_file()


def test_use_it_in_your_own_caffe(checkout, tree):
    block = of_page("docs/how-to/use-in-your-own-caffe.md")[0]
    child = typed(block, checkout, tree=tree)
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


# --- True


def test_readme_is_for_one_sitting():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200


ROOMS = [path.name for path in REPOSITORY.iterdir() if path.is_dir()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_file_that_a_page_names_exists(page):
    text = FENCE.sub("", page.read_text())
    for span in re.findall(r"`([^`\n]+)`", text):
        name = span.split()[0]
        if name.partition("/")[0] in ROOMS and not name.startswith("build"):
            assert list(REPOSITORY.glob(name)), f"{page.name}: {span}"


def test_the_list_of_pages_has_every_page():
    folder = REPOSITORY / "docs"
    links = re.findall(r"\]\(([^)#]+)\)", (folder / "README.md").read_text())
    linked = {(folder / link).resolve() for link in links}
    assert set(folder.rglob("*.md")) - linked == {folder / "README.md"}


def test_the_command_line_has_every_script():
    text = (REPOSITORY / "docs/reference/command-line.md").read_text()
    named = set(re.findall(r"^\| `scripts/(\S+)`", text, re.MULTILINE))
    scripts = REPOSITORY / "scripts"
    there = {p.name for p in scripts.iterdir() if p.suffix in (".py", ".sh")}
    assert named == {name for name in there if not name.startswith("_")}
    for name in command_names.NAMES:
        assert f"| `{name}` |" in text


def test_every_package_is_explained():
    text = (REPOSITORY / "docs/reference/dependencies.md").read_text().lower()
    groups = (
        "test",
        "docs",
        "cluster",
        "judges",
        "judges_alone",
        "gpu",
        "cudnn",
        "nccl",
    )
    for pin in toolchain.requirements(groups):
        name = pin.partition("==")[0]
        if name != "setuptools":
            assert re.search(rf"\b{re.escape(name.lower())}\b", text), name


def test_the_changelog_begins_with_this_version():
    text = (REPOSITORY / "docs/changelog.md").read_text()
    assert re.search(r"^## (\S+)", text, re.MULTILINE)[1] == randrop.__version__
