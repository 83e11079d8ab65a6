"""Mends of CMake's files."""

import re

from caffe_tools.mends.mend import CMAKE, CodeMend, Mend, Remark, line_of

_REQUIRED = re.compile(
    r"^([ \t]*(?:cmake_minimum_required|cmake_policy)[ \t]*\(\s*VERSION\s+)"
    r"([\w.${}]+)(?=[\s)])",
    re.M | re.I,
)
_BOOST = re.compile(r"^([ \t]*find_package[ \t]*\(\s*Boost\b)([^()#]*)\)", re.M | re.I)
_OLD_CMAKE = (3, 5)


def _version(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")
    return tuple(map(int, parts)) if all(p.isdecimal() for p in parts) else None


def _newer(text: str) -> str:
    def widen(match: re.Match) -> str:
        version = _version(match[2])
        if version is None or version >= _OLD_CMAKE:
            return match[0]
        return f"{match[1]}{match[2]}...3.5"

    return _REQUIRED.sub(widen, text)


def _not_newer(text: str) -> list[Remark]:
    what = "CMake 4 refuses what requires less than 3.5: write VERSION 2.8...3.5"
    return [
        Remark(line_of(text, m.start()), what)
        for m in _REQUIRED.finditer(text)
        if "..." not in m[2] and _version(m[2]) is None
    ]


def _boost(text: str) -> str:
    """Ask for Boost's library `system` only where there is one."""

    def ask(match: re.Match) -> str:
        words = match[2].split()
        upper = [w.upper() for w in words]
        if "REQUIRED" not in upper or "system" not in words:
            return match[0]
        end = (
            words.index("OPTIONAL_COMPONENTS")
            if ("OPTIONAL_COMPONENTS" in words)
            else len(words)
        )
        if words.index("system") > end:
            return match[0]
        needed = [w for w in words[:end] if w != "system"]
        if needed[-1].upper() == "COMPONENTS":
            needed = needed[:-1]
        optional = [*words[end + 1 :], "system"]
        inner = " ".join([*needed, "OPTIONAL_COMPONENTS", *optional])
        return f"{match[1]} {inner})"

    return _BOOST.sub(ask, text)


def _none(text: str) -> list[Remark]:
    return []


CMAKE_MENDS = (
    CodeMend(
        "cmake-4",
        "CMake 4 rejects projects that require less than 3.5",
        CMAKE,
        ("cmake_", "CMAKE_", "Cmake_"),
        _newer,
        _not_newer,
    ),
    CodeMend(
        "boost-system",
        "Boost 1.89 and newer have no library `system`",
        CMAKE,
        ("Boost",),
        _boost,
        _none,
    ),
    Mend(
        "numpy-headers",
        "Debian's python3-numpy puts the headers of its NumPy 1 among Python's: those "
        "of the NumPy in use must come first",
        "cmake/Dependencies.cmake python/CMakeLists.txt",
        (
            (
                r"(\$\{PYTHON_INCLUDE_DIRS?\})([ \t]+)(\$\{NUMPY_INCLUDE_DIRS?\})",
                r"\3\2\1",
            ),
        ),
    ),
    Mend(
        "protobuf-version",
        "protobuf needs abseil and C++17 since version 22",
        "cmake/ProtoBuf.cmake",
        (
            (
                r"^find_package\(\s*Protobuf REQUIRED\s*\)\n",
                "find_package(Protobuf CONFIG QUIET)\n"
                "if(TARGET protobuf::libprotobuf AND "
                "NOT Protobuf_VERSION VERSION_LESS 4.22)\n"
                "  # The target brings abseil along; the headers want C++17.\n"
                "  set(PROTOBUF_FOUND TRUE)\n"
                "  set(PROTOBUF_LIBRARIES protobuf::libprotobuf)\n"
                "  get_target_property(protobuf_folders protobuf::libprotobuf\n"
                "                      INTERFACE_INCLUDE_DIRECTORIES)\n"
                "  if(NOT protobuf_folders)\n"
                "    set(protobuf_folders)\n"
                "  endif()\n"
                "  find_path(PROTOBUF_INCLUDE_DIR google/protobuf/message.h\n"
                "            HINTS ${protobuf_folders})\n"
                "  get_target_property(PROTOBUF_PROTOC_EXECUTABLE protobuf::protoc "
                "LOCATION)\n"
                "  set(CMAKE_CXX_STANDARD 17)\n"
                "else()\n"
                "  find_package(Protobuf REQUIRED)\n"
                "endif()\n",
            ),
        ),
    ),
    Mend(
        "protobuf-digits",
        "protobuf's minor version has two digits",
        "cmake/ProtoBuf.cmake",
        (
            (
                r"^[ \t]*string\(REGEX MATCH [^\n]* \$\{GOOGLE_PROTOBUF_VERSION\}\)\n"
                r"[ \t]*set\(PROTOBUF_VERSION [^\n]*\n",
                '  if("${GOOGLE_PROTOBUF_VERSION}" MATCHES "^[0-9]+$")\n'
                '    math(EXPR major "${GOOGLE_PROTOBUF_VERSION} / 1000000")\n'
                '    math(EXPR minor "${GOOGLE_PROTOBUF_VERSION} / 1000 % 1000")\n'
                '    math(EXPR micro "${GOOGLE_PROTOBUF_VERSION} % 1000")\n'
                '    set(PROTOBUF_VERSION "${major}.${minor}.${micro}")\n'
                "  endif()\n",
            ),
        ),
    ),
    Mend(
        "glog-export",
        "glog 0.7 and newer need GLOG_USE_GLOG_EXPORT unless its CMake target is used",
        "cmake/Modules/FindGlog.cmake",
        (
            (
                r"^[ \t]*set\(GLOG_LIBRARIES \$\{GLOG_LIBRARY\}\)\n"
                r"(?![ \t]*if\(EXISTS)",
                r"\g<0>"
                '  if(EXISTS "${GLOG_INCLUDE_DIR}/glog/export.h")\n'
                "    add_definitions(-DGLOG_USE_GLOG_EXPORT)\n"
                "  endif()\n",
            ),
        ),
    ),
)
