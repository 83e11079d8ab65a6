"""The figures in README and docs/ match the files in results/ and models/."""

import json
import re

import pytest
from conftest import REPOSITORY

import readme_tables
from randrop.errors import UserError

PAGES = {path: path.read_text() for path in readme_tables.pages()}


def test_the_pages_say_what_was_measured():
    assert readme_tables.main(["--check"]) == 0
    for name in readme_tables.TABLES:
        assert any(f"\n<!-- table {name} -->\n" in t for t in PAGES.values()), name


@pytest.mark.parametrize("name", readme_tables.TABLES)
def test_a_figure_that_was_never_measured_is_found(tmp_path, name):
    pattern = rf"^(<!-- table {name} -->\n.*?)(\w)(\W*<!-- end -->)$"
    text = next(t for t in PAGES.values() if re.search(f"^<!-- table {name} ", t, re.M))
    changed = tmp_path / "README.md"
    wrong, count = re.subn(pattern, r"\g<1>9\2\3", text, flags=re.DOTALL | re.M)
    assert count == 1
    changed.write_text(wrong)
    with pytest.raises(UserError, match="differ from results/"):
        readme_tables.main(["--check", "--pages", str(changed)])
    assert readme_tables.main(["--pages", str(changed)]) == 0
    assert changed.read_text() == text


def test_another_measurement_changes_the_table(tmp_path):
    """And the lists that replace sentences: what is faster, what is worse."""
    runs = json.loads((REPOSITORY / "results/bench_inference.json").read_text())
    for run in runs["runs"]:
        run["seconds"] = 1.0 if run["contender"] == "caffe" else 2.0
    made = readme_tables.TABLES["inference-notes"][1](runs)
    assert made.splitlines() == [
        "- Faster than ours: Caffe's own layers (0.50 of our time).",
        "- Slower: none.",
    ]
    content = json.loads((REPOSITORY / "results/idrid_losses.json").read_text())
    for row in content["photographs"].values():
        for cell in row.values():
            cell["difference_interval"] = [-0.1, 0.1]
    made = readme_tables.TABLES["idrid-verdict"][1](content)
    assert "**worse than `cross-entropy`**: none;" in made
    assert "better: none." in made


def test_other_trainings_change_what_a_protocol_shows():
    """Groups follow the intervals and the number of folds, not the means."""

    def cell(difference, interval, better=0, common=3):
        return {
            **{"mean": 0.9, "interval": None, "difference": difference},
            **{"difference_interval": interval, "better": better, "common": common},
            "calibration": {"sum_ratio": 10 * difference},
        }

    losses = {
        "plain": {
            "MA": {
                **{"mean": 0.25, "interval": [0.1, 0.4]},
                "calibration": {"sum_ratio": 1},
            }
        },
        "a": {"MA": cell(0.1, [0.05, 0.2], 3)},
        "b": {"MA": cell(0.3, [-0.1, 0.5], 2)},
        "c": {"MA": cell(-0.1, [-0.2, -0.05])},
        "d": {"MA": cell(0.5, [0.4, 0.6], 2, 2)},
        "e": {"MA": cell(0.2, [0.1, 0.3], 4, 5)},
    }
    content = {
        "protocol": {"reference": "plain", "lesions": ["MA"]},
        "losses": losses,
        "done": {"plain": [5, 5], "d": [2, 3]},
    }
    make = readme_tables.TABLES["protocol-verdict"][1]
    assert make(content).splitlines() == [
        "- MA: `plain` has 0.250 [0.100, 0.400]. Better: `e` by +0.200 [+0.100, "
        "+0.300], on 4 of 5 folds; by less, `a`. No difference shown: `b`. Worse: "
        "`c`. Fewer than 3 folds, too few to judge: `d`. The probabilities of `e` add "
        "up to 2.0 times the pixels of MA, those of `plain` to 1.0 times.",
        "- 7 of 8 trainings are done; other losses have no figure yet.",
    ]
    content["losses"] = {"plain": losses["plain"], "c": losses["c"]}
    content["done"]["d"] = [3, 3]
    assert make(content) == "- MA: `plain` has 0.250 [0.100, 0.400]. Worse: `c`."


def test_other_recordings_change_what_is_said_of_confidence():
    content = json.loads((REPOSITORY / "results/discs.json").read_text())
    make = readme_tables.TABLES["discs-agreement"][1]
    assert "**As there**: none." not in make(content)
    for n, run in enumerate(content["recordings"]):
        disc, steps = run["channels"]["OD"], len(run["iterations"])
        disc["confidence_foreground"] = [0.1 + 0.1 * n] * steps
        disc["binary_iou"] = [None] * (steps - 1) + [0.1]
        disc["average_precision"] = [0.0] * n + [1.0] * (steps - n)
    content["recordings"][-1]["channels"]["OD"]["binary_iou"][-1] = 0.9
    first, second, *_ = (x["iterations"] for x in content["recordings"])
    made = make(content)
    assert "**As there**: none." in made
    assert (
        "foreground**, γ = 0, 1, 2, 3 and 5: rises at each step (0.100, 0.400" in made
    )
    assert "**Slower with a larger γ?** Not here: with γ = 0" in made
    assert f"reaches 0.98 at iteration {first[0]}, {second[3]}, " in made
    assert f"0.8 at iteration never, never, never, never, {first[-1]}." in made
    content["recordings"][-1]["channels"]["OD"]["binary_iou"][-1] = None
    content["recordings"][0]["channels"]["OD"]["binary_iou"][-1] = 0.9
    assert "Here, too: with γ = 0" in make(content)


def test_other_recordings_change_which_losses_say_lesion_too_often():
    content = json.loads((REPOSITORY / "results/lesion_confidence.json").read_text())
    for n, run in enumerate(content["recordings"]):
        for lesion in run["channels"].values():
            share = lesion["foreground_share"]
            # One says lesion three times too often, one never, the others as often.
            factor = (3, 0)[n] if n < 2 else 1
            lesion["confidence_foreground"] = [factor * share]
            lesion["confidence_background"] = [1 - factor * share]
            lesion["ece"], lesion["average_precision"] = [n / 10], [n / 20]
    first, second, *_, last = (run["loss"] for run in content["recordings"])
    made = readme_tables.TABLES["lesion-confidence-verdict"][1](content)
    assert f"more than twice the share of MA with `{first}` (3 times);" in made
    assert f"less than half of it with `{second}` (0 times);" in made
    assert f"Smallest and largest ECE: `{first}` 0.000, `{last}` 0." in made
    assert f"Highest average precision: `{last}` 0." in made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- table nothing -->\n<!-- end -->", "unknown table 'nothing'"),
        ("<!-- table idrid-model -->\n", "has no <!-- end -->"),
    ],
)
def test_what_cannot_be_filled_is_named(text, said):
    with pytest.raises(UserError, match=said):
        readme_tables.filled(text, REPOSITORY)
