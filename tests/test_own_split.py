"""The photographs that a training held out, after its folder or its data moved."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import every_script
import pytest
import small_unet

from randrop.data import read_dataset
from randrop.data.datasets import names_digest
from randrop.errors import UserError
from randrop.files import split_file
from randrop.prediction import networks
from randrop.training import continuing

SETTINGS = {
    **{"lesions": ["MA", "HE"], "net": "unet", "loss": "random-drop:LOG"},
    **{"iterations": 9, "batch": 2, "patch": 64, "base_channels": 4, "depth": 3},
    **{"lr": 0.001, "lesion_share": 0.5, "seed": 1, "prior": 0.01},
}


@pytest.fixture(scope="module")
def made(caffe, tmp_path_factory):
    """A data set whose own split is not the one of the trainings."""
    folder = tmp_path_factory.mktemp("own_split")
    data = small_unet.write_data(folder / "data", count=6)
    names = sorted(case.name for case in read_dataset(data).subset("all"))
    write(data / "split.json", names[2:], names[:2])
    run = small_unet.write_run(caffe, folder / "run")
    return SimpleNamespace(data=data, names=names, run=run)


@pytest.fixture
def world(made, tmp_path):
    """The first of the trainings of `OUT/fold1` and `OUT/fold2`, and its data."""
    data = shutil.copytree(made.data, tmp_path / "data")
    for fold, held_out in (("fold1", made.names[2:4]), ("fold2", made.names[4:])):
        run = shutil.copytree(made.run, tmp_path / f"out/{fold}/run")
        split = run.parent / "split.json"
        write(split, sorted({*made.names} - {*held_out}), held_out)
        own = SETTINGS | {"data": str(data), "split": str(split)}
        own["split_sha256"] = split_file.digest(split)
        (run / "run.json").write_text(json.dumps(own))
    return SimpleNamespace(
        folder=tmp_path,
        data=data,
        run=tmp_path / "out/fold1/run",
        held_out=made.names[2:4],
    )


def write(path, train, validation):
    path.write_text(json.dumps({"train": train, "validation": validation}))


def held_out(run, data):
    """Return the photographs that commands take for those that a run held out."""
    split = networks.split_of(networks.read_run(run), data)
    return sorted(case.name for case in read_dataset(data, split).subset("validation"))


def predicted(run, *words):
    out = run.parent / "maps"
    every_script.done(every_script.start("predict", "--run", run, *words, "--out", out))
    record = json.loads((out / "prediction.json").read_text())
    return sorted(record["seconds"])


def of_earlier(run):
    """Make a run one of an earlier version, which wrote no SHA-256 of its split."""
    facts = json.loads((run / "run.json").read_text())
    del facts["split_sha256"]
    (run / "run.json").write_text(json.dumps(facts))


def another(fold, run):
    """Write a cross-validation whose fold holds out what this one was trained on."""
    fold.mkdir(parents=True)
    content = json.loads((run.parent / "split.json").read_text())
    write(fold / "split.json", content["validation"], content["train"])


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("move_data", [False, True])
@pytest.mark.parametrize("moved", ["", "run", "replaced"])
def test_what_moved_is_still_measured_on_held_out_photographs(
    world, moved, move_data, earlier
):
    """Data, trainings, and another cross-validation where they were."""
    run, data = world.run, world.data
    if earlier:
        of_earlier(run)
    if move_data:
        data = world.data.rename(world.folder / "elsewhere")
    if moved:
        run = world.run.parents[1].rename(world.folder / "kept") / "fold1/run"
    if moved == "replaced":
        another(world.folder / "out/fold1", run)
    assert held_out(run, data) == world.held_out


def test_folds_that_change_their_names(world):
    out = world.folder / "out"
    (out / "fold1").rename(out / "fold3")
    (out / "fold2").rename(out / "fold1")
    (out / "fold3").rename(out / "fold2")
    assert held_out(out / "fold2/run", world.data) == world.held_out
    other = sorted({"eye4", "eye5"})
    assert held_out(out / "fold1/run", world.data) == other
    (out / "fold1").rename(world.folder / "first")
    assert held_out(world.folder / "first/run", world.data) == other


def test_a_run_that_is_a_link_to_another_disk(world):
    (world.folder / "disk").mkdir()
    world.run.rename(world.folder / "disk/run")
    kept = world.run.parents[1].rename(world.folder / "kept") / "fold1/run"
    kept.symlink_to(world.folder / "disk/run")
    another(world.folder / "out/fold1", kept)
    assert held_out(kept, world.data) == world.held_out


@pytest.mark.parametrize("change", ["copied alone", "in another fold", "edited"])
def test_a_split_of_something_else_is_refused(world, change):
    run, split = world.run, world.run.parent / "split.json"
    if change == "copied alone":
        run = shutil.copytree(run, world.folder / "alone/run")
    if change == "in another fold":
        run = world.folder / "out/fold2/run"
        shutil.rmtree(run)
        shutil.move(world.run, run)
    write(split, ["eye1", "eye2"], ["eye0"])
    with pytest.raises(UserError, match=r"has other names than the split.*--split"):
        held_out(run, world.data)
    assert predicted(run, "--split", split) == ["eye0"]
    # Nor does a training go on there as if it were its own.
    own = world.folder / "out/fold2/split.json"
    settings = networks.read_run(run) | {
        "split": str(own),
        "split_sha256": split_file.digest(own),
    }
    with pytest.raises(UserError, match="split_sha256"):
        continuing.same_settings(run, settings)


def test_the_names_of_a_split_count_and_not_its_layout(world):
    split = world.run.parent / "split.json"
    content = json.loads(split.read_text())
    content["train"].reverse()
    split.write_text(json.dumps(content, indent=7))
    assert held_out(world.run, world.data) == world.held_out


@pytest.mark.parametrize("moves", [("data",), ("data", "run")])
def test_predict_and_evaluate_after_a_move(world, moves):
    data = world.data.rename(world.folder / "elsewhere")
    run = world.run
    if "run" in moves:
        run = world.run.parents[1].rename(world.folder / "kept") / "fold1/run"
    assert predicted(run, "--data", data) == world.held_out
    maps, out = run.parent / "maps", run.parent / "evaluation"
    words = ("--probabilities", maps, "--data", data, "--run", run, "--out", out)
    result = every_script.done(every_script.start("evaluate", *words))
    assert str(run.parent / "split.json") in result.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert sorted(metrics["images"]) == world.held_out


def test_other_photographs_have_their_own_split(made, world, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(made.data, other)
    for path in sorted(other.rglob("eye*")):
        path.rename(path.with_name(path.name.replace("eye", "patient")))
    names = [name.replace("eye", "patient") for name in made.names]
    write(other / "split.json", names[1:], names[:1])
    assert held_out(world.run, other) == names[:1]


def test_a_training_without_a_split_takes_that_of_the_data(made, world):
    facts = networks.read_run(world.run) | {"split": None}
    known = names_digest(read_dataset(world.data))
    # Earlier versions wrote no SHA-256 of it.
    for digest in (known, None):
        own = facts | {"split_sha256": digest}
        assert networks.split_of(own, world.data) is None
        assert networks.split_of(own, made.data) is None
    with pytest.raises(UserError, match=r"another split than at the training.*--split"):
        networks.split_of(facts, world.data)


def test_a_part_of_the_photographs_needs_a_word(world):
    part = shutil.copytree(world.data, world.folder / "part")
    for path in part.rglob("eye5*"):
        path.unlink()
    write(part / "split.json", ["eye2", "eye3", "eye4"], ["eye0", "eye1"])
    with pytest.raises(UserError, match=r"has 3 photographs .* --subset unseen"):
        held_out(world.run, part)
    split = world.folder / "unseen.json"
    split.write_text('{"unseen": ["eye2", "eye3"]}')
    words = ("--data", part, "--split", split, "--subset", "unseen")
    assert predicted(world.run, *words) == ["eye2", "eye3"]


@pytest.mark.parametrize("moved", [False, True])
def test_a_split_that_is_gone_is_named_with_what_helps(world, moved):
    split = world.run.parent / "split.json"
    away = split.rename(world.folder / "away.json")
    data = world.data.rename(world.folder / "there") if moved else world.data
    with pytest.raises(UserError, match=r"split\.json.* is missing.*--split"):
        held_out(world.run, data)
    words = ("--data", data, "--split", away)
    assert predicted(world.run, *words) == world.held_out


def test_a_split_beside_a_run_is_not_its_own_for_its_name_alone(world):
    """`train.py --split here/split.json --out there/run`."""
    split = world.run.parent / "split.json"
    other = shutil.copytree(world.run, world.folder / "mine/run")
    write(world.folder / "mine/split.json", ["eye0"], ["eye1"])
    assert Path(networks.read_run(other)["split"]) == split


def test_a_photograph_that_is_gone_is_named_with_what_helps(world):
    name, *rest = world.held_out
    for path in world.data.glob(f"**/{name}*"):
        path.unlink()
    with pytest.raises(UserError, match=rf"'{name}'.*bring it back.*--split"):
        held_out(world.run, world.data)
    unseen = world.folder / "unseen.json"
    unseen.write_text(json.dumps({"train": ["eye0"], "validation": rest}))
    assert predicted(world.run, "--data", world.data, "--split", unseen) == rest
