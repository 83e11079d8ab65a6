"""A bundle of the build is complete, names whose it is, and runs by itself."""

import os
import subprocess
import sys
from types import SimpleNamespace

import bundle_elsewhere
import pytest
from every_script import done, start

import bundle
from bundling import (
    contents,
    libraries,
)
from randrop.files import ownership
from randrop.pycaffe.build import caffe_root


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The bundle of the build, not packed, and its manifest."""
    top = tmp_path_factory.mktemp("bundle") / "top"
    top.mkdir()
    owners = contents.collect(top, print)
    manifest = bundle._finish(top, "Linux-x86_64", owners)
    return SimpleNamespace(top=top, manifest=manifest)


@pytest.mark.slow
def test_the_manifest_has_every_file(caffe, staged):
    listed = {file["path"]: file for file in staged.manifest["files"]}
    there = {
        path.relative_to(staged.top).as_posix(): path
        for path in staged.top.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    assert set(listed) == set(there) - {"MANIFEST.json"}
    for path, file in listed.items():
        if "link" not in file:
            assert file["size"] == there[path].stat().st_size
            assert file["package"] in staged.manifest["packages"]
    some = [path for path in sorted(listed) if "sha256" in listed[path]][::97]
    for path in some:
        assert ownership.sha256(there[path]) == listed[path]["sha256"]
    assert listed["lib/libopenblas.so.0"]["package"].startswith("debian:libopenblas")
    for name in ("numpy", "caffe", "randrop"):
        assert any(key.endswith(f":{name}") for key in staged.manifest["packages"])


@pytest.mark.slow
def test_every_package_has_a_licence_text_or_is_named(caffe, staged):
    without = set(staged.manifest["without_licence_text"])
    for key, package in staged.manifest["packages"].items():
        assert bool(package["texts"]) != (key in without)
        assert package["licence"], key
        assert package["origin"] != "unknown", key
        for text in package["texts"]:
            assert (staged.top / text).read_bytes().strip()


@pytest.mark.slow
def test_no_path_of_this_machine_is_in_a_bundle(caffe, staged):
    assert bundle_elsewhere.paths_of_this_machine(staged.top) == []
    here = (str(caffe_root()), str(bundle_elsewhere.REPOSITORY), sys.prefix)
    for path in sorted(staged.top.rglob("*")):
        if not libraries.is_elf(path):
            continue
        for place in libraries.search_path(path):
            # Packages of PyPI stay as they are; one has a folder of its own makers.
            assert place.startswith("$ORIGIN") or "site-packages" in path.parts, path
            assert not place.startswith(here), path
    for path in staged.top.rglob("*"):
        if path.is_symlink():
            assert staged.top in path.resolve().parents, path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Modules and variables that a cluster or a user may have for another Python."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("caffe", "numpy", "cv2", "argparse", "randrop", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('hostile {name}')\n")
    (folder / "my_losses.py").write_text("class Mine: pass\n")
    (folder / "libopenblas.so.0").write_text("not a library")
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "GLOG_minloglevel": "2",
        "HOME": str(folder),
        "CAFFE_ROOT": str(folder),
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": str(folder),
        "PYTHONHOME": "/nowhere",
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONEXECUTABLE": "/nowhere",
        "PYTHONSAFEPATH": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONUSERBASE": str(folder),
    }


@pytest.mark.slow
def test_its_own_modules_come_before_those_of_the_user(caffe, staged, hostile):
    ask = (
        "import argparse, caffe, cv2, numpy, randrop.layers, my_losses, sys\n"
        "for m in (argparse, caffe, cv2, numpy, randrop, my_losses): print(m.__file__)"
    )
    program = [staged.top / "bin/python", "-c", ask]
    found = subprocess.run(program, capture_output=True, text=True, env=hostile)
    assert found.returncode == 0, found.stderr
    *own, last = found.stdout.split()
    assert all(path.startswith(f"{staged.top}/") for path in own), own
    assert last == f"{hostile['PYTHONPATH']}/my_losses.py"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["bin/caffe", "caffe/build/tools/caffe"])
def test_a_python_layer_of_the_user_is_found(caffe, staged, hostile, tmp_path, program):
    """And it gets the bundle's NumPy, not the user's."""
    (tmp_path / "layer_of_mine.py").write_text(
        "import caffe, numpy\n"
        "class Mine(caffe.Layer):\n"
        "    def setup(self, bottom, top): print(numpy.__file__, flush=True)\n"
        "    def reshape(self, bottom, top): top[0].reshape(1)\n"
        "    def forward(self, bottom, top): top[0].data[...] = 1\n"
        "    def backward(self, *arguments): pass\n"
    )
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "l" type: "Python" top: "l" '
        'python_param { module: "layer_of_mine" layer: "Mine" } }\n'
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{net}" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 '
        "snapshot_after_train: false\n"
    )
    paths = f"{hostile['PYTHONPATH']}:{tmp_path}:"
    result = subprocess.run(
        [staged.top / program, "train", "--solver", tmp_path / "solver.prototxt"],
        env={**hostile, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{staged.top}/python/"), result.stdout


@pytest.mark.slow
def test_a_bundle_runs_without_the_build(caffe, staged, hostile, tmp_path, phantom):
    moved = tmp_path / "a b" / "moved $x;'%\"\\é"
    moved.parent.mkdir()
    staged.top.rename(moved)
    try:
        small = (
            *("--patch", "32", "--batch", "2", "--base-channels", "2", "--depth", "2"),
            *("--iterations", "4", "--test-iterations", "2", "--threads", "1"),
        )
        result = subprocess.run(
            [moved / "bin/train", "--data", phantom, "--out", tmp_path / "run", *small],
            env=hostile,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        log = (tmp_path / "run/log.txt").read_text()
        assert "Optimization Done" in log
        here = start("train", "--data", phantom, "--out", tmp_path / "here", *small)
        done(here)
        curves = [
            (tmp_path / name / "curves.json").read_text() for name in ("run", "here")
        ]
        assert curves[0] == curves[1]
    finally:
        moved.rename(staged.top)
