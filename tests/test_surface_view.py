"""The page of `surface.py view`: what it holds, and what it refuses."""

import json
import re

import h5py
import numpy as np
import pytest
import surface_files
from every_script import done, start
from surface_files import view

from randrop.errors import UserError
from randrop.surface.viewer import packing

SIZE = (48, 64)


def refused(*words):
    with pytest.raises(UserError) as found:
        view(*words)
    return str(found.value)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return surface_files.write_recording(tmp_path_factory.mktemp("a") / "recording.h5")


def content_of(page):
    """What the page's script reads."""
    text = page.read_text()
    return json.loads(re.search(r'id="content">(.*?)</script>', text, re.DOTALL)[1])


def test_half_is_a_border_of_the_codes_and_the_ends_are_exact():
    half = np.float32(0.5)
    below = np.nextafter(half, np.float32(0))
    code = packing.codes(np.array([0, below, half, 1, np.nan], np.float32))
    assert code.tolist() == [
        *(0, packing.HALF - 1, packing.HALF),
        *(packing.NOT_A_NUMBER - 1, packing.NOT_A_NUMBER),
    ]
    shown = packing.probabilities()[code]
    assert shown[0] == 0
    assert shown[3] == 1
    assert np.isnan(shown[4])


def test_probabilities_are_within_what_the_page_promises():
    logit = np.linspace(-15.9, 15.9, 100001)
    p = 1 / (1 + np.exp(-logit))
    shown = packing.probabilities()[packing.codes(p)]
    for part in (p, 1 - p):
        error = np.abs(shown - p) / part
        assert error.max() < 0.032
        assert error[(p > 0.007) & (p < 0.993)].max() < 0.004
    np.testing.assert_allclose(packing.probabilities()[:-1], 1 - shown_backwards())


def shown_backwards():
    return packing.probabilities()[-2::-1]


def test_a_loss_of_the_probability_is_a_table_and_another_is_a_map():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 3, SIZE)
    state = rng.integers(0, 2, SIZE)
    logit[7, 7], state[7, 7] = logit[8, 8], state[8, 8]
    key = packing.keys(packing.codes(1 / (1 + np.exp(-logit))), state, 3)
    loss = np.log1p(np.exp(np.where(state, -logit, logit)))
    kind, table = packing.loss_part(loss, key, None, 3)
    assert kind == "T"
    loss[3, 4:9] *= 1.5
    loss[7, 7] = np.nan
    kind, longer = packing.loss_part(loss, key, None, 3)
    assert kind == "T"
    # A position and a code for each of the six pixels that do not follow.
    assert len(longer) == len(table) + 6 * 6
    assert packing.loss_part(rng.random(SIZE), key, None, 3)[0] == "M"


def test_the_page_is_one_small_file(recording, tmp_path):
    page = tmp_path / "viewer.html"
    result = done(start("surface", "view", recording, "--out", page))
    assert str(page) in result.stderr
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace(
        "http-equiv", ""
    )
    again = tmp_path / "again.html"
    view(recording, "--out", again)
    assert again.read_bytes() == page.read_bytes()


def test_a_page_replaces_a_page_whatever_both_show(recording, tmp_path):
    page = tmp_path / "viewer.html"
    landscape = tmp_path / "line.h5"
    surface_files.landscape(kind="line", points=3).write(landscape)
    for words in (("--landscapes", landscape), ("--landscapes", landscape), ()):
        view(*(words or (recording,)), "--out", page)
    assert content_of(page)["runs"]


def test_names_do_not_become_markup(tmp_path):
    name = "</script><b>\"'&\u2028"
    recording = surface_files.write_recording(
        tmp_path / "r.h5", run=name, names=(name, "b"), channels=("<i>", "HE")
    )
    page = tmp_path / "viewer.html"
    view(recording, "--out", page)
    text = page.read_text()
    assert "<b>" not in text.replace("</b>", "")
    assert text.count("</script>") == text.count("<script")
    assert content_of(page)["runs"][0]["names"][0] == name


def test_numbers_that_json_lacks_become_null(recording, tmp_path):
    changed = tmp_path / "r.h5"
    changed.write_bytes(recording.read_bytes())
    with h5py.File(changed, "a") as file:
        group = file["steps/00000100"]
        measures = json.loads(group.attrs["measures"])
        measures["training"]["loss"]["dice"] = float("nan")
        group.attrs["measures"] = json.dumps(measures)
    page = tmp_path / "viewer.html"
    view(changed, "--out", page)
    found = content_of(page)["runs"][0]["measures"][0]
    assert found["training"]["loss"]["dice"] is None
    assert found["validation"]["loss"]["dice"] > 0


def test_snapshots_and_images_are_chosen(recording, tmp_path):
    page = tmp_path / "viewer.html"
    view(recording, "--every", 2, "--images", "b", "--out", page)
    run = content_of(page)["runs"][0]
    assert run["iterations"] == [100, 400]
    assert run["names"] == ["b"]
    assert run["subsets"] == ["validation"]
    assert "'c'" in refused(recording, "--images", "c", "--out", page)
    assert "--every 0" in refused(recording, "--every", 0, "--out", page)


def test_the_page_goes_beside_the_recording(tmp_path):
    recording = surface_files.write_recording(tmp_path / "r.h5", size=(16, 16))
    view(recording)
    assert (tmp_path / "viewer.html").exists()


def test_nothing_to_show_is_refused(recording, tmp_path):
    page = tmp_path / "viewer.html"
    assert "nothing to show" in refused("--out", page)
    assert "3 recordings" in refused(*[recording] * 3, "--out", page)
    with h5py.File(recording) as file:
        facts = dict(file.attrs)
    empty = tmp_path / "empty.h5"
    empty.write_bytes(recording.read_bytes())
    with h5py.File(empty, "a") as file:
        for group in file["steps"].values():
            del group.attrs["complete"]
        assert dict(file.attrs).keys() == facts.keys()
    assert "no complete snapshot" in refused(empty, "--out", page)
    assert not page.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ("x", "y")}, "no image in common"),
        ({"size": (32, 64)}, "has size 48 × 64"),
        ({"channels": ("MA", "SE")}, "has channels"),
        (
            {"activation": "softmax", "losses": ("cross-entropy",)},
            "activation sigmoid",
        ),
    ],
)
def test_two_runs_need_the_same_images(recording, tmp_path, options, words):
    other = surface_files.write_recording(tmp_path / "b.h5", **options)
    page = tmp_path / "viewer.html"
    error = refused(recording, other, "--out", page)
    assert words in error
    assert str(other) in error


def test_files_of_others_stay(recording, tmp_path):
    page = tmp_path / "viewer.html"
    page.write_text("mine")
    assert str(page) in refused(recording, "--out", page)
    assert page.read_text() == "mine"


def test_damaged_files_are_named(recording, tmp_path):
    page, cut = tmp_path / "viewer.html", tmp_path / "cut.h5"
    cut.write_bytes(recording.read_bytes()[:5000])
    assert str(cut) in refused(cut, "--out", page)
    assert "none.h5" in refused(tmp_path / "none.h5", "--out", page)
    assert str(recording) in refused("--landscapes", recording, "--out", page)
    assert not page.exists()
