"""The mends for cuDNN 8 and 9, with stand-ins for what cuDNN declares."""

import re
import subprocess
import tarfile

import pytest
from conftest import REPOSITORY
from patched_tree import hashes

from caffe_tools import patching
from caffe_tools.mends.cudnn import CUDNN_MENDS, HEADER
from caffe_tools.patching import State
from randrop.pycaffe.build import build_dir, caffe_root

STAND_IN = REPOSITORY / "tests" / "cudnn_stand_in"
CUDA_STAND_IN = REPOSITORY / "tests" / "cuda_on_cpu" / "include"
LAYERS = ("conv", "deconv")
MB = 1 << 20


def compiler(*words):
    return subprocess.run(
        ["g++", "-std=c++11", "-DUSE_CUDNN", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def folders(*paths):
    return [word for path in paths for word in ("-isystem", path)]


@pytest.fixture(scope="module")
def mended(caffe_source, tmp_path_factory):
    """A folder with the files that the mends change, mended."""
    root = tmp_path_factory.mktemp("mended")
    for path in {mend.path for mend in CUDNN_MENDS}:
        text = (caffe_source / path).read_text()
        for mend in CUDNN_MENDS:
            if mend.path == path:
                text = mend.apply(text)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def preprocessed(header, version, tmp_path):
    """Return what the compiler sees, without Caffe's other headers."""
    text = header.read_text().replace('#include "caffe/', "// ")
    (tmp_path / "cudnn.cpp").write_text(text)
    result = compiler(
        *("-E", "-P", f"-DCUDNN_STAND_IN={version}", tmp_path / "cudnn.cpp"),
        *folders(STAND_IN, CUDA_STAND_IN),
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("version", [5, 6, 7])
def test_to_an_older_cudnn_the_header_is_what_it_was(
    caffe_source, mended, tmp_path, version
):
    original = preprocessed(caffe_source / HEADER, version, tmp_path)
    assert "cudnnGetErrorString" in original
    assert preprocessed(mended / HEADER, version, tmp_path) == original


@pytest.mark.parametrize("version", [8, 9])
def test_to_a_newer_cudnn_it_is_not(caffe_source, mended, tmp_path, version):
    original = preprocessed(caffe_source / HEADER, version, tmp_path)
    assert preprocessed(mended / HEADER, version, tmp_path) != original


def layers_compile(root, source, tmp_path, *words):
    """Compile both layers as they are, with a tree's cudnn.hpp."""
    lines = [
        f'#include "{source}/src/caffe/layers/cudnn_{x}_layer.cpp"' for x in LAYERS
    ]
    (tmp_path / "layers.cpp").write_text("\n".join(lines) + "\n")
    built = caffe_root()
    return compiler(
        *("-std=c++17", "-fsyntax-only", "-Wall", "-Wno-sign-compare"),
        *("-I", root / "include", "-I", source / "include", *words),
        *folders(built / "build/include", built / "build", "/usr/include/opencv4"),
        tmp_path / "layers.cpp",
    )


@pytest.mark.parametrize("version", [5, 6, 7, 8, 9])
def test_the_layers_compile_with_each_cudnn(
    caffe, caffe_source, mended, tmp_path, version
):
    result = layers_compile(
        *(mended, caffe_source, tmp_path, f"-DCUDNN_STAND_IN={version}"),
        *folders(STAND_IN, CUDA_STAND_IN),
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_without_the_mends_they_do_not(caffe, caffe_source, tmp_path):
    result = layers_compile(
        *(caffe_source, caffe_source, tmp_path, "-DCUDNN_STAND_IN=8"),
        *folders(STAND_IN, CUDA_STAND_IN),
    )
    assert result.returncode != 0
    assert "cudnnGetConvolutionForwardAlgorithm" in result.stderr


def test_the_layers_compile_with_the_cudnn_of_this_machine(
    caffe, caffe_source, mended, tmp_path
):
    toolkit = build_dir() / "cuda" / "toolkit"
    if not (toolkit / "include" / "cudnn.h").exists():
        pytest.skip("no cuDNN here: build_caffe.py --gpu --cudnn fetches it")
    result = layers_compile(
        mended, caffe_source, tmp_path, *folders(toolkit / "include")
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture(scope="module", params=[8, 9])
def choose(request, mended, tmp_path_factory):
    """The queries of the mended header over a list that the test gives."""
    folder = tmp_path_factory.mktemp("choose")
    # All that the header takes from Caffe is needed elsewhere in it.
    (folder / "caffe" / "proto").mkdir(parents=True)
    (folder / "caffe" / "common.hpp").write_text(
        "#include <iostream>\n#define CHECK_EQ(a, b) std::cerr\n"
        "#define LOG(level) std::cerr\n"
    )
    (folder / "caffe" / "proto" / "caffe.pb.h").write_text(
        "enum PoolingParameter_PoolMethod {\n"
        "  PoolingParameter_PoolMethod_MAX, PoolingParameter_PoolMethod_AVE\n};\n"
    )
    result = compiler(
        *("-O0", "-Wall", "-Werror", f"-DCUDNN_STAND_IN={request.param}"),
        *("-I", folder, "-I", mended / "include", *folders(STAND_IN, CUDA_STAND_IN)),
        *("-o", folder / "choose", STAND_IN / "choose.cpp"),
    )
    assert result.returncode == 0, result.stderr

    def run(step, preference, limit, *entries):
        words = [step, preference, limit, *(x for entry in entries for x in entry)]
        told = subprocess.run(
            [folder / "choose", *map(str, words)],
            capture_output=True,
            text=True,
            check=True,
        )
        return tuple(map(int, told.stdout.split()))

    run.unsupported = {8: 9, 9: 3000}[request.param]
    run.failed = {8: 4, 9: 4000}[request.param]
    return run


NO_WORKSPACE, FASTEST, LIMIT = range(3)
DEFAULT_MATH, TENSOR_OP, CONVERSION, FMA = range(4)
steps = pytest.mark.parametrize("step", range(3), ids=["forward", "filter", "data"])


@steps
def test_the_first_within_the_limit_is_chosen(choose, step):
    """The order is that of the expected times; the limit itself still fits."""
    entries = [
        (3, 0, FMA, 9 * MB, 9 * MB),
        (2, 0, FMA, 8 * MB, 8 * MB),
        (1, 0, FMA, 0, 0),
    ]
    assert choose(step, LIMIT, 8 * MB, *entries) == (0, 2)
    assert choose(step, LIMIT, 8 * MB - 1, *entries) == (0, 1)
    assert choose(step, LIMIT, 9 * MB, *entries) == (0, 3)
    assert choose(step, NO_WORKSPACE, 9 * MB, *entries) == (0, 1)
    assert choose(step, FASTEST, 0, *entries) == (0, 3)


@steps
def test_one_that_failed_is_not_chosen(choose, step):
    entries = [(3, choose.unsupported, FMA, 0, 0), (1, 0, FMA, 0, 0)]
    assert choose(step, LIMIT, 8 * MB, *entries) == (0, 1)


@steps
@pytest.mark.parametrize("math", [TENSOR_OP, CONVERSION])
def test_none_with_tensor_cores_is_chosen(choose, step, math):
    entries = [(3, 0, math, 0, 0), (1, 0, DEFAULT_MATH, 0, 0)]
    assert choose(step, LIMIT, 8 * MB, *entries) == (0, 1)


@steps
def test_the_size_is_that_of_the_descriptor_not_of_the_list(choose, step):
    """Caffe allocates the first, and the second may be for other mathematics."""
    entries = [(3, 0, FMA, 0, 9 * MB), (2, 0, FMA, 9 * MB, MB), (1, 0, FMA, 0, 0)]
    assert choose(step, LIMIT, 8 * MB, *entries) == (0, 2)
    entries = [(3, 0, FMA, 0, -1), (1, 0, FMA, 0, 0)]
    assert choose(step, LIMIT, 8 * MB, *entries) == (0, 1)


@steps
def test_none_is_an_error_that_caffe_checks(choose, step):
    entry = (3, 0, FMA, 9 * MB, 9 * MB)
    assert choose(step, LIMIT, 8 * MB, entry)[0] == choose.unsupported
    assert choose(step, LIMIT, 8 * MB)[0] == choose.failed


def test_convolutions_are_told_to_keep_floats(mended, tmp_path):
    text = preprocessed(mended / HEADER, 8, tmp_path)
    function = re.search(r"setConvolutionDesc\(.*?\n}\n", text, re.DOTALL)[0]
    sets = function.index("cudnnSetConvolution2dDescriptor(*conv")
    assert sets < function.index("cudnnSetConvolutionMathType(*conv, CUDNN_FMA_MATH)")


@pytest.mark.parametrize(
    ("header", "version", "accepted"),
    [
        ("cudnn.h", "2.0.3", False),
        ("cudnn.h", "7.6.5", True),
        ("cudnn_version.h", "8.9.7", True),
        ("cudnn_version.h", "9.28.1", True),
        ("cudnn_version.h", "10.1.0", True),
    ],
)
def test_cmake_reads_the_version_where_it_is(
    mended, tmp_path, header, version, accepted
):
    (tmp_path / "cudnn.h").write_text('#include "cudnn_version.h"\n')
    names = ("MAJOR", "MINOR", "PATCHLEVEL")
    (tmp_path / header).write_text(
        "".join(
            f"#define CUDNN_{name} {number}\n"
            for name, number in zip(names, version.split("."), strict=True)
        )
    )
    (tmp_path / "libcudnn.so").write_text("")
    text = (mended / "cmake/Cuda.cmake").read_text()
    pattern = r"^function\(detect_cuDNN\)[\s\S]*?^endfunction\(\)"
    detect = re.search(pattern, text, re.MULTILINE)[0]
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(detect NONE)\n"
        f'{detect}\nset(CUDA_CUDART_LIBRARY "{tmp_path}/libcudart.so")\n'
        'detect_cuDNN()\nmessage("version ${CUDNN_VERSION}")\n'
    )
    told = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "out", f"-DCUDNN_ROOT={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode == 0) is accepted, told.stderr
    assert (f"version {version}" in told.stderr) is accepted


def test_a_fork_with_queries_of_its_own_keeps_them(caffe_source):
    text = (caffe_source / HEADER).read_text()
    theirs = "inline cudnnStatus_t cudnnGetConvolutionForwardAlgorithm("
    text = text.replace("namespace caffe {", theirs + "...\nnamespace caffe {", 1)
    (mend,) = (mend for mend in CUDNN_MENDS if mend.name == "cudnn-8-queries")
    assert mend.apply(text) == text


def test_the_mended_files_are_bvlcs(caffe, caffe_source):
    """Debian's patches leave them alone, so the mends fit both."""
    archives = sorted((build_dir() / "cache/caffe").glob("caffe_*.orig.tar.gz"))
    if not archives:
        pytest.skip("Caffe's source is not from Debian")
    paths = {mend.path for mend in CUDNN_MENDS}
    with tarfile.open(archives[0]) as archive:
        for member in archive:
            for path in [x for x in paths if f"/{member.name}".endswith(f"/{x}")]:
                original = archive.extractfile(member).read()
                assert original == (caffe_source / path).read_bytes()
                paths.remove(path)
    assert paths == set()


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_tree_is_mended_and_given_back_byte_for_byte(tree, ends):
    for path in {mend.path for mend in CUDNN_MENDS}:
        text = (tree / path).read_bytes().decode()
        (tree / path).write_bytes(text.replace("\n", ends).encode())
    before = hashes(tree)
    patching.apply(tree, mends_only=True)
    assert patching.check(tree) is State.PATCHED
    for mend in CUDNN_MENDS:
        content = (tree / mend.path).read_bytes()
        assert mend.apply(content.decode()) == content.decode()
        assert content.count(b"\n") == content.count(ends.encode())
    patching.revert(tree)
    assert hashes(tree) == before
