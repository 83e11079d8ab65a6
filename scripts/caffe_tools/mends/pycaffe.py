"""Mends of the module that Python imports."""

import re

from caffe_tools.mends import cxx
from caffe_tools.mends.mend import CODE, CodeMend, Remark

_MODULE = re.compile(r"^[ \t]*BOOST_PYTHON_MODULE\s*\(\s*\w+\s*\)\s*\{[ \t]*\n", re.M)
_IMPORT = re.compile(r"^[ \t]*import_array1?\s*\(\s*\)\s*;[ \t]*\n", re.M)
# Comments that end above a statement, which belong to it.
_ABOVE = re.compile(r"(?:^[ \t]*//[^\n]*\n)*\Z", re.M)


def _import_first(text: str) -> str:
    """Have NumPy imported before the module declares anything."""
    masked = cxx.code(text)
    module = _MODULE.search(masked)
    found = _IMPORT.search(masked, module.end()) if module else None
    if not module or not found:
        return text
    # A statement of the function itself, under no condition.
    inner = cxx.depths("{\n" + masked[module.end() : found.start()])[1:]
    known = cxx.conditions(text)
    lines = [text.count("\n", 0, match.start()) for match in (module, found)]
    if min(inner) < 1 or inner[-1] > 1 or known[lines[0]] != known[lines[1]]:
        return text
    begin = _ABOVE.search(text, module.end(), found.start()).start()
    if not masked[module.end() : begin].strip():
        return text
    moved = text[begin : found.end()]
    return cxx.splice(
        text,
        [(module.end(), module.end(), moved), (begin, found.end(), "")],
    )


def _none(text: str) -> list[Remark]:
    return []


PYCAFFE_MENDS = (
    CodeMend(
        "numpy-import",
        "Python 3.14 asks each property for its description, which takes NumPy's types",
        CODE,
        ("import_array",),
        _import_first,
        _none,
    ),
)
