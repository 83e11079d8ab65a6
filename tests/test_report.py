import base64
import json
import re
import xml.etree.ElementTree as ET

import browser
import cv2
import numpy as np
import pytest

import randrop
from randrop.errors import UserError
from randrop.evaluation import calibration, lesions, metrics, operating
from randrop.report import (
    measured_figures,
    page,
    page_tables,
    pictures,
    precision_recall,
)

FROC = {
    "score": 0.4375,
    "lesions": 3,
    "alarms_per_photograph": [1, 2],
    "sensitivity": [0.5, 0.75],
    "curve": {
        "alarms_per_photograph": [1, 2],
        "sensitivity": [0.5, 0.75],
        "low": [0.4, 0.5],
        "high": [0.6, 0.9],
    },
}


def scene():
    """Return a photograph, levels and a mask with one region of each kind."""
    rng = np.random.default_rng(0)
    image = rng.integers(80, 120, (240, 360, 3)).astype(np.uint8)
    mask, levels = np.zeros((240, 360), np.uint8), np.zeros((240, 360), np.uint16)
    mask[50:60, 50:60] = 1  # touched by a single pixel
    levels[59:64, 59:64] = 40000
    mask[200, 300] = 1  # missed, a single pixel
    levels[30:34, 300:304] = 30000  # a false alarm
    mask[150:155, 100:105] = 1  # below the threshold, so missed
    levels[150:155, 100:105] = 29999
    return image, levels, mask


def write(tmp_path, subset="validation", types=("MA",), unknown=False, **options):
    image, levels, mask = scene()
    counts = metrics.histogram(levels, mask)
    views = pictures.views(image, levels, mask, 30000)
    none = np.stack([np.bincount([7], minlength=65536), np.zeros(65536, np.int64)])
    per_image = {"<eye & 1>": {"positives": 126, "average_precision": 0.25}}
    common = {"average_precision_95": None, "images": 1, "map_bits": [16]}
    found = [lesions.detect(levels, mask)]
    mine = {"MA": counts, "SE": none}
    at = {
        lesion: operating.by_pixels(mine[lesion], own, 0.5)
        | {"regions": operating.pooled_regions((), (), ())}
        for lesion, own in {
            "MA": found,
            "SE": [lesions.detect(levels, mask * 0)],
        }.items()
    }
    truth, called = (dict.fromkeys(types, x) for x in (mask != 0, levels >= 30000))
    confusion = operating.taken_for(
        {lesion: operating.compare(x, truth) for lesion, x in called.items()},
        {lesion: operating.compare(x, called) for lesion, x in truth.items()},
    )
    content = {
        "data": "set <1>",
        "subset": subset,
        "images": ["<eye & 1>"],
        "probabilities": "maps",
        "prediction": {},
        "lesions": {
            "MA": metrics.summary(counts)
            | common
            | {"images_with_lesion": 1, "per_image": per_image}
            | {"froc": FROC, "at_threshold": at["MA"]}
            | {"calibration": calibration.measures(counts)},
            "SE": metrics.summary(none)
            | common
            | {
                "froc": None,
                "at_threshold": at["SE"],
                "calibration": calibration.measures(none),
                "images_with_lesion": 0,
                "per_image": {"<eye & 1>": {"positives": 0, "average_precision": None}},
            },
        },
    }
    content["confusion"] = confusion
    if unknown:
        del content["lesions"]["SE"]["per_image"]["<eye & 1>"]
    content["lesions"] |= {x: content["lesions"]["MA"] for x in types}
    figures = [tmp_path / name for name in page.FIGURES]
    precision_recall.pr_curves(figures[0], mine)
    measured_figures.froc_curves(figures[1], content["lesions"])
    calibrations = {k: v["calibration"] for k, v in content["lesions"].items()}
    measured_figures.reliability_curves(figures[2], {"1 photograph": calibrations})
    shown = {"MA": [("best", "<eye & 1>", views)], "SE": []}
    path = tmp_path / "report.html"
    page.write(path, metrics=content, figures=figures, shown=shown, **options)
    return path


def test_regions_are_counted_as_found_missed_and_false(tmp_path):
    views = pictures.views(*scene(), 30000)
    assert (views.found, views.lesions, views.alarms) == (1, 3, 1)
    assert pictures.views(*scene(), 29999).found == 2
    assert pictures.views(*scene(), 40001).alarms == 0


def test_a_single_pixel_is_marked_in_a_reduced_overview():
    image, levels, mask = scene()
    big = [np.kron(a, np.ones((8, 8), a.dtype)) for a in (levels, mask * 0)]
    image = np.kron(image, np.ones((8, 8, 1), np.uint8))
    big[1][1600, 2400] = 1
    overlay = pictures.views(image, *big, 30000).overlay
    assert overlay.shape == (667, 1000, 3)
    rows, columns = np.nonzero((overlay == pictures.MISSED).all(axis=2))
    assert rows.size > 10
    assert np.hypot(rows - 1600 / 2.88, columns - 2400 / 2.88).max() < 10


def test_close_ups_show_each_pixel_for_what_it_is():
    image, levels, mask = scene()
    views = pictures.views(image, levels, mask, 30000)
    titles = [close_up.title for close_up in views.close_ups]
    assert titles[0] == "most lesion pixels"
    assert len(titles) == len(set(titles)) == 3
    close_up = views.close_ups[0]
    assert close_up.top == pytest.approx(40000 / 65535)
    assert all(p.shape == (384, 384, 3) for p in close_up[2:])
    side = 48
    assert close_up.truth.mean() / 255 == pytest.approx(100 / side**2)
    # Each colour covers its kind of pixels: 1 of 100 is found, 24 of 25 are false.
    colours = close_up.overlay.reshape(-1, 3).astype(int)
    for colour, pixels in (
        (pictures.FOUND, 1),
        (pictures.MISSED, 99),
        (pictures.ALARM, 24),
    ):
        grey = (colours - 0.65 * np.array(colour)) / 0.35
        flat = (np.ptp(grey, axis=1) < 9) & (grey.min(axis=1) > 10)
        assert flat.mean() == pytest.approx(pixels / side**2)


def test_no_lesion_and_no_alarm_make_no_close_up():
    image, levels, mask = scene()
    views = pictures.views(image, levels * 0, mask * 0, 30000)
    assert views.close_ups == []
    assert pictures.composed(views, "nothing").shape[1] == 2 * 1000 + 12


def test_a_sheet_holds_overview_and_close_ups():
    views = pictures.views(*scene(), 30000)
    sheet = pictures.composed(views, "eye: MA")
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] > 667 + 3 * (2000 // 4 - 12)
    for colour in (pictures.FOUND, pictures.MISSED, pictures.ALARM):
        assert (sheet == colour).all(axis=2).any()


def test_the_report_is_well_formed_and_needs_no_other_file(tmp_path):
    path = write(tmp_path)
    root = ET.fromstring(path.read_text())
    images = [node.get("src") for node in root.iter("img")]
    assert len(images) == 3 + 2 + 3 * 4
    for source in images:
        assert source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        content = base64.b64decode(source.split(",")[1])
        assert cv2.imdecode(np.frombuffer(content, np.uint8), 1) is not None
    assert all(node.get("alt") for node in root.iter("img"))
    tags = {node.tag for node in root.iter()}
    assert not tags & {"script", "link", "iframe", "object"}
    assert "@import" not in path.read_text()
    assert "http" not in path.read_text()


def test_the_report_opens_with_what_was_measured(tmp_path):
    root = ET.fromstring(write(tmp_path).read_text())
    lead = next(n for n in root.iter("p") if n.get("class") == "lead").text
    for word in ("microaneurysms (MA)", "1 photograph:", "validation", "set <1>"):
        assert word in lead
    text = " ".join("".join(root.itertext()).split())
    assert "undefined: no mask has a pixel" in text
    assert "<eye & 1>" in text
    assert "Fewer than 5 photographs have MA" in text


@pytest.mark.parametrize("subset", ["train", "all"])
def test_the_report_warns_of_photographs_that_were_trained_on(tmp_path, subset):
    assert "these numbers do not show how well" in write(tmp_path, subset).read_text()
    assert "these numbers do not show how well" not in write(tmp_path).read_text()


def test_the_training_is_shown(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    settings = {"loss": "cross-entropy", "iterations": 4321}
    (run / "run.json").write_text(json.dumps(settings))
    cv2.imwrite(str(run / "curves.png"), np.zeros((9, 9, 3), np.uint8))
    text = write(tmp_path, run=run, credit="The <owner>").read_text()
    assert "4321" in text
    assert "cross-entropy" in text
    assert "Loss over the iterations" in text
    assert "The &lt;owner&gt;" in text


def test_a_report_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"run\.json is missing"):
        write(tmp_path, run=tmp_path)
    assert not (tmp_path / "report.html").exists()
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*report\.html"):
        write(tmp_path)


def test_the_report_links_the_viewer_of_its_run(tmp_path):
    run = tmp_path / "a run"
    (run / "surface").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"loss": "focal"}))
    assert "viewer.html" not in write(tmp_path, run=run).read_text()
    (run / "surface" / "viewer.html").touch()
    assert 'href="a%20run/surface/viewer.html"' in write(tmp_path, run=run).read_text()


def test_pictures_have_their_size_and_wait_until_they_are_seen(tmp_path):
    root = ET.fromstring(write(tmp_path).read_text())
    for node in root.iter("img"):
        assert node.get("loading") == "lazy"
        content = base64.b64decode(node.get("src").partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        size = (int(node.get("height")), int(node.get("width")))
        assert picture.shape[:2] == size


def test_the_report_says_what_made_it(tmp_path):
    text = write(tmp_path, command="evaluate.py --data 'a <b>'").read_text()
    footer = text.partition("<footer")[2]
    assert randrop.__version__ in footer
    assert re.search(r"on 20\d\d-\d\d-\d\d \d\d:\d\d UTC", footer)
    assert "evaluate.py --data &#39;a &lt;b&gt;&#39;" in footer


def test_overlays_that_exist_are_linked(tmp_path):
    overlays = tmp_path / "over lays"
    links = re.compile(r'href="(over[^"]*)"')
    assert not links.findall(write(tmp_path, overlays=overlays).read_text())
    (overlays / "MA").mkdir(parents=True)
    (overlays / "MA" / "<eye & 1>.png").touch()
    found = links.findall(write(tmp_path, overlays=overlays).read_text())
    # Below the photograph, and in the table of all.
    assert found == ["over%20lays/MA/%3Ceye%20%26%201%3E.png"] * 2


def test_a_type_that_nobody_looked_for_is_said(tmp_path):
    text = write(tmp_path, unknown=True).read_text()
    assert '<td colspan="2">not annotated</td>' in text
    assert "not annotated" not in write(tmp_path).read_text()


def test_the_tables_tell_what_was_taken_for_what():
    rows = {"MA": {"all": 8, "MA": 4, "HE": 2, "nothing": 2}}
    true = {
        "MA": {"all": 5, "MA": 5, "nothing": 0},
        "HE": {"all": 4, "MA": 1, "nothing": 3},
        "EX": {"all": 0, "MA": 0, "nothing": 0},
    }
    both = {"called": rows, "true": true}
    tables = page_tables.confusions({"photographs": 2, "regions": both, "pixels": both})
    assert [table["title"] for table in tables] == [
        *("regions called", "lesions that are", "pixels called", "pixels that are"),
    ]
    assert tables[0]["heads"] == ["MA", "HE", "nothing"]
    assert tables[0]["rows"] == [("MA", 8, [0.5, 0.25, 0.25])]
    assert tables[1]["heads"] == ["MA", "nothing"]
    assert tables[1]["rows"][1:] == [("HE", 4, [0.25, 0.75]), ("EX", 0, [None, None])]
    assert page_tables.confusions(None) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_report(tmp_path, width):
    """With five types: a laptop cuts nothing, and on a phone only tables scroll."""
    if browser.find() is None:
        pytest.skip("chromium is not installed")
    path = write(tmp_path, types=("MA", "HE", "EX", "OD"))
    with browser.browser(tmp_path / "browser") as shown:
        shown.size(width, 900)
        shown.open(path)
        assert shown.run("document.documentElement.scrollWidth") <= width
        cut = shown.run(
            "[...document.querySelectorAll('.wide')]"
            ".filter(e => e.scrollWidth > e.clientWidth).length"
        )
        assert cut == 0 or width == 390
        shown.size(width, shown.run("document.documentElement.scrollHeight"))
        shown.wait("[...document.images].every(i => i.complete && i.naturalWidth)", 60)
        assert shown.run(
            "[...document.images].every("
            "i => i.naturalWidth == i.getAttribute('width')"
            " && i.clientWidth <= document.documentElement.clientWidth)"
        )
        assert not shown.problems
        assert all(url.startswith(("file:", "data:")) for url in shown.requests)
        shown.screenshot(tmp_path / "screen.png")
    screen = cv2.imread(str(tmp_path / "screen.png"))
    # The page's margin stays empty.
    assert screen[:, -10:].std() < 1
    colours = (screen[..., ::-1] == np.uint8(pictures.MISSED)).all(axis=2)
    assert colours.sum() > 50
