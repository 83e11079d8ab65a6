"""A command in shares: together as at once, whatever is stopped or replaced."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import REPOSITORY
from every_script import done, start

from randrop.cluster import shares
from randrop.files import ownership

SMALL = ("--model", "idrid-small", "--backend", "onnxruntime", "--list")


def predict(data, out, *more):
    words = ("--data", data, "--subset", "all", *SMALL, "--out", out, *more)
    return start("predict", *words)


def files(folder):
    """Content by name, without our lists and what has times in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".randrop")
        and path.name != "prediction.json"
    }


@pytest.fixture(scope="module")
def whole(phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    done(predict(phantom, out))
    return out


def record(out):
    content = json.loads((out / "prediction.json").read_text())
    return {k: v for k, v in content.items() if k != "seconds"}, content["seconds"]


def test_a_prediction_in_shares(phantom, whole, tmp_path):
    out = tmp_path / "out"
    for k in (2, 1, 3):
        done(predict(phantom, out, "--share", f"{k}/3"))
    assert not list(out.glob("*.png"))
    parts = {
        path: path.stat().st_mtime_ns for path in out.glob("shares/*/*/phantom_*.png")
    }
    assert len(parts) == 8
    # A share that is there already takes nothing from the time of the others.
    done(predict(phantom, out, "--share", "1/3"))
    assert all(path.stat().st_mtime_ns == when for path, when in parts.items())
    done(predict(phantom, out))
    assert files(out) == files(whole)
    assert record(out)[0] == record(whole)[0]
    assert list(record(out)[1]) == list(record(whole)[1])
    assert not (out / "shares").exists()
    assert all(ownership.is_ours(path) for path in out.glob("*.[jp]*"))


def test_what_is_missing_or_was_replaced_is_predicted(phantom, whole, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(phantom, data)
    done(predict(data, out, "--share", "1/2"))
    foreign = out / "shares/1-of-2/notes.txt"
    foreign.write_text("mine")
    first, last = sorted((data / "images").iterdir())[::3]
    first.write_bytes(last.read_bytes())
    done(predict(data, out))
    found, known = files(out), files(whole)
    assert found[f"MA/{first.stem}.png"] == known[f"MA/{last.stem}.png"]
    assert found[f"MA/{last.stem}.png"] == known[f"MA/{last.stem}.png"]
    # What is not ours stays where it is.
    assert [p for p in (out / "shares").rglob("*") if p.is_file()] == [foreign]


def test_shares_with_other_settings_do_not_count(phantom, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    done(predict(phantom, out, "--share", "1/1"))
    done(predict(phantom, out, "--flips"))
    done(predict(phantom, other, "--flips"))
    assert files(out) == files(other)


def test_a_photograph_that_cannot_be_read(phantom, tmp_path):
    """Fails in its share, and in the end; the others are there."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(phantom, data)
    broken = sorted((data / "images").iterdir())[1]
    good = broken.read_bytes()
    broken.write_bytes(b"no picture")
    assert predict(data, out, "--share", "2/2").returncode == 2
    done(predict(data, out, "--share", "1/2"))
    result = predict(data, out)
    assert result.returncode == 2
    assert "1 of 4 photograph(s) failed" in result.stderr
    assert len(list(out.glob("MA/*.png"))) == 3
    broken.write_bytes(good)
    done(predict(data, out))
    assert record(out)[0]["complete"]
    assert not (out / "shares").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shares_that_cannot_be(phantom, tmp_path, text):
    result = predict(phantom, tmp_path / "out", f"--share={text}")
    assert result.returncode == 2
    assert "give K/N, as 1/4" in result.stderr
    assert not (tmp_path / "out").exists()


def test_more_shares_than_photographs(phantom, tmp_path):
    done(predict(phantom, tmp_path / "out", "--share", "9/9"))
    assert not (tmp_path / "out").exists()


# --- Landscapes

POINTS = ("--images", 2, "--points", 3, "--workers", 1)


def landscape(run, out, *more):
    return start("surface landscape", "--run", run, *POINTS, "--out", out, *more)


def test_a_landscape_in_shares(surface_run, tmp_path):
    out, whole = tmp_path / "a.h5", tmp_path / "whole.h5"
    more = ("--hessian", 1)
    done(landscape(surface_run, whole, *more))
    done(landscape(surface_run, out, *more, "--share", "1/2"))
    assert not out.exists()
    journal = tmp_path / "a.shares/1-of-2/a.h5.points"
    lines = journal.read_text().splitlines()
    assert len(lines) == 1 + 5 + 1
    # Killed in the middle of a line, and continued.
    journal.write_text("\n".join([*lines[:3], lines[3][:9]]))
    done(landscape(surface_run, out, *more, "--share", "1/2"))
    done(landscape(surface_run, out, *more))
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == [
        *("a.h5", "whole.h5")
    ]


def test_shares_of_another_landscape_are_refused(surface_run, tmp_path):
    out = tmp_path / "a.h5"
    done(landscape(surface_run, out, "--share", "1/2"))
    result = landscape(surface_run, out, "--seed", 2)
    assert result.returncode == 2
    assert "a.h5.points holds another landscape (" in result.stderr
    assert "seed 1 -> 2)" in result.stderr
    done(landscape(surface_run, out, "--seed", 2, "--force"))


def test_a_share_at_work_is_not_read(surface_run, tmp_path):
    out = tmp_path / "a.h5"
    words = ("--run", surface_run, "--images", 2, "--points", 200, "--workers", 1)
    script = REPOSITORY / "scripts/surface.py"
    command = (sys.executable, script, "landscape", *words, "--out", out)
    share = subprocess.Popen([str(w) for w in (*command, "--share", "1/2")])
    try:
        journal = tmp_path / "a.shares/1-of-2/a.h5.points"
        until = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
        result = start("surface landscape", *words, "--out", out)
        assert result.returncode == 2
        assert "another surface.py landscape is writing" in result.stderr
    finally:
        share.send_signal(signal.SIGTERM)
        share.wait()


# --- Evaluation in several processes


def test_an_evaluation_by_several_processes(phantom, whole, tmp_path):
    words = ("--probabilities", whole, "--data", phantom, "--subset", "all")
    for workers in (1, 3):
        out = tmp_path / f"{workers}"
        done(start("evaluate", *words, "--workers", workers, "--out", out))
    one, three = (files(tmp_path / name) for name in "13")
    del one["report.html"], three["report.html"]
    assert one == three
    broken = tmp_path / "maps"
    shutil.copytree(whole, broken)
    next(iter(sorted(broken.glob("MA/*.png")))).write_bytes(b"no map")
    words = (*words[2:], "--probabilities", broken, "--out", tmp_path / "b")
    result = start("evaluate", *words, "--workers", 2)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_progress_is_what_grows(tmp_path):
    def now():
        return shares.progress("predict", (), tmp_path)

    before = now()
    (tmp_path / "predict.out").write_text("says much")
    assert now() == before
    (tmp_path / "a.png").write_bytes(np.zeros(3).tobytes())
    assert now() != before
