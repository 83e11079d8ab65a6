"""Damaged snapshots and weights: every flipped bit and every cut is found."""

import io
import json
import random
import shutil
import subprocess

import numpy as np
import pytest
from every_script import ABOUT, done, start
from small_training import run, weights

from randrop.errors import UserError
from randrop.training import snapshots

MORE = ("--snapshot", 6)


@pytest.fixture(scope="module")
def trained(caffe, phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    done(run(phantom, out, *MORE))
    return out


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def flip(path, at):
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at // 8] ^= 1 << at % 8
    path.write_bytes(content)


def state(folder, iteration):
    return folder / f"snapshots/net_iter_{iteration}.solverstate"


def test_digests_are_those_that_sha256sum_reads(trained):
    for folder, names in ((trained / "snapshots", (6, 12)), (trained, ("final",))):
        for name in names:
            beside = f"net_iter_{name}.sha256" if name != "final" else "final.sha256"
            words = ["sha256sum", "--strict", "-c", beside]
            result = subprocess.run(words, cwd=folder, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            assert result.stdout.count("OK") == (1 if name == "final" else 2)


@pytest.mark.parametrize("suffix", [".caffemodel", ".solverstate"])
def test_every_flipped_bit_and_every_cut_is_found(copy, suffix):
    path = state(copy, 12).with_suffix(suffix)
    whole, draw = path.read_bytes(), random.Random(suffix)
    assert snapshots.is_sealed(state(copy, 12)) is True
    for at in draw.sample(range(8 * len(whole)), 400):
        flip(path, at)
        assert snapshots.is_sealed(state(copy, 12)) is False, at
        flip(path, at)
    for length in draw.sample(range(len(whole)), 400):
        path.write_bytes(whole[:length])
        assert snapshots.is_sealed(state(copy, 12)) is False, length
    path.write_bytes(whole)
    assert snapshots.is_sealed(state(copy, 12)) is True
    for at in draw.sample(range(8 * len(whole)), 3):
        flip(path, at)
        assert snapshots.newest(copy) == state(copy, 6)
        flip(path, at)


def test_without_a_digest_no_state_that_is_cut_is_whole(copy):
    """The files that a kill leaves before a digest is written."""
    path = state(copy, 12)
    whole = path.read_bytes()
    path.with_suffix(".sha256").unlink()
    lengths = random.Random(0).sample(range(len(whole)), 200)
    for length in {*lengths, *range(len(whole) - 20, len(whole))}:
        path.write_bytes(whole[:length])
        assert not snapshots.is_whole(path), length
    path.write_bytes(whole)
    assert snapshots.is_whole(path)


def test_a_digest_that_is_damaged_vouches_for_nothing(copy):
    path = state(copy, 12).with_suffix(".sha256")
    flip(path, 3)
    assert snapshots.newest(copy) == state(copy, 6)
    path.write_bytes(b"")
    assert snapshots.newest(copy) == state(copy, 6)


def test_a_snapshot_without_a_digest_comes_after_those_with(copy, caplog):
    state(copy, 12).with_suffix(".sha256").unlink()
    assert snapshots.newest(copy) == state(copy, 6)
    assert "net_iter_12.solverstate has no digest file" in caplog.text
    state(copy, 6).with_suffix(".sha256").unlink()
    assert snapshots.newest(copy) == state(copy, 12)
    assert "accepted, because it can be read completely" in caplog.text


def test_a_digest_is_written_when_both_files_are_complete(copy):
    log = "I1124 18:00:00.0 1 solver.cpp:464] Snapshotting "
    log_lines = (
        f"{log}to binary proto file {state(copy, 12).with_suffix('.caffemodel')}",
        f"{log}solver state to binary proto file {state(copy, 12)}",
    )
    whole, beside = state(copy, 12).read_bytes(), state(copy, 12).with_suffix(".sha256")
    sealer = snapshots.Sealer(copy)
    sealer.read(log_lines[0])
    assert not beside.exists()
    state(copy, 12).write_bytes(whole[:-1])
    sealer.read(log_lines[1])
    sealer.read("a line of another thread, while caffe writes")
    assert not beside.exists()
    state(copy, 12).write_bytes(whole)
    sealer.read("the next line")
    assert snapshots.is_sealed(state(copy, 12)) is True


@pytest.mark.parametrize("name", ["two\nlines", "two\r\nlines", "ends \n"])
def test_a_folder_with_line_breaks_in_its_name(copy, tmp_path, name):
    run = copy.rename(tmp_path / name)
    beside = state(run, 12).with_suffix(".sha256")
    before = beside.read_text()
    beside.write_text("of an earlier training")
    log = "I1124 18:00:00.0 1 solver.cpp:464] Snapshotting "
    lines = (
        f"{log}to binary proto file {state(run, 12).with_suffix('.caffemodel')}\n"
        f"{log}solver state to binary proto file {state(run, 12)}\nthe next line\n"
    )
    sealer = snapshots.Sealer(run)
    for line in io.StringIO(lines, newline=None):
        sealer.read(line.rstrip())
    assert beside.read_text() == before


def test_the_newest_is_damaged_and_the_training_goes_on(caffe, copy, phantom):
    """Bit-identical to an undisturbed training."""
    before = weights(caffe, copy / "final.caffemodel")
    (copy / "final.caffemodel").unlink()
    flip(state(copy, 12), 8000)
    result = done(run(phantom, copy, *MORE, "--resume"))
    assert "net_iter_12.solverstate or its .caffemodel is damaged" in result.stderr
    np.testing.assert_array_equal(weights(caffe, copy / "final.caffemodel"), before)
    assert snapshots.is_sealed(state(copy, 12)) is True


def test_all_are_damaged_and_what_the_message_says_works(copy, phantom, tmp_path):
    (copy / "final.caffemodel").unlink()
    for iteration in (6, 12):
        flip(state(copy, iteration), 8000)
    stopped = run(phantom, copy, *MORE)
    assert (
        "continue with --resume, or train from scratch with --force" in stopped.stderr
    )
    result = run(phantom, copy, *MORE, "--resume")
    assert result.returncode == 2
    assert "move that folder away, or train from scratch with --force" in result.stderr
    other = shutil.copytree(copy, tmp_path / "other")
    done(run(phantom, copy, *MORE, "--force"))
    (other / "snapshots").rename(tmp_path / "away")
    done(run(phantom, other, *MORE))


def test_damaged_weights_are_refused_everywhere(copy, phantom, tmp_path):
    final = copy / "final.caffemodel"
    whole = final.read_bytes()
    about = tmp_path / "about.json"
    about.write_text(json.dumps(ABOUT))
    flip(final, random.Random(1).randrange(8 * len(whole)))
    out = ("--out", tmp_path / "out")
    for backend in ("caffe", "opencv"):
        words = ("--run", copy, "--data", phantom, "--backend", backend, *out)
        result = start("predict", *words)
        assert result.returncode == 2
        assert "final.caffemodel is damaged" in result.stderr
    result = start("export_model", "--run", copy, "--about", about, *out)
    assert result.returncode == 2
    assert "final.caffemodel is damaged" in result.stderr
    result = run(phantom, tmp_path / "new", "--weights", final)
    assert result.returncode == 2
    assert "final.caffemodel is damaged" in result.stderr
    assert not (tmp_path / "out").exists()
    # The training is not finished, either; following the message completes it.
    result = run(phantom, copy, *MORE)
    assert result.returncode == 2
    assert "final.caffemodel is damaged" in result.stderr
    final.rename(tmp_path / "away")
    done(run(phantom, copy, *MORE, "--resume"))
    assert final.read_bytes() == whole


def test_a_damaged_snapshot_is_not_drawn(copy, tmp_path):
    flip(copy / "snapshots/net_iter_6.caffemodel", 9000)
    result = start("show_kept", "--run", copy, "--out", tmp_path / "kept.png")
    assert result.returncode == 2
    assert "net_iter_6.caffemodel is damaged" in result.stderr


def test_a_model_knows_its_weights(copy, phantom, tmp_path):
    settings = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(settings | {"weights_sha256": "0" * 64}))
    out = ("--data", phantom, "--out", tmp_path / "out")
    result = start("predict", "--run", copy, *out)
    assert result.returncode == 2
    assert "belongs to another model" in result.stderr


def test_no_snapshot_at_all(tmp_path):
    with pytest.raises(UserError, match="omit --resume"):
        snapshots.newest(tmp_path)
