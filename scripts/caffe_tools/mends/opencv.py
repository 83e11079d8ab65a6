"""OpenCV's old names and headers, in all sources of a tree."""

import re
from collections.abc import Callable

from caffe_tools.mends import cxx, opencv_names
from caffe_tools.mends.mend import CODE, CodeMend, Remark, line_of

NAMES = "caffe/randrop/compat/opencv_names.hpp"
"""Our header with the names that OpenCV 2.4 lacks, and FourCC."""

_NAME = re.compile(
    r"(?:(?:(?<![\w>])::\s*)?\bcv\s*::\s*|(?<![\w>])::\s*)?\b(CV_[A-Za-z]\w*)\b"
)
# Lines that define an old name or ask for it: somebody has seen to the versions.
_DEFINE = re.compile(r"^([ \t]*#[ \t]*define[ \t]+)(\w+)(\([^()]*\))?")
_ASKED = re.compile(
    r"^[ \t]*#[ \t]*(?:define|undef|ifdef|ifndef|if|elif|error|warning)\b"
    r"(?:\\\n|[^\n])*",
    re.M,
)
_VERSION = "#include <opencv2/core/version.hpp>\n"
_HEADERS = re.compile(
    r"^([ \t]*#[ \t]*include[ \t]*(?:"
    r"[<\"]opencv2/(?:\w+/(?:legacy/)?\w+_c|core/types_c|imgproc/types_c)\.h[>\"]"
    r"|[<\"]opencv/(?:cv|cxcore|highgui|cvaux)\.(?:h|hpp)[>\"]"
    r"|<(?:cv|cxcore|highgui|cvaux)\.h>"
    r")[^\n]*)(?:\n|\Z)",
    re.M,
)
_OPENCV = r"^opencv2?/|^(?:cv|cxcore|highgui)\.h$"
_WHOLE = {"opencv2/opencv.hpp", "opencv/cv.hpp", "opencv/cv.h"}
_GUARDS = tuple(f"\n#if CV_MAJOR_VERSION < {version}\n" for version in (4, 5))
# What OpenCV 4 still has under such a name, and its C++ headers do, too.
_KEPT = re.compile(
    r"CV_(?:RGB|MAKE_?TYPE|MAT_\w+|PI|2PI|LOG2|ELEM_SIZE1?|USRTYPE1|CN_\w+|DEPTH_\w+"
    r"|VERSION\w*|\w+_VERSION|Assert\w*|DbgAssert|Error\w*|EXPORTS\w*|OUT|IN_OUT"
    r"|INLINE|WRAP\w*|SSE\w*|AVX\w*|NEON\w*|SIMD\w*|Func|OVERRIDE|FINAL|NOEXCEPT"
    r"|DECL\w*|ALWAYS_INLINE|CXX\w*|CPU_\w+|StaticAssert|PROP_\w+|TRACE\w*|LOG_\w+"
    r"|CheckXX|Check\w+|Sts\w+|Bad\w+|StsOk)$"
)
_C_CALL = re.compile(
    r"(?<![\w.>:])(?:cv(?:Load|Save|Create|Release|Copy|Clone|Resize|Show|Query|Get"
    r"|Set|Capture|Wait|Cvt|Convert|Rectangle|Circle|Line|Put|Init|Named|Destroy"
    r"|Point|Size|Scalar|Rect)\w*\s*(?=\()"
    r"|(?:IplImage|Cv(?:Mat|Point\w*|Size\w*|Scalar|Rect|Seq|MemStorage|Capture"
    r"|VideoWriter))\b)"
)


def _uses(text: str) -> list[tuple[int, int, str]]:
    """Return begin, end and name of each use of an old name of OpenCV's.

    A name that the file declares itself, or that belongs to something else, is not.
    """
    masked = _ASKED.sub(_blank_asked, cxx.code(text))
    found = [m for m in _NAME.finditer(masked) if not cxx.is_member(masked, m.start())]
    own = {name for name in {m[1] for m in found} if cxx.declarations(masked, name)}
    own |= _defined(text)
    return [(*m.span(), m[1]) for m in found if m[1] not in own or "cv" in m[0]]


def _defined(text: str) -> set[str]:
    """Return the old names that the file defines as macros of its own."""
    return set(re.findall(r"#[ \t]*define[ \t]+(CV_\w+)", cxx.code(text)))


def _own_or_not(text: str) -> list[tuple[int, str]]:
    """Return where a name is used that the file declares somewhere in brackets.

    There may be two of the name, and which is meant takes a compiler to know.
    """
    masked = _ASKED.sub(_blank_asked, cxx.code(text))
    found = []
    for name in {m[1] for m in _NAME.finditer(masked)}:
        own = cxx.declarations(masked, name)
        if not own or cxx.is_global(masked, own):
            continue
        for match in re.finditer(rf"\b{name}\b", masked):
            at = match.start()
            if at not in own and not cxx.is_member(masked, at):
                found.append((at, name))
    return sorted(found)


def _blank_asked(match: re.Match) -> str:
    """Blank what a directive asks about or defines; a value that it defines stays.

    Of the value, the parameters of the macro are blanked. It stays a definition, whose
    value ends with the line.
    """
    begin = _DEFINE.match(match[0])
    if not begin:
        return _blank(match[0])
    value = match[0][begin.end() :]
    for name in re.findall(r"\bCV_\w+", begin[3] or ""):
        value = re.sub(rf"\b{name}\b", _blank(name), value)
    return begin[1] + "x" * len(begin[2]) + _blank(begin[3] or "") + value


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _mend(text: str) -> str:
    changes, added = [], []
    masked = cxx.code(text)
    # Where `cv` is something else, or a macro makes another name of it, nothing fits.
    sure = not cxx.hides(masked, "cv")
    for begin, end, name in _uses(text) if sure else []:
        if cxx.pasted(masked, begin):
            continue
        new = opencv_names.successor(name)
        if new:
            changes.append((begin, end, f"cv::{new}"))
            added.append((begin, new, opencv_names.since_3(name)))
        elif name == "CV_FOURCC" and masked[end:].lstrip()[:1] == "(":
            changes.append((begin, end, "caffe::randrop::FourCC"))
            added.append((begin, "", True))
    changes += _new_includes(text, added)
    new = cxx.splice(text, changes)
    return cxx.splice(
        new,
        [(*m.span(), _guarded(m)) for m in _headers(new) if not _stays(new, m)],
    )


def _headers(text: str) -> list[re.Match]:
    """Return the lines that include a header which went away, without a guard."""
    masked = cxx.code(text)
    return [
        match
        for match in _HEADERS.finditer(text)
        # Not in a comment or a string.
        if masked[match.start() : match.end()].lstrip()[:1] == "#"
        and not text.endswith(_GUARDS, 0, match.start())
    ]


def _stays(text: str, match: re.Match) -> bool:
    """Return whether nothing can be put around an include."""
    comment = re.sub(r"/\*.*?\*/", "", match[1])
    comment = comment.split("//")[0]
    if "/*" in comment or match[1].rstrip().endswith("\\"):
        return True
    # In the braces of extern "C", there is no place for C++ headers.
    inside = cxx.depths(cxx.code(text))[line_of(text, match.start()) - 1] > 0
    return inside and "opencv2/" not in match[1]


def _new_includes(
    text: str, added: list[tuple[int, str, bool]]
) -> list[tuple[int, int, str]]:
    """Return the insertions that declare the new names."""
    own = [name for _, name in cxx.includes(text)]
    theirs = [name for name in own if re.search(_OPENCV, name)]
    lines: dict[str, list[int]] = {}
    late = [at for at, _, new in added if new]
    if late and not _before(text, late, lambda name: name == NAMES):
        lines[f'#include "{NAMES}"\n'] = late
    # Where OpenCV comes by a header of the tree, it brings its C++ names along.
    if theirs:
        for part in ("core", "highgui", "imgproc"):
            uses = [
                at for at, new, _ in added if new and opencv_names.module(new) == part
            ]
            if uses and not _before(text, uses, lambda name, p=part: _has(p, name)):
                lines[f"#include <opencv2/{part}/{part}.hpp>\n"] = uses
    beside = _OPENCV if theirs else None
    places: dict[int, str] = {}
    for line, uses in lines.items():
        at = cxx.place_for_include(text, uses, beside)
        places[at] = places.get(at, "") + line
    return [(at, at, new) for at, new in places.items()]


def _before(text: str, uses: list[int], is_it: Callable[[str], bool]) -> bool:
    """Return whether there is such an include before the first of the uses."""
    first = line_of(text, min(uses)) - 1
    return any(n < first and is_it(name) for n, name in cxx.includes(text))


def _has(part: str, name: str) -> bool:
    """Return whether a header brings the C++ names of a module."""
    if name in _WHOLE:
        return True
    known = {
        "core": ("core/core.hpp", "core.hpp", "highgui", "imgproc"),
        "highgui": ("highgui/highgui.hpp", "highgui.hpp", "imgcodecs"),
        "imgproc": ("imgproc/imgproc.hpp", "imgproc.hpp"),
    }[part]
    return any(name.startswith(f"opencv2/{k}") and name.endswith(".hpp") for k in known)


def _guarded(match: re.Match) -> str:
    line = match[1]
    if "opencv2/" in line:
        return f"{_VERSION}#if CV_MAJOR_VERSION < 5\n{line}\n#endif\n"
    return (
        f"{_VERSION}#if CV_MAJOR_VERSION < 4\n{line}\n#else\n"
        "#include <opencv2/core.hpp>\n"
        "#include <opencv2/highgui.hpp>\n"
        "#include <opencv2/imgproc.hpp>\n#endif\n"
    )


def _left(text: str) -> list[Remark]:
    masked = cxx.code(text)
    remarks = []
    for begin, _, name in _uses(text):
        if not _KEPT.match(name):
            what = f"OpenCV 4 and newer have no {name}: use its name in cv::"
            remarks.append(Remark(line_of(text, begin), what))
    for at, name in _own_or_not(text):
        new = opencv_names.successor(name)
        if new or name == "CV_FOURCC":
            what = f"this file has a {name} of its own"
            what += f": if OpenCV's is meant, write cv::{new}" if new else ""
            remarks.append(Remark(line_of(text, at), what))
    for match in _headers(text):
        what = "OpenCV 4 or 5 has no such header: include it below #if CV_MAJOR_VERSION"
        remarks.append(Remark(line_of(text, match.start()), what))
    calls = list(_C_CALL.finditer(masked))
    if calls:
        names = ", ".join(sorted({m[0].strip() for m in calls})[:4])
        what = f"OpenCV 5 has no C interface, and OpenCV 4 not all of it: {names}"
        remarks.append(Remark(line_of(text, calls[0].start()), what))
    return remarks


OPENCV = CodeMend(
    "opencv-names",
    "OpenCV 4 has the names and OpenCV 5 the headers of the C interface no more",
    CODE,
    ("CV_", "opencv", "<cv", "<cxcore", "<highgui", "Cv", "IplImage"),
    _mend,
    _left,
)
