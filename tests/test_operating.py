"""Maps at fixed thresholds: pixels, regions, and types that are taken for others."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score

from randrop.data.cases import Case
from randrop.evaluation import lesions, metrics, operating
from randrop.prediction import maps

SIZE = (40, 60)


def blocks(*corners, side=3):
    """A mask with a square at each (row, column)."""
    mask = np.zeros(SIZE, bool)
    for y, x in corners:
        mask[y : y + side, x : x + side] = True
    return mask


def compared(called, truth):
    return operating.taken_for(
        {t: operating.compare(mask, truth) for t, mask in called.items()},
        {t: operating.compare(mask, called) for t, mask in truth.items()},
    )


def test_each_region_is_counted_for_what_it_is():
    truth = {
        "MA": blocks((0, 0), (10, 0), (20, 0)),
        "HE": blocks((0, 20), (10, 20)),
        "EX": blocks((0, 40)),
    }
    called = {
        "MA": blocks((0, 0), (0, 20), (0, 40), (30, 30), (30, 50)),
        "HE": blocks((10, 0), (10, 20)),
    }
    found = compared(called, truth)["regions"]
    assert found["called"] == {
        "MA": {"all": 5, "MA": 1, "HE": 1, "EX": 1, "nothing": 2},
        "HE": {"all": 2, "HE": 1, "MA": 1, "EX": 0, "nothing": 0},
    }
    assert found["true"] == {
        "MA": {"all": 3, "MA": 1, "HE": 1, "nothing": 1},
        "HE": {"all": 2, "HE": 1, "MA": 1, "nothing": 0},
        "EX": {"all": 1, "MA": 1, "HE": 0, "nothing": 0},
    }


def test_pixels_are_counted_one_by_one():
    rng = np.random.default_rng(0)
    truth = {t: rng.random(SIZE) < 0.2 for t in ("MA", "HE", "EX")}
    called = {t: rng.random(SIZE) < 0.3 for t in ("MA", "HE")}
    found = compared(called, truth)["pixels"]
    for t, mask in called.items():
        row = found["called"][t]
        assert row["all"] == mask.sum()
        assert row[t] == (mask & truth[t]).sum()
        for u in set(truth) - {t}:
            assert row[u] == (mask & ~truth[t] & truth[u]).sum()
        assert row["nothing"] == (mask & ~np.any(list(truth.values()), axis=0)).sum()
    row = found["true"]["EX"]
    assert row["MA"] == (truth["EX"] & called["MA"]).sum()
    assert row["nothing"] == (truth["EX"] & ~called["MA"] & ~called["HE"]).sum()


def test_a_region_on_two_types_counts_for_each_and_its_own_comes_first():
    truth = {"MA": blocks((0, 0)), "HE": blocks((0, 4)), "EX": blocks((0, 8))}
    called = {"MA": np.zeros(SIZE, bool)}
    called["MA"][0, 4:9] = True
    row = compared(called, truth)["regions"]["called"]["MA"]
    assert row == {"all": 1, "MA": 0, "HE": 1, "EX": 1, "nothing": 0}
    called["MA"][0, :9] = True
    row = compared(called, truth)["regions"]["called"]["MA"]
    assert row == {"all": 1, "MA": 1, "HE": 0, "EX": 0, "nothing": 0}


def test_nothing_called_and_nothing_there():
    none = np.zeros(SIZE, bool)
    found = compared({"MA": none}, {"MA": none, "HE": blocks((0, 0))})
    assert found["regions"]["called"]["MA"] == {
        **{"all": 0, "MA": 0, "HE": 0, "nothing": 0}
    }
    assert found["regions"]["true"]["HE"] == {"all": 1, "MA": 0, "nothing": 1}


def test_figures_at_a_threshold_equal_scikit_learn():
    rng = np.random.default_rng(1)
    truth = rng.random(SIZE) < 0.1
    levels = np.rint(65535 * rng.beta(1 + 3 * truth, 4)).astype(np.uint16)
    found = operating.by_pixels(
        metrics.histogram(levels, truth), [lesions.detect(levels, truth)], 0.4
    )
    called = levels / 65535 >= 0.4
    assert found["f1"] == pytest.approx(f1_score(truth.ravel(), called.ravel()))
    assert found["iou"] == pytest.approx(jaccard_score(truth.ravel(), called.ravel()))
    assert found["sensitivity"] == pytest.approx(called[truth].mean())
    assert found["precision"] == pytest.approx(truth[called].mean())


def test_without_a_lesion_only_false_alarms_are_known():
    levels = np.zeros(SIZE, np.uint16)
    levels[5, 5] = levels[30, 30] = 60000
    truth = np.zeros(SIZE, bool)
    found = operating.by_pixels(
        metrics.histogram(levels, truth), [lesions.detect(levels, truth)] * 2, 0.5
    )
    assert found["alarms_per_photograph"] == 2
    assert found["precision"] == 0
    for key in ("sensitivity", "f1", "iou", "lesions_found"):
        assert found[key] is None


def test_regions_are_pooled_and_their_probability_is_judged():
    found = operating.pooled_regions(
        [np.array([True, False]), np.array([True])],
        [np.array([True, True, False]), np.array([True])],
        [np.array([65535, 65535, 65535]), np.array([65535])],
    )
    assert (found["lesions"], found["touched"]) == (3, 2)
    assert (found["called"], found["right"]) == (4, 3)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["precision"] == found["reliability"]["frequency"][-1] == 0.75
    assert found["ece"] == pytest.approx(0.25)
    empty = operating.pooled_regions((), (), ())
    assert (empty["sensitivity"], empty["precision"], empty["ece"]) == (None, 1.0, None)
    json.dumps([found, empty], allow_nan=False)


def write_case(folder: Path, name, masks, called, unknown=()):
    """Write a photograph, its masks and its maps, and return the case."""
    photo = folder / f"{name}.png"
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(photo)
    paths = {}
    for lesion, mask in masks.items():
        paths[lesion] = folder / f"{name}_{lesion}.png"
        Image.fromarray(255 * mask.astype(np.uint8)).save(paths[lesion])
    for lesion, mask in called.items():
        maps.write_map(
            maps.path_of(folder / "maps", lesion, name), mask.astype(np.float32) * 0.8
        )
    return Case(name, photo, paths, frozenset(unknown))


def test_photographs_are_added_up(tmp_path):
    cases = [
        write_case(
            tmp_path, name,
            {"MA": blocks((0, 0)), "HE": blocks((0, 20)), "OD": blocks((20, 20))},
            {"MA": blocks((0, 20), (20, 20), (30, 50)), "HE": blocks((0, 20))},
        )
        for name in "ab"
    ]  # fmt: skip
    regions, confusion = operating.measure(
        cases, tmp_path / "maps", {"MA": 0.5, "HE": 0.5}
    )
    assert confusion["photographs"] == 2
    assert confusion["regions"]["called"]["MA"] == {
        **{"all": 6, "MA": 0, "HE": 2, "OD": 2, "nothing": 2}
    }
    assert confusion["pixels"]["true"]["MA"] == {
        **{"all": 18, "MA": 0, "HE": 0, "nothing": 18}
    }
    assert (regions["MA"]["called"], regions["MA"]["right"]) == (6, 0)
    assert regions["HE"]["f1"] == 1
    _, above = operating.measure(cases, tmp_path / "maps", {"MA": 0.9, "HE": 0.9})
    assert above["regions"]["called"]["MA"]["all"] == 0


def test_photographs_in_which_a_type_is_unknown_are_left_out(tmp_path):
    """Like e-ophtha's two sets, and one photograph that is in both."""
    called = {"MA": blocks((0, 0)), "EX": blocks((0, 20))}
    cases = [
        write_case(tmp_path, "ma", {"MA": blocks((0, 0))}, called, ("EX", "HE")),
        write_case(tmp_path, "ex", {"EX": blocks((0, 40))}, called, ("MA", "HE")),
    ]
    thresholds = {"MA": 0.5, "EX": 0.5}
    regions, confusion = operating.measure(cases, tmp_path / "maps", thresholds)
    assert confusion is None
    assert (regions["MA"]["called"], regions["MA"]["right"]) == (1, 1)
    assert (regions["EX"]["called"], regions["EX"]["right"]) == (1, 0)
    cases.append(write_case(tmp_path, "both", {}, called, ("HE",)))
    _, confusion = operating.measure(cases, tmp_path / "maps", thresholds)
    assert confusion["photographs"] == 1
    assert set(confusion["regions"]["true"]) == {"MA", "EX"}
    assert confusion["regions"]["called"]["MA"]["nothing"] == 1
