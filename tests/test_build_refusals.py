"""What build_caffe.py can refuse by options, tree and environment, it refuses first."""

import shutil
import subprocess
import sys

import forks
import pytest
from conftest import REPOSITORY
from test_foreign_files import tree as content_of

import build_caffe
from caffe_tools import foresight, origin, parameters, patching, place
from caffe_tools.errors import ToolError

TAKEN = ("--number", "randrop_loss_param=1")
IS_USED = r"number 1 of LayerParameter, which our field 'randrop_loss_param' needs"


class World:
    """A user's tree, the user's build folder, and what was said."""

    def __init__(self, folder, source):
        self.own, self.root, self.source = folder / "own", folder / "build", source
        self.variables = {}

    def make_own(self, kind="bvlc"):
        """Make the user's tree."""
        leave = shutil.ignore_patterns("docs", "examples", "data", "models", "matlab")
        shutil.copytree(self.source, self.own, symlinks=True, ignore=leave)
        forks.KINDS[kind](self.own)
        return ("--caffe-root", self.own)

    def make_copy(self):
        """Copy it to the build folder, as an earlier build did."""
        self.root.mkdir()
        (self.root / place.MARK).touch()
        origin.place_tree(self.own, self.root / "caffe", lambda _: None)
        return self.root / "caffe"


def number_taken(world):
    return (*world.make_own(), *TAKEN), IS_USED


def number_taken_in_place(world):
    return (*world.make_own(), "--in-place", *TAKEN), IS_USED


def number_taken_in_the_last_source(world):
    world.make_own()
    world.make_copy()
    return TAKEN, IS_USED


def number_taken_in_the_cache(world):
    world.make_own()
    cache = world.root / "cache/caffe"
    cache.mkdir(parents=True)
    (world.root / place.MARK).touch()
    world.own.rename(cache / "tree")
    return TAKEN, IS_USED


def number_taken_in_the_patched_copy(world):
    own = world.make_own()
    patching.apply(world.make_copy())
    return (*own, *TAKEN), IS_USED


def layers_of_two_types(world):
    return world.make_own("nvidia-template"), r"Layer<Ftype, Btype>.*written for Layer"


def blobs_of_four_axes(world):
    return world.make_own("four-axes"), r"from before March 2015"


def parameters_merged_by_hand(world):
    return world.make_own("merged-by-hand"), r"already has our names"


def a_layer_of_our_type(world):
    own = world.make_own()
    mine = world.own / "src/caffe/layers/mine.cpp"
    mine.write_text("REGISTER_LAYER_CLASS(SigmoidRandomDropCELoss);\n")
    return own, r"mine\.cpp already registers the layer type SigmoidRandomDropCELoss"


def a_damaged_record(world):
    own = world.make_own()
    (world.own / ".randrop").mkdir()
    (world.own / ".randrop/manifest.json").write_text("{")
    return own, r"manifest\.json is damaged"


def a_build_of_the_user(world):
    own = world.make_own()
    (world.own / "build/lib").mkdir(parents=True)
    return (*own, "--in-place"), r"did not create the build in .*move it away"


def a_copy_inside_itself(world):
    own = world.make_own()
    world.root = world.own / "build"
    return own, r"is inside .*RANDROP_BUILD"


def edits_in_the_copy(world):
    own = world.make_own()
    copy = world.make_copy()
    (copy / "src/caffe/net.cpp").write_text("// an edit\n")
    (world.own / "src/caffe/net.cpp").write_text("// another\n")
    return own, r"net\.cpp: edited in this copy of .* would be lost"


def a_tree_of_somebody(world):
    own = world.make_own()
    world.root.mkdir()
    (world.root / place.MARK).touch()
    (world.root / "caffe").mkdir()
    return own, r"did not create .*caffe and will not replace it"


def a_folder_of_somebody(world):
    (world.root / "venv").mkdir(parents=True)
    return (), r"contains venv, which this script did not create"


def a_clean_that_deletes_what_is_built(world):
    world.make_own()
    copy = world.make_copy()
    return ("--caffe-root", copy, "--clean"), r"--clean would delete .*--caffe-root"


def a_package_that_is_none(world):
    return ("--source-package", "/etc/passwd"), r"/etc/passwd is not a \.dsc file"


def a_package_without_its_archives(world):
    package = world.root.with_name("caffe.dsc")
    package.write_text(f" {64 * '0'} 1 caffe.orig.tar.gz\n")
    return ("--source-package", package), r"lists caffe\.orig\.tar\.gz, which must be"


def a_python_that_is_none(world):
    return ("--python", "/nowhere/python"), r"/nowhere/python: the program does not"


def a_python_that_is_old(world):
    return ("--python", "false"), r"--python false: give Python 3\.10"


def a_build_folder_that_is_a_file(world):
    world.root.write_text("mine")
    return (), r"RANDROP_BUILD .*build is a file and no folder: set RANDROP_BUILD to"


def a_build_folder_below_a_file(world):
    world.root.write_text("mine")
    world.root /= "below"
    return (), r"RANDROP_BUILD .*below is in .*build, which is a file and no folder"


def a_build_folder_in_a_circle(world):
    world.root.symlink_to("build")
    return (), r"RANDROP_BUILD .*link"


def a_tree_in_a_circle(world):
    world.own.symlink_to("own")
    return ("--caffe-root", world.own), r"own.*(in a circle|not a folder)"


def an_architecture_that_nvcc_does_not_know(world):
    nvcc = world.own / "bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho compute_90\n")
    nvcc.chmod(0o755)
    world.variables = {"CUDA_HOME": str(world.own), "CUDAHOSTCXX": "true"}
    options = ("--gpu", "--fetch-nvcc", "--cuda-arch", "7")
    return options, r"--cuda-arch 7: choose from what this nvcc supports, 90"


REFUSALS = (
    *(number_taken, number_taken_in_place, number_taken_in_the_last_source),
    *(number_taken_in_the_cache, number_taken_in_the_patched_copy),
    *(layers_of_two_types, blobs_of_four_axes, parameters_merged_by_hand),
    *(a_layer_of_our_type, a_damaged_record, a_build_of_the_user),
    *(a_copy_inside_itself, edits_in_the_copy, a_tree_of_somebody),
    *(a_folder_of_somebody, a_clean_that_deletes_what_is_built),
    *(a_package_that_is_none, a_package_without_its_archives),
    *(a_python_that_is_none, a_python_that_is_old, a_build_folder_that_is_a_file),
    *(a_build_folder_below_a_file, a_build_folder_in_a_circle, a_tree_in_a_circle),
    an_architecture_that_nvcc_does_not_know,
)


def start(world, monkeypatch, words):
    """Run the script in this process, without the steps that install."""

    def install(*_):
        pytest.fail("it would have been installed first")

    for name in ("install_packages", "make_venv", "install_judges"):
        monkeypatch.setattr(build_caffe.toolchain, name, install)
    monkeypatch.setenv("RANDROP_BUILD", str(world.root))
    for name, value in world.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["build_caffe.py", *map(str, words)])
    build_caffe.main()


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda case: case.__name__)
def test_it_is_refused_before_anything_is_installed_or_written(
    tmp_path, bvlc, monkeypatch, refusal
):
    world = World(tmp_path, bvlc)
    words, said = refusal(world)
    before = content_of(tmp_path)
    folders = sorted(path for path in tmp_path.rglob("*") if path.is_dir())
    with pytest.raises(ToolError, match=said):
        start(world, monkeypatch, words)
    assert content_of(tmp_path) == before
    assert sorted(path for path in tmp_path.rglob("*") if path.is_dir()) == folders


def test_a_number_that_was_chosen_once_is_foreseen_as_well(tmp_path, bvlc, monkeypatch):
    """A copy that has its numbers is not measured by the tree that it is a copy of."""
    world = World(tmp_path, bvlc)
    own = world.make_own()
    field = parameters.our_fields()[0]
    proto = world.own / parameters.PROTO
    text = proto.read_text()
    at = text.index("{", text.index("message LayerParameter")) + 1
    taken = f"\n  optional string theirs = {field.number};"
    proto.write_text(text[:at] + taken + text[at:])
    with pytest.raises(ToolError, match=f"number {field.number} .* is used"):
        start(world, monkeypatch, own)
    patching.apply(world.make_copy(), {field.name: 1300})
    with pytest.raises(pytest.fail.Exception, match="installed first"):
        start(world, monkeypatch, own)


@pytest.mark.parametrize(
    "kind", ["numbers-taken", "opencl-template", "merged-by-hand", "four-axes", "bvlc"]
)
@pytest.mark.parametrize("mends_only", [False, True])
def test_what_is_foreseen_is_what_the_patch_says(tmp_path, bvlc, kind, mends_only):
    tree = forks.make(kind, tmp_path / "tree", bvlc)
    before = content_of(tree)
    foreseen = words_of(foresight.check_patch, tree, None, mends_only)
    assert content_of(tree) == before
    assert words_of(patching.apply, tree, None, mends_only) == foreseen
    assert bool(foreseen) == (not mends_only and kind != "bvlc")


def words_of(call, *arguments):
    try:
        call(*arguments)
    except ToolError as error:
        return str(error)
    return ""


def test_a_refusal_is_one_line_and_status_2(tmp_path):
    result = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/build_caffe.py"],
        env={"RANDROP_BUILD": "/etc/passwd", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: RANDROP_BUILD /etc/passwd is a file")
