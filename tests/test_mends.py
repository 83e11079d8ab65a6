"""Each mend on sources as trees have them."""

import re
import subprocess

import forks
import pytest
from patched_tree import hashes, tool

from caffe_tools import mends, patching
from caffe_tools.mends import cxx
from caffe_tools.mends.mend import CMAKE, CODE, Mend, on_lines

MENDED_KINDS = ("bvlc", "ssd", "rfcn", "intel", "shuffles", "cmake-lines", "tabs")


def decoded(file):
    return file.read_bytes().decode("utf-8", "surrogateescape")


def sources(tree):
    return {path: decoded(tree / path) for path in mends.paths(tree)}


@pytest.fixture(scope="module")
def texts(bvlc, tmp_path_factory):
    """The sources of several kinds of trees."""
    place = tmp_path_factory.mktemp("kinds")
    return {
        kind: sources(forks.make(kind, place / kind, bvlc)) for kind in MENDED_KINDS
    }


@pytest.mark.parametrize("mend", mends.MENDS, ids=lambda mend: mend.name)
def test_each_mend_is_needed_in_bvlcs_tree(texts, mend):
    found = [p for p, text in texts["bvlc"].items() if mend.covers(p)]
    assert any(mend.apply(texts["bvlc"][p]) != texts["bvlc"][p] for p in found)


@pytest.mark.parametrize("kind", MENDED_KINDS)
def test_mended_twice_is_mended_once_and_nothing_is_left(texts, kind):
    for path, text in texts[kind].items():
        mended, _ = mends.apply(path, text)
        assert mends.apply(path, mended) == (mended, [])
        assert mends.left(path, mended) == []


def test_line_ends_stay_as_they_are(texts):
    for path, text in texts["bvlc"].items():
        mended, _ = mends.apply(path, text)
        windows, _ = mends.apply(path, text.replace("\n", "\r\n"))
        assert windows == mended.replace("\n", "\r\n")


def test_in_a_file_of_mixed_line_ends_only_changed_lines_change():
    mixed = "one\r\nold\ntwo\nthree\r\nfour\r\n"
    change = on_lines(mixed, lambda text: text.replace("old", "new\nnewer"))
    assert change == "one\r\nnew\r\nnewer\r\ntwo\nthree\r\nfour\r\n"
    assert on_lines(mixed, lambda text: text) == mixed


def test_a_changed_line_keeps_its_own_line_end():
    mixed = "one\r\nold\ntwo\f\r\nthree\r\nold\r\n"
    change = on_lines(mixed, lambda text: text.replace("old", "new"))
    assert change == mixed.replace("old", "new")


@pytest.mark.parametrize("feed", ["\f", "\v", "\x85", "\u2028", "\x1c"])
def test_a_remark_shows_its_line_whatever_is_in_the_file(feed):
    text = f"// {feed}\n{feed}\nint b = 0;\n{feed}CvMat* m;\nint z = CV_NOT_THERE;\n"
    said = mends.left("src/a.cpp", text)
    assert [line.split(":")[1:3] for line in said] == [
        ["4", " CvMat* m;"],
        ["5", " int z = CV_NOT_THERE;"],
    ]


def test_a_mend_of_several_changes_is_made_whole_or_not_at_all():
    mend = Mend("both", "", "*", (("^first$", "1"), ("^second$", "2")))
    assert mend.apply("first\nsecond\n") == "1\n2\n"
    for half in ("first\n", "second\n", "first\nSecond\n"):
        assert mend.apply(half) == half


ANYWHERE = [mend for mend in mends.MENDS if mend.path in (CODE, CMAKE)]


@pytest.mark.parametrize("mend", ANYWHERE, ids=lambda mend: mend.name)
def test_no_mend_touches_strings_and_comments(texts, mend):
    """What is only spoken of stays: code in a comment or a string."""
    comment = "# " if mend.path == CMAKE else "// "
    for text in texts["ssd"].values():
        spoken = "".join(f"{comment}{line}\n" for line in text.splitlines())
        assert mend.apply(spoken) == spoken


LIMITS = {
    "s->SetTotalBytesLimit(kLimit, 536870912);": True,
    "  s->SetTotalBytesLimit(kProtoReadBytesLimit, 1024*1024*1024);": True,
    "if (n) coded.SetTotalBytesLimit(std::max(n, 1), f(n, 2) / 2);": True,
    "s -> SetTotalBytesLimit (\n    INT_MAX,\n    -1 );": True,
    "s->SetTotalBytesLimit(INT_MAX);": False,
    "s->SetTotalBytesLimit(a /* , b */);": False,
}


def compiles(text, *options):
    """Return what a compiler says against a C++ source; nothing if it is fine."""
    command = ["g++", "-fsyntax-only", "-w", *options, "-x", "c++", "-"]
    result = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False
    )
    return result.stderr if result.returncode else ""


@pytest.mark.parametrize("version", [2006001, 3005000, 3006000, 3021012])
@pytest.mark.parametrize("call", LIMITS)
def test_the_limit_of_bytes_has_as_many_arguments_as_the_version_takes(call, version):
    many = version < 3006000
    library = (
        f"#define GOOGLE_PROTOBUF_VERSION {version}\n#include <algorithm>\n"
        f"struct S {{ void SetTotalBytesLimit(int{', int' if many else ''}); }};\n"
    )
    text = (
        "void go(S* s, S coded, int n, int a) {\n"
        "  const int kLimit = 1, kProtoReadBytesLimit = 2, INT_MAX = 3;\n"
        "  int (*f)(int, int) = 0;\n"
        f"{call}\n}}\n"
    )
    mended, _ = mends.apply("src/caffe/util/any.cpp", text)
    assert (mended != text) == LIMITS[call]
    if LIMITS[call] or not many:
        assert compiles(library + mended) == ""
    assert mends.left("src/caffe/util/any.cpp", mended) == []


def test_what_cannot_be_mended_is_named_with_its_line(bvlc, tmp_path):
    tree = forks.make("bvlc", tmp_path / "caffe", bvlc)
    (tree / "src/caffe/util/odd.cpp").write_text(
        "#include <algorithm>\n"
        "void a(int* b, int* e) { std::random_shuffle(b, e, draw); }\n"
        "void c(S* s) { s->SetTotalBytesLimit(1, 2, 3); }\n"
        "int d = CV_CAP_PROP_XI_GAIN;\n"
        "IplImage* e = cvLoadImage(name, 1);\n"
    )
    (tree / "examples/CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION ${OLD})\n"
    )
    result = tool(tree)
    assert result.returncode == 0, result.stderr
    said = [line.strip() for line in result.stdout.splitlines() if line[:2] == "  "]
    said = [line for line in said if re.match(r"\S+:\d+: ", line)]
    starts = [
        "src/caffe/util/odd.cpp:2: void a(int* b, int* e) { std::random_shuffle",
        "src/caffe/util/odd.cpp:3: void c(S* s) { s->SetTotalBytesLimit(1, 2, 3)",
        "src/caffe/util/odd.cpp:4: int d = CV_CAP_PROP_XI_GAIN",
        "src/caffe/util/odd.cpp:5: IplImage* e",
        "examples/CMakeLists.txt:1: cmake_minimum_required(VERSION ${OLD})",
    ]
    for start in starts:
        assert any(line.startswith(start) for line in said), start
    assert len(said) == len(starts)
    text = (tree / "src/caffe/util/odd.cpp").read_text()
    assert "shuffle(b, e, draw)" in text and "rng.hpp" not in text


SHUFFLED = {
    "nothing else": "",
    "an include": "#include <vector>\n",
    "an include for others only": "#ifdef OTHERS\n#include <none>\n#endif\n",
    "the include": '#include "caffe/util/rng.hpp"\n',
    "its branch": "#ifdef OTHERS\n#include <none>\n#else\n#include <vector>\n#endif\n",
}


@pytest.mark.parametrize("before", SHUFFLED)
@pytest.mark.parametrize("call", ["std::random_shuffle", "random_shuffle"])
def test_a_shuffle_finds_its_include(tmp_path, before, call):
    using = "" if "::" in call else "using std::random_shuffle;\n"
    text = SHUFFLED[before] + using + f"void mix(int* b) {{ {call}(b, b + 2); }}\n"
    mended, _ = mends.apply("tools/x.cpp", text)
    header = tmp_path / "caffe/util/rng.hpp"
    header.parent.mkdir(parents=True)
    header.write_text("namespace caffe { template <class T> void shuffle(T, T); }\n")
    assert compiles(mended, "-std=c++17", f"-I{tmp_path}") == ""
    assert mended.count("rng.hpp") == 1


def test_a_shuffle_of_ones_own_stays():
    text = "void random_shuffle(int, int);\nint a = (random_shuffle(1, 2), 0);\n"
    assert mends.apply("src/a.cpp", text)[0] == text


REQUIRED = {
    "cmake_minimum_required(VERSION 2.8.7)": "2.8.7...3.5)",
    "\tCMAKE_MINIMUM_REQUIRED( VERSION 2.8.12.2 FATAL_ERROR )": "2.8.12.2...3.5 FATAL",
    "cmake_minimum_required (VERSION 3.1)": "3.1...3.5)",
    "cmake_minimum_required(VERSION 3.10)": None,
    "cmake_minimum_required(VERSION 2.8...3.20)": None,
    "# cmake_minimum_required(VERSION 2.8)": None,
    "cmake_policy(VERSION 2.8)": "2.8...3.5)",
}


@pytest.mark.parametrize("line", REQUIRED)
def test_the_version_that_cmake_is_asked_for(line):
    mended, _ = mends.apply("examples/mine/CMakeLists.txt", line + "\n")
    assert (mended == line + "\n") == (REQUIRED[line] is None)
    assert REQUIRED[line] is None or REQUIRED[line] in mended


BOOST = {
    "find_package(Boost 1.54 REQUIRED COMPONENTS system thread filesystem)": (
        "1.54 REQUIRED COMPONENTS thread filesystem OPTIONAL_COMPONENTS system)"
    ),
    "find_package( Boost REQUIRED COMPONENTS filesystem regex\n  system thread )": (
        "REQUIRED COMPONENTS filesystem regex thread OPTIONAL_COMPONENTS system)"
    ),
    "  find_package(Boost 1.46 REQUIRED system)": (
        "1.46 REQUIRED OPTIONAL_COMPONENTS system)"
    ),
    "find_package(Boost REQUIRED COMPONENTS system OPTIONAL_COMPONENTS python)": (
        "REQUIRED OPTIONAL_COMPONENTS python system)"
    ),
    "find_package(Boost 1.46 COMPONENTS python)": None,
    "find_package(Boost REQUIRED COMPONENTS thread OPTIONAL_COMPONENTS system)": None,
}


@pytest.mark.parametrize("line", BOOST)
def test_boosts_library_system_is_asked_for_where_there_is_one(line):
    mended, _ = mends.apply("cmake/Dependencies.cmake", line + "\n")
    assert (mended == line + "\n") == (BOOST[line] is None)
    assert BOOST[line] is None or BOOST[line] in mended


def test_a_tree_of_mends_alone_gets_the_header_that_they_need(bvlc, tmp_path):
    tree = forks.make("ssd", tmp_path / "caffe", bvlc)
    before = hashes(tree)
    patching.apply(tree, mends_only=True)
    assert (tree / "include" / mends.NAMES).is_file()
    patching.revert(tree)
    assert hashes(tree) == before


def test_comments_and_strings_are_no_code():
    text = (
        'a("x // y", \'"\', 1\'000); // b "c\nd /* e\n" */ f R"-(g ")" )-" '
        '"h \\" i" j\n'
    )
    masked = cxx.code(text)
    assert len(masked) == len(text)
    assert masked.split() == ["a(", ",", ",", "1'000);", "d", "f", "j"]


def test_the_headers_of_the_numpy_in_use_come_before_pythons(bvlc, tmp_path):
    """Debian's python3-numpy has NumPy 1 in a folder of Python's headers."""
    lists = ("cmake/Dependencies.cmake", "python/CMakeLists.txt")
    for path in lists:
        mended, _ = mends.apply(path, decoded(bvlc / path))
        (line,) = (line for line in mended.splitlines() if "NUMPY_INCLUDE" in line)
        python, numpy = tmp_path / "python", tmp_path / "numpy"
        line = line.replace("${PYTHON_INCLUDE_DIRS}", str(python))
        line = line.replace("${NUMPY_INCLUDE_DIR}", str(numpy))
        folders = re.findall(rf"{re.escape(str(tmp_path))}/\w+", line)
        assert folders == [str(numpy), str(python)]
