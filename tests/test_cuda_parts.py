"""CUDA's compiler and libraries: what is looked for, fetched and refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from caffe_tools import cuda, cuda_parts
from caffe_tools.cuda_parts import CUDNN, MATHEMATICS, NCCL
from caffe_tools.errors import ToolError
from randrop.pycaffe.build import build_dir

NVCC = cuda.find_nvcc(build_dir() / "cuda")
NOTHING = Path(sys.executable)

# What --list-gpu-arch prints.
CUDA_12_9 = "50 52 53 60 61 62 70 72 75 80 86 87 89 90 100 101 103 120 121"
CUDA_13_0 = "75 80 86 87 88 89 90 100 110 103 120 121"


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def compiler(root, version="13.0", listed=CUDA_13_0, newest=15):
    """A program that answers as nvcc does, and takes g++-N up to a newest N."""
    lines = "".join(f"echo compute_{n}; " for n in [*listed.split(), "90a"])
    return program(
        root / "bin" / "nvcc",
        f'case "$*" in\n'
        f'  *--dryrun*) echo "#\\$ TOP={root}" ;;\n'
        f"  *--version*) echo 'Cuda compilation tools, release {version}, V0' ;;\n"
        f"  *--list-gpu-arch*) {lines};;\n"
        "  -ccbin*)\n"
        f"    if [ $($2) -gt {newest} ]; then echo '#error -- unsupported GNU "
        f"version! gcc versions later than {newest} are not supported!' >&2; exit 1; "
        "fi ;;\n"
        "esac",
    )


@pytest.mark.parametrize(
    ("listed", "default"),
    [
        (CUDA_12_9, ["50", "60", "70", "80", "90", "100", "120"]),
        (CUDA_13_0, ["75", "80", "90", "100", "110", "120"]),
    ],
    ids=["12.9", "13.0"],
)
def test_default_architectures_are_one_a_generation(tmp_path, listed, default):
    known = cuda.gpu_architectures(compiler(tmp_path, listed=listed))
    assert known == sorted(listed.split(), key=int), "without the special one, 90a"
    assert cuda.choose_architectures(known, []) == default


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
def test_the_real_compiler_lists_a_generation_for_each_default():
    known = cuda.gpu_architectures(NVCC)
    chosen = cuda.choose_architectures(known, [])
    assert {x[:-1] for x in chosen} == {x[:-1] for x in known}


class Fetched:
    """Installs empty packages where pip would install them."""

    def __init__(self, monkeypatch):
        self.asked = []
        self.said = []
        monkeypatch.setattr(cuda, "_install", self.install)

    def install(self, wanted, target, python):
        self.asked.append(wanted)
        for pin in wanted:
            (target / cuda._installed_as(pin)).mkdir(parents=True)
        part = {"packages": MATHEMATICS, "cudnn": CUDNN, "nccl": NCCL}[target.name]
        for folder, files in (
            ("include", part.headers),
            ("lib", [f"{name}.9" for name in part.libraries]),
        ):
            (target / "nvidia/any" / folder).mkdir(parents=True)
            for name in files:
                (target / "nvidia/any" / folder / name).write_text("")


@pytest.fixture
def fetched(monkeypatch):
    for part in (CUDNN, NCCL):
        monkeypatch.delenv(part.variable, raising=False)
    return Fetched(monkeypatch)


def toolkit(nvcc, folder, fetched, parts=()):
    return cuda.cuda_toolkit(nvcc, folder, NOTHING, fetched.said.append, parts)


def test_each_part_is_fetched_once_and_linked(tmp_path, fetched):
    nvcc = compiler(tmp_path / "cuda")
    folder = tmp_path / "build"
    made = toolkit(nvcc, folder, fetched)
    assert [x.partition("==")[0] for x in fetched.asked[0]] == [*MATHEMATICS.packages]
    assert not (made / "include/cudnn.h").exists()
    made = toolkit(nvcc, folder, fetched, (CUDNN, NCCL))
    assert len(fetched.asked) == 3, "cuBLAS and cuRAND stay"
    assert all("==" in pin for wanted in fetched.asked for pin in wanted)
    for part in (CUDNN, NCCL):
        include, library = part.within(made)
        assert (include / part.headers[0]).exists()
        assert library.exists()
    assert toolkit(nvcc, folder, fetched) == made
    assert not (made / "include/cudnn.h").exists(), "no part that is not asked for"
    toolkit(nvcc, folder, fetched, (NCCL, CUDNN))
    assert len(fetched.asked) == len(fetched.said) == 3, "nothing is fetched twice"


def test_packages_have_the_names_of_the_compilers_version(tmp_path, fetched):
    nvcc = compiler(tmp_path / "cuda", "12.9", CUDA_12_9)
    toolkit(nvcc, tmp_path / "build", fetched, (CUDNN, NCCL))
    assert [[x.partition("==")[0] for x in wanted] for wanted in fetched.asked] == [
        ["nvidia-cublas-cu12", "nvidia-curand-cu12"],
        ["nvidia-cudnn-cu12", "nvidia-cuda-nvrtc-cu12"],
        ["nvidia-nccl-cu12"],
    ]


def test_a_whole_toolkit_is_used_as_it_is(tmp_path, fetched):
    root = tmp_path / "cuda"
    for part in (MATHEMATICS, CUDNN):
        for folder, files in (("include", part.headers), ("lib64", part.libraries)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for name in files:
                (root / folder / name).write_text("")
    assert toolkit(compiler(root), tmp_path / "build", fetched, (CUDNN,)) == root
    assert fetched.asked == []
    assert CUDNN.within(root) == (root / "include", root / "lib64" / "libcudnn.so")


@pytest.mark.parametrize("part", [CUDNN, NCCL], ids=lambda part: part.name)
@pytest.mark.parametrize(
    ("include", "library"),
    [("include", "lib64"), ("include/x86_64-linux-gnu", "lib/x86_64-linux-gnu")],
)
def test_a_part_of_the_machine_is_found(tmp_path, monkeypatch, part, include, library):
    for folder, name in ((include, part.headers[0]), (library, part.libraries[0])):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text("")
    monkeypatch.delenv(part.variable, raising=False)
    monkeypatch.setattr(cuda_parts, "_SYSTEM", (tmp_path / "no", tmp_path))
    found = (tmp_path / include, tmp_path / library / part.libraries[0])
    assert cuda_parts.on_machine(part) == found
    monkeypatch.setattr(cuda_parts, "_SYSTEM", ())
    assert cuda_parts.on_machine(part) is None
    monkeypatch.setenv(part.variable, str(tmp_path))
    assert cuda_parts.on_machine(part) == found
    (tmp_path / library / part.libraries[0]).unlink()
    with pytest.raises(ToolError, match=f"correct or unset {part.variable}"):
        cuda_parts.on_machine(part)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder that is all of PATH but the system's shell."""
    for name in ("CC", "CUDAHOSTCXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    (tmp_path / "path").mkdir()
    return tmp_path / "path"


def gcc(path, name, version):
    return program(path / name, f"echo {version}")


def test_a_compiler_that_nvcc_takes_is_the_default(tmp_path, path):
    nvcc = compiler(tmp_path)
    assert cuda.host_compiler(nvcc) is None, "it is not installed yet"
    gcc(path, "cc", 15)
    assert cuda.host_compiler(nvcc) is None


def test_of_compilers_that_are_too_new_the_newest_that_is_not_is_taken(tmp_path, path):
    nvcc = compiler(tmp_path, newest=12)
    gcc(path, "cc", 15)
    gcc(path, "g++-14", 14)
    with pytest.raises(ToolError, match=r"GCC up to 12: .*apt-get install g\+\+-12'"):
        cuda.host_compiler(nvcc)
    older = gcc(path, "g++-11", 11)
    assert cuda.host_compiler(nvcc) == str(older)
    named = gcc(path, "g++-12", 12)
    assert cuda.host_compiler(nvcc) == str(named), "what the error says"


def test_a_compiler_that_is_asked_for_is_used(tmp_path, path, monkeypatch):
    nvcc = compiler(tmp_path, newest=12)
    gcc(path, "cc", 15)
    other = gcc(path, "other", 9)
    monkeypatch.setenv("CUDAHOSTCXX", str(other))
    assert cuda.host_compiler(nvcc) == str(other)
    monkeypatch.setenv("CUDAHOSTCXX", "no-such-compiler")
    with pytest.raises(ToolError, match="CUDAHOSTCXX is no-such-compiler"):
        cuda.host_compiler(nvcc)


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
def test_the_real_compiler_says_what_is_too_new(tmp_path, monkeypatch):
    real = shutil.which("g++")
    new = program(tmp_path / "g++99", f'exec {real} -U__GNUC__ -D__GNUC__=99 "$@"')
    monkeypatch.delenv("CUDAHOSTCXX", raising=False)
    monkeypatch.setenv("CC", str(new))
    newest = cuda._newest_supported(NVCC, str(new))
    assert newest is not None
    assert 4 < newest < 99
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / f"g++-{newest}").symlink_to(real)
    monkeypatch.setenv("PATH", f"{tmp_path}/path{os.pathsep}{os.environ['PATH']}")
    assert cuda.host_compiler(NVCC) == str(tmp_path / "path" / f"g++-{newest}")


OLD = (
    "CUDNN_CHECK(cudnnSetConvolution2dDescriptor(*conv,\n"
    "      pad_h, pad_w, stride_h, stride_w, 1, 1, CUDNN_CROSS_CORRELATION));"
)


def test_a_tree_that_is_too_old_is_refused(tmp_path, caffe_source, monkeypatch):
    monkeypatch.setattr(cuda_parts, "_SYSTEM", ())
    monkeypatch.delenv("CUDNN_ROOT", raising=False)
    cuda_parts.check_tree(caffe_source, (CUDNN, NCCL))
    cuda_parts.check_tree(tmp_path, ())
    with pytest.raises(ToolError, match="build without --cudnn"):
        cuda_parts.check_tree(tmp_path, (CUDNN,))
    with pytest.raises(ToolError, match="build without --nccl"):
        cuda_parts.check_tree(tmp_path, (NCCL,))
    header = tmp_path / cuda_parts.CUDNN_HEADER
    header.parent.mkdir(parents=True)
    header.write_text(OLD)
    with pytest.raises(ToolError, match="is older than cuDNN 6"):
        cuda_parts.check_tree(tmp_path, (CUDNN,))


@pytest.mark.parametrize(("version", "fits"), [(5, True), (6, False), (9, False)])
def test_to_an_old_tree_fits_an_old_cudnn(tmp_path, monkeypatch, version, fits):
    header = tmp_path / "tree" / cuda_parts.CUDNN_HEADER
    header.parent.mkdir(parents=True)
    header.write_text(OLD)
    (tmp_path / "cudnn.h").write_text(f"#define CUDNN_MAJOR {version}\n")
    (tmp_path / "libcudnn.so").write_text("")
    monkeypatch.setenv("CUDNN_ROOT", str(tmp_path))
    if fits:
        cuda_parts.check_tree(tmp_path / "tree", (CUDNN,))
    else:
        with pytest.raises(ToolError, match="build without --cudnn"):
            cuda_parts.check_tree(tmp_path / "tree", (CUDNN,))


@pytest.mark.parametrize("option", ["--cudnn", "--nccl"])
def test_parts_need_gpu(tmp_path, option):
    told = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/build_caffe.py", option],
        env={**os.environ, "RANDROP_BUILD": str(tmp_path / "build")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    assert f"{option} needs --gpu" in told.stderr
    assert not (tmp_path / "build").exists()
