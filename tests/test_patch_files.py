"""Caffe's own files as the patch leaves them: byte for byte."""

import hashlib

from caffe_tools import planning

DIGESTS = {
    "CMakeLists.txt": (
        "10fa22045bfd35d09854b50c",
        "3849627d17117d02b2a9a314",
    ),
    "cmake/Cuda.cmake": (
        "39dad3e3ebca2c6d61502b6f",
        "4512349d87894d3a835249b0",
    ),
    "cmake/Dependencies.cmake": (
        "a81547a220aa091d71c427e6",
        "9c7b6473828ffb7aea346fea",
    ),
    "cmake/Modules/FindGlog.cmake": (
        "0e57dbfb5d3669fc99866401",
        "a2dfe50392ebeb8eca57d72e",
    ),
    "cmake/ProtoBuf.cmake": (
        "5a6466ad84e2213567e738a4",
        "e736697554fde2e7d65e4e80",
    ),
    "include/caffe/layer_factory.hpp": (
        "64f7e48b6fddc155de4b867e",
        "fcc4d7a19ed689d432073df2",
    ),
    "include/caffe/syncedmem.hpp": (
        "e2ffe889aea6ac6a8af94dfa",
        "883291f20e61084ba0e8ee4a",
    ),
    "python/caffe/io.py": (
        "dd923bdba14588d2654e6a2f",
        "3aa699ef853a6b59e28f6d6a",
    ),
    "src/caffe/common.cpp": (
        "1012579a0f788c6e73572da8",
        "0ab46890c13d642824ae26fb",
    ),
    "src/caffe/layers/hdf5_data_layer.cpp": (
        "13468943b716f135151bd64b",
        "6f47adb0dd47b5cc6dbeae05",
    ),
    "src/caffe/net.cpp": (
        "99b989ba23ca51510bf4859c",
        "86d022a9130d2bbff6cd5ed8",
    ),
    "src/caffe/syncedmem.cpp": (
        "39b128e13afb765f20c67d6b",
        "50698c6e9cb0ff7362d0652c",
    ),
    "src/caffe/test/CMakeLists.txt": (
        "c3f3bce43e83ff127eeddb86",
        "80ac5cee7c073ac6c9e14440",
    ),
    "src/caffe/test/test_platform.cpp": (
        "33474eee6102dccf9026fc15",
        "159f1c621d64852a93425fa0",
    ),
    "src/caffe/util/io.cpp": (
        "44455f0b3e0b3320a4d6c7fd",
        "b19182d47088455264e6b6c1",
    ),
    "src/caffe/util/math_functions.cu": (
        "d86a39dc1533e23a64826b19",
        "7f35080f685a7c20c44136a4",
    ),
}
"""Of each file that is changed, before and after: a change of these is looked at."""


def digest(content):
    return hashlib.sha256(content).hexdigest()[:24]


def changes_of_caffes_files(root):
    """Without our new files, and the proto, which has our parameters."""
    return [
        change
        for change in planning.plan(root, {})
        if change.path != planning.PROTO
        and not (planning.LAYERS / change.path).exists()
    ]


def test_caffes_files_become_what_they_were_meant_to_become(caffe_source):
    found = {
        change.path: (digest(change.before), digest(change.after))
        for change in changes_of_caffes_files(caffe_source)
    }
    assert found == DIGESTS


def test_with_windows_line_ends_they_become_the_same(tree):
    plain = {c.path: c.after for c in changes_of_caffes_files(tree)}
    for path in plain:
        file = tree / path
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    found = {c.path: c.after for c in changes_of_caffes_files(tree)}
    assert found == {p: c.replace(b"\n", b"\r\n") for p, c in plain.items()}
