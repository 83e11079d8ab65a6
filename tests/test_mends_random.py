"""What compiled before a mend compiles after it, whatever else is in the file.

A file is put together from pieces at random: uses of what the mends are for, and what
looks like it, such as the file's own names, comments, strings, macros and branches.
Before, it compiles with the old libraries; mended, it compiles with the old ones, and
with the new ones, unless the tool names a place that it could not mend.

    RANDROP_TEST_MENDS=2000 build/venv/bin/python -m pytest tests/test_mends_random.py
"""

import os
import random

import pytest
from conftest import REPOSITORY
from test_mends import compiles
from test_mends_opencv import NAMES, opencv_2  # noqa: F401

from caffe_tools import mends
from caffe_tools.mends import opencv_names

COUNT = int(os.environ.get("RANDROP_TEST_MENDS", "40"))
PATH = "src/caffe/util/x.cpp"
OPENCV = "#include <opencv2/highgui/highgui.hpp>\n"
# {n} is a number that no other piece has.
PLAIN = (
    "int a{n} = CV_LOAD_IMAGE_COLOR;\n",
    "int a{n}() { return CV_FILLED * CV_THRESH_BINARY; }\n",
    "int a{n}(int b) { switch (b) { case CV_BGR2GRAY: return 1; } return 0; }\n",
    "enum { MINE{n} = CV_BGR2GRAY, OTHER{n} = CV_FILLED | 1 };\n",
    "#define VALUE{n} CV_BGR2HSV\nint a{n} = VALUE{n};\n",
    "#define VALUE{n}(x) CV_BGR2HSV + \\\n    x\nint a{n} = VALUE{n}(1);\n",
    "int a{n}(int b = CV_RETR_LIST) { if (b) return b; else return CV_INTER_AREA; }\n",
    "int a{n} = CV_FOURCC('M', 'J', 'P', 'G');\n",
    "int a{n} = 1 ? ::CV_FILLED : cv::IMREAD_COLOR;\n",
    "void s{n}(int* b) { std::random_shuffle(b, b + 2); }\n",
    "#define MIX{n}(b) std::random_shuffle(b, b + 1)\n"
    "void s{n}(int* b) { MIX{n}(b); }\n",
    "namespace n{n} { using std::random_shuffle;  // a comment\n"
    "void s(int* b) { random_shuffle(b, b + 2); } }\n",
    "void l{n}(S* s) { s->SetTotalBytesLimit(1 << 30, 1 << 29); }\n",
)
HARD = (
    "#define LIMIT{n}(c) c->SetTotalBytesLimit(1 << 30, 1 << 29)\n"
    "void l{n}(S* s) { LIMIT{n}(s); }\n",
    "#define LIMIT{n}(c) \\\n  c->SetTotalBytesLimit(1 << 30, \\\n  2)\n"
    "void l{n}(S* s) { LIMIT{n}(s); }\n",
    "void s{n}(int* b) { std::random_shuffle<int*>(b, b + 2); }\n",
    "void s{n}(std::It b) { random_shuffle(b, b); }\n",
    "void (*p{n})(int*, int*) = &std::random_shuffle<int*>;\n",
    'extern "C" {\n#include <cv.h>\n}\n',
)
OWN = (
    "namespace o{n} { enum { CV_LOAD_IMAGE_COLOR = 7, CV_THRESH_BINARY }; }\n"
    "int a{n} = o{n}::CV_LOAD_IMAGE_COLOR + o{n} :: CV_THRESH_BINARY;\n",
    "struct T{n} { enum E { CV_FILLED = 4 }; int CV_RGB2GRAY; };\n"
    "int k{n}(T{n} o, T{n}* p) {\n"
    "  return T{n}::CV_FILLED + o.CV_RGB2GRAY + p->CV_RGB2GRAY + o . CV_RGB2GRAY; }\n",
    "namespace o{n} { const int CV_BGR2GRAY = 3; int* CV_INTER_AREA; }\n",
    "namespace o{n} { int CV_FOURCC(char a) { return a; } }\n",
    "namespace o{n} { struct CV_RETR_LIST {}; CV_RETR_LIST b, &c = b; }\n",
    "int f{n}(int CV_INTER_AREA) { int b = 1, CV_FILLED = 2; return b + CV_FILLED; }\n",
    "struct U{n} { void random_shuffle(int, int) {} };\n"
    "void u{n}(U{n} a) { a.random_shuffle(1, 2); a . random_shuffle(1, 2); }\n",
    "using namespace std;\nstruct W{n} { void random_shuffle(int, int) {}\n"
    "  void go() { random_shuffle(1, 2); } };\n",
)
SPOKEN = (
    'const char* c{n} = "CV_FILLED std::random_shuffle(a, b)";\n',
    'const auto* c{n} = u8R"x( " CV_FILLED\n#include <cv.h>\nCV_BGR2GRAY )x";\n',
    'const auto* c{n} = LR"( " CV_FILLED )";\n',
    "/* CV_FILLED\n#include <cv.h>\nstd::random_shuffle(a, b); */\n",
    "// CV_FILLED \\\nCV_BGR2GRAY std::random_shuffle(a, b)\n",
    "int q{n}(char c) { switch (c) { case'\"': return CV_FILLED; } return 0; }\n",
    "int q{n} = 1'000 + 0xAB'CD + CV_FILLED; char r{n} = '\"';\n",
    "\f\nint form{n};\v\n",
)
AROUND = (
    'float t{n}[] = {{\n#include "table.inc"\n}};\n',
    'int v{n} =\n#include "value.inc"\n;\n',
    "#ifdef NOWHERE\n#include <opencv2/none.hpp>\n#include <none.h>\n#endif\n",
    "#ifdef NOWHERE\nint g{n}() {\n#else\nlong g{n}() {\n#endif\n  return 0; }\n",
    "#include <opencv/cv.h> /* a comment\nof two lines */\n",
    "#include <cv.h>\n",
    "#include <opencv2/highgui/highgui_c.h>  // once\n",
    'namespace i{n} {\n#include "names.inc"\n}\n',
    '#include "caffe/util/late-inl.hpp"\n',
)
PIECES = (PLAIN, PLAIN, HARD, OWN, OWN, SPOKEN, AROUND)


@pytest.fixture(scope="module")
def folders(opencv_2, tmp_path_factory):  # noqa: F811
    """Headers of the old libraries, and of the new ones."""
    place = tmp_path_factory.mktemp("headers")
    both = {
        "caffe/util/rng.hpp": "namespace caffe {\n"
        "template <class T> void shuffle(T, T) {}\n}\n",
        "caffe/util/late-inl.hpp": "int late();\n",
        "table.inc": "1, 2\n",
        "value.inc": "3\n",
        "names.inc": "int name;\n",
    }
    whole = "".join(
        f"#include <opencv2/{part}/{part}.hpp>\n"
        for part in ("core", "highgui", "imgproc")
    )
    old = {
        "library.hpp": "#define GOOGLE_PROTOBUF_VERSION 3005000\n"
        "struct S { void SetTotalBytesLimit(int, int) {} };\nnamespace std {\n"
        "struct It {};\ntemplate <class T> void random_shuffle(T, T) {} }\n",
        "cv.h": whole,
        "opencv/cv.h": whole,
    }
    new_names = {opencv_names.successor(name) for name in NAMES}
    values = ", ".join(sorted(name for name in new_names if "::" not in name))
    criteria = "struct TermCriteria { enum { COUNT, MAX_ITER = COUNT, EPS }; };"
    new = {
        "library.hpp": "#define GOOGLE_PROTOBUF_VERSION 4025000\n"
        "struct S { void SetTotalBytesLimit(int) {} };\n"
        "namespace std { struct It {}; }\n",
        "opencv2/core/version.hpp": "#define CV_MAJOR_VERSION 5\n",
        "opencv2/core.hpp": "#include <opencv2/core/version.hpp>\n"
        "template <class T> struct OnlyInCxx {};\n"
        f"namespace cv {{ {criteria} enum {{ {values} }}; }}\n",
    }
    for name in (
        "core/core",
        "highgui",
        "highgui/highgui",
        "imgproc/imgproc",
        "imgproc",
    ):
        new[f"opencv2/{name}.hpp"] = "#include <opencv2/core.hpp>\n"
    for version, files in (("old", {**both, **old}), ("new", {**both, **new})):
        for path, text in files.items():
            file = place / version / path
            file.parent.mkdir(parents=True, exist_ok=True)
            once = "#pragma once\n" if path.endswith(("pp", ".h")) else ""
            file.write_text(once + text)
    ours = REPOSITORY / "caffe_layers/include"
    return {
        "old": [f"-I{place / 'old'}", f"-I{opencv_2}", f"-I{ours}", "-DUSE_OPENCV"],
        "new": [f"-I{place / 'new'}", f"-I{ours}", "-DUSE_OPENCV"],
    }


def a_file(seed):
    draw = random.Random(seed)
    # Most include OpenCV's headers; C++ headers may also come by another way.
    text = '#include "library.hpp"\n' + draw.choice(
        [OPENCV, OPENCV, "#include <cv.h>\n"]
    )
    for number in range(draw.randint(1, 6)):
        piece = draw.choice(draw.choice(PIECES))
        piece = piece.replace("{n}", str(number)).replace("{{", "{").replace("}}", "}")
        if draw.random() < 0.2:
            piece = f"#ifndef ELSEWHERE\n{piece}#endif\n"
        text += piece
    if draw.random() < 0.2:
        text = f"#ifndef GUARD_\n#define GUARD_\n{text}#endif\n"
    return "\ufeff" + text if draw.random() < 0.1 else text


@pytest.mark.parametrize("seed", range(COUNT))
def test_what_compiled_compiles_mended(folders, seed):
    text = a_file(seed)
    standard = "-std=c++14"
    assert compiles(text, standard, *folders["old"]) == "", text
    mended, _ = mends.apply(PATH, text)
    shown = f"{text}\n--- mended ---\n{mended}"
    assert compiles(mended, standard, *folders["old"]) == "", shown
    assert mends.apply(PATH, mended) == (mended, []), shown
    told = mends.left(PATH, mended)
    if not told:
        assert compiles(mended, standard, *folders["new"]) == "", shown
    lines = mended.split("\n")
    for line in told:
        _, number, shown_line = line.split(":", 2)
        assert shown_line.strip().startswith(lines[int(number) - 1].strip())
