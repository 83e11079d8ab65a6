"""A failed build shows why, in the words of the program that knows."""

import sys
from pathlib import Path

import forks
import pytest

from caffe_tools import building, failures, patching, toolchain
from caffe_tools.errors import ToolError

SUMMARY = (
    "-- ******************* Caffe Configuration Summary *******************\n"
    "-- General:\n--   Version           :   1.0.0\n"
)


def configured(folder, text):
    """Return what the tool tells of a project that CMake cannot configure."""
    (folder / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.5)\nproject(small NONE)\n{text}"
    )
    with pytest.raises(ToolError) as error:
        building.configure(folder, Path(sys.executable), [], folder / "log")
    return str(error.value)


def test_cmakes_own_words_are_told_and_caffes_summary_is_not(tmp_path):
    said = configured(
        tmp_path,
        'message(STATUS "****** Caffe Configuration Summary ******")\n'
        "set(CMAKE_DISABLE_FIND_PACKAGE_Boost ON)\n"
        "find_package(Boost REQUIRED COMPONENTS regex)\n",
    )
    assert "CMakeLists.txt:5 (find_package)" in said
    assert "CMAKE_DISABLE_FIND_PACKAGE_Boost is enabled" in said.replace("\n   ", "")
    assert "Summary" not in said


def test_each_of_several_errors_is_told_once(tmp_path):
    said = configured(
        tmp_path,
        'foreach(i 1 2)\n  message(SEND_ERROR "the first")\nendforeach()\n'
        'message(SEND_ERROR "the second")\nadd_dependencies(none other)\n',
    )
    assert said.count("the second") == 1
    assert "Cannot add target-level dependencies" in said


def test_a_missing_package_of_caffe_is_named(tree):
    patching.apply(tree, mends_only=True)
    flags = ["-DCPU_ONLY=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_HDF5=ON"]
    with pytest.raises(ToolError) as error:
        building.configure(tree, Path(sys.executable), flags, tree / "log")
    assert "cmake/Dependencies.cmake" in str(error.value)
    assert "HDF5" in str(error.value)


MAKE = {
    "a compiler": "x.cpp:3:1: error: no member named y",
    "a missing header": "x.cpp:1:10: fatal error: none.h: No such file or directory",
    "a linker": "/usr/bin/ld: x.o: in function `f': undefined reference to `g'",
    "a missing library": "/usr/bin/ld: cannot find -lboost_regex: No such file",
    "protoc": 'caffe.proto:12:3: "a" is already defined in "caffe.B".',
    "nvcc": 'x.cu(3): error: identifier "y" is undefined',
    "make": "make[2]: *** No rule to make target 'x', needed by 'y'.  Stop.",
}


@pytest.mark.parametrize("who", MAKE)
def test_the_line_that_says_why_is_told(who):
    output = (
        f"{SUMMARY}[ 10%] Building CXX object error.cpp.o\n{MAKE[who]}\n"
        "make[1]: *** [all] Error 2\nmake: *** [Makefile:136: all] Error 2\n"
    )
    told = failures.of_make(output)
    assert told[0] == MAKE[who]
    assert not any("Summary" in line or "Building" in line for line in told)


def test_without_a_reason_the_last_lines_are_told():
    assert failures.of_make("one\n\ntwo\n") == ["one", "two"]
    assert failures.of_cmake("one\n\ntwo\n") == ["one", "two"]


def test_the_libraries_of_boost_that_a_fork_asks_for_are_packages(bvlc, tmp_path):
    assert toolchain.boost_packages(bvlc) == ()
    for kind in ("ssd", "intel"):
        tree = forks.make(kind, tmp_path / kind, bvlc)
        assert toolchain.boost_packages(tree) == ("libboost-regex-dev",)
        patching.apply(tree)
        assert toolchain.boost_packages(tree) == ("libboost-regex-dev",)
    (tree / "CMakeLists.txt").write_text(
        "# find_package(Boost COMPONENTS timer)\n"
        "FIND_PACKAGE( Boost COMPONENTS\n  date_time system )\n"
    )
    assert "libboost-date-time-dev" in toolchain.boost_packages(tree)
    assert "libboost-timer-dev" not in toolchain.boost_packages(tree)
