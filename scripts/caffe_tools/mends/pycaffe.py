"""Mends of the module that Python imports."""

import re

from caffe_tools.mends import cxx
from caffe_tools.mends.mend import CODE, CodeMend, Remark, line_of

# Boost's own other name of it, too.
_NAME = re.compile(r"\bBOOST_PYTHON_MODULE(?:_INIT)?\b")
_GIVEN = r"\((?:[^()]|\([^()]*\))*\)"
_MODULE = re.compile(rf"\bBOOST_PYTHON_MODULE\s*{_GIVEN}\s*\{{")
# NumPy's interface, or its import in any form.
_USES = re.compile(r"\b(?:_?import_array[12]?|PyArray_\w+)\b")
# The import as the first statement, in any of its forms.
_FIRST = re.compile(r"\s*(?:try\s*)?\{?\s*(?:if\s*\(\s*)?_?import_array[12]?\s*\(")
# The same, with directives and other signs before it.
_ODD_FIRST = re.compile(
    rf"\s*(?:{_GIVEN})?(?:[\s{{\\]|<%|noexcept\b|#[^\n]*\n)*{_FIRST.pattern}"
)
_DECLARED = re.compile(rf"\s*{_GIVEN}\s*;")
# A macro whose value has the name, up to it.
_DEFINED = re.compile(r"[ \t]*#[ \t]*define[ \t]+(\w+)")
_HEADER = "numpy/arrayobject.h"
# NumPy's header declares no import then, or the file has its own, or its own module.
_OWN = re.compile(
    r"^[ \t]*#[ \t]*(?:define[ \t]+NO_IMPORT(?:_ARRAY)?"
    r"|(?:define|undef)[ \t]+(?:import_array1|BOOST_PYTHON_MODULE))\b",
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


def _late_by_macro(masked: str, name: re.Match) -> list[int]:
    """Return where a macro that stands for the name begins a module without NumPy."""
    begin = masked.rfind("\n", 0, name.start()) + 1
    while masked.endswith("\\\n", 0, begin):
        begin = masked.rfind("\n", 0, begin - 1) + 1
    macro = _DEFINED.match(masked, begin)
    if not macro or macro.end() >= name.end():
        # A question to the preprocessor, or the name's own definition.
        return []
    if _ODD_FIRST.match(masked, name.end()):
        return []
    uses = [
        use
        for use in re.finditer(rf"\b{macro[1]}\b", masked)
        if not cxx.in_directive(masked, use.start())
    ]
    late = [use.start() for use in uses if not _ODD_FIRST.match(masked, use.end())]
    return late or ([] if uses else [name.start()])


def _not_first(text: str) -> list[Remark]:
    """Name the modules that import NumPy late, or whose begin is not understood."""
    masked = cxx.code(text)
    if not _USES.search(masked):
        return []
    plain = {match.start() for match in _MODULE.finditer(masked)}
    found = {match.start() for match in _late(masked)}
    for match in _NAME.finditer(masked):
        if cxx.in_directive(masked, match.start()):
            found.update(_late_by_macro(masked, match))
            continue
        known = match.start() in plain or _DECLARED.match(masked, match.end())
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
        ("import_array", "PyArray_"),
        _import_first,
        _not_first,
    ),
)
