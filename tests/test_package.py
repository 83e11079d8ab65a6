"""The package that pip installs is complete and works without the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from doc_blocks import PAGES

from randrop import __main__ as command
from randrop.pycaffe.build import REPOSITORY

ROOMS = (
    "python_layers",
    "scripts",
    "caffe_layers",
    "caffe_patches",
    "models",
    "proto",
)


def pip(*words):
    # With PYTHONPATH, pip would find the repository and consider it installed.
    child = run(sys.executable, "-m", "pip", *words, cwd="/")
    assert child.returncode == 0, child.stdout + child.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools leaves files behind."""
    root = tmp_path_factory.mktemp("package")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ROOMS:
        shutil.copytree(REPOSITORY / name, root / "copy" / name, ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, root / "copy")
    # Without a download: setuptools is in the tests' environment.
    own = ("--no-deps", "--no-build-isolation", "--no-index")
    pip("wheel", *own, "--wheel-dir", root, root / "copy")
    (found,) = root.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel; its dependencies are those of the tests."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python3*/site-packages")
    others = [p for p in sys.path if p.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    pip(
        "--python",
        venv / "bin/python",
        *("install", "--no-deps", "--no-index", "--force-reinstall"),
        wheel,
    )
    return venv / "bin"


def test_no_page_installs_into_the_system():
    """Debian 12 and newer refuse it, whoever asks."""
    for path in PAGES:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"(sudo )?(python3? -m )?pip3? install", line), path


def run(program, *words, cwd, **more):
    unset = ("PYTHONPATH", "RANDROP_BUILD", "CAFFE_ROOT")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    return subprocess.run(
        [program, *map(str, words)],
        **{"cwd": cwd, "env": {**environment, **more}},
        **{"capture_output": True, "text": True},
        check=False,
    )


def test_the_wheel_has_every_file_of_its_rooms(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for room in ROOMS:
        place = "" if room == "python_layers" else f"randrop/{room}/"
        for path in (REPOSITORY / room).rglob("*"):
            relative = path.relative_to(REPOSITORY / room)
            # The list of a script that wrote there; git ignores it, too.
            unwanted = {"__pycache__", "randrop.egg-info", ".randrop.sha256"}
            unwanted &= set(relative.parts)
            if path.is_file() and not unwanted and path.suffix != ".sh":
                assert f"{place}{relative}" in names


def test_the_losses_are_imported_from_another_folder(installed, tmp_path):
    text = "import randrop.losses, randrop.data; print(randrop.__file__)"
    child = run(installed / "python", "-c", text, cwd=tmp_path)
    assert child.returncode == 0, child.stderr
    assert Path(child.stdout.strip()).is_relative_to(installed.parent)


def test_the_command_lists_its_commands(installed, tmp_path):
    for words in ((), ("--help",)):
        child = run(installed / "randrop", *words, cwd=tmp_path)
        assert child.returncode == 0
        for name in command.NAMES:
            assert f"\n  {name} " in child.stdout
    child = run(installed / "randrop", "trian", cwd=tmp_path)
    assert child.returncode != 0
    assert "unknown command 'trian': choose from prepare, train" in child.stderr


@pytest.mark.parametrize("name", command.NAMES)
def test_every_command_explains_itself(installed, tmp_path, name):
    child = run(installed / "randrop", name, "--help", cwd=tmp_path)
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(f"usage: randrop {name} ")
    assert not list(tmp_path.iterdir())


def test_a_photograph_is_predicted_where_no_repository_is(installed, phantom, tmp_path):
    photo = next((phantom / "images").iterdir())
    child = run(installed / "randrop", "predict", photo, cwd=tmp_path)
    assert child.returncode == 0, child.stderr
    found = json.loads((tmp_path / f"prediction/{photo.stem}.json").read_text())
    assert found["photograph"] == photo.name


def test_a_missing_caffe_is_looked_for_in_the_current_folder(
    installed, phantom, tmp_path
):
    words = ("train", "--data", phantom, "--out", tmp_path / "run")
    child = run(installed / "randrop", *words, cwd=tmp_path)
    assert child.returncode == 2
    assert f"{tmp_path}/build/caffe" in child.stderr
    assert "Traceback" not in child.stderr


def test_a_tree_is_patched_where_no_repository_is(installed, tree, tmp_path):
    child = run(installed / "randrop", "patch-caffe", tree, cwd=tmp_path)
    assert child.returncode == 0, child.stderr
    source = "src/caffe/layers/sigmoid_random_drop_ce_loss_layer.cpp"
    ours = (REPOSITORY / "caffe_layers" / source).read_bytes()
    assert (tree / source).read_bytes() == ours


def test_a_small_training(caffe, installed, phantom, tmp_path):
    """With the command, and a Caffe that was built elsewhere."""
    from randrop.pycaffe.build import caffe_root

    words = ("--data", phantom, "--out", "run", "--patch", 32, "--base-channels", 2)
    words += ("--depth", 2, "--iterations", 4, "--test-interval", 4, "--threads", 1)
    built = {"CAFFE_ROOT": str(caffe_root())}
    words += ("--test-iterations", 1)
    child = run(installed / "randrop", "train", *words, cwd=tmp_path, **built)
    assert child.returncode == 0, child.stderr
    assert (tmp_path / "run/final.caffemodel").is_file()
