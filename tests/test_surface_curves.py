import json
from collections import Counter

import every_script
import numpy as np
import pytest

from randrop import cli
from randrop.errors import UserError
from randrop.losses import drop_probability
from randrop.losses.registry import LAYERS, NAMES
from randrop.surface import curves
from randrop.surface.commands import curves as command
from randrop.surface.curve_scenes import Scene
from randrop.surface.expected_drop import expected_random_drop

ALL = Scene.of_share(1000, 0.01)
ONE = Scene.of_share(1000, 0.01, others=((3.0, 2.0), (0.0, 2.0)))
SCHEDULES = ("LINEAR", "SQU", "LOG")
EVERY = curves.every_loss()
FIXED = [one for one in EVERY if not any(term.drops for term in one.terms)]
# The weights of PM-Dice are constants for the gradient.
DERIVED = [one for one in FIXED if not one.text.startswith("pm-dice")]


def ids(one):
    return f"{one.text}-{one.activation}"


def of(one, scene, x, seed=0):
    return curves.forward(one.terms, one.activation, scene, x, seed)


def test_every_layer_and_name_of_the_registry_is_drawn():
    drawn = {term.type for one in EVERY for term in one.terms}
    assert drawn == {*LAYERS, "SigmoidCrossEntropyLoss", "SoftmaxWithLoss"}
    names = {(one.text.split(":")[0], one.activation) for one in EVERY}
    assert names == {
        (name, activation)
        for name, kind in NAMES.items()
        for activation in curves.ACTIVATIONS
        if kind.layer(activation)
    }
    assert max(Counter(ids(one) for one in EVERY).values()) == 1
    schedules = {t.params.get("schedule_type") for o in EVERY for t in o.terms}
    assert schedules >= {*SCHEDULES, "NONE"}


@pytest.mark.parametrize("one", DERIVED, ids=ids)
def test_the_gradient_is_the_derivative_of_the_loss(one):
    for x in (-7.0, -1.3, 0.4, 2.0, 6.0):
        h = 1e-4
        wanted = (of(one, ALL, x + h)["loss"] - of(one, ALL, x - h)["loss"]) / (2 * h)
        values = of(one, ALL, x)
        found = (
            ALL.share * values["lesion_gradient"]
            + (1 - ALL.share) * values["background_gradient"]
        )
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-11)
        assert found < 0


@pytest.mark.parametrize("one", DERIVED, ids=ids)
def test_the_gradient_of_one_pixel_is_the_derivative_of_the_loss(one):
    h, held = 1e-4, 0
    for x in (-7.0, -1.3, 0.4, 2.1, 6.0):
        low, values, high = (of(one, ONE, x + d) for d in (-h, 0, h))
        wanted = ONE.pixels * (high["loss"] - low["loss"]) / (2 * h)
        found = values["lesion_gradient"] + values["background_gradient"]
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        held += found < 0
    assert held >= 2


def test_cross_entropy_is_as_everybody_knows_it():
    for activation in curves.ACTIVATIONS:
        one = curves.spec("cross-entropy", activation)
        for scene in (ALL, ONE):
            for x in (-10.0, 0.0, 3.0):
                p = 1 / (1 + np.exp(-x))
                values = of(one, scene, x)
                for kind in ("lesion", "background"):
                    assert values[f"{kind}_loss"] == pytest.approx(-np.log(p))
                    assert values[f"{kind}_gradient"] == pytest.approx(p - 1)
        assert of(one, ALL, 1.0)["loss"] == pytest.approx(np.log1p(np.exp(-1)))


@pytest.mark.parametrize("scene", [ALL, ONE], ids=["all", "one"])
@pytest.mark.parametrize("schedule", [*SCHEDULES, "LOG,keep=UNIFORM"])
def test_expected_random_drop_is_the_mean_of_drawn_masks(schedule, scene):
    one = curves.spec(f"random-drop:{schedule},weight=2")
    for x in (-3.0, 0.0, 2.0):
        expected = expected_random_drop(one.terms[0], scene, x)
        runs = [of(one, scene, x, seed) for seed in range(400)]
        for name in curves.QUANTITIES[scene.name]:
            drawn = np.array([values[name] for values in runs])
            error = drawn.std(ddof=1) / 20
            assert (
                abs(drawn.mean() - expected[name])
                <= 4.5 * error
                + 0.01 * abs(drawn.mean() * (scene.name == "one" and x < 0))
                + 1e-12
            ), name


def test_few_kept_pixels_have_the_exact_expectation_not_that_of_their_mean():
    scene, x = Scene.of_share(60, 0.05), 3.0
    one = curves.spec("random-drop:LOG")
    expected = expected_random_drop(one.terms[0], scene, x)["lesion_gradient"]
    drawn = [of(one, scene, x, seed)["lesion_gradient"] for seed in range(4000)]
    error = np.std(drawn, ddof=1) / np.sqrt(len(drawn))
    assert abs(np.mean(drawn) - expected) < 4.5 * error
    kept = (1 - float(drop_probability(np.float64(-x), "LOG"))) * scene.background
    naive = -kept / (kept + scene.lesions) / (1 + np.exp(x))
    assert abs(np.mean(drawn) - naive) > 8 * error


def test_a_sum_has_the_curve_of_its_terms():
    both = curves.curve(curves.spec("random-drop:SQU+dice"), ALL, [-1.0, 2.0])
    parts = [
        curves.curve(curves.spec(text, "SIGMOID"), ALL, [-1.0, 2.0])
        for text in ("random-drop:SQU", "dice")
    ]
    for name in curves.QUANTITIES["all"][:-1]:
        summed = np.add(parts[0][name], parts[1][name])
        np.testing.assert_allclose(both[name], summed, rtol=1e-12)
    assert both["used_background"] == parts[0]["used_background"]


def test_top_k_takes_the_same_share_of_either_class_and_drops_easy_pixels():
    one = curves.spec("top-k:10")
    assert of(one, ALL, 1.0)["used_background"] == pytest.approx(0.1, abs=1e-3)
    used = [of(one, ONE, x)["used_background"] for x in np.linspace(-9, 9, 19)]
    assert sorted(set(used)) == [0, 1]
    assert used == sorted(used, reverse=True)


def test_the_command_writes_numbers_and_figures(tmp_path):
    out = tmp_path / "curves"
    words = ("--points", 5, "--pixels", 400, "--share", 0.01, "--seeds", 2)
    specs = ("random-drop:LOG", "focal:2", "exp-log", "focal:2+dice")
    given = ("--losses", *specs, *words, "--against", "logit")
    every_script.done(every_script.start("surface curves", "--out", out, *given))
    for scene in ("all", "one"):
        document = json.loads((out / f"curves-{scene}.json").read_text())
        assert [entry["loss"] for entry in document["losses"]] == list(specs)
        assert document["logit"] == [-10, -5, 0, 5, 10]
        assert document["scene"]["lesions"] == 4
        for entry in document["losses"]:
            assert set(entry["curve"]) == set(curves.QUANTITIES[scene])
            assert "NaN" not in json.dumps(entry)
            assert ("sampled" in entry) == (entry["loss"] == "random-drop:LOG")
            # Text of the vector figures is text.
            stem = out / f"curves-{scene}-{entry['activation']}-logit"
            assert f">{entry['loss']}<" in stem.with_suffix(".svg").read_text()
            assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
            assert stem.with_suffix(".png").read_bytes()[1:4] == b"PNG"


def test_one_figure_has_the_numbers_beside_it_and_is_the_same_again(tmp_path):
    words = ("--points", 3, "--pixels", 400, "--share", 0.01, "--losses", "focal:2")
    words += ("--against", "p", "--out", tmp_path / "focal.svg")
    contents = []
    for _ in range(2):
        every_script.done(every_script.start("surface curves", *words))
        contents.append((tmp_path / "focal.svg").read_bytes())
        names = {path.name for path in tmp_path.iterdir() if path.name[0] != "."}
        assert names == {"focal.svg", "focal.json"}
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--losses", "fokal"), "loss 'fokal' is unknown: choose from"),
        (("--losses", "exp-log", "--activation", "sigmoid"), "needs a sigmoid network"),
        (("--share", 0.00001), "0 lesion pixels: both classes need at least one"),
        (("--points", 1), "--points is 1: give at least 2"),
        (("--other-background", 5, -1), "standard deviation -1"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, words, message):
    out = tmp_path / "curves"
    with pytest.raises(UserError, match=message):
        run("--out", out, *words)
    assert not out.exists()


def run(*words):
    parser = cli.parser("")
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def test_one_file_is_one_figure(tmp_path):
    for out, message in (
        (tmp_path / "a.pdf", "choose an --activation, or give a folder"),
        (tmp_path / "a.jpg", "figures have the suffix png, pdf, svg"),
    ):
        with pytest.raises(UserError, match=message):
            run("--out", out)
    assert not list(tmp_path.iterdir())


def test_a_loss_without_bound_has_gaps(tmp_path):
    words = ("--losses", "exp-log:gamma_dice=1e30", "--points", 5, "--pixels", 100)
    assert run(*words, "--share", 0.1, "--out", tmp_path / "a.png") == 0
    document = json.loads((tmp_path / "a.json").read_text())
    assert any(None in values for values in document["losses"][0]["curve"].values())


def test_somebody_elses_file_stays(tmp_path):
    path = tmp_path / "curves-all.json"
    path.write_text("mine")
    result = every_script.start("surface curves", "--out", tmp_path)
    assert result.returncode == 2
    assert "this program did not write the existing file" in result.stderr
    assert path.read_text() == "mine"


def test_a_scene_needs_both_classes():
    with pytest.raises(UserError, match="10 lesion pixels"):
        Scene.of_share(10, 1)
