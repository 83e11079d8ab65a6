"""The patch tool on the real Caffe tree, and on trees like those of forks."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
from conftest import REPOSITORY

from caffe_tools import patching, planning, proto
from caffe_tools.errors import ToolError
from caffe_tools.mends import MENDS
from caffe_tools.patching import State

SCRIPT = REPOSITORY / "scripts" / "patch_caffe.py"
PROTO = "src/caffe/proto/caffe.proto"
FIELD = "randrop_loss_param"


def hashes(root):
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file() and not p.is_symlink()
    }


def tool(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def edit(root, path, old, new):
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new, 1))


def add_field(root, line):
    edit(root, PROTO, "  optional TileParameter tile_param = 138;", f"  {line}\n")


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
    assert "patched already, nothing changed" in tool(tree).stdout
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
FORKS = {
    "SSD": ("optional AnnotatedDataParameter annotated_data_param = 208;", "annotated"),
    "a private fork": (
        "optional float my_param = 208 [default = 1];",
        "'float my_param'",
    ),
    "reserved": ("reserved 200 to 210;", "the reserved or extension range"),
    "extensions": ("extensions 150 to max;", "the reserved or extension range"),
    "oneof": ("oneof kind { int32 a_param = 208; int32 b = 209; }", "'int32 a_param'"),
}


@pytest.mark.parametrize("fork", FORKS)
def test_a_taken_number_is_named_and_another_can_be_chosen(tree, fork):
    line, who = FORKS[fork]
    add_field(tree, line)
    before = hashes(tree)
    result = tool(tree)
    assert result.returncode == 2
    assert (
        f"number 208 of LayerParameter, which our field '{FIELD}' wants"
        in result.stderr
    )
    assert who in result.stderr
    assert "Nothing was written" in result.stderr
    assert hashes(tree) == before
    advice = re.findall(r"--number (\S+=\d+)", result.stderr)
    result = tool(tree, *(word for text in advice for word in ("--number", text)))
    assert result.returncode == 0, result.stderr
    for text in advice:
        assert text.replace("=", " = ") + ";" in (tree / PROTO).read_text()
    # The choice is remembered.
    assert tool(tree).returncode == 0
    assert tool(tree, "--check").returncode == 0


def test_a_second_name_that_a_fork_has_is_left_to_it(tree):
    fork = tree / "src/caffe/layers/dice_loss_layer.cpp"
    fork.write_text("REGISTER_LAYER_CLASS(DiceLoss);\n")
    before = hashes(tree)
    result = tool(tree)
    assert result.returncode == 0, result.stderr
    assert f"dice_loss_name.cpp left out: {fork} registers DiceLoss" in result.stdout
    assert not (tree / "src/caffe/layers/dice_loss_name.cpp").exists()
    assert (tree / "src/caffe/layers/soft_dice_loss_layer.cpp").exists()
    assert (tree / "src/caffe/layers/sigmoid_focal_loss_name.cpp").exists()
    assert tool(tree, "--check").returncode == 0
    patching.revert(tree)
    assert hashes(tree) == before


def test_other_forks_numbers_do_not_disturb(tree):
    add_field(
        tree,
        "optional PermuteParameter permute_param = 202; // SSD\n"
        "  map<string, int32> seen = 203;\n  repeated group Old = 204 { }",
    )
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED


def test_parameters_merged_by_hand_are_named(tree):
    add_field(tree, f"optional SigmoidRandomDropCELossParameter {FIELD} = 208;")
    with (tree / PROTO).open("a") as stream:
        stream.write("message SigmoidRandomDropCELossParameter { }\n")
    before = hashes(tree)
    with pytest.raises(
        ToolError, match="message SigmoidRandomDropCELossParameter in li"
    ):
        patching.apply(tree)
    assert hashes(tree) == before


def test_a_layer_type_registered_by_others_is_named(tree):
    other = tree / "src/caffe/layers/sigmoid_randomdrop_layer.cpp"
    other.write_text("REGISTER_LAYER_CLASS(SigmoidRandomDropCrossEntropyLoss);\n")
    before = hashes(tree)
    with pytest.raises(
        ToolError,
        match=r"sigmoid_randomdrop_layer\.cpp registers the layer type Sigmoid",
    ):
        patching.apply(tree)
    assert hashes(tree) == before


def test_a_file_of_the_users_in_our_place_is_kept(tree):
    theirs = tree / "include/caffe/randrop/math/philox.hpp"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("// mine\n")
    before = hashes(tree)
    with pytest.raises(ToolError, match=r"philox\.hpp is there already and not ours"):
        patching.apply(tree)
    assert hashes(tree) == before


def test_an_edit_after_the_patch_is_not_lost(tree):
    patching.apply(tree)
    with (tree / PROTO).open("a") as stream:
        stream.write("// my own line\n")
    before = hashes(tree)
    assert patching.check(tree) is State.PARTLY
    for action in (patching.revert, patching.apply):
        with pytest.raises(ToolError, match=r"caffe\.proto was edited since"):
            action(tree)
        assert hashes(tree) == before


def test_a_patched_file_that_is_gone_is_named(tree):
    patching.apply(tree)
    (tree / "src/caffe/net.cpp").unlink()
    assert patching.check(tree) is State.PARTLY
    with pytest.raises(ToolError, match=r"net\.cpp is gone"):
        patching.revert(tree)


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
    assert (result.returncode, "is no folder" in result.stderr) == (2, True)
    result = tool(tmp_path)
    assert (result.returncode, "is no Caffe tree" in result.stderr) == (2, True)


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
        (f"{FIELD}=19500", "which protobuf keeps"),
        (f"{FIELD}=x", "write FIELD=N"),
        (f"{FIELD}=1", "is taken by 'string name'"),
    ],
)
def test_numbers_that_cannot_be(tree, number, message):
    result = tool(tree, "--number", number)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize("mend", MENDS, ids=lambda mend: mend.name)
def test_each_mend_is_needed_once(caffe_source, mend):
    text = (caffe_source / mend.path).read_text()
    mended = mend.apply(text)
    assert mended != text
    assert mend.apply(mended) == mended


def part(path, kind, name):
    """Return the text of a CMake function or macro."""
    pattern = rf"^{kind}\({name}.*?^end{kind}\(\)\n"
    return re.search(pattern, path.read_text(), re.MULTILINE | re.DOTALL)[0]


@pytest.mark.parametrize("version", ["8.0", "9.0", "13.0"])
def test_architectures_of_a_build_by_hand(tree, version):
    """CMake keeps the request, except what the compiler no longer supports."""
    patching.apply(tree, mends_only=True)
    script = tree / "select.cmake"
    script.write_text(
        part(tree / "cmake/Utils.cmake", "macro", "caffe_list_unique")
        + part(tree / "cmake/Cuda.cmake", "function", "caffe_select_nvcc_arch_flags")
        # It marks cache entries, and script mode has no cache.
        .replace("mark_as_advanced", "#")
        + 'caffe_select_nvcc_arch_flags(flags)\nmessage("${flags}")\n'
    )
    options = {
        "CUDA_VERSION": version,
        "CUDA_ARCH_NAME": "Manual",
        "CUDA_ARCH_BIN": "20 21(20) 75 120",
        "CUDA_ARCH_PTX": "120",
    }
    given = (f"-D{name}={value}" for name, value in options.items())
    told = subprocess.run(
        ["cmake", *given, "-P", script],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"arch=compute_(\d+),code=(\w+)", told.stderr)
    old = [("20", "sm_20"), ("20", "sm_21")] if version == "8.0" else []
    new = [("75", "sm_75"), ("120", "sm_120"), ("120", "compute_120")]
    assert found == old + new


def test_mends_alone(tree):
    before = hashes(tree)
    patching.apply(tree, mends_only=True)
    assert "SigmoidRandomDrop" not in (tree / PROTO).read_text()
    assert not (tree / "include/caffe/randrop/math/philox.hpp").exists()
    assert patching.check(tree) is State.PATCHED
    patching.revert(tree)
    assert hashes(tree) == before
