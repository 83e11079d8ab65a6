"""Mends of the module that Python imports."""

import re

from caffe_tools.mends import cxx
from caffe_tools.mends.mend import CODE, CodeMend, Remark, line_of

_MODULE = re.compile(r"^[ \t]*BOOST_PYTHON_MODULE\s*\(\s*\w+\s*\)\s*\{[ \t]*\n", re.M)
_IMPORT = re.compile(r"^[ \t]*import_array1?\s*\(\s*\)\s*;[ \t]*\n", re.M)
# Comments that end above a statement, which belong to it.
_ABOVE = re.compile(r"(?:^[ \t]*//[^\n]*\n)*\Z", re.M)


def _statement(text: str) -> tuple[int, int, bool] | None:
    """Return where the module imports NumPy, and whether that can move.

    The place is from the end of the line that opens the module's function to the end
    of the import. None if the function imports it first, or not at all.
    """
    masked = cxx.code(text)
    module = _MODULE.search(masked)
    found = _IMPORT.search(masked, module.end()) if module else None
    if not module or not found or not masked[module.end() : found.start()].strip():
        return None
    inner = cxx.depths("{\n" + masked[module.end() : found.start()])[1:]
    if min(inner) < 1:
        # In another function.
        return None
    known = cxx.conditions(text)
    lines = [text.count("\n", 0, match.start()) for match in (module, found)]
    plain = inner[-1] == 1 and known[lines[0]] == known[lines[1]]
    return module.end(), found.end(), plain


def _import_first(text: str) -> str:
    """Have NumPy imported before the module declares anything."""
    found = _statement(text)
    if not found or not found[2]:
        return text
    place, end, _ = found
    line = text.rfind("\n", 0, end - 1) + 1
    begin = _ABOVE.search(text, place, line).start()
    return cxx.splice(text, [(place, place, text[begin:end]), (begin, end, "")])


def _not_first(text: str) -> list[Remark]:
    found = _statement(text)
    if not found:
        return []
    what = (
        "pycaffe needs NumPy before it declares its classes: move it to the beginning"
    )
    return [Remark(line_of(text, found[1] - 1), what)]


PYCAFFE_MENDS = (
    CodeMend(
        "numpy-import",
        "with Boost 1.92 and Python 3.14, pycaffe needs NumPy's types while it "
        "declares its classes",
        CODE,
        ("import_array",),
        _import_first,
        _not_first,
    ),
)
