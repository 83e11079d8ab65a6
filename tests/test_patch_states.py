"""What may happen to a patched tree, and the way out of each state.

Each test does literally what the tool says, and ends at a patched tree, or at the tree
as it would be without the patch.
"""

import re
import shutil
import subprocess

import forks
import pytest
from patched_tree import PROTO, tool
from test_forks import state

from caffe_tools import demands, parameters, patching, planning, record
from caffe_tools.patching import State

IO = "src/caffe/util/io.cpp"
OWN = "src/caffe/layers/soft_dice_loss_layer.cpp"


def append(tree, path, line="// the user's line\n"):
    with (tree / path).open("a") as stream:
        stream.write(line)


def delete_record(tree):
    shutil.rmtree(tree / ".randrop")


def delete_git(tree):
    shutil.rmtree(tree / ".git")
    delete_record(tree)


def clean_without_git(tree):
    forks.git(tree, "clean", "-qfd")
    shutil.rmtree(tree / ".git")


def damage_record(tree):
    (tree / ".randrop/manifest.json").write_text("{")


def lose_originals(tree):
    shutil.rmtree(tree / ".randrop/originals")


def edit_our_block(tree):
    forks.edit(tree, PROTO, "randrop_loss_param = 208;", "randrop_loss_param = 1208;")


def edit_beside_our_block(tree):
    text = (tree / PROTO).read_text()
    theirs = "  optional int32 theirs = 777;\n"
    end = "  // randrop: end fields\n"
    (tree / PROTO).write_text(text.replace(end, end + theirs))


def edit_lines_of_a_mend(tree):
    path = tree / "src/caffe/layers/hdf5_data_layer.cpp"
    text = path.read_text()
    assert "caffe::shuffle(" in text
    path.write_text(text.replace("caffe::shuffle(", "my::shuffle(", 1))


def edit_own_layer(tree):
    append(tree, OWN)


def checkout_half(tree):
    forks.git(tree, "checkout", "-q", "--", PROTO)


def clean_and_checkout_the_messages(tree):
    forks.git(tree, "clean", "-qfd")
    forks.git(tree, "checkout", "-q", "--", PROTO)


def commit_and_clean(tree):
    (tree / ".git/info/exclude").write_text(".randrop\n")
    forks.git(tree, "add", "-A", ".")
    forks.git(tree, "commit", "-q", "-m", "patched")
    delete_record(tree)


HAPPENED = {
    "git clean -fd": (lambda tree: forks.git(tree, "clean", "-qfd"), 6),
    "git checkout .": (lambda tree: forks.git(tree, "checkout", "-q", "."), 3),
    "git checkout of the messages": (checkout_half, 3),
    "git clean, and checkout of the messages": (clean_and_checkout_the_messages, 6),
    "git stash": (lambda tree: forks.git(tree, "stash", "-q"), 3),
    "git stash -u": (lambda tree: forks.git(tree, "stash", "-q", "-u"), 1),
    "git clean, no git any more": (clean_without_git, 6),
    "the record is deleted": (delete_record, 6),
    "the record is deleted, no git": (delete_git, 6),
    "the patched tree is a commit, without its record": (commit_and_clean, 6),
    "the record is damaged": (damage_record, 2),
    "the originals are deleted": (lose_originals, 2),
    "a mended file is edited": (lambda tree: append(tree, IO), 5),
    "a message is added": (lambda tree: append(tree, PROTO, "message M { }\n"), 5),
    "a field is added beside ours": (edit_beside_our_block, 5),
    "a line of a mend is edited": (edit_lines_of_a_mend, 5),
    "our block is edited": (edit_our_block, 5),
    "our own file is edited": (edit_own_layer, 5),
    "our own file is deleted": (lambda tree: (tree / OWN).unlink(), 3),
    "a file of Caffe's is deleted": (lambda tree: (tree / IO).unlink(), 5),
}
"""What happened, and what --check then answers."""

# Edits stay, patched or not; these two are of lines that are only there when patched.
KEPT = ("a mended file is edited", "a message is added", "a field is added beside ours")
# No record and no history: what mends changed cannot be known any more.
MENDS_STAY = (
    "git clean, no git any more",
    "the record is deleted, no git",
    "the patched tree is a commit, without its record",
)


def follow(said):
    """Do what a message says."""
    commands = re.findall(r"'((?:cp|chmod) [^']+)'", said)
    folders = re.findall(r"Move the folder (\S+) away", said)
    commands += [f"mv {folder} {folder}-away" for folder in folders]
    commands += [f"rm {file}" for file in re.findall(r", delete (\S+), and run", said)]
    assert commands, f"no remedy: {said}"
    for command in commands:
        subprocess.run(command, shell=True, check=True)


def end(tree, *action):
    """Run the tool until it is done, doing what it says in between."""
    for _ in range(3):
        result = tool(tree, *action)
        if result.returncode == 0 or "nothing to revert" in result.stderr:
            return result
        assert result.returncode == 2, result.stdout + result.stderr
        follow(result.stderr)
    raise AssertionError(f"a circle: {result.stderr}")


def caffes_own(tree):
    """Return the state of a tree without its history and without what was put away."""
    own = ".git", ".randrop-away"
    return {p: s for p, s in state(tree).items() if p.parts[0] not in own}


@pytest.fixture(scope="session")
def small(bvlc, tmp_path_factory):
    """BVLC's tree with little more than what the tool reads; tests only read it."""
    leave = ("docs", "examples", "data", "models", "matlab", "scripts", "docker")
    folder = tmp_path_factory.mktemp("small") / "caffe"
    ignored = shutil.ignore_patterns(*leave, "*.npy")
    shutil.copytree(bvlc, folder, symlinks=True, ignore=ignored)
    # git knows no empty folders, and cleans them away.
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return folder


@pytest.fixture(scope="session")
def patched_once(small, tmp_path_factory):
    """Such a tree, committed and then patched; tests only read it."""
    tree = forks.make("committed", tmp_path_factory.mktemp("patched") / "caffe", small)
    assert tool(tree).returncode == 0
    return tree


@pytest.fixture
def patched(patched_once, tmp_path):
    return shutil.copytree(patched_once, tmp_path / "caffe", symlinks=True)


@pytest.mark.parametrize("what", HAPPENED)
def test_patching_again_ends_at_a_patched_tree(patched, what):
    happen, code = HAPPENED[what]
    happen(patched)
    assert tool(patched, "--check").returncode == code
    end(patched)
    assert patching.check(patched) is State.PATCHED
    proto = (patched / PROTO).read_text()
    assert parameters.blocks(proto)
    assert ("theirs = 777" in proto) == (what == "a field is added beside ours")
    assert ("message M { }" in proto) == (what == "a message is added")
    assert ("user's" in (patched / IO).read_text()) == (what == KEPT[0])
    for file in planning.LAYERS.rglob("*"):
        if file.is_file():
            path = patched / file.relative_to(planning.LAYERS)
            assert path.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("what", HAPPENED)
def test_reverting_ends_at_the_original(small, patched, what):
    happen, _ = HAPPENED[what]
    happen(patched)
    end(patched, "--revert")
    assert patching.check(patched) is State.NOT_PATCHED
    found, wanted = caffes_own(patched), state(small)
    differ = {str(p) for p in found.keys() | wanted if found.get(p) != wanted.get(p)}
    if what in MENDS_STAY:
        assert not differ & {PROTO, demands.FACTORY, "include/caffe/syncedmem.hpp"}
        assert not any("randrop" in path for path in differ)
        assert not any(planning.LAYERS.joinpath(path).exists() for path in differ)
    else:
        assert differ == {IO} if what == KEPT[0] else differ <= {PROTO}
    if what in KEPT:
        path = IO if what == KEPT[0] else PROTO
        new = (patched / path).read_text()
        old = (small / path).read_text()
        assert len(new.splitlines()) == len(old.splitlines()) + 1
    else:
        assert what in MENDS_STAY or not differ
    # And patching it again works.
    patching.apply(patched)
    assert patching.check(patched) is State.PATCHED


def test_upstreams_changes_are_merged_into_a_patched_tree(small, tmp_path):
    tree = forks.make("committed", tmp_path / "caffe", small)
    forks.git(tree, "checkout", "-q", "-b", "upstream")
    forks.edit(tree, IO, "namespace caffe {", "namespace caffe {\n// upstream's\n")
    forks.edit(
        tree, PROTO, "message Datum {", "message Upstream { }\n\nmessage Datum {"
    )
    forks.edit(tree, demands.FACTORY, "namespace caffe {", "// new\nnamespace caffe {")
    forks.git(tree, "commit", "-q", "-a", "-m", "upstream's changes")
    wanted = caffes_own(tree)
    forks.git(tree, "checkout", "-q", "master")
    patching.apply(tree)
    forks.git(tree, "add", "-A", "-f", ".")
    forks.git(tree, "commit", "-q", "-m", "patched")
    forks.git(tree, "merge", "-q", "-m", "merged", "upstream")
    assert patching.check(tree) is State.EDITED
    shutil.copytree(tree, tmp_path / "other", symlinks=True)
    patching.apply(tree)
    assert patching.check(tree) is State.PATCHED
    assert "message Upstream { }" in (tree / PROTO).read_text()
    assert "NewCpuEngineLayer" in (tree / demands.FACTORY).read_text()
    patching.revert(tree)
    assert caffes_own(tree) == wanted
    patching.revert(tmp_path / "other")
    assert caffes_own(tmp_path / "other") == caffes_own(tree)


def test_a_chosen_number_is_known_without_the_record(small, tmp_path):
    tree = forks.make("committed", tmp_path / "caffe", small)
    assert tool(tree, "--number", "randrop_loss_param=4711").returncode == 0
    delete_record(tree)
    assert tool(tree).returncode == 0
    assert "randrop_loss_param = 4711;" in (tree / PROTO).read_text()


def test_a_record_of_a_removed_record_is_cleaned_away(patched):
    (patched / ".randrop").rename(patched / ".randrop-removed")
    forks.git(patched, "checkout", "-q", ".")
    forks.git(patched, "clean", "-qfd", "-e", ".randrop-removed")
    assert patching.check(patched) is State.NOT_PATCHED
    patching.apply(patched)
    assert not (patched / ".randrop-removed").exists()
    assert record.read_manifest(patched)["state"] == "applied"


def test_a_dry_run_of_an_edited_tree_says_what_to_do(patched):
    HAPPENED["a mended file is edited"][0](patched)
    result = tool(patched, "--dry-run")
    assert result.returncode == 2
    assert "patch it again" in result.stderr
    assert tool(patched).returncode == 0
    assert tool(patched, "--dry-run").returncode == 0
