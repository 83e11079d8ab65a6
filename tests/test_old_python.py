"""The scripts tell every older Python which version they need.

This was tried with 2.7.18 and 3.9.2. These tests check the grammar of the old versions
and the message for an old version.
"""

import ast
import os
import re
import runpy
import subprocess
import sys
from collections import namedtuple

import pytest

from randrop.pycaffe.build import REPOSITORY

FOLDER = REPOSITORY / "scripts"
SCRIPTS = sorted(p for p in FOLDER.glob("*.py") if not p.name.startswith("_"))
Version = namedtuple("Version", "major minor micro releaselevel serial")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_python_2_shows_the_line_that_it_stops_at(path):
    text = path.read_text(encoding="utf-8")
    doc, wanted, *_ = ast.parse(text).body
    assert isinstance(doc, ast.Expr)
    assert ast.unparse(wanted) == "WANTED: str = 'Python 3.10 or newer'"
    # Any other syntax that it cannot read would be shown instead.
    before = text.splitlines()[: wanted.lineno]
    assert all(line.isascii() for line in before)
    assert "\\" not in "".join(before)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("minor", [6, 9])
def test_old_python_3_says_what_it_lacks(path, minor, monkeypatch, tmp_path, capsys):
    for name in (path.name, "_start.py", "_wanted.py"):
        ast.parse(
            (FOLDER / name).read_text(encoding="utf-8"), feature_version=(3, minor)
        )
    monkeypatch.setattr(sys, "version_info", Version(3, minor, 1, "final", 0))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setenv("RANDROP_BUILD", str(tmp_path))
    for name in ("_start", "_wanted"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert f"needs Python 3.10 or newer, but this is 3.{minor}" in str(end.value)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("scripts/patch_caffe.py",),
        ("scripts/train.py",),
        ("scripts/bench_losses.py",),
        ("-m", "randrop", "train"),
    ],
    ids=" ".join,
)
def test_the_help_is_the_same_where_docstrings_are_dropped(words):
    helps = [
        subprocess.run(
            [sys.executable, *option, *words, "--help"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": "python_layers"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for option in ((), ("-OO",))
    ]
    assert helps[0] == helps[1]
    doc = ast.get_docstring(ast.parse((FOLDER / f"{name_of(words)}.py").read_text()))
    assert doc in helps[1]


def test_what_needs_docstrings_says_so(caffe):
    code = "from randrop.pycaffe import build; build.import_caffe()"
    child = subprocess.run(
        [sys.executable, "-OO", "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "python_layers")},
        capture_output=True,
        text=True,
    )
    # A later scikit-image may need none.
    assert child.returncode == 0 or "start Python without -OO" in child.stderr
    assert "build_caffe.py" not in child.stderr


def name_of(words):
    return words[-1].removeprefix("scripts/").removesuffix(".py")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_keeps_its_description(path):
    text = path.read_text(encoding="utf-8")
    assert "\nimport _start" in text or "\n_wanted.keep_description()\n" in text


def test_the_guard_itself_is_of_python_2():
    files = (FOLDER / "_wanted.py", REPOSITORY / "python_layers/randrop/__init__.py")
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.isascii()
        assert not re.search(r"\bf\"|:=|->|: str\b|\bnonlocal\b", text)
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.Starred)


def test_the_venv_is_taken_where_python_is_old(monkeypatch, tmp_path):
    """`python3` may be 3.9 on a machine where build/venv uses a newer one."""
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    called = []

    def execv(program, words):
        called.append((program, words))
        raise SystemExit

    monkeypatch.setattr("os.execv", execv)
    monkeypatch.setattr(sys, "version_info", Version(3, 9, 1, "final", 0))
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", "--help"])
    monkeypatch.setenv("RANDROP_BUILD", str(tmp_path))
    for name in ("_start", "_wanted"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit):
        runpy.run_path(str(FOLDER / "train.py"), run_name="__main__")
    ((program, words),) = called
    assert program == words[0] == str(python)
    assert words[1:] == [str(FOLDER / "train.py"), "--help"]


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_an_old_system_is_told_before_anything_is_made(tmp_path, script):
    """Debian 11's Python is 3.9; what it can do there is on a page."""
    old = tmp_path / "bin" / "python3"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    path = f"{old.parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", FOLDER / script],
        env={**os.environ, "PATH": path, "RANDROP_BUILD": str(tmp_path / "build")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: this system's Python 3.9.2 is too old: ")
    page = re.search(r"docs/\S+\.md", result.stderr)[0]
    assert (REPOSITORY / page).is_file()
    assert result.stdout == ""
    assert not (tmp_path / "build").exists()
