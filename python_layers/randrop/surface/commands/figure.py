"""Draw figures for papers from recordings and landscapes."""

import argparse
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from randrop import cli
from randrop.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from randrop.surface.landscape_file import Landscape
    from randrop.surface.recording import Recording

log = logging.getLogger("randrop")

NAME = "figure"
HELP = "figures for papers from recordings and landscapes"
DESCRIPTION = """\
Draw a figure for a paper: one command a figure, as PNG, PDF and SVG, whose text and
lines an editor of vector graphics can change.

If OUT is a file (.png, .pdf, .svg), it is that one; if it is a folder, the figure is
<kind>.png, <kind>.pdf and <kind>.svg in it.

'surface.py figure KIND --help' explains a kind.
"""
EXAMPLES = """\
  surface.py figure maps build/recording.h5 --out maps.pdf --iterations 100 1000 4000
  surface.py figure graphs build/log.h5 build/focal.h5 --out build/figures
  surface.py figure reliability build/recording.h5 --out reliability.pdf
  surface.py figure contour build/landscape.h5 --out contour.pdf
"""

KINDS = {
    "maps": "losses side by side, prediction, confidence, errors of one image",
    "graphs": "measures through the training, of one recording or several",
    "reliability": "how often a pixel is positive, against its probability",
    "contour": "lines of equal loss in the plane, with the trajectory",
    "surface": "the plane in 3-D, with the trajectory",
    "profile": "the losses along the first direction",
    "trajectory": "of each snapshot its loss, that of its projection, its distance",
}

_ROWS = ("losses", "probability", "confidence", "outcome", "kept")
_MEASURES = (
    *("loss", "accuracy", "iou", "confidence_foreground", "confidence_background"),
    *("average_precision", "ece"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the kinds of figures with their options."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, about in KINDS.items():
        one = kinds.add_parser(
            kind, help=about, **cli.wording(f"Draw {about}.\n", EXAMPLES)
        )
        several = kind in ("graphs", "reliability")
        source = "record" if kind in _DRAW_RECORDING else "landscape"
        one.add_argument(
            "files",
            type=Path,
            nargs="+" if several else 1,
            metavar="RECORDING" if source == "record" else "LANDSCAPE",
            help=f"file of surface.py {source}",
        )
        one.add_argument("--out", type=Path, required=True, help="file, or folder")
        one.add_argument(
            "--formats",
            nargs="+",
            choices=("png", "pdf", "svg"),
            default=["png", "pdf", "svg"],
            help="of the figure in a folder",
        )
        one.add_argument(
            "--width",
            type=cli.above_zero,
            default=4.5 if kind in ("contour", "surface") else 7.0,
            help="inches",
        )
        _OPTIONS[kind](one.add_argument)


def _maps_options(add: Any) -> None:
    add("--image", help="name of the image; default: the first")
    add("--channel", help="lesion type or class; default: the first")
    _iterations(add)
    _losses(add)
    add(
        "--rows",
        nargs="+",
        choices=_ROWS,
        default=list(_ROWS[:-1]),
        help="what is drawn",
    )
    add("--own-scale", action="store_true", help="a colour scale for each loss")
    add("--log", action="store_true", help="logarithmic colours of the losses")


def _graphs_options(add: Any) -> None:
    _channels(add)
    add("--measures", nargs="+", choices=_MEASURES, default=list(_MEASURES))
    add(
        "--subset",
        choices=("training", "validation"),
        help="default: both",
    )
    _names(add)


def _reliability_options(add: Any) -> None:
    _channels(add)
    _iterations(add)
    add("--subset", choices=("training", "validation"), default="validation")
    _names(add)


def _names(add: Any) -> None:
    add(
        "--names",
        nargs="+",
        metavar="NAME",
        help="of the recordings in the legend; default: their runs and losses",
    )


def _plane_options(add: Any) -> None:
    add("--loss", help="one of the landscape's losses; default: the first")
    add("--colour", choices=("loss", "average_precision"), default="loss")
    _scale(add)
    add("--no-trajectory", action="store_true", help="leave the snapshots out")


def _profile_options(add: Any) -> None:
    _losses(add)
    _scale(add)


def _scale(add: Any) -> None:
    add(
        "--scale",
        choices=("auto", "linear", "log"),
        default="auto",
        help="of the loss; auto: log if it differs by more than a factor of 30",
    )


def _channels(add: Any) -> None:
    add("--channels", nargs="+", help="lesion types or classes; default: all")


def _iterations(add: Any) -> None:
    add("--iterations", type=int, nargs="+", help="recorded ones; default: up to four")


def _losses(add: Any) -> None:
    add("--losses", nargs="+", metavar="SPEC", help="of the file; default: all")


_OPTIONS = {
    "maps": _maps_options,
    "graphs": _graphs_options,
    "reliability": _reliability_options,
    "contour": _plane_options,
    "surface": _plane_options,
    "profile": _profile_options,
    "trajectory": _losses,
}


def run(options: argparse.Namespace) -> int:
    """Read, draw and write; return 0."""
    from randrop.files import output
    from randrop.surface import drawing

    paths = drawing.paths_of(options.out, [options.kind], options.formats)
    if options.kind in _DRAW_RECORDING:
        figure = _of_recordings(options)
    else:
        figure = _of_landscape(options)
    with output(paths[0].parent, "surface", [path.name for path in paths]):
        drawing.save(figure, paths)
    for path in paths:
        log.info("%s", path)
    return 0


def _of_recordings(options: argparse.Namespace) -> "Figure":
    from randrop.surface.recording import Recording

    with contextlib.ExitStack() as stack:
        recordings = [stack.enter_context(Recording.open(p)) for p in options.files]
        for recording in recordings:
            if not recording.iterations:
                raise UserError(
                    f"{recording.path} has no recorded snapshot yet: continue it with "
                    "surface.py record"
                )
        return _DRAW_RECORDING[options.kind](options, recordings)


def _of_landscape(options: argparse.Namespace) -> "Figure":
    from randrop.surface.landscape_file import Landscape

    (path,) = options.files
    landscape = Landscape.open(path)
    try:
        return _DRAW_LANDSCAPE[options.kind](options, landscape)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _draw_maps(
    options: argparse.Namespace, recordings: Sequence["Recording"]
) -> "Figure":
    from randrop.surface import map_figures

    (recording,) = recordings
    facts, path = recording.facts, recording.path
    losses = _picked(facts["losses"], options.losses, "loss", path)
    rows = list(dict.fromkeys(options.rows))
    keeping = any(recording.kept(0, k, 0) is not None for k in losses)
    if rows == ["kept"] and not keeping:
        raise UserError(
            f"{path}: none of {', '.join(facts['losses'][k] for k in losses)} leaves "
            "pixels out: remove --rows kept"
        )
    return map_figures.maps(
        recording,
        _picked(recording.names, options.image and [options.image], "image", path)[0],
        _picked(
            facts["channels"], options.channel and [options.channel], "channel", path
        )[0],
        _steps(recording, options.iterations),
        losses,
        rows,
        joint=not options.own_scale,
        log=options.log,
        width=options.width,
    )


def _draw_graphs(
    options: argparse.Namespace, recordings: Sequence["Recording"]
) -> "Figure":
    from randrop.surface import recording_figures

    channels = _channels_of(recordings, options.channels)
    _check_names(options, recordings)
    _check_subset(recordings, options.subset)
    return recording_figures.graphs(
        recordings,
        channels,
        list(dict.fromkeys(options.measures)),
        options.width,
        subsets=(options.subset,) if options.subset else recording_figures.SUBSETS,
        names=options.names,
    )


def _draw_reliability(
    options: argparse.Namespace, recordings: Sequence["Recording"]
) -> "Figure":
    from randrop.surface import recording_figures

    _check_names(options, recordings)
    _check_subset(recordings, options.subset)
    steps = [
        _steps(recording, options.iterations)
        if options.iterations or len(recordings) == 1
        else [len(recording.iterations) - 1]
        for recording in recordings
    ]
    return recording_figures.reliability(
        recordings,
        _channels_of(recordings, options.channels),
        steps,
        options.subset,
        options.width,
        options.names,
    )


def _check_names(
    options: argparse.Namespace, recordings: Sequence["Recording"]
) -> None:
    if options.names and len(options.names) != len(recordings):
        raise UserError(
            f"--names has {len(options.names)} names for {len(recordings)} recordings: "
            "give one for each"
        )


def _check_subset(recordings: Sequence["Recording"], subset: str | None) -> None:
    for recording in recordings:
        if subset and subset not in recording.subsets:
            raise UserError(
                f"{recording.path} has no {subset} images: choose the other --subset"
            )


def _draw_plane(options: argparse.Namespace, landscape: "Landscape") -> "Figure":
    from randrop.surface import landscape_figures

    wanted = options.loss and [options.loss]
    k = _picked(landscape.facts["losses"], wanted, "loss")[0]
    draw = getattr(landscape_figures, options.kind)
    return draw(
        landscape,
        k,
        options.colour,
        options.scale,
        not options.no_trajectory,
        options.width,
    )


def _draw_profile(options: argparse.Namespace, landscape: "Landscape") -> "Figure":
    from randrop.surface import landscape_figures

    losses = _picked(landscape.facts["losses"], options.losses, "loss")
    return landscape_figures.profile(landscape, losses, options.scale, options.width)


def _draw_trajectory(options: argparse.Namespace, landscape: "Landscape") -> "Figure":
    from randrop.surface import landscape_figures

    losses = _picked(landscape.facts["losses"], options.losses, "loss")
    return landscape_figures.trajectory(landscape, losses, options.width)


_DRAW_RECORDING = {
    "maps": _draw_maps,
    "graphs": _draw_graphs,
    "reliability": _draw_reliability,
}
_DRAW_LANDSCAPE = {
    "contour": _draw_plane,
    "surface": _draw_plane,
    "profile": _draw_profile,
    "trajectory": _draw_trajectory,
}


def _picked(
    names: Sequence[str],
    wanted: Sequence[str] | None,
    what: str,
    path: Path | None = None,
) -> list[int]:
    """Return the indices of the wanted names, or of all."""
    if not wanted:
        return list(range(len(names)))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise UserError(
            f"{f'{path}: ' if path else ''}{what} {unknown[0]!r} is not in it: it has "
            f"{', '.join(names)}"
        )
    return [list(names).index(name) for name in dict.fromkeys(wanted)]


def _channels_of(
    recordings: Sequence["Recording"], wanted: Sequence[str] | None
) -> list[str]:
    common = [
        name
        for name in recordings[0].facts["channels"]
        if all(name in other.facts["channels"] for other in recordings)
    ]
    if not common:
        raise UserError(
            "these recordings have no channel in common: "
            + "; ".join(
                f"{r.path}: {', '.join(r.facts['channels'])}" for r in recordings
            )
        )
    return [common[c] for c in _picked(common, wanted, "channel", recordings[0].path)]


def _steps(recording: "Recording", wanted: Sequence[int] | None) -> list[int]:
    """Return the indices of the wanted iterations, or of up to four."""
    have = recording.iterations
    if not wanted:
        last = len(have) - 1
        return sorted({round(k * last / 3) for k in range(4)})
    missing = [iteration for iteration in wanted if iteration not in have]
    if missing:
        some = ", ".join(map(str, have[:20])) + (", ..." if len(have) > 20 else "")
        raise UserError(
            f"{recording.path} has no iteration {missing[0]}: it has {some}"
        )
    return [have.index(iteration) for iteration in dict.fromkeys(wanted)]
