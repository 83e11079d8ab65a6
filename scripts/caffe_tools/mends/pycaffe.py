"""Mends of the module that Python imports."""

import re

from caffe_tools.mends import cxx
from caffe_tools.mends.mend import CODE, CodeMend, Remark, line_of

_NAME = re.compile(r"\bBOOST_PYTHON_MODULE\b")
_MODULE = re.compile(r"\bBOOST_PYTHON_MODULE\s*\(\s*\w+\s*\)\s*\{")
_USES = re.compile(r"\b_?import_array[12]?\b")
# The import as the first statement, in any of its forms.
_FIRST = re.compile(r"\s*(?:try\s*)?\{?\s*(?:if\s*\(\s*)?_?import_array[12]?\s*\(")
# The same, with directives before it.
_ODD_FIRST = re.compile(rf"\s*\([^()]*\)(?:[\s{{]|#[^\n]*\n)*{_FIRST.pattern}")
_HEADER = "numpy/arrayobject.h"
# NumPy's header declares no import then, or the file has its own.
_OWN = re.compile(
    r"^[ \t]*#[ \t]*(?:define[ \t]+NO_IMPORT(?:_ARRAY)?"
    r"|(?:define|undef)[ \t]+import_array1)\b",
    re.M,
)

# The import that is there stays where it is: a second one changes nothing, and what
# stands around a statement may depend on it.
_IMPORT = """
  // NumPy comes first: the classes may need its types.
  import_array1();"""


def _late(masked: str) -> list[re.Match]:
    """Return the modules that do not import NumPy first, to the brace that opens."""
    return [
        match
        for match in _MODULE.finditer(masked)
        if not cxx.in_directive(masked, match.start())
        and not _FIRST.match(masked, match.end())
    ]


def _fits(text: str, masked: str, module: re.Match) -> bool:
    return not _OWN.search(masked) and cxx.sees(text, _HEADER, [module.start()])


def _import_first(text: str) -> str:
    """Have NumPy imported before the module declares anything."""
    masked = cxx.code(text)
    if not _USES.search(masked):
        return text
    found = [m.end() for m in _late(masked) if _fits(text, masked, m)]
    return cxx.splice(text, [(at, at, _IMPORT) for at in found])


def _not_first(text: str) -> list[Remark]:
    """Name the modules that import NumPy late, or whose begin is not understood."""
    masked = cxx.code(text)
    if not _USES.search(masked):
        return []
    plain = {match.start() for match in _MODULE.finditer(masked)}
    found = {match.start() for match in _late(masked)}
    for match in _NAME.finditer(masked):
        known = match.start() in plain or cxx.in_directive(masked, match.start())
        if not known and not _ODD_FIRST.match(masked, match.end()):
            found.add(match.start())
    what = (
        "pycaffe needs NumPy before it declares its classes: begin the module "
        "with import_array1();"
    )
    return [Remark(line_of(text, at), what) for at in sorted(found)]


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
