import base64
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from randrop.errors import UserError
from randrop.evaluation import metrics
from randrop.report import page, pictures, precision_recall


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


def write(tmp_path, subset="validation", **options):
    image, levels, mask = scene()
    counts = metrics.histogram(levels, mask)
    views = pictures.views(image, levels, mask, 30000)
    none = np.stack([np.bincount([7], minlength=65536), np.zeros(65536, np.int64)])
    per_image = {"<eye & 1>": {"positives": 126, "average_precision": 0.25}}
    common = {"average_precision_95": None, "images": 1, "map_bits": [16]}
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
            | {"froc": {"score": 0.4375, "lesions": 3}},
            "SE": metrics.summary(none)
            | common
            | {
                "froc": None,
                "images_with_lesion": 0,
                "per_image": {"<eye & 1>": {"positives": 0, "average_precision": None}},
            },
        },
    }
    curves = tmp_path / "pr.png"
    precision_recall.pr_curves(curves, {"MA": counts, "SE": none})
    shown = {"MA": [("best", "<eye & 1>", views)], "SE": []}
    path = tmp_path / "report.html"
    page.write(path, metrics=content, pr_curves=curves, shown=shown, **options)
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
    assert len(images) == 1 + 2 + 3 * 4
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


def test_a_browser_shows_the_report(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    path, picture = write(tmp_path), tmp_path / "screen.png"
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    options += " --disable-background-networking --disable-component-update"
    command = [browser, *options.split(), "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=600,3000"]
    command += [f"--screenshot={picture}", path.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    screen = cv2.imread(str(picture))
    assert screen.shape == (3000, 600, 3)
    # The page's margin stays empty: nothing is wider than a phone's screen.
    assert screen[:, -10:].std() < 1
    shown = (screen[..., ::-1] == np.uint8(pictures.MISSED)).all(axis=2)
    assert shown.sum() > 50
