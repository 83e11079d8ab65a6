"""Patients stay together, and a training with only ignored pixels is refused."""

import numpy as np
import pytest
from PIL import Image

from randrop.data.cases import STRUCTURES, Case
from randrop.data.datasets import Dataset, check_looked_for
from randrop.data.splits import held_out
from randrop.errors import UserError


def case(name, patient=None):
    return Case(name, None, {}, frozenset(), patient)


def dataset_of(folder, sizes):
    """Photographs: the types looked for, and the width of each."""
    cases = []
    for k, (looked_for, width) in enumerate(sizes):
        path = folder / f"{k}.png"
        Image.fromarray(np.zeros((10, width, 3), np.uint8)).save(path)
        cases.append(Case(str(k), path, {}, frozenset(STRUCTURES) - set(looked_for)))
    names = tuple(c.name for c in cases)
    return Dataset(folder, tuple(cases), {"train": names, "validation": names[:1]})


@pytest.mark.parametrize(
    ("patients", "count", "validation"),
    [
        ([None] * 5, 2, "de"),
        (["p", "p", "q", "q", "r"], 2, "e"),
        (["p", "q", "p", "q", "r"], 2, "e"),
        (["p", "q", "r", "p", "s"], 2, "e"),
        (["p", None, "q", None, "q"], 2, "d"),
        (["p", "p", "q", "q", "q"], 3, "cde"),
        (["p"] * 5, 1, ""),
    ],
)
def test_no_patient_is_on_both_sides(patients, count, validation):
    cases = [case(n, p) for n, p in zip("abcde", patients, strict=True)]
    parts = held_out(cases, count)
    assert "".join(parts["validation"]) == validation
    assert sorted((*parts["train"], *parts["validation"])) == list("abcde")
    of = {c.name: c.patient for c in cases}
    sides = [{of[n] for n in parts[s]} - {None} for s in ("train", "validation")]
    assert not sides[0] & sides[1]


def test_a_softmax_that_would_ignore_everything_is_refused(tmp_path):
    """Like e-ophtha's two sets: one of microaneurysms, one of exudates."""
    dataset = dataset_of(tmp_path, [(["MA"], 8), (["MA"], 8), (["EX"], 8)])
    with pytest.raises(
        UserError, match=r"a softmax over MA, EX has nothing to train on"
    ):
        check_looked_for(dataset, ["MA", "EX"], softmax=True)
    shares = check_looked_for(dataset, ["MA", "EX"], softmax=False)
    assert shares == {"MA": pytest.approx(1 / 3), "EX": pytest.approx(2 / 3)}


def test_the_share_is_of_pixels(tmp_path, caplog):
    dataset = dataset_of(tmp_path, [(["MA", "EX"], 30), (["MA"], 10)])
    assert check_looked_for(dataset, ["MA", "EX"], softmax=True) == {"all": 0.25}
    assert "25 % of the training pixels are ignored" in caplog.text
    assert "--activation SIGMOID" in caplog.text
    caplog.clear()
    assert check_looked_for(dataset, ["MA"], softmax=True) == {"all": 0}
    assert not caplog.text


def test_a_type_that_nobody_looked_for_is_refused(tmp_path):
    dataset = dataset_of(tmp_path, [(["MA"], 8), (["MA"], 8)])
    for softmax in (True, False):
        with pytest.raises(
            UserError, match=r"annotated for HE, so its channel|nothing to train on"
        ):
            check_looked_for(dataset, ["MA", "HE"], softmax)
