"""The page of `surface.py view` in a real browser."""

import json
import re
import xml.etree.ElementTree as ET

import bench_viewer
import browser
import cv2
import h5py
import matplotlib as mpl
import numpy as np
import pytest
import surface_files

from randrop.surface import recording as recordings

if browser.find() is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

AWKWARD = "a \"<b>'&"
SIZE = (48, 64)
RELATIVE, FLOOR = 0.01, 1e-4


def make_page(folder, *files, **words):
    page = folder / "viewer.html"
    landscapes = words.get("landscapes", ())
    more = ("--landscapes", *landscapes) if landscapes else ()
    surface_files.view(*files, *more, "--out", page)
    return page


def write_landscape(folder, kind):
    path = folder / f"{kind}.h5"
    surface_files.landscape(kind=kind, run=AWKWARD).write(path)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A recording with awkward names and pixels that are not numbers, and its page."""
    folder = tmp_path_factory.mktemp("page")
    file = surface_files.write_recording(
        folder / "recording.h5",
        run=AWKWARD,
        names=(AWKWARD, "b", "c"),
        size=SIZE,
        losses=(*surface_files.LOSSES, "random-drop:SQU", "top-k-dice", "exp-log")[:7],
    )
    with h5py.File(file, "a") as content:
        group = content["steps/00000200"]
        group["probability"][0, 0, 20, 30:33] = np.nan
        group["loss/1"][0, 0, 20, 30] = np.inf
        group["loss/1"][0, 0, 30, 30:35] *= 3
        group["loss/2"][0, 1] = np.random.default_rng(0).random(SIZE)
    lands = [write_landscape(folder, kind) for kind in ("plane", "line")]
    return file, make_page(folder, file, landscapes=lands)


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(driven, world):
    """The page, opened anew; at the end nothing has gone wrong in it."""
    yield opened(driven, world[1])
    clean(driven, world[1])


def opened(driven, path, width=1280, height=900):
    driven.size(width, height)
    driven.problems.clear()
    driven.requests.clear()
    driven.open(path)
    driven.run("viewer.started")
    return driven


def clean(driven, path):
    assert driven.problems == []
    outside = [u for u in driven.requests if not u.startswith(("data:", "blob:"))]
    assert outside == [path.as_uri()]
    assert driven.run("document.getElementById('problem').hidden")


def settled(page):
    """Wait until the maps are those of the state."""
    page.run("viewer.panels.draw()")


def panels(page):
    return page.run("viewer.panels.list.map(p => [p.kind, p.k])")


def shown(page, n):
    """The values of a whole map, as the page has them."""
    values = page.run(
        f"(() => {{ const p = viewer.panels.list[{n}];"
        "return Array.from(p.map.keys, k => p.map.values[k])"
        ".map(v => Number.isNaN(v) ? null : v); })()"
    )
    return np.array(values, float).reshape(SIZE)


def check_value(found, recorded, relative=RELATIVE, floor=FLOOR):
    recorded = np.where(np.isfinite(recorded), recorded, np.nan).astype(float)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(recorded))
    error = np.abs(found - recorded)
    allowed = relative * np.abs(recorded) + floor * np.nanmax(recorded)
    assert (np.isnan(error) | (error <= allowed * 1.0001)).all(), error.max()


def check_chance(found, recorded):
    check_value(found, recorded, 0.032, 2e-7)
    check_value(1 - found, 1 - recorded, 0.032, 2e-7)
    inside = (recorded > 0.007) & (recorded < 0.993)
    if inside.any():
        check_value(found[inside], recorded[inside], 0.004, 0)


# Those of the tests' losses that are sums over pixels with a sigmoid.
SUMS = {"random-drop", "cross-entropy", "top-k", "focal"}


def shown_loss(file, t, k, i):
    """A loss that is a sum over pixels is shown over their number."""
    maps = file.loss(t, k, i)
    sigmoid = file.facts["activation"] == "sigmoid"
    if sigmoid and file.facts["losses"][k].partition(":")[0] in SUMS:
        return maps / np.isfinite(maps).sum()
    return maps


def wanted(file, kind, k, t, i, channel):
    p, truth = file.probability(t, i), file.truth(i)
    if kind == "probability":
        return p[channel]
    if kind == "confidence":
        return recordings.confidence(p, truth)[channel]
    if kind == "outcome":
        return recordings.outcomes(p, truth)[channel]
    if kind == "truth":
        return truth[channel]
    if kind == "loss":
        return shown_loss(file, t, k, i)[channel]
    kept, foreground = file.kept(t, k, i)[channel], truth[channel] == 1
    return np.where(kept < 0, 255, np.where(kept == 0, 0, 1 + foreground))


def compare_all(page, file, t, i, channel):
    count = 0
    for n, (kind, k) in enumerate(panels(page)):
        if kind == "picture":
            continue
        recorded = wanted(file, kind, k, t, i, channel)
        found = shown(page, n)
        count += 1
        if kind in ("outcome", "truth", "kept"):
            np.testing.assert_array_equal(found, recorded, kind)
        elif kind == "loss":
            check_value(found, recorded)
        else:
            check_chance(found, recorded)
    return count


def test_every_pixel_of_every_map_is_that_of_the_recording(page, world):
    with recordings.Recording.open(world[0]) as file:
        last = len(file.iterations) - 1
        for t, i, channel in [(last, 0, 0), (1, 0, 0), (1, 0, 1), (0, 2, 1)]:
            page.run(f"viewer.set({{step: {t}, picture: {i}, channel: {channel}}})")
            settled(page)
            assert compare_all(page, file, t, i, channel) == 4 + 7 + 4


def test_moving_the_slider_and_pointing_reads_the_recorded_values(page, world):
    page.run("document.getElementById('slider').focus()")
    page.key("Home")
    page.key("ArrowRight")
    page.wait("document.getElementById('iteration').textContent === '200 of 400'")
    settled(page)
    n = panels(page).index(["loss", 1])
    row, column = 25, 40
    x, y = page.middle(
        f".panel:nth-of-type({n + 1}) .view",
        (column + 0.5) / SIZE[1],
        (row + 0.5) / SIZE[0],
    )
    page.mouse("mouseMoved", x, y)
    assert f"row {row}, column {column}" in page.run(
        "document.getElementById('where').textContent"
    )
    with recordings.Recording.open(world[0]) as file:
        texts = page.run("viewer.panels.list.map(p => p.reading.textContent)")
        for (kind, k), text in zip(panels(page), texts, strict=True):
            if kind in ("probability", "confidence", "loss"):
                value = float(wanted(file, kind, k, 1, 0, 0)[row, column])
                number = float(text.replace("−", "-"))
                assert number == pytest.approx(value, rel=0.011, abs=2e-4), (kind, k)
        names = ["true negative", "true positive", "false positive", "false negative"]
        outcome = wanted(file, "outcome", -1, 1, 0, 0)[row, column]
        assert names[outcome] in texts
    # What is not a number says so.
    page.run("viewer.set({pixel: [20, 30]})")
    assert "not a number" in page.run(f"viewer.panels.list[{n}].reading.textContent")


def test_colours_are_those_of_the_scale(page):
    n = panels(page).index(["probability", -1])
    values = shown(page, n)
    data = page.run(
        f"(() => {{ const p = viewer.panels.list[{n}];"
        "return Array.from(p.context.getImageData(0, 0, p.width, p.height).data); })()"
    )
    pixels = np.array(data).reshape(*SIZE, 4)
    colours = mpl.colormaps["viridis"](np.arange(256))[:, :3] * 255
    level = np.floor(values * 255 + 0.5).astype(int)
    assert np.abs(pixels[..., :3] - colours[level]).max() <= 1


def test_joint_colours_are_one_scale_and_own_colours_are_many(page):
    ends = (
        "viewer.panels.list.filter(p => p.kind === 'loss')"
        ".map(p => p.below.textContent)"
    )
    for value in ("joint", "own"):
        page.run(
            "(() => { const s = document.getElementById('joint');"
            f"s.value = '{value}'; s.dispatchEvent(new Event('change')); }})()"
        )
        many = len(set(page.run(ends)))
        assert (many == 1) == (value == "joint")


def test_keys_move_through_the_training_and_the_picture(page):
    page.run("document.getElementById('slider').focus()")
    page.key("Home")
    assert page.run("viewer.iteration()") == 100
    page.key(".")
    page.key(".")
    page.key(",")
    assert page.run("viewer.iteration()") == 200
    page.run("viewer.panels.list[3].view.focus()")
    page.run("viewer.set({pixel: [10, 10]})")
    page.key("ArrowRight")
    page.key("ArrowDown", modifiers=8)
    assert page.run("viewer.state.pixel") == [20, 11]
    page.wait(
        "document.getElementById('spoken').textContent.includes('Row 20, column 11')"
    )
    page.key("+")
    assert page.run("viewer.state.view.zoom") == 2
    page.key("0")
    assert page.run("viewer.state.view.zoom") == 1
    page.key("n")
    assert page.run("document.getElementById('picture').value") == "1"


def test_space_plays_and_pauses(page):
    page.key(",")
    page.key(",")
    page.key(" ")
    assert page.run("viewer.controls.isPlaying()")
    page.key(" ")
    assert not page.run("viewer.controls.isPlaying()")
    page.run("document.getElementById('play').click()")
    page.wait("viewer.iteration() === 400 && !viewer.controls.isPlaying()")


def test_zoom_and_place_are_those_of_all_panels(page):
    x, y = page.middle(".panel:nth-of-type(3) .view", 0.75, 0.25)
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-480, modifiers=2)
    page.wait("viewer.state.view.zoom === 4")
    transforms = page.run(
        "viewer.panels.list.map(p => getComputedStyle(p.canvas).transform)"
        ".map(t => new DOMMatrix(t)).map(m => [m.a, m.d, m.e, m.f])"
    )
    np.testing.assert_allclose(transforms, [transforms[0]] * len(transforms), atol=0.2)
    assert transforms[0][:2] == [4, 4]
    # The point under the pointer stays.
    page.mouse("mouseMoved", x, y)
    row, column = page.run("viewer.state.pixel")
    assert abs(row - 0.25 * SIZE[0]) <= 1
    assert abs(column - 0.75 * SIZE[1]) <= 1
    left = page.run("viewer.state.view.left")
    page.mouse("mousePressed", x, y, button="left", clickCount=1)
    page.mouse("mouseMoved", x - 40, y, button="left", buttons=1)
    page.mouse("mouseReleased", x - 40, y, button="left", clickCount=1)
    assert page.run("viewer.state.view.left") > left
    page.key(".")
    assert page.run("viewer.state.view.zoom") == 4


def test_a_click_in_a_graph_jumps(page):
    place = "#graphs .graph:nth-of-type(4) svg.plot"
    # Iteration 100 is at the left end of the axis, 400 at the right.
    inside = lambda share: (52 + share * (420 - 64)) / 420  # noqa: E731
    page.click(*page.middle(place, inside(0.36), 0.4))
    assert page.run("viewer.iteration()") == 200
    label = page.run(f"document.querySelector('{place}').getAttribute('aria-label')")
    assert "at iteration 200" in label
    cursors = page.run(
        "document.querySelectorAll('#graphs .cursor[visibility=visible]').length"
    )
    assert cursors == 8


def test_graphs_show_the_recorded_measures(page, world):
    with recordings.Recording.open(world[0]) as file:
        measures = file.measures(2)
    for title, name in (
        ("IoU (soft)", "iou"),
        ("Average precision", "average_precision"),
    ):
        label = page.run(
            "[...document.querySelectorAll('#graphs svg.plot')].map(s => "
            "s.getAttribute('aria-label'))"
            f".find(t => t.startsWith({json.dumps(title)}))"
        )
        for subset in ("training", "validation"):
            value = float(re.search(rf"{subset} ([\d.]+)", label)[1])
            recorded = measures[subset]["channels"]["MA"][name]
            assert value == pytest.approx(recorded, rel=1e-3)


def test_a_panel_is_saved_as_png(page):
    page.run("document.querySelector('.panel:nth-of-type(3) .save').click()")
    path = page.downloaded()
    assert path.name.startswith("Prediction")
    assert path.suffix == ".png"
    picture = cv2.imread(str(path))
    assert picture.shape[1] == 640 + 20
    inside = picture[42 : 42 + 480, 10:650, ::-1]
    data = page.run(
        "(() => { const p = viewer.panels.list[2]; return Array.from("
        "p.context.getImageData(0, 0, p.width, p.height).data); })()"
    )
    pixels = np.array(data, np.uint8).reshape(*SIZE, 4)[..., :3]
    np.testing.assert_array_equal(inside[5::10, 5::10], pixels)


def test_a_graph_is_saved_as_svg(page):
    page.run("document.querySelector('#graphs .graph .save').click()")
    path = page.downloaded()
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    lines = root.iter("{http://www.w3.org/2000/svg}path")
    assert sum(bool(line.get("d")) for line in lines) == 7
    assert "Losses on the training images" in "".join(root.itertext())


def test_landscapes_are_drawn_and_read(page):
    x, y = page.middle("#landscapes canvas", 0.5, 0.5)
    page.mouse("mouseMoved", x, y)
    reading = page.run("document.querySelector('#landscapes .reading').textContent")
    assert re.match(
        r"α [−\d.]+, β [−\d.]+: cross-entropy [\d.]+; focal:gamma=2 ", reading
    )
    # Colours: not the white paper, and grey where two points failed.
    colours = page.run(
        "[...document.querySelectorAll('#landscapes canvas')].map(c => { const d = "
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const s = "
        "new Set(); for (let i = 0; i < d.length; i += 4) "
        "s.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]); "
        "return [s.size, s.has(0x808080)]; })"
    )
    assert colours[0][0] > 100
    assert colours[0][1]
    assert colours[1][0] > 100
    text = page.run("document.getElementById('landscapes').textContent")
    assert "2 failed" in text
    assert "81.0 % along α" in text


def test_everything_has_a_name_for_screen_readers(page):
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "combobox", "image", "img", "checkbox", "toolbar"}
    seen = set()
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in roles and not node["ignored"]:
            seen.add(role)
            assert node.get("name", {}).get("value"), node
    assert {"button", "slider", "combobox", "toolbar"} <= seen
    assert seen & {"image", "img"}
    told = page.run("document.getElementById('slider').getAttribute('aria-valuetext')")
    assert told == "iteration 400 of 400"


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_screen(driven, world, tmp_path, width):
    page = opened(driven, world[1], width)
    assert page.run("document.documentElement.scrollWidth") <= width
    # What stays on top leaves room for the maps.
    page.run("window.scrollTo(0, 1500)")
    top = page.run("document.querySelector('.choices').getBoundingClientRect().bottom")
    assert top < 120
    assert page.run("document.querySelector('.time').getBoundingClientRect().top") == 0
    shot = tmp_path / "screen.png"
    page.screenshot(shot)
    assert cv2.imread(str(shot)).shape[1] == width
    clean(page, world[1])


def test_two_runs_stand_side_by_side(driven, tmp_path):
    first = surface_files.write_recording(tmp_path / "a.h5", run="one")
    second = surface_files.write_recording(
        tmp_path / "b.h5",
        run="two",
        names=("b", "z"),
        iterations=(150, 400),
        losses=("focal:gamma=3", "cross-entropy"),
    )
    path = make_page(tmp_path, first, second)
    page = opened(driven, path)
    assert page.run("viewer.iterations") == [100, 150, 200, 400]
    assert page.run("viewer.runs.map(r => r.names)") == [["b"], ["b"]]
    page.run("viewer.set({step: 2})")
    settled(page)
    assert page.run("viewer.runs.map(viewer.snapshot)") == [1, 0]
    told = page.run("document.getElementById('snapshots').textContent")
    assert told == "one is at iteration 200, two is at iteration 150"
    kinds = page.run("viewer.panels.list.map(p => [p.kind, p.spec, p.run.facts.run])")
    with recordings.Recording.open(second) as file:
        n = kinds.index(["loss", "cross-entropy", "two"])
        check_value(shown(page, n), shown_loss(file, 0, 1, 0)[0])
    with recordings.Recording.open(first) as file:
        n = kinds.index(["loss", "cross-entropy", "one"])
        check_value(shown(page, n), shown_loss(file, 1, 1, 1)[0])
    assert "was not recorded" in page.run("document.body.textContent")
    clean(page, path)


def test_a_softmax_is_shown(driven, tmp_path):
    file = surface_files.write_recording(
        tmp_path / "a.h5",
        activation="softmax",
        channels=("background", "disc", "cup"),
        losses=("cross-entropy", "top-k", "dice", "exp-log"),
    )
    path = make_page(tmp_path, file)
    page = opened(driven, path)
    assert page.run("viewer.state.channel") == 1
    with recordings.Recording.open(file) as content:
        for channel in (1, 2):
            page.run(f"viewer.set({{step: 1, channel: {channel}}})")
            settled(page)
            for n, (kind, k) in enumerate(panels(page)):
                found = shown(page, n) if kind != "picture" else None
                p, truth = content.probability(1, 0), content.truth(0)
                if kind == "outcome":
                    np.testing.assert_array_equal(
                        found, recordings.outcomes(p, truth)[channel]
                    )
                elif kind == "probability":
                    check_chance(found, p[channel])
                elif kind == "confidence":
                    true = np.take_along_axis(
                        p, np.minimum(truth, 1).argmax(axis=0)[None], axis=0
                    )[0]
                    ignored = (truth == 255).any(axis=0)
                    check_chance(found, np.where(ignored, np.nan, true))
                elif kind == "loss":
                    check_value(found, shown_loss(content, 1, k, 0)[0])
    clean(page, path)


@pytest.mark.parametrize("what", ["one snapshot", "no numbers", "no measures"])
def test_odd_recordings_are_shown(driven, tmp_path, what):
    iterations = (0,) if what == "one snapshot" else (0, 5)
    size = (1, 7) if what == "one snapshot" else (9, 8)
    file = surface_files.write_recording(
        tmp_path / "a.h5", channels=("MA",), iterations=iterations, size=size
    )
    with h5py.File(file, "a") as content:
        for group in content["steps"].values():
            if what == "no numbers":
                group["probability"][...] = np.nan
                for loss in group["loss"].values():
                    loss[...] = np.nan
            elif what == "no measures":
                empty = {"photographs": 0, "loss": {}, "channels": {}}
                group.attrs["measures"] = json.dumps(
                    {"training": empty, "validation": empty}
                )
    path = make_page(tmp_path, file)
    page = opened(driven, path)
    page.run("viewer.set({pixel: [0, 3]})")
    for key in (",", " ", ".", "+", "n"):
        page.key(key)
    settled(page)
    texts = page.run("viewer.panels.list.map(p => p.reading.textContent)")
    assert all(texts[1:])
    if what == "no numbers":
        assert "ignored, or not a number" in texts
    clean(page, path)


def test_landscapes_need_no_recording(driven, tmp_path):
    path = make_page(tmp_path, landscapes=[write_landscape(tmp_path, "plane")])
    page = opened(driven, path)
    assert page.run("document.querySelectorAll('#landscapes canvas').length") == 2
    clean(page, path)


def test_a_step_is_fast():
    """`tests/bench_viewer.py` measures it at full size; here, whether it is sane."""
    found = bench_viewer.measure(size=128, snapshots=3, rounds=3)
    assert found["panels"] == 12
    assert np.median(np.array(found["later"])[:, 1]) < 200
