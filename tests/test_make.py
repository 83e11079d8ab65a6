"""Plain make in a patched tree, by Caffe's own Makefile."""

import shutil
import subprocess

import pytest
from patched_tree import hashes

from caffe_tools import patching

AVX512 = ".build_release/src/caffe/randrop/simd/kernels_avx512.o"


@pytest.fixture
def patched(tree, tmp_path):
    """A patched tree with a Makefile.config, and a folder of headers for it."""
    before = hashes(tree)
    patching.apply(tree)
    headers = tmp_path / "headers"
    headers.mkdir()
    config = (tree / "Makefile.config.example").read_text()
    (tree / "Makefile.config").write_text(
        f"{config}\nCPU_ONLY := 1\nINCLUDE_DIRS := {headers}\nCXX := g++\n"
    )
    yield tree
    (tree / "Makefile.config").unlink()
    patching.revert(tree)
    assert hashes(tree) == before


def command(tree, *options):
    """Return the command that make compiles the kernels with, as a list."""
    result = subprocess.run(
        ["make", "-n", *options, AVX512],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.splitlines()
    line = next(line for line in lines if " -c -o " in line and "kernels_" in line)
    return line.partition(" 2> ")[0].split()


def test_make_uses_openmp_where_the_compiler_has_it(patched, tmp_path):
    assert "-fopenmp" in command(patched)
    assert "-fopenmp" not in command(patched, "USE_OPENMP=0")
    poor = tmp_path / "poor-g++"
    poor.write_text(
        '#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec g++ "$@"\n'
    )
    poor.chmod(0o755)
    assert "-fopenmp" not in command(patched, f"CUSTOM_CXX={poor}")


def test_make_uses_onednn_where_its_header_is(patched, tmp_path):
    (tmp_path / "headers/dnnl.hpp").write_text("\n")
    assert "-DUSE_ONEDNN" in command(patched)
    assert "-DUSE_ONEDNN" not in command(patched, "USE_ONEDNN=0")
    (tmp_path / "headers/dnnl.hpp").write_text("#error not to be used\n")
    assert "-DUSE_ONEDNN" not in command(patched)


def test_the_example_config_names_the_options(patched):
    example = (patched / "Makefile.config.example").read_text()
    assert "\n# USE_ONEDNN := 0\n" in example
    assert "\n# USE_OPENMP := 0\n" in example


@pytest.mark.parametrize("version", ["2", "3", "4", "5"])
def test_the_libraries_of_opencv_go_by_its_version(patched, version):
    result = subprocess.run(
        ["make", "-pnq", f"OPENCV_VERSION={version}", "clean"],
        cwd=patched,
        capture_output=True,
        text=True,
        check=False,
    )
    libraries = next(
        line for line in result.stdout.splitlines() if line.startswith("LIBRARIES ")
    )
    assert ("opencv_imgcodecs" in libraries) == (version != "2")


@pytest.mark.slow
def test_make_prints_no_warning_of_the_vector_kernels(patched):
    """GCC warns of lines in its own header for AVX-512, hundreds of times."""
    words = command(patched)
    (patched / AVX512).parent.mkdir(parents=True)
    result = subprocess.run(
        words, cwd=patched, capture_output=True, text=True, check=False
    )
    shutil.rmtree(patched / ".build_release")
    assert result.returncode == 0, result.stderr
    assert "-Wall" in words
    assert result.stderr == ""
