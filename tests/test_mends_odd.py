"""Mends on sources that nobody would write: what compiled compiles, or is told.

Each source compiles with old libraries. Mended, it compiles with them still, and with
new ones, unless the tool names a place in it. What is left alone has `SAME`.
"""

import subprocess
import time

import pytest
from test_mends_opencv import opencv_2  # noqa: F401
from test_mends_random import PATH, folders  # noqa: F401

from caffe_tools import mends

OPENCV = "#include <opencv2/highgui/highgui.hpp>\n"
LIBRARY = '#include "library.hpp"\n'
SAME = "same"
SOURCES = {
    # Names that are the file's own.
    "own macro": ("#define CV_FILLED 3\nint a[CV_FILLED];\n", SAME),
    "own macro again": (
        f"{OPENCV}#undef CV_FILLED\n#define CV_FILLED 3\nint a[CV_FILLED];\n",
        SAME,
    ),
    "a macro after one that ends in a name": (
        f"{OPENCV}#define TYPE float\n#define FLAG CV_FILLED\n"
        "int b() { TYPE a = CV_FILLED; return (int)a + FLAG; }\n",
        "",
    ),
    "a call after a macro that ends in a name": (
        f"{OPENCV}#define TYPE int\nTYPE b(CV_FILLED);\n#define K b\n"
        "int c[] = {\nCV_AA};\n",
        "",
    ),
    "a macro after a call without a semicolon": (
        f"{OPENCV}#define MORE\nMORE\n#define FLAG CV_FILLED\nint b = FLAG;\n",
        "",
    ),
    "parameter of a macro": (
        f"{OPENCV}#define F(a, CV_AA) (a + CV_AA + 1)\nint b = F(2, 3);\n",
        SAME,
    ),
    "parameter of a long macro": (
        f"{OPENCV}#define F(CV_AA) \\\n  CV_FILLED + CV_AA\nint b = F(2);\n",
        "",
    ),
    "label": (f"{OPENCV}void f() {{ goto CV_AA; CV_AA: ; }}\n", SAME),
    "structured binding": (
        f"{OPENCV}struct P {{ int a, b; }};\n"
        "int g() { auto [a, CV_AA] = P{1, 2}; return a + CV_AA; }\n",
        SAME,
    ),
    "variable of a struct": (
        f"{OPENCV}namespace n {{ struct {{ int a; }} CV_AA; int b = CV_AA.a; }}\n",
        SAME,
    ),
    "typedef of a struct": (
        f"{OPENCV}namespace n {{ typedef struct {{ int a; }} CV_AA; CV_AA b; }}\n",
        SAME,
    ),
    "pointer to a function": (
        f"{OPENCV}namespace n {{ int (*CV_AA)(int);\n"
        "int g() { return CV_AA(3); } }\n",
        SAME,
    ),
    "reference to an array": (
        f"{OPENCV}int g(int (&CV_AA)[3]) {{ return CV_AA[1]; }}\n",
        SAME,
    ),
    "second of a list": (
        f"{OPENCV}namespace n {{ int a, CV_AA; void g() {{ CV_AA++; }} }}\n",
        SAME,
    ),
    "second pointer of a list": (
        f"{OPENCV}void g() {{ static int *a = 0, b[2], *CV_AA; ++*CV_AA; }}\n",
        SAME,
    ),
    "decltype": (f"{OPENCV}namespace n {{ int x; decltype(x) CV_AA; }}\n", SAME),
    "attribute": (
        f"{OPENCV}namespace n {{ int x, CV_AA [[gnu::unused]] = 3; int y = CV_AA; }}\n",
        SAME,
    ),
    "aligned": (
        f"{OPENCV}namespace n {{ struct alignas(8) CV_AA {{ int a; }}; CV_AA b; }}\n",
        SAME,
    ),
    "using": (
        f"{OPENCV}namespace n {{ int CV_AA; }}\n"
        "namespace m { using n::CV_AA; int g() { return CV_AA; } }\n",
        SAME,
    ),
    "alias": (f"{OPENCV}namespace n {{ using CV_AA = int; CV_AA b; }}\n", SAME),
    "last of an enum": (
        f"{OPENCV}namespace n {{ enum E {{ A = (1), CV_AA }}; E e = CV_AA; }}\n",
        SAME,
    ),
    "enum with a condition": (
        f"{OPENCV}namespace n {{ enum E {{\n#ifdef X\n  A,\n#endif\n  CV_AA }};\n"
        "E e = CV_AA; }\n",
        SAME,
    ),
    "enum with braces": (
        f"{OPENCV}namespace n {{ enum E {{ A = int{{1}}, CV_AA }}; E e = CV_AA; }}\n",
        SAME,
    ),
    "enum class": (f"{OPENCV}enum class E {{ B, CV_AA }};\nE e = E::CV_AA;\n", SAME),
    "template parameter": (
        f"{OPENCV}template <class T, typename CV_AA> CV_AA f(T, CV_AA a);\n",
        SAME,
    ),
    "template template parameter": (
        f"{OPENCV}template <template <class> class CV_AA> struct F {{}};\n",
        SAME,
    ),
    "parameter of a lambda": (
        f"{OPENCV}auto l = [](auto CV_AA) {{ return CV_AA; }};\n",
        SAME,
    ),
    "capture": (f"{OPENCV}auto l = [CV_AA = 3] {{ return CV_AA; }};\n", SAME),
    "field": (f"{OPENCV}struct B {{ int CV_AA : 3; }} b;\nint y = b.CV_AA;\n", SAME),
    "a namespace cv of its own": (
        f"{OPENCV}namespace my {{ namespace cv {{ int z; }} int q = CV_FILLED; }}\n",
        SAME,
    ),
    "a namespace caffe of its own": (
        f"{LIBRARY}namespace my {{ namespace caffe {{ int z; }}\n"
        "void f(int* b) { std::random_shuffle(b, b + 2); } }\n",
        SAME,
    ),
    "a limit of its own": (
        f"{LIBRARY}struct Q {{ void SetTotalBytesLimit(int, int) {{}} }};\n"
        "void f(Q* s) { s->SetTotalBytesLimit(1, 2); }\n",
        SAME,
    ),
    # What the preprocessor makes of it.
    "pasted": (
        f"{OPENCV}int foo_CV_AA;\n#define P(x) foo_##x\nint& a = P(CV_AA);\n",
        SAME,
    ),
    "condition of two lines": (
        f"{OPENCV}#if defined(CV_FILLED) && \\\n  CV_AA\n#endif\nint b = CV_FILLED;\n",
        "",
    ),
    "macro of many lines": (
        f"{OPENCV}#define A \\\n  CV_FILLED + \\\n  CV_AA\nint a = A;\n",
        "",
    ),
    "macro that goes on in nothing": (
        f"{OPENCV}#define A CV_FILLED\\\n\nint a = A;\n",
        "",
    ),
    "spliced name": (f"{OPENCV}int a = CV_FIL\\\nLED;\n", SAME),
    "spliced comment": (f"{OPENCV}// \\\nint a = CV_AA;\nint b = CV_FILLED;\n", ""),
    "spliced directive": (f"{OPENCV}#def\\\nine A CV_FILLED\nint a = A;\n", ""),
    "error": (
        f"{OPENCV}#ifdef NOWHERE\n#error CV_FILLED isn't\n#endif\nint a = CV_FILLED;\n",
        "",
    ),
    "words that are not compiled": (
        f"{OPENCV}#if 0\ndon't \" do ' it's\n#endif\nint a = CV_FILLED;\n",
        "",
    ),
    "code that is not compiled": (f"{OPENCV}#if 0\nint a = CV_FILLED;\n#endif\n", ""),
    "include that is not compiled": (
        f"#if 0\n{OPENCV}#endif\n{OPENCV}int a = CV_AA;\n",
        "",
    ),
    "include by a macro": (
        "#define HEADER <opencv2/highgui/highgui.hpp>\n#include HEADER\n"
        "int a = CV_AA;\n",
        "",
    ),
    "include of one branch": (
        f"#if defined(A)\n#include <none>\n#elif 1\n{OPENCV}#else\n#include <none2>\n"
        "#endif\nint a = CV_FILLED;\n",
        "",
    ),
    "include within a statement": (
        f'{OPENCV}void f() {{ int a =\n#include "value.inc"\n; int b = CV_AA; }}\n',
        "",
    ),
    "raw string": (
        f'{OPENCV}auto r = R"CV_AA(CV_AA)CV_AA"; int a = CV_FILLED;\n',
        "",
    ),
    "literal of its own": (
        f'{OPENCV}constexpr int operator"" _CV_AA(unsigned long long a) '
        "{ return a; }\nint a = 3_CV_AA + CV_FILLED;\n",
        "",
    ),
    # Bytes.
    "no line end": (f"{OPENCV}int a = CV_FILLED;", ""),
    "an include alone": ("#include <cv.h>", ""),
    "Windows": (
        f"{OPENCV}#define B CV_AA + \\\n  1\nint b = B;\n".replace("\n", "\r\n"),
        "",
    ),
    "byte order mark": (f"\ufeff{OPENCV}int a = CV_FILLED;\n", ""),
    "zero": (f"{OPENCV}// \0\nint a = CV_FILLED;\n", ""),
    "Latin-1": (f"{OPENCV}// \udce9 \udcff\nint \u00e9 = CV_FILLED;\n", ""),
    # Calls.
    "a call that goes on": (
        f"{LIBRARY}void f(S* s) {{ s->SetTotalBytesLimit(1 \\\n, 2 \\\n \\\n); }}\n",
        "",
    ),
    "a call with comments": (
        f"{LIBRARY}void f(S* s) {{ s->SetTotalBytesLimit(1,  // one\n"
        "  2  // two \\\n  more\n  ); }\n",
        "",
    ),
    "a call in a call of a macro": (
        f"{LIBRARY}#define CALL(x) x\n"
        "void f(S* s) { CALL(s->SetTotalBytesLimit(1, 2)); }\n",
        "",
    ),
    "a call that has been seen to": (
        f"{LIBRARY}void f(S* s) {{\n#if GOOGLE_PROTOBUF_VERSION >= 3006000\n"
        "  s->SetTotalBytesLimit(1);\n"
        "#else\n  s->SetTotalBytesLimit(1, 2);\n#endif\n}\n",
        "",
    ),
    "commas of templates": (
        f"{LIBRARY}template <int A, int B> int two() {{ return 1; }}\n"
        "void f(S* s) { s->SetTotalBytesLimit(2, two<1, 2>()); }\n",
        SAME,
    ),
    "arguments by a macro": (
        f"{LIBRARY}#define RANGE(x) x, x + 2\n"
        "void f(int* b) { std::random_shuffle(RANGE(b)); }\n",
        SAME,
    ),
}
COUNT = 500
QUIET = ("own macro", "own macro again", "enum class", "field")


def compiles(text, options, standard):
    command = ["g++", "-fsyntax-only", "-w", standard, *options, "-x", "c++", "-"]
    source = text.encode("utf-8", "surrogateescape")
    done = subprocess.run(command, input=source, capture_output=True, check=False)
    return done.stderr.decode(errors="replace") if done.returncode else ""


@pytest.mark.parametrize("name", SOURCES)
def test_what_compiled_compiles_or_is_told(folders, name):  # noqa: F811
    text, same = SOURCES[name]
    standard = "-std=c++17" if name == "structured binding" else "-std=c++14"
    assert compiles(text, folders["old"], standard) == "", text
    mended, _ = mends.apply(PATH, text)
    assert compiles(mended, folders["old"], standard) == "", mended
    assert mends.apply(PATH, mended) == (mended, [])
    assert (mended == text) == (same == SAME), mended
    if not mends.left(PATH, mended):
        assert compiles(mended, folders["new"], "-std=c++17") == "", mended


@pytest.mark.parametrize("name", QUIET)
def test_nothing_is_told_of_what_is_the_files_own(name):
    assert mends.left(PATH, SOURCES[name][0]) == []


@pytest.mark.parametrize(
    "line",
    [
        "int a{n} = CV_LOAD_IMAGE_COLOR;  // don't\n",
        "namespace n{n} {{ enum {{ CV_AA = 1 }}; int a = CV_AA + CV_FILLED; }}\n",
        "void l{n}(S* s) {{ s->SetTotalBytesLimit(1, 2); }}\n",
        "void s{n}(int* b) {{ std::random_shuffle(b, b + 2); }}\n",
        "#include <opencv/cv.h>\n",
        "cmake_minimum_required(VERSION 2.8)\nfind_package(Boost REQUIRED system)\n",
        '\'"/*R"(',
        "#define P{n}(a) a##_b\nint P{n}(CV_AA) = CV_FILLED;\n",
        "int a_name_of_so_many_letters_that_one_should_not_try_all_their_parts{n} =\n"
        "    CV_FILLED + (the  few  words  that  stand  here  CV_AA);\n",
    ],
)
def test_the_time_grows_with_the_length(line):
    """Not with its square: four times the length would take sixteen times as long."""

    def seconds(count):
        text = LIBRARY + OPENCV + "".join(line.format(n=n) for n in range(count))
        begin = time.process_time()
        for path in (PATH, "cmake/x.cmake"):
            mends.left(path, mends.apply(path, text)[0])
        return time.process_time() - begin

    # The shortest of three: another program can only make a run longer.
    short, long = (min(seconds(n) for _ in range(3)) for n in (COUNT, 4 * COUNT))
    assert long < 10 * short + 0.05
