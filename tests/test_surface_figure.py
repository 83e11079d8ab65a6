"""Figures of recordings and landscapes; no Caffe is needed."""

import h5py
import numpy as np
import pytest
import surface_files
from every_script import done, start
from matplotlib.figure import Figure

from randrop.errors import UserError
from randrop.losses.registry import ACTIVATIONS
from randrop.surface import compared, curves, drawing, landscape_figures, map_figures
from randrop.surface import recording_figures as graphs
from randrop.surface.commands import figure
from randrop.surface.landscape_file import Landscape
from randrop.surface.recording import Recording


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    surface_files.write_recording(folder / "a.h5", names=("im $1$ <x>", "b"))
    surface_files.write_recording(
        *(folder / "b.h5",),
        run='other "<$run$>"',
        losses=("exp-log", "top-k"),
        channels=("background", "MA", "HE"),
        activation="softmax",
    )
    surface_files.landscape().write(folder / "plane.h5")
    surface_files.landscape(kind="line").write(folder / "line.h5")
    return folder


def panels(drawn: Figure):
    """The axes with a map: neither the picture, nor the truth, nor a colour bar."""
    with_image = [axes for axes in drawn.axes if axes.get_images()]
    return [
        axes
        for axes in with_image
        if shown(axes).ndim == 2 and not axes.get_title().startswith("truth")
    ]


def shown(axes):
    return axes.get_images()[0].get_array()


COMMANDS = {
    "maps": "a.h5",
    "graphs": "a.h5",
    "reliability": "b.h5",
    "contour": "plane.h5",
    "surface": "plane.h5",
    "profile": "line.h5",
    "trajectory": "plane.h5",
}


def test_each_kind_is_one_command(files, tmp_path):
    assert set(COMMANDS) == set(figure.KINDS)
    kind, formats = "contour", ("pdf", "svg")
    out = tmp_path / "figures"
    words = (kind, files / COMMANDS[kind], "--out", out, "--formats")
    done(start("surface figure", *words, *formats))
    names = {path.name for path in out.iterdir() if path.name[0] != "."}
    assert names == {f"contour.{form}" for form in formats}
    assert (out / "contour.pdf").read_bytes().startswith(b"%PDF")
    assert "first principal component (81.0%)" in (out / "contour.svg").read_text()
    (out / "contour.svg").write_text("mine")
    result = start("surface figure", *words, "svg")
    assert result.returncode == 2
    assert "did not write the existing file" in result.stderr


@pytest.mark.parametrize("kind", COMMANDS)
def test_each_kind_is_drawn(files, tmp_path, kind):
    out = tmp_path / f"{kind}.png"
    assert run(kind, files / COMMANDS[kind], "--out", out) == 0
    content = out.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert run(kind, files / COMMANDS[kind], "--out", out) == 0
    assert out.read_bytes() == content


def run(*words):
    from randrop import cli

    parser = cli.parser("")
    figure.add_arguments(parser)
    return figure.run(parser.parse_args([str(word) for word in words]))


def test_maps_are_those_of_the_file_on_one_scale(files):
    with Recording.open(files / "a.h5") as recording:
        names = recording.facts["losses"]
        drawn = map_figures.maps(recording, 0, 1, [0, 2], range(len(names)))
        found = panels(drawn)
        # Two columns, and three rows below those of the losses.
        assert len(found) == 2 * (len(names) + 3)
        of_losses = found[: 2 * len(names)]
        limits = {axes.get_images()[0].get_clim() for axes in of_losses}
        assert len(limits) == 1
        everything = np.concatenate([shown(axes).compressed() for axes in of_losses])
        assert limits.pop() == (everything.min(), everything.max())
        for k, name in enumerate(names):
            for column, t in enumerate((0, 2)):
                raw = recording.loss(t, k, 0)
                wanted = raw[1]
                if compared.is_sum(name, "sigmoid"):
                    wanted = wanted / np.isfinite(raw).sum()
                values = shown(of_losses[2 * k + column])
                np.testing.assert_allclose(values.filled(np.nan), wanted, rtol=1e-6)
        own = map_figures.maps(recording, 0, 1, [0, 2], [0, 4], ["losses"], joint=False)
        limits = [axes.get_images()[0].get_clim() for axes in panels(own)]
        assert limits[0] == limits[1] != limits[2] == limits[3]


def test_which_losses_are_sums():
    """A loss that is a sum has twice the value for an image and its copy beside it."""
    rng = np.random.default_rng(0)
    for one in curves.every_loss():
        terms = curves.parse_losses(one.text, one.activation, (0.5, 0.5), classes=2)
        if any(term.drops for term in terms):
            continue
        x = rng.normal(size=(1, 2, 8, 8))
        shape = x.shape if one.activation == "SIGMOID" else (1, 1, 8, 8)
        label = (rng.random(shape) < 0.3).astype(float)
        single, double = (
            curves.evaluate(terms, np.tile(x, n), np.tile(label, n)).loss
            for n in ((1, 1, 1, 1), (1, 1, 1, 2))
        )
        is_sum = compared.is_sum(one.text, one.activation.lower())
        assert (double > 1.9 * single) == is_sum, one.text
    assert {one.activation for one in curves.every_loss()} == set(ACTIVATIONS)
    assert not compared.is_sum("cross-entropy:normalization=VALID", "sigmoid")
    assert not compared.is_sum("cross-entropy+dice", "sigmoid")


def test_kept_pixels_are_drawn_for_losses_that_leave_some_out(files):
    with Recording.open(files / "a.h5") as recording:
        names = recording.facts["losses"]
        drawn = map_figures.maps(recording, 1, 0, [1], range(len(names)), ["kept"])
        labels = [axes.get_ylabel() for axes in drawn.axes if axes.get_ylabel()]
        assert labels == ["kept by\nrandom-drop:LOG", "kept by\ntop-k"]
        index = shown(panels(drawn)[0])
        np.testing.assert_array_equal(index == 0, recording.kept(1, 0, 1)[0] == 1)


def test_graphs_are_the_measures_of_the_file(files):
    with Recording.open(files / "a.h5") as a, Recording.open(files / "b.h5") as b:
        drawn = graphs.graphs([a, b], ["MA"], ["iou", "loss"])
        iou, loss = (axes for axes in drawn.axes if axes.get_lines())
        assert len(iou.get_lines()) == 4
        for n, (recording, subset) in enumerate(
            (r, s) for r in (a, b) for s in ("validation", "training")
        ):
            line = iou.get_lines()[n]
            steps = range(len(recording.iterations))
            found = [recording.measures(t)[subset] for t in steps]
            wanted = [values["channels"]["MA"]["iou"] for values in found]
            np.testing.assert_array_equal(line.get_ydata(), wanted)
            assert line.get_xdata().tolist() == list(recording.iterations)
            wanted = [values["loss"][recording.facts["loss"]] for values in found]
            np.testing.assert_array_equal(loss.get_lines()[n].get_ydata(), wanted)


def test_graphs_of_one_subset_have_one_named_line_for_each_recording(files, tmp_path):
    with Recording.open(files / "a.h5") as a:
        many = [a] * 7
        names = [f"loss {n} <$>" for n in range(7)]
        drawn = graphs.graphs(many, ["MA"], ["ece"], subsets=["training"], names=names)
        lines = drawn.axes[0].get_lines()
        labels = [line.get_label().replace("\\$", "$") for line in lines]
        assert labels == [f"{name}, training" for name in names]
        looks = {(x.get_color(), x.get_linestyle(), x.get_marker()) for x in lines}
        assert len(looks) == 7
        steps = range(len(a.iterations))
        found = [a.measures(t)["training"]["channels"]["MA"]["ece"] for t in steps]
        np.testing.assert_array_equal(lines[6].get_ydata(), found)
    words = ("graphs", files / "a.h5", "--out", tmp_path / "a.png")
    assert run(*words, "--subset", "training", "--names", "mine") == 0


@pytest.mark.parametrize("marked", [False, True])
def test_ten_lines_look_different(marked):
    lines = list(drawing.lines(10, marked))
    looks = {(x["color"], str(x["linestyle"]), x["marker"]) for x in lines}
    assert len(looks) == 10
    assert not marked or all(x["marker"] for x in lines)


def test_reliability_is_that_of_the_file(files):
    with Recording.open(files / "a.h5") as recording:
        drawn = graphs.reliability([recording], ["MA", "HE"], [[0, 2]], "validation")
        found = recording.measures(2)["validation"]["channels"]["HE"]
        curve = found["reliability"]
        # The first line is the diagonal, the second the first snapshot.
        line = drawn.axes[1].get_lines()[2]
        wanted = [x for x in curve["confidence"] if x is not None]
        np.testing.assert_allclose(line.get_xdata(), wanted)
        assert f"ECE {found['ece']:.3g}" in line.get_label()
        assert line.get_label().startswith("iteration 400")
        named = graphs.reliability(
            [recording], ["MA"], [[2]], "training", names=["mine"]
        )
        label = named.axes[0].get_lines()[1].get_label()
        assert label.startswith("mine, iteration 400")


def test_the_contour_shows_the_landscape_and_its_path(files):
    landscape = Landscape.open(files / "plane.h5")
    drawn = landscape_figures.contour(landscape, 1, "average_precision")
    axes = drawn.axes[0]
    mesh = next(c for c in axes.collections if c.get_array() is not None)
    np.testing.assert_allclose(
        np.ma.filled(mesh.get_array(), np.nan), landscape.average_precision
    )
    lines = {len(line.get_xdata()): line for line in axes.get_lines()}
    path = landscape.trajectory
    np.testing.assert_array_equal(lines[3].get_xdata(), path.alpha)
    np.testing.assert_array_equal(lines[3].get_ydata(), path.beta)
    assert len(lines[landscape.holes].get_xdata()) == 2
    assert "2 of 399 points failed" in landscape_figures.caption(landscape)
    without = landscape_figures.contour(landscape, with_trajectory=False)
    assert len(without.axes[0].get_lines()) == 1


def test_the_profile_of_a_plane_is_its_middle_row(files):
    landscape = Landscape.open(files / "plane.h5")
    drawn = landscape_figures.profile(landscape, [0, 1])
    row = int(np.abs(landscape.beta).argmin())
    first, second, last = drawn.axes
    np.testing.assert_array_equal(
        first.get_lines()[0].get_ydata(), landscape.height(0)[row]
    )
    assert (first.get_yscale(), second.get_yscale()) == ("linear", "log")
    np.testing.assert_array_equal(
        last.get_lines()[0].get_ydata(), landscape.average_precision[row]
    )


def test_the_trajectory_compares_snapshot_and_projection(files):
    landscape = Landscape.open(files / "plane.h5")
    drawn = landscape_figures.trajectory(landscape, [1])
    own, projected = (line.get_ydata() for line in drawn.axes[0].get_lines())
    np.testing.assert_array_equal(own, landscape.trajectory.loss[1])
    np.testing.assert_array_equal(projected, landscape.trajectory.plane_loss[1])


def test_a_logarithm_needs_positive_heights():
    assert landscape_figures.is_log(np.array([1, 40.0, np.nan]), "auto")
    assert not landscape_figures.is_log(np.array([1, 20.0]), "auto")
    assert landscape_figures.is_log(np.array([1, 20.0]), "log")
    assert not landscape_figures.is_log(np.array([0, 20.0]), "log")
    assert not landscape_figures.is_log(np.array([1, 4e9]), "linear")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("maps", "a.h5", "--image", "c"), "image 'c' is not in it: it has im"),
        (("maps", "a.h5", "--losses", "bin"), "loss 'bin' is not in it: it has random"),
        (("maps", "a.h5", "--channel", "EX"), "'EX' is not in it: it has MA, HE"),
        (("maps", "a.h5", "--iterations", 3), "no iteration 3: it has 100, 200, 400"),
        (("maps", "a.h5", "--losses", "dice", "--rows", "kept"), "leaves pixels out"),
        (("maps", "plane.h5"), "plane.h5 is not a recording"),
        (("graphs", "a.h5", "missing.h5"), "missing.h5 does not exist"),
        (("graphs", "a.h5", "--channels", "background"), "'background' is not in it"),
        (("graphs", "a.h5", "--names", "a", "b"), "2 names for 1 recordings"),
        (("contour", "line.h5"), "line.h5: this landscape is a line"),
        (("trajectory", "line.h5"), "line.h5: this landscape has no trajectory"),
        (("contour", "a.h5"), "not a landscape"),
        (
            ("surface", "plane.h5", "--loss", "dice"),
            "'dice' is not in it: it has cross",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named(files, tmp_path, words, message):
    kind, *rest = (files / w if str(w).endswith(".h5") else w for w in words)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        run(kind, *rest, "--out", out)
    assert not out.exists()


def test_nothing_recorded_yet_and_nothing_computed_yet_are_named(tmp_path):
    path = surface_files.write_recording(tmp_path / "a.h5", iterations=(100,))
    with h5py.File(path, "a") as file:
        file["steps/00000100"].attrs["complete"] = 0
    with pytest.raises(UserError, match="has no recorded snapshot yet"):
        run("graphs", path, "--out", tmp_path / "a.png")
    empty = surface_files.landscape()
    for height in empty.heights:
        height[:] = np.nan
    empty.write(tmp_path / "empty.h5")
    for kind in ("contour", "surface", "profile"):
        with pytest.raises(UserError, match=r"empty\.h5: loss .* has 0 points"):
            run(kind, tmp_path / "empty.h5", "--out", tmp_path / "a.png")


def test_losses_that_are_no_numbers_and_a_constant_are_drawn(tmp_path):
    path = surface_files.write_recording(tmp_path / "a.h5", iterations=(100, 200))
    with h5py.File(path, "a") as file:
        step = file["steps/00000100"]
        step["loss/0"][...] = np.nan
        step["loss/1"][...] = 0
        step["probability"][0] = np.nan
    for extra in ((), ("--log",), ("--own-scale", "--log")):
        assert run("maps", path, "--out", tmp_path / "a.png", *extra) == 0


def test_names_are_no_mathematics():
    figure = Figure()
    text = figure.text(0, 0, drawing.plain("$\\frac{a$ and $b"))
    figure.canvas.draw()
    assert text.get_text().count("$") == 3
