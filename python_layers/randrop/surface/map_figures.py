"""Figures of the maps of a recording: losses, predictions and errors of pixels."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from randrop.surface import drawing
from randrop.surface.compared import is_sum, over_pixels
from randrop.surface.recording import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    IGNORED,
    TRUE_NEGATIVE,
    TRUE_POSITIVE,
    Recording,
    confidence,
    outcomes,
)

LOSSES, PROBABILITY, CONFIDENCE, OUTCOME, KEPT = ROWS = (
    *("losses", "probability", "confidence", "outcome", "kept"),
)
"""What the rows of `maps` show."""

_WITHOUT_FRAMES = {
    "axes.grid": False,
    "axes.spines.left": False,
    "axes.spines.bottom": False,
}
_GREY = "#5a5a5a"
# Okabe and Ito's colours, as in the other pictures; they differ in lightness, too.
_OUTCOMES = {
    TRUE_NEGATIVE: ("correct background", "#14141e"),
    TRUE_POSITIVE: ("found", "#009e73"),
    FALSE_POSITIVE: ("invented", "#e69f00"),
    FALSE_NEGATIVE: ("missed", "#cc79a7"),
    IGNORED: ("ignored", _GREY),
}
_KEPT = {
    1: ("takes part", "#56b4e9"),
    0: ("left out", "#14141e"),
    -1: ("ignored", _GREY),
}


class Moment(NamedTuple):
    """What is drawn: indices of a snapshot, an image and a channel."""

    t: int
    image: int
    channel: int


def maps(
    recording: Recording,
    image: int,
    channel: int,
    steps: Sequence[int],
    losses: Sequence[int],
    rows: Sequence[str] = ROWS[:-1],
    joint: bool = True,
    log: bool = False,
    width: float = 7.0,
) -> Figure:
    """Draw the maps of one image, a column for each snapshot.

    Parameters
    ----------
    recording : Recording
    image, channel : int
    steps, losses : sequence of int
        Indices of snapshots and of losses.
    rows : sequence of str
        Of `ROWS`; KEPT gives a row for each loss that keeps a part of the pixels.
    joint : bool
        One colour scale for all losses, from the least to the largest value of the
        panels, so that colours compare; otherwise each loss has its own. For the joint
        one, a loss that is a sum over pixels is divided by their number, as a mean has
        it, or it would outshine the others.
    log : bool
        A logarithmic scale over at most four orders of magnitude.
    width : float
        Inches.
    """
    moments = [Moment(t, image, channel) for t in steps]
    found: list[tuple[str, str, list[NDArray]]] = []
    for row in rows:
        found += _row_arrays(recording, row, moments, losses, joint)
    if not found:
        raise ValueError("nothing to draw")
    high, wide = recording.facts["size"]
    columns = len(steps) + 1
    with mpl.rc_context({**drawing.RC, **_WITHOUT_FRAMES}):
        height = (0.92 * width / columns) * (high / wide) * len(found)
        height += 0.16 * len(found) + 0.8
        figure = Figure(figsize=(width, height), layout="compressed")
        axes = figure.subplots(len(found), columns, squeeze=False)
        for panel in axes.flat:
            panel.set(xticks=[], yticks=[])
        _inputs(axes[:, 0], recording, image, channel)
        shared = _norm(
            [a for kind, _, row in found for a in row if kind == LOSSES], log
        )
        loss_rows = [r for r, (kind, _, _) in enumerate(found) if kind == LOSSES]
        for r, (kind, label, arrays) in enumerate(found):
            norm = shared if joint else _norm(arrays, log)
            shown = _draw_row(axes[r, 1:], kind, arrays, norm)
            axes[r, 1].set_ylabel(drawing.plain(label), fontsize=8)
            if kind in (PROBABILITY, CONFIDENCE) or (kind == LOSSES and not joint):
                figure.colorbar(shown, ax=axes[r, 1:], pad=0.01, aspect=12)
            if kind == LOSSES and joint and r == loss_rows[-1]:
                group = axes[loss_rows[0] : r + 1, 1:].ravel().tolist()
                figure.colorbar(shown, ax=group, pad=0.01, aspect=12 * len(loss_rows))
        for panel, t in zip(axes[0, 1:], steps, strict=True):
            panel.set_title(f"iteration {recording.iterations[t]:,}", fontsize=8)
        kinds = [kind for kind, _, _ in found]
        _legend(figure, OUTCOME in kinds, KEPT in kinds)
    return figure


def _row_arrays(
    recording: Recording,
    row: str,
    moments: Sequence[Moment],
    losses: Sequence[int],
    joint: bool,
) -> list[tuple[str, str, list[NDArray]]]:
    """Return kind, label and the arrays (H, W) of each row of panels."""
    names = recording.facts["losses"]
    if row == LOSSES:
        kinds = [
            joint and is_sum(names[k], recording.facts["activation"]) for k in losses
        ]
        return [
            (
                row,
                names[k] + ("\n/ pixels" if divided else ""),
                _losses(recording, k, moments, divided),
            )
            for k, divided in zip(losses, kinds, strict=True)
        ]
    if row == KEPT:
        kept = [(k, _kept(recording, k, moments)) for k in losses]
        return [(row, f"kept by\n{names[k]}", arrays) for k, arrays in kept if arrays]
    compute: Callable[[NDArray, NDArray], NDArray] = {
        PROBABILITY: lambda p, truth: p,
        CONFIDENCE: confidence,
        OUTCOME: outcomes,
    }[row]
    arrays = [
        compute(
            recording.probability(m.t, m.image)[m.channel : m.channel + 1],
            recording.truth(m.image)[m.channel : m.channel + 1],
        )[0]
        for m in moments
    ]
    return [(row, row, arrays)]


def _losses(
    recording: Recording, k: int, moments: Sequence[Moment], divided: bool
) -> list[NDArray]:
    found = []
    for m in moments:
        maps_of = recording.loss(m.t, k, m.image)
        if divided:
            maps_of = over_pixels(maps_of)
        # A softmax has one map for all of its classes.
        found.append(maps_of[min(m.channel, len(maps_of) - 1)])
    return found


def _kept(recording: Recording, k: int, moments: Sequence[Moment]) -> list[NDArray]:
    found = []
    for m in moments:
        kept = recording.kept(m.t, k, m.image)
        if kept is None:
            return []
        found.append(kept[min(m.channel, len(kept) - 1)])
    return found


def _norm(arrays: Sequence[NDArray], log: bool) -> Normalize:
    """Return the scale from the least to the largest value of all arrays."""
    values = np.concatenate([a[np.isfinite(a)] for a in arrays] or [np.zeros(1)])
    top = float(values.max(initial=0))
    if log and top > 0:
        positive = values[values > 0]
        return LogNorm(max(float(positive.min()), top / 1e4), top, clip=True)
    low = float(values.min(initial=top))
    return Normalize(low, top if top > low else low + 1)


def _draw_row(
    panels: Sequence[Axes], kind: str, arrays: Sequence[NDArray], norm: Normalize
) -> Any:
    """Draw a row of panels; return the last image."""
    if kind in (OUTCOME, KEPT):
        table = _OUTCOMES if kind == OUTCOME else _KEPT
        colours = ListedColormap([colour for _, colour in table.values()])
        index = {value: n for n, value in enumerate(table)}
        arrays = [np.vectorize(index.__getitem__, otypes=[int])(a) for a in arrays]
        norm = Normalize(-0.5, len(table) - 0.5)
    else:
        colours = mpl.colormaps["viridis" if kind == LOSSES else "cividis"]
        colours = colours.with_extremes(bad=_GREY)
        norm = norm if kind == LOSSES else Normalize(0, 1)
    for panel, values in zip(panels, arrays, strict=True):
        shown = panel.imshow(values, cmap=colours, norm=norm, interpolation="nearest")
        if kind == LOSSES:
            valid = values[np.isfinite(values)].astype(float)
            mean = f"mean {valid.mean():.3g}" if valid.size else "no valid pixel"
            panel.set_xlabel(mean, fontsize=7, labelpad=2)
    return shown


def _inputs(
    panels: Sequence[Axes], recording: Recording, image: int, channel: int
) -> None:
    panels[0].imshow(recording.picture(image), interpolation="nearest")
    name = drawing.plain(recording.names[image])
    panels[0].set_title(f"{name} ({recording.subsets[image]})", fontsize=8)
    if len(panels) > 1:
        truth = recording.truth(image)[channel]
        index = np.where(truth == 1, 1, np.where(truth == 0, 0, 2))
        colours = ListedColormap(["#14141e", "#009e73", _GREY])
        panels[1].imshow(index, cmap=colours, vmin=0, vmax=2, interpolation="nearest")
        label = drawing.plain(recording.facts["channels"][channel])
        panels[1].set_title(f"truth: {label}", fontsize=8)
    for panel in panels[2:]:
        panel.set_axis_off()


def _legend(figure: Figure, with_outcome: bool, with_kept: bool) -> None:
    handles = {}
    for table, wanted in ((_OUTCOMES, with_outcome), (_KEPT, with_kept)):
        if wanted:
            handles |= {label: Patch(color=colour) for label, colour in table.values()}
    if handles:
        figure.legend(
            *(handles.values(), handles.keys()),
            loc="outside lower center",
            ncols=min(5, len(handles)),
            fontsize=8,
        )
