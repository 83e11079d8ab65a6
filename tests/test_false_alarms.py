"""From maps to a file of false alarms, and from there to a training."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from small_training import run as train

from randrop.data import read_dataset
from randrop.evaluation.false_alarms import find
from randrop.files import write_json
from randrop.prediction import maps

SCRIPT = REPOSITORY / "scripts" / "find_false_alarms.py"


def blank_maps(folder, cases, lesions=("MA", "HE")):
    """Maps of zeros, which tests then write into."""
    found = {}
    for case in cases:
        for lesion in lesions:
            found[case.name, lesion] = np.zeros(case.size(), np.float32)
    return found


def write(folder, content):
    for (name, lesion), probability in content.items():
        maps.write_map(maps.path_of(folder, lesion, name), probability)


def place(case, lesion, inside):
    """The first pixel (x, y) in a mask, or one far from all lesions."""
    mask = case.masks((lesion,))[0]
    y, x = np.argwhere(mask == 1)[0] if inside else (4, 4)
    assert mask[y, x] == inside
    return int(x), int(y)


def test_false_alarms_are_the_peaks_outside_all_lesions_of_their_type(
    phantom, tmp_path
):
    cases = read_dataset(phantom).subset("train")[:2]
    content = blank_maps(tmp_path, cases)
    (x, y), far = place(cases[0], "MA", True), place(cases[0], "MA", False)
    content[cases[0].name, "MA"][y, x] = 0.9
    content[cases[0].name, "MA"][far[1], far[0]] = 0.6
    # A microaneurysm is a false alarm for haemorrhages, where no mask has one.
    here = cases[0].masks(("MA", "HE"))
    only = np.argwhere((here[0] == 1) & (here[1] == 0))[0]
    content[cases[0].name, "HE"][tuple(only)] = 0.8
    content[cases[1].name, "HE"][4, 4] = 0.05
    write(tmp_path, content)
    found = find(cases, ("MA", "HE"), tmp_path, least=0.1)["photographs"]
    assert found[cases[0].name]["size"] == list(cases[0].size())
    assert found[cases[0].name]["alarms"] == [
        {"type": "MA", "x": 4, "y": 4, "probability": pytest.approx(0.6, abs=1e-4)},
        {
            **{"type": "HE", "x": int(only[1]), "y": int(only[0])},
            "probability": pytest.approx(0.8, abs=1e-4),
        },
    ]
    assert found[cases[1].name]["alarms"] == []


def test_the_most_probable_ones_are_kept(phantom, tmp_path):
    (case,) = read_dataset(phantom).subset("train")[:1]
    content = blank_maps(tmp_path, [case])
    for k, x in enumerate(range(2, 42, 8)):
        content[case.name, "MA"][2, x] = 0.2 + 0.1 * k
    write(tmp_path, content)
    alarms = find([case], ("MA",), tmp_path, most=2)["photographs"][case.name]["alarms"]
    assert [round(a["probability"], 2) for a in alarms] == [0.6, 0.5]


def test_none_at_all_is_said_before_a_training_finds_it(phantom, tmp_path):
    cases = read_dataset(phantom).subset("train")
    write(tmp_path / "maps", blank_maps(tmp_path, cases))
    out = tmp_path / "alarms.json"
    words = ("--probabilities", tmp_path / "maps", "--data", phantom, "--out", out)
    result = script(*words, "--lesions", "MA", "HE")
    assert result.returncode == 2
    assert "no false alarm of at least 0.1: give a smaller --least" in result.stderr
    assert not out.exists()


def script(*words):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_training_uses_the_file_and_all_other_options(caffe, phantom, tmp_path):
    """One photograph has no lesion; run.json has what was given."""
    data = shutil.copytree(phantom, tmp_path / "data")
    for path in data.glob("masks/*/phantom_0001*"):
        path.unlink()
    cases = read_dataset(data).subset("train")
    content = blank_maps(tmp_path, cases)
    for probability in content.values():
        probability[4, 4] = 0.7
    write(tmp_path / "maps", content)
    out = tmp_path / "alarms.json"
    arguments = ("--probabilities", tmp_path / "maps", "--data", data, "--out", out)
    result = script(*arguments)
    assert result.returncode == 2
    assert "give the --lesions to look at" in result.stderr
    result = script(*arguments, "--lesions", "MA", "HE")
    assert result.returncode == 0, result.stderr
    assert "MA: 3 false alarms of at least 0.1 in 3 photographs" in result.stderr
    options = {
        **{"lesion_draw": "lesion", "lesion_share": 0.4, "healthy_share": 0.2},
        **{"false_alarms": str(out), "false_alarm_share": 0.2, "paste": 1.0},
        **{"colour": 0.1, "blur": 1.0, "noise": 0.2},
    }
    words = [
        word
        for name, value in options.items()
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    result = train(data, tmp_path / "run", *words)
    assert result.returncode == 0, result.stderr
    settings = json.loads((tmp_path / "run/run.json").read_text())
    assert {name: settings[name] for name in options} == options
    # What does not fit is refused before anything is written.
    write_json(out, json.loads(out.read_text()) | {"photographs": {}})
    result = train(data, tmp_path / "other", *words)
    assert result.returncode == 2
    assert "has no false alarm of MA, HE in these 3 photograph(s)" in result.stderr
    assert not (tmp_path / "other").exists()


def test_another_json_file_stays(phantom, tmp_path):
    out = tmp_path / "alarms.json"
    out.write_text('{"mine": 1}')
    result = script("--probabilities", tmp_path, "--data", phantom, "--out", out)
    assert result.returncode == 2
    assert "did not write the existing file" in result.stderr
