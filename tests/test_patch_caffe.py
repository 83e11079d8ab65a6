"""The patch tool on the real Caffe tree: patch, check, revert, failures."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
from conftest import REPOSITORY
from patched_tree import FIELD, PROTO, hashes, tool

from caffe_tools import patching, planning, proto
from caffe_tools.errors import ToolError
from caffe_tools.patching import State


def test_patch_check_and_revert_by_the_command_line(tree):
    before = hashes(tree)
    result = tool(tree, "--check")
    assert (result.returncode, "not patched" in result.stdout) == (1, True)
    result = tool(tree)
    assert result.returncode == 0, result.stderr
    assert "include/caffe/randrop/math/philox.hpp" in result.stdout
    result = tool(tree, "--check")
    assert (result.returncode, result.stdout.endswith(": patched\n")) == (0, True)
    patched = hashes(tree)
    assert "already patched, nothing changed" in tool(tree).stdout
    assert hashes(tree) == patched
    assert tool(tree, "--revert").returncode == 0
    assert hashes(tree) == before
    assert not [p for p in tree.rglob("*") if p.is_dir() and not any(p.iterdir())]
    result = tool(tree, "--revert")
    assert result.returncode == 2
    assert "nothing to revert" in result.stderr


def test_dry_run_is_what_a_patch_then_does(tree, tmp_path):
    before = hashes(tree)
    result = tool(tree, "--dry-run")
    assert result.returncode == 0
    assert hashes(tree) == before
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    subprocess.run(
        ["patch", "-p1", "-s"], cwd=copy, input=result.stdout, text=True, check=True
    )
    patching.apply(tree)
    shutil.rmtree(tree / planning.STATE)
    assert hashes(copy) == hashes(tree)


def test_second_apply_leaves_times_alone(tree):
    patching.apply(tree)
    times = {p: p.stat().st_mtime_ns for p in tree.rglob("*") if p.is_file()}
    assert patching.apply(tree) == []
    assert {p: p.stat().st_mtime_ns for p in tree.rglob("*") if p.is_file()} == times


def test_protoc_takes_the_patched_file(tree, tmp_path):
    patching.apply(tree)
    text = (tree / PROTO).read_text()
    file = proto.parse(text, PROTO)
    numbers = {f.name: f.number for f in file.messages["LayerParameter"].fields}
    assert numbers[FIELD] == 208
    assert "SigmoidRandomDropCELossParameter" in file.names
    result = subprocess.run(
        [
            "protoc",
            f"-I{tree / 'src/caffe/proto'}",
            f"--cpp_out={tmp_path}",
            tree / PROTO,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert re.search(rf"\b{FIELD}\b", (tmp_path / "caffe.pb.h").read_text())


def test_windows_line_ends_and_missing_last_newline(tree):
    path = tree / PROTO
    content = path.read_bytes().rstrip(b"\n").replace(b"\n", b"\r\n")
    path.write_bytes(content)
    before = hashes(tree)
    patching.apply(tree)
    patched = path.read_bytes()
    assert patched.count(b"\n") == patched.count(b"\r\n")
    proto.parse(patched.decode(), PROTO)
    patching.revert(tree)
    assert hashes(tree) == before


def test_file_modes_stay(tree):
    path = tree / "src/caffe/net.cpp"
    path.chmod(0o755)
    patching.apply(tree)
    assert path.stat().st_mode & 0o777 == 0o755
    patching.revert(tree)
    assert path.stat().st_mode & 0o777 == 0o755


# Lines of existing forks: who uses which number.
def test_another_version_is_told_and_updated(tree, monkeypatch, tmp_path):
    before = hashes(tree)
    older = tmp_path / "layers"
    shutil.copytree(planning.LAYERS, older)
    (older / "include/caffe/randrop/math/philox.hpp").write_text("// an older text\n")
    (older / "include/caffe/randrop/math/gone.hpp").write_text("// dropped since\n")
    with monkeypatch.context() as patch:
        patch.setattr(planning, "LAYERS", older)
        patching.apply(tree)
        assert patching.check(tree) is State.PATCHED
    assert patching.check(tree) is State.OTHER_VERSION
    assert tool(tree, "--check").returncode == 4
    changed = patching.apply(tree)
    assert sorted(changed) == [
        "include/caffe/randrop/math/gone.hpp",
        "include/caffe/randrop/math/philox.hpp",
    ]
    assert not (tree / "include/caffe/randrop/math/gone.hpp").exists()
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    assert hashes(tree) == before


@pytest.mark.parametrize("moment", range(1, 40, 6))
def test_killed_half_way_it_can_be_told_completed_and_undone(tree, tmp_path, moment):
    """SIGKILL at the n-th rename: no handler runs, only what is on disk counts."""
    before = hashes(tree)
    program = textwrap.dedent(
        f"""
        import os, pathlib, signal, sys
        sys.path.insert(0, {str(REPOSITORY / "scripts")!r})
        from caffe_tools import patching
        rename, count = pathlib.Path.replace, 0
        def counted(self, target):
            global count
            count += 1
            if count == {moment}:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(self, target)
        pathlib.Path.replace = counted
        patching.apply(pathlib.Path({str(tree)!r}))
        """
    )
    result = subprocess.run([sys.executable, "-c", program], check=False)
    assert result.returncode == -signal.SIGKILL
    if (tree / planning.STATE / "manifest.json").exists():
        assert patching.check(tree) is State.PARTLY
        copy = tmp_path / "copy"
        shutil.copytree(tree, copy, symlinks=True)
        patching.revert(copy)
        assert hashes(copy) == before
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    assert hashes(tree) == before


def test_a_failure_half_way_leaves_the_tree_as_it_was(tree, monkeypatch):
    before = hashes(tree)
    replace = type(tree).replace

    def failing(self, target):
        if str(target).endswith("net.cpp") and planning.STATE not in str(target):
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tree), "replace", failing)
        with pytest.raises(ToolError, match="No space left on device"):
            patching.apply(tree)
    assert hashes(tree) == before
    assert patching.check(tree) is State.NOT_PATCHED


def test_a_full_disk_leaves_the_tree_as_it_was(tree, small_disk):
    size = sum(p.stat().st_size for p in tree.rglob("*") if p.is_file())
    disk = small_disk(size + 1_800_000)
    shutil.copytree(tree, disk / "caffe", symlinks=True)
    (disk / "filler").write_bytes(b"x" * shutil.disk_usage(disk).free)
    with (disk / "filler").open("r+b") as stream:
        stream.truncate(stream.seek(0, 2) - 200_000)
    before = hashes(disk / "caffe")
    result = tool(disk / "caffe")
    assert result.returncode == 2
    assert "No space left" in result.stderr
    assert hashes(disk / "caffe") == before
    assert tool(disk / "caffe", "--check").returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting read-only takes root")
def test_a_read_only_tree_is_refused(tree):
    if subprocess.run(["mount", "--bind", tree, tree], check=False).returncode:
        pytest.skip("this sandbox does not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tree], check=True)
        result = tool(tree)
        assert result.returncode == 2
        assert "is not writable" in result.stderr
    finally:
        subprocess.run(["umount", tree], check=True)


def test_paths_that_are_no_caffe_tree(tmp_path):
    result = tool(tmp_path / "nowhere")
    assert (result.returncode, "is not a folder" in result.stderr) == (2, True)
    result = tool(tmp_path)
    assert (result.returncode, "is not a Caffe tree" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "the file ends in the middle"),
        (lambda text: text.replace("}", "", 1), r"line \d+: "),
        (lambda text: text + "\n<<<<<<< HEAD\n", r"line \d+: "),
        (
            lambda text: text.replace("message LayerParameter", "message L"),
            "no message",
        ),
    ],
)
def test_a_proto_that_cannot_be_parsed(tree, damage, message):
    path = tree / PROTO
    path.write_text(damage(path.read_text()))
    before = hashes(tree)
    with pytest.raises(ToolError, match=message):
        patching.apply(tree)
    assert hashes(tree) == before


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("randrop=5", "our fields are"),
        (f"{FIELD}=0", "choose from 1 to"),
        (f"{FIELD}=19500", "which protobuf reserves"),
        (f"{FIELD}=x", "give FIELD=N"),
        (f"{FIELD}=1", "is used by 'string name'"),
    ],
)
def test_numbers_that_cannot_be(tree, number, message):
    result = tool(tree, "--number", number)
    assert result.returncode == 2
    assert message in result.stderr
