"""The fault-finding programs: a few cases of each, and that they do find faults."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import faults
import fuzz
import numpy as np
import pytest
import tried

HERE = Path(__file__).parent


def run(program, *words):
    words = [sys.executable, str(HERE / f"{program}.py"), *map(str, words)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_is_what_the_program_writes():
    runs = json.loads(tried.RESULTS.read_text())
    assert tried.PAGE.read_text() == tried.page(runs), "run tests/tried.py"


def test_a_few_layers_and_files(caffe, tmp_path):
    results = tmp_path / "tried.json"
    said = run("fuzz", "--seed", 7, "--count", 60, "--nets", 2, "--tried", results)
    assert "0 faults" in said
    # Valid and invalid ones of both.
    for ends in (
        "file refused",
        "layer refused, twin refused",
        "layer taken, twin taken",
    ):
        assert int(re.search(rf"(\d+) [a-z, ]*{ends}", said)[1]) > 2
    layers, nets = json.loads(results.read_text())
    assert (layers["cases"], layers["faults"], layers["seed"]) == (60, 0, 7)
    assert nets["cases"] == 2
    assert f"| {layers['what']} | 1 | 60 | 0 |" in tried.page([layers, nets])


def test_a_training_that_is_killed(caffe, tmp_path):
    results = tmp_path / "tried.json"
    said = run("faults", "--kinds", "kill-train", "--tried", results)
    assert "1 cases: 1 kill-train; 0 faults" in said
    assert "ok: build/venv/bin/python tests/faults.py --seed 1 --kinds kill-train" in (
        said
    )
    assert json.loads(results.read_text())[0]["cases"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "damaged"), [(4, 1), pytest.param(8, 2, marks=pytest.mark.thorough)]
)
def test_a_few_faults(caffe, count, damaged):
    said = run("faults", "--seed", 2, "--count", count)
    assert "; 0 faults" in said
    assert f"{damaged} damaged" in said


def test_the_line_of_a_case_repeats_it():
    for seed in range(20):
        assert repr(fuzz.drawn(fuzz.layers(), seed)) == repr(
            fuzz.drawn(fuzz.layers(), seed)
        )


@pytest.mark.parametrize(
    ("reads", "found"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda _: os.kill(os.getpid(), signal.SIGKILL), "status -9"),
        (lambda _: os._exit(5), "status 5"),
    ],
)
def test_a_reader_that_fails_is_found(tmp_path, monkeypatch, reads, found):
    import test_documents

    monkeypatch.setattr(test_documents, "KINDS", {"a.json": ({"b": 1}, reads)})
    wrong, _ = fuzz.try_file(tmp_path, 3, {"a.png": (b"abcdef", reads)})
    assert found in wrong


def test_a_twin_that_differs_is_found():
    rng = np.random.default_rng(0)
    grad = rng.normal(0, 1, 50)
    one = {"loss": 2.0, "grad": grad}
    assert fuzz.differs(one, one) is None
    assert "loss 2, of the twin 2.01" in fuzz.differs(one, one | {"loss": 2.01})
    for value in (2 * grad[7], np.nan, np.inf, 0):
        other = grad.copy()
        other[7] = value
        assert "at 7 of 50" in fuzz.differs(one, one | {"grad": other})


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("1 / 0", "Traceback"),
        ("import os; os.abort()", "status -6"),
        ("raise SystemExit(2)", "status 2"),
        ("raise SystemExit('error: no')", "status 1"),
    ],
)
def test_a_script_that_fails_is_found(code, why):
    with pytest.raises(faults.Fault, match=why):
        faults.execute([sys.executable, "-c", code])


def test_a_script_that_fails_after_a_kill_is_found(tmp_path, monkeypatch):
    """Its second run must succeed."""
    mark = tmp_path / "mark"
    code = f"import os, time; os.mkdir({str(mark)!r}); time.sleep(9)"
    monkeypatch.setattr(
        faults, "words_of", lambda *_: [sys.executable, "-c", code]
    )  # fmt: skip
    with pytest.raises(faults.Fault, match="FileExistsError"):
        faults.Cases.kill(
            type("World", (), {"world": None}), random.Random(0), tmp_path
        )
