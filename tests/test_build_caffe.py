"""The build tool: where the source comes from, what is done again and what is not."""

import os
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from caffe_tools import building, source, toolchain
from caffe_tools.errors import ToolError
from randrop.caffe_build import build_dir

SCRIPT = REPOSITORY / "scripts" / "build_caffe.py"
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"

APT = {
    "deb822": (
        "debian.sources",
        "# comment\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n"
        "Components: main\nSigned-By: /keys/a.gpg\n\nTypes: deb\n"
        "URIs: http://mirror.example/debian-security\nSuites: bookworm-security\n",
        ("http://mirror.example/debian", " /keys/a.gpg"),
    ),
    "a key block": (
        "debian.sources",
        "Types: deb\nURIs: http://m.example/debian/\nSuites: trixie\nSigned-By:\n"
        " -----BEGIN PGP-----\n .\n abc\n",
        ("http://m.example/debian/", "\n -----BEGIN PGP-----\n .\n abc"),
    ),
    "one line": (
        "debian.list",
        "deb http://mirror.example/debian bookworm main\n",
        ("http://mirror.example/debian", f" {KEY}"),
    ),
    "one line with options": (
        "x.list",
        "deb [arch=amd64 signed-by=/keys/b.gpg] https://m.example/debian sid main\n",
        ("https://m.example/debian", " /keys/b.gpg"),
    ),
    "disabled": (
        "debian.sources",
        "Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\n",
        None,
    ),
    "Ubuntu": (
        "ubuntu.sources",
        "Types: deb\nURIs: http://archive.example/ubuntu/\nSuites: noble\n",
        None,
    ),
    "another file type": (
        "debian.list.save",
        "deb http://m.example/debian x main",
        None,
    ),
}


@pytest.mark.parametrize("case", APT)
def test_the_debian_mirror_is_read_from_apt(tmp_path, case):
    name, text, expected = APT[case]
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    assert source.debian_mirror(tmp_path) == expected


def test_the_cache_serves_without_a_network(caffe_source, tmp_path, monkeypatch):
    for file in caffe_source.parent.iterdir():
        if file.is_file():
            os.link(file, tmp_path / file.name)
    assert list(tmp_path.glob("*.dsc"))
    monkeypatch.setattr(source, "_download", lambda cache: pytest.fail("network"))
    tree = source.fetch(tmp_path)
    assert (tree / "src/caffe/proto/caffe.proto").exists()
    assert source.fetch(tmp_path) == tree


def test_a_damaged_package_is_refused(caffe_source, tmp_path):
    for file in caffe_source.parent.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    archive = next(tmp_path.glob("*.orig.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:-1000])
    with pytest.raises(ToolError, match=r"cannot unpack .*\.dsc"):
        source.fetch(tmp_path)
    assert not (tmp_path / "tree").exists()


def test_no_debian_archive_names_the_remedies(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "debian_mirror", lambda configuration: None)
    with pytest.raises(ToolError, match="--caffe-root DIR, or put a downloaded source"):
        source.fetch(tmp_path / "cache")


def test_requirements_are_the_pins_of_pyproject():
    pins = toolchain.requirements()
    assert any(pin.startswith("numpy==") for pin in pins)
    assert any(pin.startswith("pytest==") for pin in pins)
    assert not any("nvidia" in pin for pin in pins)
    assert all("==" in pin for pin in pins)


def build(*arguments, **variables):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_second_run_does_nothing_and_is_fast(caffe):
    build("--no-install")
    start = time.monotonic()
    result = build("--no-install")
    assert result.returncode == 0, result.stderr
    assert "Caffe is built" in result.stdout
    assert time.monotonic() - start < 5


def test_a_folder_that_is_no_caffe_tree(tmp_path):
    result = build("--caffe-root", tmp_path, RANDROP_BUILD=str(tmp_path / "build"))
    assert result.returncode == 2
    assert "is no Caffe tree" in result.stderr
    assert not (tmp_path / "build" / "caffe").exists()


def test_gpu_without_a_compiler_says_how_to_get_it(monkeypatch, tmp_path):
    import build_caffe

    monkeypatch.setattr(toolchain, "find_nvcc", lambda: None)
    monkeypatch.setattr(sys, "argv", ["build_caffe.py", "--gpu"])
    monkeypatch.setenv("RANDROP_BUILD", str(tmp_path / "build"))
    with pytest.raises(ToolError, match=r"--gpu needs nvcc.* install the CUDA toolkit"):
        build_caffe.main()
    assert not (tmp_path / "build").exists()


def test_a_build_error_shows_its_first_lines_and_the_log(tmp_path):
    tree = tmp_path / "caffe"
    (tree / "build").mkdir(parents=True)
    (tree / "build" / "Makefile").write_text(
        "all:\n\t@echo 'x.cpp:3:1: error: no member named y'; exit 1\n"
    )
    log = tmp_path / "make.log"
    with pytest.raises(ToolError, match=r"error: no member named y") as error:
        building.make(tree, ["all"], 1, log)
    assert str(log) in str(error.value)


@pytest.mark.slow
def test_a_changed_layer_is_all_that_is_compiled_again(caffe):
    build("--no-install")
    layer = build_dir() / "caffe/src/caffe/layers/pixel_loss_layer.cpp"
    log = build_dir() / "logs" / "caffe" / "make.log"
    os.utime(layer)
    assert build("--no-install").returncode == 0
    compiled = [line for line in log.read_text().splitlines() if "Building" in line]
    assert len(compiled) == 1
    assert "pixel_loss_layer.cpp" in compiled[0]
