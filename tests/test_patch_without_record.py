"""Patched trees without a record: by hand, or the record is gone.

A revert never leaves a tree that cannot compile: whatever record was lost, all that its
files include is there.
"""

import re
import shutil
import subprocess
import sys

import forks
import pytest
from conftest import REPOSITORY
from doc_blocks import small as shortened
from patched_tree import PROTO, tool
from test_forks import state
from test_patch_by_hand import FOUND, PAGE, run

from caffe_tools import demands, mends, parameters, patching
from caffe_tools.errors import ToolError
from caffe_tools.patching import State

VIDEO = "src/caffe/util/video.cpp"
IMAGE = "src/caffe/util/image.cpp"
# What the patch needs, or changes.
KEPT = (
    *("include", "cmake", "CMakeLists.txt", "Makefile", "Makefile.config.example"),
    *(PROTO, "src/caffe/syncedmem.cpp", "src/caffe/util/io.cpp"),
    *("src/caffe/layers/loss_layer.cpp", "src/caffe/test/CMakeLists.txt"),
)
NAMES = f"include/{mends.NAMES}"
_INCLUDE = re.compile(r'^\s*#\s*include\s+"(caffe/(?!proto/)[^"]+)"', re.M)


@pytest.fixture(scope="module")
def small(bvlc, tmp_path_factory):
    """A clone of few files, two with a mend that includes a header of ours."""
    tree = tmp_path_factory.mktemp("small") / "caffe"
    for path in KEPT:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (bvlc / path).is_dir() else shutil.copy
        copy(bvlc / path, tree / path)
    for path in (VIDEO, IMAGE):
        (tree / path).write_text(
            "#include <opencv2/highgui/highgui.hpp>\nint e = CV_CAP_PROP_FPS;\nint f;\n"
        )
    forks.committed(tree)
    return tree


@pytest.fixture
def tree(small, tmp_path):
    return shutil.copytree(small, tmp_path / "caffe", symlinks=True)


def own(tree):
    """Return what a tree is without its history."""
    return {p: s for p, s in state(tree).items() if p.parts[0] != ".git"}


def missing(tree):
    """Return what the tree's sources include and the tree lacks."""
    return [
        (path.relative_to(tree).as_posix(), name)
        for path in tree.rglob("*")
        if path.suffix in (".cpp", ".hpp", ".cu", ".cuh", ".h") and path.is_file()
        for name in _INCLUDE.findall(path.read_text(errors="replace"))
        if not (tree / "include" / name).is_file()
        and not (tree / "src" / name).is_file()
    ]


def delete_record(tree):
    shutil.rmtree(tree / ".randrop")


def commit(tree):
    forks.git(tree, "add", "-A", "-f", ".")
    forks.git(tree, "reset", "-q", ".randrop")
    forks.git(tree, "commit", "-q", "-m", "patched")
    delete_record(tree)


def forget(tree):
    shutil.rmtree(tree / ".git")
    delete_record(tree)


LOST = {
    "the record": delete_record,
    "the record of a commit": commit,
    "the record, no history": forget,
    "what is not committed": lambda tree: forks.git(tree, "clean", "-qfd"),
    "our header, and the record": lambda tree: (
        (tree / NAMES).unlink(),
        delete_record(tree),
    ),
}


def edit(tree):
    forks.edit(tree, VIDEO, "int f;", "int f, g;")
    forks.edit(tree, IMAGE, "int e =", "long e =")
    forks.edit(
        tree, demands.FACTORY, "namespace caffe {", "// theirs\nnamespace caffe {"
    )


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("what", LOST)
def test_after_a_revert_all_that_is_included_is_there(tree, what, edited):
    before = own(tree)
    assert missing(tree) == []
    patching.apply(tree)
    if edited:
        edit(tree)
    LOST[what](tree)
    lost = state(tree)
    result = tool(tree, "--dry-run")
    assert (result.returncode, result.stderr) == (0, "")
    assert state(tree) == lost
    patching.revert(tree)
    assert patching.check(tree) is State.NOT_PATCHED
    assert missing(tree) == []
    found = own(tree)
    differ = {str(p) for p in found.keys() | before if found.get(p) != before.get(p)}
    # The history has what was there, and the mend of an edited line keeps its header.
    if what not in ("the record of a commit", "the record, no history"):
        kept = {VIDEO, IMAGE, demands.FACTORY}
        assert {p for p in differ if "randrop" not in p} == (kept if edited else set())
        assert any("randrop" in p for p in differ) == edited
    if edited:
        assert "int f, g;" in (tree / VIDEO).read_text()
        assert "long e = " in (tree / IMAGE).read_text()
        assert "// theirs\n" in (tree / demands.FACTORY).read_text()
    # And a second time round it is exact.
    left = own(tree)
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    assert own(tree) == left


def test_an_edited_hook_without_a_record_is_named_and_nothing_is_written(tree):
    patching.apply(tree)
    forks.edit(
        tree, demands.FACTORY, "    if (Layer<Dtype>* layer", "    if (auto layer"
    )
    commit(tree)
    before = state(tree)
    for action in (patching.apply, patching.revert):
        with pytest.raises(ToolError, match="NewCpuEngineLayer") as told:
            action(tree)
        assert state(tree) == before
    line = int(re.search(r"near line (\d+)", str(told.value))[1])
    text = (tree / demands.FACTORY).read_text()
    assert "NewCpuEngineLayer" in text.splitlines()[line - 1]
    # What it says works.
    rest = re.search(r"    if \(auto layer.*?^    \}\n", text, re.M | re.S)[0]
    (tree / demands.FACTORY).write_text(text.replace(rest, ""))
    patching.revert(tree)
    assert missing(tree) == []


def by_hand(tree, engine):
    """Do what the page says, with or without its section about oneDNN."""
    layers, patches, *_ = [b for b in FOUND if b.language == "sh"]
    run(layers, tree)
    if engine:
        run(patches, tree)
        (diff,) = (b.text for b in FOUND if b.text.startswith("---"))
        command = ["patch", "-s", "-d", tree, "-p1"]
        subprocess.run(command, input=diff, check=True, text=True)


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch here")
@pytest.mark.parametrize("engine", [False, True])
@pytest.mark.parametrize("history", [False, True])
def test_a_tree_patched_by_hand_is_taken_over_and_reverted(tree, engine, history):
    before = own(tree)
    by_hand(tree, engine)
    assert parameters.by_hand((tree / PROTO).read_text())
    if not history:
        shutil.rmtree(tree / ".git")
    result = tool(tree, "--check")
    assert result.returncode == State.RECORD_LOST.value
    assert "by hand" in result.stdout
    hand = own(tree)
    assert tool(tree, "--dry-run").returncode == 0
    assert own(tree) == hand
    result = tool(tree, "--revert")
    assert result.returncode == 0, result.stderr
    assert own(tree) == before
    by_hand(tree, engine)
    assert tool(tree).returncode == 0
    assert patching.check(tree) is State.PATCHED
    assert not parameters.by_hand((tree / PROTO).read_text())
    patching.revert(tree)
    assert own(tree) == before


@pytest.mark.parametrize("how", ["by hand", "the record is gone", "edited"])
def test_the_doctor_says_what_to_do_about_a_patched_tree(tree, how):
    if how == "by hand":
        by_hand(tree, engine=False)
    else:
        patching.apply(tree)
        if how == "edited":
            forks.edit(tree, VIDEO, "int f;", "int f, g;")
        else:
            delete_record(tree)
    doctor = [sys.executable, REPOSITORY / "scripts/doctor.py", tree]
    for done in (False, True):
        result = subprocess.run(doctor, capture_output=True, text=True, check=False)
        assert "Traceback" not in result.stderr
        (fits,) = re.findall(r"^(\w+) +\*? *fits .*$", result.stdout, re.M)
        (patched,) = re.findall(r"^(\w+) +\*? *patched .*$", result.stdout, re.M)
        assert (fits, patched) == ("ok", "ok" if done else "no")
        if not done:
            remedy = re.search(
                r"-> (python3 scripts/patch_caffe\.py .*)", result.stdout
            )
            assert tool(*remedy[1].split()[2:]).returncode == 0


def undo():
    """Return the page's commands for taking it back, done and not only shown."""
    blocks = [b.text for b in FOUND if " checkout " in b.text]
    return [text.replace("clean -n", "clean -q -f") for text in blocks]


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch here")
@pytest.mark.parametrize("engine", [False, True])
def test_the_page_takes_back_what_it_does(tree, engine):
    before = own(tree)
    by_hand(tree, engine)
    assert missing(tree) == []
    usual, more = undo()
    for text in (usual, more) if engine else (usual,):
        command = text.replace("/path/to/caffe", str(tree))
        subprocess.run(["bash", "-euc", command], check=True, capture_output=True)
    assert own(tree) == before


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("message LayerParameter {", "7"),
        ("message  LayerParameter{", "7"),
        ("message\nLayerParameter {", "0"),
    ],
)
def test_the_page_says_whether_the_fields_are_there(tree, line, count):
    forks.edit(tree, PROTO, "message LayerParameter {", line)
    layers = next(b for b in FOUND if b.language == "sh")
    *commands, counted = [shortened(command, tree=tree) for command in layers.commands]
    for command in (*commands, f"test $({counted} || true) = {count}"):
        subprocess.run(["bash", "-uc", command], cwd=REPOSITORY, check=True)
    page = (REPOSITORY / PAGE).read_text()
    assert "it must print 7. If it prints 0," in page
