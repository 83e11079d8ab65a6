"""Draw loss and gradient of every loss against p and against the logit."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop import cli
from randrop.errors import UserError

log = logging.getLogger("randrop")

NAME = "curves"
HELP = "loss and gradient against p and the logit"
DESCRIPTION = """\
Draw loss and gradient of every loss, schedule and gamma against the probability p_t
of the true class and against its logit, from -10 to 10.

Most losses depend on the counts of the classes or on other pixels. The curves are
therefore those of an image of N pixels, of which a share is lesion, in two scenes:
  all   all pixels have the same p_t. Drawn are the loss of the image and the gradient
        of a pixel of either class
  one   one lesion pixel and one background pixel have p_t, the others are as a network
        in training has them. Drawn are the loss and the gradient of these two pixels
Gradients are N times the derivative by the logit, so that cross-entropy has p_t - 1.
Beside them is the share of the background that takes part. Random drop's lines are
expectations over its masks; points are masks that were drawn, one for each seed.

Writes into OUT, a folder:
  curves-all.json, curves-one.json   all numbers
  curves-all-sigmoid-logit.png, ...  a figure for each scene, activation and abscissa,
                                     as PNG, PDF and SVG
or, if OUT is a file (.png, .pdf, .svg), that figure alone and the numbers beside it.
"""
EXAMPLES = """\
  surface.py curves --out build/curves
  surface.py curves --out focal.pdf --losses focal:1 focal:2 focal:5 --against p
  surface.py curves --out build/curves --losses random-drop:LOG top-k --share 0.01
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder, or file of one figure")
    add(
        "--losses",
        nargs="+",
        metavar="SPEC",
        help="as in train.py --loss; default: every loss of randrop",
    )
    add(
        "--activation",
        choices=("sigmoid", "softmax"),
        help="of the losses; default: sigmoid for those that have it, and for every "
        "loss of randrop both",
    )
    add("--share", type=cli.above_zero, default=0.001, help="share of lesion pixels")
    add(
        "--scenes",
        nargs="+",
        choices=("all", "one"),
        help="default: both, for a file all",
    )
    add(
        "--other-background",
        type=cli.finite,
        nargs=2,
        default=[5.0, 2.0],
        metavar=("MEAN", "SD"),
        help="scene one: logits of the other background pixels, in favour of "
        "background",
    )
    add(
        "--other-lesions",
        type=cli.finite,
        nargs=2,
        default=[0.0, 2.0],
        metavar=("MEAN", "SD"),
        help="scene one: logits of the other lesion pixels, in favour of lesion",
    )
    add("--pixels", type=int, default=20_000, metavar="N", help="pixels of the image")
    add("--points", type=int, default=101, help="logits from -10 to 10")
    add("--seeds", type=int, default=5, help="random drop: masks drawn at each logit")
    add(
        "--against",
        nargs="+",
        choices=("logit", "p"),
        help="abscissa; default: both, for a file the logit",
    )
    add(
        "--formats",
        nargs="+",
        choices=("png", "pdf", "svg"),
        default=["png", "pdf", "svg"],
        help="of the figures in a folder",
    )


def run(options: argparse.Namespace) -> int:
    """Compute, draw and write; return 0."""
    from randrop.files import output
    from randrop.surface import drawing

    _check(options)
    single = options.out.suffix.lower().lstrip(".") in drawing.FORMATS
    specs = _specs(options)
    activations = list(dict.fromkeys(one.activation.lower() for one in specs))
    if single and len(activations) > 1:
        raise UserError(
            f"--out {options.out} is one figure, and these losses need two, for "
            "sigmoid and softmax: choose an --activation, or give a folder"
        )
    scenes = options.scenes or ["all", "one"]
    against = options.against or ["logit", "p"]
    if single:
        scenes, against = scenes[:1], against[:1]
        numbers = {scenes[0]: options.out.with_suffix(".json")}
    else:
        numbers = {scene: options.out / f"curves-{scene}.json" for scene in scenes}
    wanted = {
        f"curves-{scene}-{activation}-{abscissa}": (scene, activation, abscissa)
        for scene in scenes
        for activation in activations
        for abscissa in against
    }
    paths = {
        one: drawing.paths_of(options.out, [stem], options.formats)
        for stem, one in wanted.items()
    }
    every = [*(path for group in paths.values() for path in group), *numbers.values()]
    with output(every[0].parent, "surface", [path.name for path in every]):
        _write(options, specs, paths, numbers)
    for path in every:
        log.info("%s", path)
    return 0


def _write(
    options: argparse.Namespace,
    specs: Sequence[Any],
    paths: Mapping[tuple[str, str, str], list[Path]],
    numbers: Mapping[str, Path],
) -> None:
    """Compute each scene, draw its figures and write its numbers last."""
    import numpy as np
    from tqdm import tqdm

    from randrop.files import write_json
    from randrop.surface import curve_figure, curves, drawing
    from randrop.surface.curve_scenes import Scene

    logits = np.linspace(-10, 10, options.points)
    drawn = np.linspace(-10, 10, 21)
    for scene, path in numbers.items():
        others = (tuple(options.other_background), tuple(options.other_lesions))
        image = Scene.of_share(
            options.pixels, options.share, others=others if scene == "one" else None
        )
        progress = tqdm(specs, desc=f"scene {scene}", unit=" losses", disable=None)
        entries = [
            curves.compute(one, image, logits, drawn, options.seeds) for one in progress
        ]
        document = curves.document(image, logits, entries)
        for (of, activation, abscissa), files in paths.items():
            if of == scene:
                figure = curve_figure.draw(document, activation, abscissa)
                drawing.save(figure, files)
        write_json(path, document)


def _check(options: argparse.Namespace) -> None:
    from randrop.surface.curve_scenes import Scene

    for name, least in (("points", 2), ("seeds", 0), ("pixels", 2)):
        value = getattr(options, name)
        if value < least:
            raise UserError(f"--{name} is {value}: give at least {least}")
    for name in ("background", "lesions"):
        deviation = getattr(options, f"other_{name}")[1]
        if deviation < 0:
            raise UserError(
                f"--other-{name} has the standard deviation {deviation:g}: it must be "
                "at least 0"
            )
    Scene.of_share(options.pixels, options.share)


def _specs(options: argparse.Namespace) -> list[Any]:
    from randrop.surface import curves

    wanted = options.activation and options.activation.upper()
    if options.losses:
        texts = list(dict.fromkeys(options.losses))
        return [curves.spec(text, wanted, options.share) for text in texts]
    return [one for one in curves.every_loss() if wanted in (None, one.activation)]
