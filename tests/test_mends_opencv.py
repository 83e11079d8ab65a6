"""OpenCV's old names: a mended source compiles with every OpenCV."""

import os
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY
from test_mends import compiles

from caffe_tools import mends
from caffe_tools.mends import opencv_names

CONVERSIONS = [
    *("CV_BGR2GRAY", "CV_GRAY2BGR", "CV_BGR2HSV", "CV_HSV2BGR", "CV_BGR2Lab"),
    *("CV_Lab2BGR", "CV_RGB2BGR", "CV_BGR2YCrCb", "CV_YCrCb2BGR", "CV_BGRA2BGR"),
    *("CV_BayerBG2BGR", "CV_YUV2BGR_NV12", "CV_RGBA2mRGBA", "CV_BGR5652RGB"),
]
NAMES = [*opencv_names.old_names(), *CONVERSIONS]
OLD_HEADERS = (
    "#include <opencv2/core/core.hpp>\n#include <opencv2/highgui/highgui.hpp>\n"
    "#include <opencv2/imgproc/imgproc.hpp>\n"
)
OURS = f"-I{REPOSITORY / 'caffe_layers/include'}"


def uses(includes):
    """Return a source that uses every name."""
    lines = (f"int value_{i} = {name};\n" for i, name in enumerate(NAMES))
    code = "int code = CV_FOURCC('M', 'J', 'P', 'G');\nint type = CV_8UC(3) + CV_32F;\n"
    return f"#ifdef USE_OPENCV\n{includes}{''.join(lines)}{code}#endif\n"


@pytest.fixture(scope="session")
def opencv_2(tmp_path_factory):
    """Headers with the names of OpenCV 2.4, and nothing else of it."""
    folder = tmp_path_factory.mktemp("opencv2.4")
    old, new = {}, {}
    for value, name in enumerate(NAMES):
        old.setdefault("types_c", []).append(f"{name} = {value}")
        successor = opencv_names.successor(name)
        if not opencv_names.since_3(name) and "::" not in successor:
            new.setdefault(opencv_names.module(successor), []).append(
                f"{successor} = {value}"
            )
    criteria = "struct TermCriteria { enum { COUNT, MAX_ITER = COUNT, EPS }; };"
    headers = {
        "core/version.hpp": "#define CV_MAJOR_VERSION 2",
        "core/types_c.h": "#define CV_32F 5\n#define CV_8UC(n) (((n) - 1) << 3)",
        "core/core.hpp": '#include "opencv2/core/types_c.h"\n'
        '#include "opencv2/core/version.hpp"\n'
        f"namespace cv {{ {criteria} enum {{ {', '.join(new['core'])} }}; }}",
        "imgproc/types_c.h": f"enum {{ {', '.join(old['types_c'])} }};",
        "highgui/highgui_c.h": '#include "opencv2/imgproc/types_c.h"\n'
        '#include "opencv2/core/types_c.h"\n'
        "inline int CV_FOURCC(char, char, char, char) { return 0; }",
    }
    for part, of in (("highgui", "highgui_c"), ("imgproc", "../imgproc/types_c")):
        headers[f"{part}/{part}.hpp"] = (
            f'#include "opencv2/core/core.hpp"\n#include "{of}.h"\n'
            f"namespace cv {{ enum {{ {', '.join(new[part])} }}; }}"
        )
    for path, text in headers.items():
        file = folder / "opencv2" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#pragma once\n{text}\n")
    return folder


def found(name):
    """Return a folder of OpenCV's headers; RANDROP_TEST_OPENCV names more of them."""
    if name == "here":
        return "/usr/include/opencv4"
    given = os.environ.get("RANDROP_TEST_OPENCV")
    if not given:
        pytest.skip("RANDROP_TEST_OPENCV=DIR:DIR names no other OpenCV's headers")
    return given


INCLUDES = {
    "C++": OLD_HEADERS,
    "C": "#include <opencv2/highgui/highgui_c.h>\n",
    "both": "#include <opencv2/highgui/highgui_c.h>\n" + OLD_HEADERS,
}


@pytest.mark.parametrize("includes", INCLUDES)
@pytest.mark.parametrize("version", ["2.4", "here", "others"])
def test_every_name_compiles_with_every_opencv(opencv_2, version, includes):
    text = uses(INCLUDES[includes])
    folders = [opencv_2] if version == "2.4" else found(version).split(":")
    if version == "2.4":
        assert compiles(text, "-DUSE_OPENCV", f"-I{opencv_2}") == ""
    mended, _ = mends.apply("src/caffe/util/x.cpp", text)
    assert mends.left("src/caffe/util/x.cpp", mended) == []
    for folder in folders:
        assert compiles(mended, "-DUSE_OPENCV", "-std=c++17", OURS, f"-I{folder}") == ""
    assert compiles(mended, OURS) == ""


def test_each_new_name_has_the_value_of_the_old_one():
    """OpenCV 4 has both, in headers that nobody includes by chance."""
    folder = Path(found("here"))
    legacy = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.glob("opencv2/*/legacy/*_c.h"))
    ]
    equal = "".join(
        f'static_assert(int({name}) == int(cv::{opencv_names.successor(name)}), "");\n'
        for name in NAMES
    )
    includes = "".join(f"#include <{path}>\n" for path in legacy)
    text = f"#include <opencv2/highgui/highgui_c.h>\n{includes}{OLD_HEADERS}{equal}"
    assert compiles(text, f"-I{folder}") == ""


def test_what_is_not_a_use_of_an_old_name_stays():
    text = (
        "#ifndef CV_FILLED\n#define CV_FILLED cv::FILLED\n#endif\n"
        "#if defined(CV_BGR2GRAY)\n#endif\n"
        'int a = CV_8U + MY_CV_FILLED; // CV_FILLED\nconst char* b = "CV_BGR2HSV";\n'
        "double c = CV_PI; cv::Scalar d = CV_RGB(1, 2, 3);\n"
    )
    assert mends.apply("src/x.cpp", text)[0] == text
    assert mends.left("src/x.cpp", text) == []


def test_a_name_may_be_qualified_or_the_value_of_a_macro():
    text = "#define MINE CV_BGR2GRAY\nint a = ::CV_BGR2GRAY, b = cv::CV_BGR2GRAY;\n"
    mended, _ = mends.apply("src/x.cpp", text)
    assert mended == text.replace("::CV_BGR", "CV_BGR").replace("cvCV_", "CV_").replace(
        "CV_BGR2GRAY", "cv::COLOR_BGR2GRAY"
    )


OLD = ("opencv/cv.h", "opencv/highgui.h", "opencv2/imgproc/imgproc_c.h")


@pytest.mark.parametrize("header", OLD)
def test_headers_that_went_away_are_asked_for_by_version(header):
    mended, _ = mends.apply("src/x.cpp", f"#include <{header}>\nint a;\n")
    assert (
        compiles(
            mended + "cv::Mat b;\n" * header.startswith("opencv/"),
            "-std=c++17",
            "-I/usr/include/opencv4",
        )
        == ""
    )
    assert re.search(r"#if CV_MAJOR_VERSION < [45]\n#include <" + header, mended)
    assert mends.apply("src/x.cpp", mended)[0] == mended
