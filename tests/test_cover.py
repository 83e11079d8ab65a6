"""prepare.py --cover: masks that keep the area of lesions."""

import json
import re

import cv2
import every_script
import numpy as np
import pytest
from distributed_sets import mask, photograph

from randrop.data import read_dataset, rescale_masks
from randrop.data.layouts import read_groups
from randrop.data.prepare import Settings, prepare
from randrop.data.regions import regions
from randrop.errors import UserError
from randrop.files import write_json


def folder(root, count=3):
    for k in range(count):
        photograph(root / "images" / f"eye{k}.jpg", k)
        mask(root / "masks/MA" / f"eye{k}_MA.png", (60 + k, 80), (75, 101 + 2 * k))
    return root


def made(source, out, cover, width=66):
    groups = read_groups(source, "folder")
    own = Settings("folder", width, 0.4, 0, cover)
    return prepare(groups, out, own, workers=1)


@pytest.mark.parametrize("times", [2, 3, 5])
@pytest.mark.parametrize("cover", [0.25, 0.5, 1.0])
def test_a_pixel_is_lesion_by_its_share_and_no_lesion_vanishes(cover, times):
    random = np.random.default_rng(7)
    # Coarse shapes, and single pixels that no share would leave.
    whole = np.kron(random.random((9, 12)) < 0.3, np.ones((7, 5), bool))
    whole |= random.random(whole.shape) < 0.02
    size = (whole.shape[0] // times, whole.shape[1] // times)
    whole = whole[: size[0] * times, : size[1] * times]
    masks = np.stack([whole, np.zeros_like(whole)]).astype(np.uint8)

    found = rescale_masks(masks, size, cover)

    counts = whole.reshape(size[0], times, size[1], times).sum((1, 3))
    expected = counts >= cover * times**2
    assert not found[1].any()
    assert found[0][expected].all()
    labels, count = regions(whole)
    added = set()
    for k in range(1, count + 1):
        places, pixels = np.unique(
            np.argwhere(labels == k) // times, axis=0, return_counts=True
        )
        at = tuple(places.T)
        assert found[0][at].any()
        if not expected[at].any():
            most = places[pixels == pixels.max()]
            assert found[0][tuple(most.T)].any()
            added |= {tuple(place) for place in most}
    assert {tuple(p) for p in np.argwhere((found[0] > 0) & ~expected)} <= added


def test_half_keeps_the_area_where_every_touched_pixel_lets_it_grow():
    disc = np.zeros((400, 400), np.uint8)
    for k in range(10):
        cv2.circle(disc, (30 + 37 * k, 200 + 13 * k), 8, 1, -1)
    size = (141, 141)  # 2.84 pixels in one
    expected = disc.sum() * (141 / 400) ** 2
    half = rescale_masks(disc[None], size, 0.5).sum()
    touched = rescale_masks(disc[None], size).sum()
    assert abs(half / expected - 1) < 0.03
    assert touched / expected > 1.3


def test_a_set_is_known_by_its_share(tmp_path):
    source = folder(tmp_path / "in")
    touched = made(source, tmp_path / "touched", 0.0)
    half = made(source, tmp_path / "half", 0.5)
    for name in half["cases"]:
        assert half["cases"][name]["lesions"]["MA"]["count"] >= 1
        own = read_dataset(tmp_path / "half").cases
        assert any(case.masks(("MA",)).any() for case in own if case.name == name)
    assert half["cover"] == 0.5 and touched["cover"] == 0
    assert made(source, tmp_path / "half", 0.5) == half
    with pytest.raises(UserError, match=r"'cover': 0\.5.*choose a new folder"):
        made(source, tmp_path / "half", 0.0)


def test_a_set_of_an_older_version_goes_on(tmp_path):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    made(source, out, 0.0)
    for name in ("manifest.json", "settings.json"):
        content = json.loads((out / name).read_text())
        del content["cover"]
        write_json(out / name, content)
    kept = (out / "images/eye0.png").stat().st_mtime_ns
    made(source, out, 0.0)
    assert (out / "images/eye0.png").stat().st_mtime_ns == kept
    with pytest.raises(UserError, match="choose a new folder"):
        made(source, out, 0.5)


@pytest.mark.parametrize("cover", [-0.1, 1.5])
def test_a_share_is_from_0_to_1(tmp_path, cover):
    with pytest.raises(UserError, match=r"cover is .*from 0 to 1"):
        made(folder(tmp_path / "in"), tmp_path / "out", cover)


def test_growth_is_said_with_its_remedy(tmp_path):
    source = folder(tmp_path / "in")
    given = ("folder", source, tmp_path / "touched", "--width", 66, "--workers", 1)
    result = every_script.done(every_script.start("prepare", *given))
    said = r"MA: .* have \d\.\d\d times the area of the lesions"
    assert re.search(said + "; --cover 0.5 keeps it, but for", result.stderr)
    given = ("folder", source, tmp_path / "half", "--width", 66, "--workers", 1)
    result = every_script.done(every_script.start("prepare", *given, "--cover", 0.5))
    # The photographs have a lesion of one pixel, of which a third is left.
    assert re.search(said + ": .* a larger --width keeps more", result.stderr)
    given = ("folder", source, tmp_path / "whole", "--width", 200, "--workers", 1)
    result = every_script.done(every_script.start("prepare", *given, "--cover", 0.5))
    assert "times the area" not in result.stderr
