"""No script replaces, removes or runs files of others, whatever their names."""

import os
import random
import shutil
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from every_script import FILES, FOLDERS, LONG, LONG_FILES, done, make_world, start

from randrop.errors import UserError
from randrop.files import ownership, writing
from randrop.training import snapshots

SCRIPTS = {**FOLDERS, **FILES}
# Names that Python, our scripts and their imports look for.
MODULES = (
    *(sys.stdlib_module_names - {"builtins", "sys"}),
    *("sitecustomize", "usercustomize", "numpy", "scipy", "cv2", "h5py", "lmdb"),
    *("tqdm", "PIL", "skimage", "sklearn", "jinja2", "google", "caffe", "randrop"),
    *("matplotlib", "six", "predict", "_start", "train"),
)


def tree(folder):
    """Return the content of every file and link below a folder."""
    return {
        path.relative_to(folder).as_posix(): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes()
        )
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def occupy(folder, names):
    """Write somebody's files, among them a link, and return the tree."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    (folder / "mine").mkdir(parents=True, exist_ok=True)
    (folder / "mine" / "photo.jpg").write_bytes(os.urandom(99))
    (folder / "link").symlink_to("mine/photo.jpg")
    return tree(folder)


def holds(folder, before):
    """Return whether all earlier content still exists."""
    after = tree(folder)
    return {name: after.get(name) for name in before} == before


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    """A folder full of modules that leave a trace when imported."""
    folder = tmp_path_factory.mktemp("trap")
    for name in MODULES:
        path = folder / f"{name}.py"
        path.write_text("open(__file__ + '.ran', 'w').close()\n")
    return folder


@pytest.fixture(scope="module")
def world(caffe, phantom, tmp_path_factory):
    return make_world(phantom, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def written(world, trap, tmp_path_factory):
    """The files that a script writes to a new folder, run among foreign modules."""
    known = {}

    def written(name):
        if name not in known:
            out = tmp_path_factory.mktemp(name) / "out"
            result = start(name, *SCRIPTS[name](world, out), cwd=trap)
            known[name] = (out, result)
        return known[name]

    return written


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_that_lies_in_the_current_folder_is_run(written, trap, name):
    out, result = written(name)
    ran = sorted(path.name for path in trap.glob("*.ran"))
    for path in trap.glob("*.ran"):
        path.unlink()
    assert not ran
    assert result.returncode == 0, result.stderr
    assert out.is_dir()


@pytest.mark.parametrize("name", SCRIPTS)
def test_files_of_others_with_our_names_are_refused(written, world, tmp_path, name):
    names = [n for n in tree(written(name)[0]) if n.rpartition("/")[2] not in OUR_MARKS]
    assert names
    # All of them, and one alone: a conflict with the last one may be found too late.
    for k, taken in enumerate((names, [random.Random(name).choice(names)])):
        out = tmp_path / str(k)
        before = occupy(out, taken)
        result = start(name, *SCRIPTS[name](world, out))
        assert holds(out, before)
        # Of several trainings, the others go on after one was refused.
        several = k == 1 and name in ("compare", "cross_validate")
        assert result.returncode == (1 if several else 2)
        assert "Traceback" not in result.stderr
        assert any(n in result.stderr for n in taken) or str(out) in result.stderr


OUR_MARKS = (ownership.LIST, ownership.LOCK)


@pytest.mark.parametrize("name", LONG)
def test_benchmarks_refuse_before_they_begin(world, tmp_path, name):
    for taken in LONG_FILES[name]:
        out = tmp_path / taken
        before = occupy(out, [taken])
        result = start(name, *LONG[name](world, out))
        assert holds(out, before)
        assert result.returncode == 2
        assert taken in result.stderr


TAKEN = ("run.json", "final.caffemodel", "other.h5")
# Scripts that write one file, and what makes them replace one.
ONE_FILE = {n: () for n in (*FILES, *LONG)} | dict.fromkeys(
    ("surface record", "surface landscape"), ("--force",)
)


# Each script once, and with --thorough with each file.
@pytest.mark.parametrize(
    ("name", "taken"),
    [
        pytest.param(
            *(name, taken),
            marks=[pytest.mark.thorough] * (k % len(TAKEN) != number),
        )
        for k, name in enumerate(ONE_FILE)
        for number, taken in enumerate(TAKEN)
    ],
)
def test_another_file_of_ours_is_no_file_to_write(world, tmp_path, name, taken):
    """A slip of the hand must not cost the weights of a training."""
    run = shutil.copytree(world.run, tmp_path / "run", symlinks=True)
    shutil.copy(world.recording, run / "other.h5")
    if name == "surface record":
        # Another one of its own it may replace.
        (run / "other.h5").write_bytes(b"\x89HDF, but of something else")
    ownership.record(run / "other.h5", ownership.sha256(run / "other.h5"))
    before = tree(run)
    out = tmp_path / "out"
    words = [
        run / taken if isinstance(word, Path) and word.is_relative_to(out) else word
        for word in (FILES | LONG)[name](world, out)
    ]
    assert run / taken in words
    result = start(name, *words, *ONE_FILE[name])
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert tree(run) == before


# Scripts that write one file behave like the others; one of them is tried.
@pytest.mark.parametrize("name", [*FOLDERS, "time_layers"])
def test_files_of_others_beside_ours_stay(written, world, tmp_path, name):
    """In a folder of theirs and in one of ours, whether refused or not."""
    out = tmp_path / "out"
    before = occupy(out, ["notes.txt", "snapshots/best_iter_9.caffemodel"])
    result = start(name, *SCRIPTS[name](world, out))
    assert holds(out, before)
    assert "Traceback" not in result.stderr
    if name in WHOLE:
        assert result.returncode == 2
        assert "contains other files" in result.stderr
    else:
        assert result.returncode == 0, result.stderr

    ours = shutil.copytree(written(name)[0], tmp_path / "ours", symlinks=True)
    known = tree(ours)
    before = occupy(ours, ["notes.txt", "images/mine.png", "snapshots/mine.txt"])
    result = start(name, *SCRIPTS[name](world, ours), *AGAIN.get(name, ()))
    assert holds(ours, {n: before[n] for n in before.keys() - known.keys()})
    assert "Traceback" not in result.stderr


# Scripts that write a whole folder or none, and the arguments that rewrite it.
WHOLE = ("make_phantom", "make_organs", "prepare", "export_lmdb", "export_model")
AGAIN = {"make_phantom": ("--seed", 5), "make_organs": ("--seed", 5)}
AGAIN |= {"train": ("--force",)}


@pytest.mark.parametrize(
    "name",
    # Their trainings name folders, which the copy is not.
    sorted({*FOLDERS, "time_layers"} - {"make_organs", "compare", "cross_validate"}),
)
def test_what_is_ours_is_written_again(written, world, tmp_path, name):
    """As in docs/: nobody has to remove files that the script itself wrote."""
    ours = shutil.copytree(written(name)[0], tmp_path / "ours", symlinks=True)
    done(start(name, *SCRIPTS[name](world, ours), *AGAIN.get(name, ())))


def test_what_we_wrote_and_somebody_changed_is_his(written, world, tmp_path):
    ours = shutil.copytree(written("export_model")[0], tmp_path / "ours")
    (ours / "README.md").write_text("A better card.")
    result = start("export_model", *SCRIPTS["export_model"](world, ours))
    assert result.returncode == 2
    assert "README.md" in result.stderr
    assert (ours / "README.md").read_text() == "A better card."
    # What the message says to do works.
    (ours / "README.md").rename(tmp_path / "mine.md")
    done(start("export_model", *SCRIPTS["export_model"](world, ours)))


def test_a_model_does_not_take_the_place_of_its_training(world):
    before = tree(world.run)
    result = start("export_model", *SCRIPTS["export_model"](world, world.run))
    assert result.returncode == 2
    assert "contains output of train" in result.stderr
    assert holds(world.run, before)


def test_a_photograph_is_not_replaced_by_its_picture(world, tmp_path):
    photo = shutil.copy(
        next((world.phantom / "images").iterdir()), tmp_path / "eye.png"
    )
    before = tree(tmp_path)
    words = ("--run", world.run, "--out", tmp_path, photo)
    result = start("predict", *words)
    assert result.returncode == 2
    assert "eye.png" in result.stderr
    assert holds(tmp_path, before)


def test_a_run_of_a_version_without_lists_goes_on(world, tmp_path):
    run = shutil.copytree(world.run, tmp_path / "run")
    for path in (run / "final.caffemodel", *run.glob("snapshots/*_iter_12.*")):
        path.unlink()
    (run / ownership.LIST).unlink()
    (run / "mine.txt").write_text("mine")
    words = SCRIPTS["train"](world, run)
    result = start("train", *words, "--force")
    assert result.returncode == 2
    assert (run / "snapshots/net_iter_6.solverstate").exists()
    done(start("train", *words, "--resume"))
    assert (run / "final.caffemodel").exists()
    assert (run / "mine.txt").read_text() == "mine"


def test_a_list_of_somebody_else_is_not_believed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    line = f"{ownership.sha256(path)}  a.json\n"
    (tmp_path / ownership.LIST).write_text(line)
    with pytest.raises(UserError, match=r"a\.json: this program did not write"):
        writing.write_text(path, "[]")
    with pytest.raises(UserError, match="not a file list of randrop"):
        writing.write_text(tmp_path / "b.json", "[]")
    assert (tmp_path / ownership.LIST).read_text() == line


def test_names_of_any_kind_are_listed(tmp_path):
    for name in ("two\nlines.txt", "back\\slash", "ö ü", "  ", "[a]*"):
        path = tmp_path / name
        writing.write_text(path, "1")
        writing.write_text(path, "2")
        path.write_text("3")
        with pytest.raises(UserError, match="did not write the existing file"):
            writing.write_text(path, "4")
        assert path.read_text() == "3"


def test_the_projects_own_results_are_safe_in_git(tmp_path, monkeypatch):
    for name in ("randrop", "other"):
        repository = tmp_path / name
        start_git = ("git", "-C", str(repository), "-c", "user.name=a", "-c")
        path = repository / "results/figures.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
            os.spawnvp(os.P_WAIT, "git", [*start_git, "user.email=a@b", *words])
    monkeypatch.setattr(ownership, "REPOSITORY", tmp_path / "randrop")
    assert ownership.is_ours(tmp_path / "randrop/results/figures.json")
    assert not ownership.is_ours(tmp_path / "other/results/figures.json")
    (tmp_path / "randrop/results/figures.json").write_text("{1}")
    assert not ownership.is_ours(tmp_path / "randrop/results/figures.json")


def test_every_script_is_in_the_table():
    """A new script is tried, too, if it writes anything."""
    only_reads = {"readme_tables", "patch_caffe", "build_caffe", "doctor"}
    names = {path.stem for path in (REPOSITORY / "scripts").glob("[!_]*.py")}
    assert names - only_reads == {name.split()[0] for name in (*SCRIPTS, *LONG)}
    assert all(pattern.startswith("snapshots/") for pattern in snapshots.PATTERNS)


@pytest.mark.parametrize("name", ["make_phantom", "export_lmdb", "export_model"])
@pytest.mark.parametrize("inside", ["snapshots", "masks", "masks/MA"])
def test_a_part_of_something_of_ours_is_not_replaced(
    written, world, tmp_path, inside, name
):
    """The list is in the folder above and names the script."""
    source = written("train" if inside == "snapshots" else "prepare")[0]
    ours = shutil.copytree(source, tmp_path / "ours", symlinks=True)
    before = tree(ours)
    result = start(name, *SCRIPTS[name](world, ours / inside))
    assert result.returncode == 2
    assert "choose a new folder" in result.stderr
    assert tree(ours) == before


def test_predictions_do_not_replace_what_prepare_wrote(written, world, tmp_path):
    """Maps do not replace masks, nor a picture its photograph."""
    ours = shutil.copytree(written("prepare")[0], tmp_path / "ours", symlinks=True)
    before = tree(ours)
    photo = next((ours / "images").iterdir())
    for words in (
        ("--data", ours, "--subset", "all", "--out", ours / "masks"),
        ("--out", ours / "images", "--threshold", 0.0001, photo),
    ):
        result = start("predict", "--run", world.run, *words)
        assert result.returncode == 2
        assert "prepare wrote" in result.stderr
        assert holds(ours, before)


def test_force_removes_only_what_the_training_wrote(written, world, tmp_path):
    ours = shutil.copytree(written("train")[0], tmp_path / "ours")
    snapshot = sorted((ours / "snapshots").glob("*.caffemodel"))[-1]
    mine = snapshot.with_name(f"{snapshot.stem}_good.caffemodel")
    shutil.copy(snapshot, mine)
    words = (*SCRIPTS["train"](world, ours), "--force")
    done(start("train", *words))
    assert mine.exists()
    # A finished log is an ordinary file: an edited one belongs to its editor.
    (ours / "log.txt").write_text("notes")
    result = start("train", *words)
    assert result.returncode == 2
    assert "log.txt" in result.stderr
    assert (ours / "log.txt").read_text() == "notes"
    # What the message says to do works.
    (ours / "log.txt").rename(tmp_path / "notes.txt")
    done(start("train", *words))


def test_files_of_the_project_are_no_place_for_results():
    """Except where its own results lie, which the commands in docs/ rewrite."""
    assert ownership.is_ours(REPOSITORY / "results" / "organs2d.md")
    assert not ownership.is_ours(REPOSITORY / "LICENSE")
    assert not ownership.is_ours(REPOSITORY / "scripts" / "train.py")


def test_a_link_to_a_folder_stays_a_link(world, tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to("big")
    done(start("make_phantom", *SCRIPTS["make_phantom"](world, tmp_path / "link")))
    assert (tmp_path / "link").is_symlink()
    assert any((tmp_path / "big").iterdir())


def test_of_two_that_build_one_folder_the_second_loses_nothing(tmp_path):
    folder = tmp_path / "set"
    with (
        pytest.raises(UserError, match="another program wrote"),
        writing.building(folder, "a") as mine,
    ):
        (mine / "mine.txt").write_text("mine")
        with writing.building(folder, "a") as theirs:
            (theirs / "theirs.txt").write_text("theirs")
    assert [path.name for path in folder.glob("*.txt")] == ["theirs.txt"]


def test_a_photograph_named_as_the_record_is_refused(world, tmp_path):
    photo = shutil.copy(
        next((world.phantom / "images").iterdir()), tmp_path / "prediction.png"
    )
    result = start("predict", "--run", world.run, "--out", tmp_path / "out", photo)
    assert result.returncode == 2
    assert "prediction.json" in result.stderr


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(UserError, match=f"{tmp_path / 'file'} is a file"),
            writing.output(folder, "train", ()),
        ):
            pass
