"""The mend for new versions of protobuf, in a real CMake."""

import shutil
import subprocess

import pytest

from caffe_tools import mends

PATH = "cmake/ProtoBuf.cmake"
PACKAGE = """\
add_library(protobuf::libprotobuf INTERFACE IMPORTED)
add_executable(protobuf::protoc IMPORTED)
set_target_properties(protobuf::protoc PROPERTIES IMPORTED_LOCATION "/new/protoc")
"""
FOLDERS = """\
set_target_properties(protobuf::libprotobuf PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "{}/elsewhere")
"""
VERSION = """\
set(PACKAGE_VERSION "{}")
set(PACKAGE_VERSION_COMPATIBLE TRUE)
"""
MODULE = "set(PROTOBUF_LIBRARIES /old/libprotobuf.so)\n"
PROJECT = """\
cmake_minimum_required(VERSION 3.10)
project(tried NONE)
list(APPEND CMAKE_MODULE_PATH ${CMAKE_SOURCE_DIR})
include(cmake/ProtoBuf.cmake)
message(STATUS "headers ${PROTOBUF_INCLUDE_DIR}")
message(STATUS "found ${PROTOBUF_LIBRARIES}, ${PROTOBUF_PROTOC_EXECUTABLE}, "
  "C++ ${CMAKE_CXX_STANDARD}.")
"""
NEW = "found protobuf::libprotobuf, /new/protoc, C++ 17."


@pytest.mark.parametrize("headers", ["prefix/include", "elsewhere"])
@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("3.21.12", "found /old/libprotobuf.so, , C++ ."),
        ("4.22.0", NEW),
        ("5.29.3", NEW),
        ("36.2.0", NEW),
    ],
)
def test_new_versions_of_protobuf_bring_abseil(tmp_path, version, found, headers):
    """Debian's target, in /usr, names no folder of headers."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is missing: build_caffe.py installs it")
    text = "find_package( Protobuf REQUIRED )\n"
    mended, _ = mends.apply(PATH, text)
    package = tmp_path / "prefix/lib/cmake/protobuf"
    package.mkdir(parents=True)
    more = FOLDERS.format(tmp_path) if headers == "elsewhere" else ""
    (package / "protobuf-config.cmake").write_text(PACKAGE + more)
    header = tmp_path / headers / "google/protobuf/message.h"
    header.parent.mkdir(parents=True)
    header.touch()
    (package / "protobuf-config-version.cmake").write_text(VERSION.format(version))
    (tmp_path / "FindProtobuf.cmake").write_text(MODULE)
    (tmp_path / "cmake").mkdir()
    (tmp_path / PATH).write_text(mended)
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    done = subprocess.run(
        [
            *("cmake", "-S", tmp_path, "-B", tmp_path / "build"),
            f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"-- {found}\n" in done.stdout
    if found == NEW:
        assert f"-- headers {tmp_path / headers}\n" in done.stdout
