"""Pycaffe imports NumPy before it declares its classes, however it is written."""

import re
import shutil
import subprocess

import pytest

from caffe_tools import mends

PATH = "python/caffe/_caffe.cpp"
# What Boost and NumPy have, told in the order in which it happens.
NUMPY = """\
#include <cstdio>
inline int _import_array() { std::puts("import"); return 0; }
inline void PyArray_Free() {}
#define import_array1(ret) { if (_import_array() < 0) { return ret; } }
#define import_array2(text, ret) { if (_import_array() < 0) { return ret; } }
"""
BOOST = """\
#include <cstdio>
#define BOOST_PYTHON_MODULE(name, ...) void init_##name()
inline void class_(const char* name) { std::puts(name); }
static bool yes = true;
"""
TOP = '#include "boost.h"\n#include <numpy/arrayobject.h>\n'
A, B, IMPORT = '  class_("A");\n', '  class_("B");\n', "  import_array1();\n"
HEAD = "BOOST_PYTHON_MODULE(_caffe) {\n"


def module(body, head=HEAD):
    return f"{TOP}{head}{body}}}\n"


LATE = {
    "last": module(A + IMPORT),
    "last, comment above": module(f"{A}  // for Python 3\n{IMPORT}"),
    "between": module(A + IMPORT + B),
    "comment on the line": module(f"{A}  import_array1();  /* which\n is */\n{B}"),
    "comment before it": module(f"{A}  /* void\n return */ import_array1();\n{B}"),
    "under if": module(f"{A}  if (yes)\n{IMPORT}{B}"),
    "under else": module(f"{A}  if (!yes)\n{A}  else\n{IMPORT}{B}"),
    "under while": module(f"{A}  while (yes && !(yes = false))\n{IMPORT}{B}"),
    "in a switch": module(f"{A}  switch (1)\n  case 1:\n{IMPORT}{B}"),
    "after a label": module(f"{A}  if (yes) goto done;\n  done:\n{IMPORT}"),
    "over two lines": module(f"{A}  import_array1(\n  );\n{B}"),
    "name alone": module(f"{A}  import_array1\n  ();\n{B}"),
    "semicolon below": module(f"{A}  import_array1()\n  ;\n{B}"),
    "in a comment above": module(f"{A}  /* old:\n  // import_array(); */\n{IMPORT}{B}"),
    "raw string above": module(f'{A}  class_(R"(\n  // text)");\n{IMPORT}{B}'),
    "continued comment": module(f'{A}  class_("c");  // a \\\n  // b\n{IMPORT}{B}'),
    "continued macro": module(f"{A}#define V 1 \\\n  // b\n{IMPORT}{B}"),
    "in a macro": module(f"{A}#define NOW \\\n  import_array1();\n  NOW\n{B}"),
    "by a macro above": module(f"{A}  NOW\n{B}", f"#define NOW {IMPORT}{HEAD}"),
    "in a helper": module(f"{A}  Init();\n", f"void Init() {{\n{IMPORT}}}\n{HEAD}"),
    "in a lambda": module(f"{A}  [] {{\n{IMPORT}  }}();\n"),
    "underscore": module(f"{A}  _import_array();\n"),
    "checked": module(f"{A}  if (_import_array() < 0) {{ return; }}\n"),
    "with a value": module(f'{A}  import_array2("no", );\n'),
    "no semicolon": module(f"{A}  import_array1()\n"),
    "beside another": module(f'{A}  class_("C"); import_array1();\n{B}'),
    "under a condition": module(f"{A}#ifdef __cplusplus\n{IMPORT}#endif\n{B}"),
    "dead before": module(f"{A}#if 0\n  import_array();\n#endif\n{IMPORT}"),
    "first under a condition": module(f"#if 1\n{IMPORT}#endif\n{A}"),
    "classes under one": module(f"#ifdef __cplusplus\n{A}#endif\n{IMPORT}"),
    "brace on the line": module(A, HEAD).replace("}\n", "  import_array1(); }\n"),
    "one line": f'{TOP}{HEAD[:-1]} class_("A"); import_array1(); }}\n',
    "comment in the head": module(A + IMPORT, HEAD[:-1] + "  /* long\n comment */\n"),
    "continued head": module(A + IMPORT, HEAD[:-1] + "  // see \\\n  below\n"),
    "statement in the head": module(IMPORT + B, HEAD[:-1] + ' class_("A");\n'),
    "brace below": module(A + IMPORT, "BOOST_PYTHON_MODULE(_caffe)\n{\n"),
    "after extern": module(A + IMPORT, 'extern "C++" ' + HEAD),
    "brace in a dead line": module(f"{A}#if 0\n}}\n#endif\n{IMPORT}"),
    "form feed": module(f"{A}\f{IMPORT}"),
    "two modules": module(A + IMPORT)
    + module(B + IMPORT, "BOOST_PYTHON_MODULE(other) {\n"),
    "with options": module(A + IMPORT, "BOOST_PYTHON_MODULE(_caffe, f(yes)) {\n"),
    "no import": module(A + "  PyArray_Free();\n"),
    "blanks after a sign": f"{TOP}// C:\\ \nBOOST_PYTHON_MODULE (_old) {{\n{HEAD}"
    f"{A}{IMPORT}}}\n",
    "second imports": module(A, "BOOST_PYTHON_MODULE(other) {\n") + module(B + IMPORT),
    "module in both branches": f"{TOP}#ifndef __cplusplus\n{HEAD}{B}{IMPORT}}}\n#else\n"
    f"{HEAD}{A}{IMPORT}}}\n#endif\n",
}
FIRST = {
    "first": module(IMPORT + A),
    "in a block": module(f"  {{\n{IMPORT}  }}\n{A}"),
    "in try": module(f"  try {{\n{IMPORT}  }} catch (int) {{}}\n{A}"),
    "checked": module(f"  if (_import_array() < 0) {{ return; }}\n{A}"),
    "below a comment": module(f"  // NumPy\n{IMPORT}{A}"),
    "not at all": module(f"  // import_array1();\n{A}"),
    "asked for": f"#ifdef BOOST_PYTHON_MODULE\n#endif\n{module(IMPORT + A)}",
    "declared": f"{TOP}BOOST_PYTHON_MODULE(_caffe);\n{HEAD}{IMPORT}{A}}}\n",
    "all in a macro": f"{TOP}#define ALL BOOST_PYTHON_MODULE(_caffe) {{ \\\n"
    f"  import_array1(); }}\nALL\n",
}
HEADS = "#if 1\n{\n#else\n{ //\n#endif\n"
LEFT = {
    "odd head": f"{TOP}BOOST_PYTHON_MODULE(_caffe)\n{HEADS}{A}{IMPORT}}}\n",
    "no header": f"{HEAD}{A}{IMPORT}}}\n",
    "header later": f"{HEAD}{A}{IMPORT}}}\n{TOP}",
    "header elsewhere": f"#if A\n{TOP}#endif\n{HEAD}{A}{IMPORT}}}\n",
    "imported elsewhere": f"#define NO_IMPORT_ARRAY\n{module(A + IMPORT)}",
    "another module": module(A + IMPORT, "BOOST_PYTHON_MODULE_INIT(_caffe) {\n"),
    "no exceptions": module(A + IMPORT, HEAD[:-2] + "noexcept {\n"),
    "other signs": module(A + IMPORT, HEAD[:-2] + "<%\n"),
    "own module": f"#define BOOST_PYTHON_MODULE(n) int* n()\n{module(A + IMPORT)}",
    "name by a macro": "#define NAMED(n) BOOST_PYTHON_MODULE(n)\n"
    + module(A + IMPORT, "NAMED(_caffe) {\n"),
    "head by a macro": "#define NAMED \\\n  BOOST_PYTHON_MODULE(caffe)\n"
    + module(A + IMPORT, "NAMED {\n"),
    "word by a macro": "#define NAMED BOOST_PYTHON_MODULE\n"
    + module(A + IMPORT, "NAMED(_caffe) {\n"),
    "its own": module(A + IMPORT).replace(HEAD, "#undef import_array1\n" + HEAD),
}


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """A function that compiles a module, runs it, and returns what it did."""
    if not shutil.which("g++"):
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("pycaffe")
    (folder / "numpy").mkdir()
    (folder / "numpy/arrayobject.h").write_text(f"#pragma once\n{NUMPY}")
    (folder / "boost.h").write_text(f"#pragma once\n{BOOST}")

    def events(text):
        names = dict.fromkeys(re.findall(r"BOOST_PYTHON_MODULE\((\w+)[,)]", text))
        calls = "".join(f" init_{name}();" for name in names)
        (folder / "module.cpp").write_text(f"{text}int main() {{{calls} }}\n")
        command = ["g++", "-I", folder, "-o", folder / "run", folder / "module.cpp"]
        subprocess.run(command, check=True, capture_output=True)
        done = subprocess.run([folder / "run"], check=True, capture_output=True)
        return done.stdout.decode().split()

    return events


@pytest.mark.parametrize("name", LATE)
def test_numpy_is_imported_before_anything_is_declared(events, name):
    text = LATE[name]
    mended, whys = mends.apply(PATH, text)
    assert [why.split(":")[0] for why in whys] == ["numpy-import"]
    before, after = events(text), events(mended)
    # Each module begins with one import more; the rest is as it was.
    for _ in range(text.count("BOOST_PYTHON_MODULE") if "two" in name else 1):
        place = next(i for i, e in enumerate(after) if before[i : i + 1] != [e])
        assert after.pop(place) == "import"
    if name == "second imports":
        after.remove("import")
    assert after == before
    assert mends.apply(PATH, mended) == (mended, [])
    assert mends.left(PATH, mended) == []


@pytest.mark.parametrize("name", FIRST)
def test_a_module_that_imports_numpy_first_stays(events, name):
    mended, _ = mends.apply(PATH, FIRST[name])
    assert mended == FIRST[name]
    assert mends.left(PATH, mended) == []
    assert events(mended)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_understood_is_named_until_it_is_right(name):
    text = LEFT[name]
    mended, _ = mends.apply(PATH, text)
    assert mended == text
    begin = re.search(r"^.*BOOST_PYTHON_MODULE\w*\(_caffe|^NAMED", text, re.M).start()
    line = 1 + text[:begin].count("\n")
    (remark,) = mends.left(PATH, mended)
    assert remark.startswith(f"{PATH}:{line}: ")
    done = text.replace(A + IMPORT, IMPORT + A)
    assert done != text
    assert mends.left(PATH, done) == []
