"""Figures of a landscape: contour, 3-D surface, profile, trajectory."""

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.surface import drawing
from randrop.surface.landscape_file import FAILED, Landscape, Trajectory

_FAR = 30
"""With "auto", heights that differ by more than this factor have a log scale."""


def caption(landscape: Landscape) -> str:
    """Return how the landscape was made, and how many points are missing."""
    facts = landscape.facts
    text = (
        f"{facts['run']}, weights {facts['center']}; {facts['images']} images; "
        f"directions: {facts['directions']}"
    )
    if facts["directions"] == "random":
        text += f", filter-normalised, seed {facts['seed']}"
    if facts["batch_norm"] != "none":
        text += f"; statistics of BatchNorm {facts['batch_norm']}"
    if landscape.holes:
        text += f"; {landscape.holes} of {landscape.state.size} points failed (×)"
    to_do = int(np.isin(landscape.state, (0,)).sum())
    if to_do:
        text += f"; {to_do} points are not computed yet"
    return drawing.plain(text + ".")


def contour(
    landscape: Landscape,
    k: int = 0,
    colour: str = "loss",
    scale: str = "auto",
    with_trajectory: bool = True,
    width: float = 4.5,
) -> Figure:
    """Draw the plane: lines of equal loss, and colours.

    Parameters
    ----------
    landscape : Landscape
        Of kind "plane".
    k : int
        The loss.
    colour : {"loss", "average_precision"}
        What the colours show; the lines are always of the loss.
    scale : {"auto", "linear", "log"}
        Of the loss.
    with_trajectory : bool
        Draw the projections of the snapshots, if there are any.
    width : float
        Inches.

    Raises
    ------
    UserError
        If it is a line, or no point has a value.
    """
    _check_plane(landscape)
    height = _finite(landscape, k)
    log = is_log(height, scale)
    norm, levels = _levels(height, log)
    with mpl.rc_context({**drawing.RC, "axes.grid": False}):
        figure = Figure(figsize=(width, 0.92 * width), layout="constrained")
        axes = figure.add_subplot()
        place = (landscape.alpha, landscape.beta)
        if colour == "loss":
            shown = axes.contourf(
                *(*place, height), levels=levels, norm=norm, cmap="viridis"
            )
            label = drawing.plain(landscape.facts["losses"][k])
        else:
            values = np.ma.masked_invalid(landscape.average_precision)
            shown = axes.pcolormesh(
                *(*place, values), cmap="cividis", shading="nearest", rasterized=True
            )
            label = "average precision"
        lines = axes.contour(
            *(*place, height),
            levels=levels[::2],
            colors="w" if colour == "loss" else "k",
            linewidths=0.6,
        )
        axes.clabel(lines, fontsize=6, fmt=lambda value: f"{value:.3g}")
        bar = figure.colorbar(shown, ax=axes, label=label)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        bar.ax.minorticks_off()
        y, x = np.nonzero(landscape.state == FAILED)
        axes.plot(landscape.alpha[x], landscape.beta[y], "x", color="#D55E00", ms=4)
        if with_trajectory and landscape.trajectory is not None:
            _path(axes, landscape.trajectory)
        _label_axes(axes, landscape)
        _caption(figure, landscape, width)
    return figure


def _path(axes: Axes, trajectory: Trajectory) -> None:
    axes.plot(
        *(trajectory.alpha, trajectory.beta, "-o"),
        color="#D55E00",
        ms=3,
        lw=1.2,
        markeredgecolor="w",
        markeredgewidth=0.4,
    )
    for s in {0, len(trajectory.iteration) - 1}:
        axes.annotate(
            f"{trajectory.iteration[s]:,}",
            (trajectory.alpha[s], trajectory.beta[s]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
            bbox={"boxstyle": "round,pad=0.15", "fc": "w", "ec": "none", "alpha": 0.8},
        )


def surface(
    landscape: Landscape,
    k: int = 0,
    colour: str = "loss",
    scale: str = "auto",
    with_trajectory: bool = True,
    width: float = 5.0,
    view: tuple[float, float] = (35.0, -60.0),
) -> Figure:
    """Draw the plane as a surface in 3-D.

    Parameters
    ----------
    landscape, k, colour, scale, with_trajectory, width
        As in `contour`. With a log scale the height is the logarithm.
    view : pair of float
        Elevation and azimuth in degrees.

    Raises
    ------
    UserError
        As `contour`.
    """
    _check_plane(landscape)
    height = _finite(landscape, k)
    log = is_log(height, scale)
    z = np.log10(height.filled(np.nan)) if log else height.filled(np.nan)
    if colour == "loss":
        values, name = z, "viridis"
    else:
        values, name = landscape.average_precision, "cividis"
    low, high = _range(values)
    norm, colours = Normalize(low, high), mpl.colormaps[name]
    with mpl.rc_context(drawing.RC):
        # Layouts do not know the labels of 3-D axes.
        figure = Figure(figsize=(width, 0.9 * width))
        axes = figure.add_axes(
            (0.05, 0.13, 0.68, 0.87), projection="3d", elev=view[0], azim=view[1]
        )
        axes.plot_surface(
            *np.meshgrid(landscape.alpha, landscape.beta),
            z,
            facecolors=colours(norm(values)),
            rcount=101,
            ccount=101,
            linewidth=0,
            antialiased=False,
            shade=False,
        )
        path = landscape.trajectory
        if with_trajectory and path is not None:
            on_plane = path.plane_loss[k]
            if log:
                on_plane = np.log10(np.where(on_plane > 0, on_plane, np.nan))
            # Slightly above the surface, which would hide parts of the line.
            lift = 0.01 * np.subtract(*_range(z)[::-1])
            axes.plot(
                *(path.alpha, path.beta, on_plane + lift, "-o"),
                color="#D55E00",
                ms=2.5,
                lw=1.2,
                zorder=10,
            )
        if log:
            axes.zaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{10**v:.2g}"))
        axes.tick_params(labelsize=7, pad=0)
        if colour != "loss":
            mappable = mpl.cm.ScalarMappable(norm, colours)
            place = figure.add_axes((0.87, 0.3, 0.025, 0.5))
            figure.colorbar(mappable, cax=place, label="average precision")
        _label_axes(axes, landscape)
        axes.set_zlabel(drawing.plain(landscape.facts["losses"][k]))
        _caption(figure, landscape, width)
    return figure


def profile(
    landscape: Landscape,
    losses: Sequence[int],
    scale: str = "auto",
    width: float = 7.0,
) -> Figure:
    """Draw each loss and the average precision along alpha.

    Of a plane, it is the row whose beta is nearest to 0.

    Parameters
    ----------
    landscape : Landscape
    losses : sequence of int
        A panel for each.
    scale : {"auto", "linear", "log"}
        Of the losses.
    width : float
        Inches.

    Raises
    ------
    UserError
        If a loss has no value.
    """
    row = int(np.abs(landscape.beta).argmin())
    panels = [(landscape.facts["losses"][k], _finite(landscape, k)) for k in losses]
    columns = min(3, len(panels) + 1)
    lines = -(-(len(panels) + 1) // columns)
    with mpl.rc_context(drawing.RC):
        figure = Figure(figsize=(width, 0.32 * width * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel in axes[len(panels) + 1 :]:
            panel.set_axis_off()
        for panel, (name, height) in zip(axes, panels, strict=False):
            panel.plot(landscape.alpha, height[row], color="#0072B2", marker=".", ms=3)
            if is_log(height[row], scale):
                panel.set_yscale("log")
            panel.set_title(drawing.plain(name))
        last = axes[len(panels)]
        average = landscape.average_precision[row]
        last.plot(landscape.alpha, average, color="#D55E00", marker=".", ms=3)
        last.set(title="average precision", ylim=(0, 1.02))
        failed = landscape.alpha[landscape.state[row] == FAILED]
        for panel in axes[: len(panels) + 1]:
            panel.set_xlabel(axis_names(landscape)[0], fontsize=8)
            for alpha in failed:
                panel.axvline(alpha, color="0.6", lw=0.6, ls=":")
        _caption(figure, landscape, width)
    return figure


def trajectory(
    landscape: Landscape, losses: Sequence[int], width: float = 7.0
) -> Figure:
    """Draw, of each snapshot, its loss, that of its projection, and its distance.

    A projection onto the plane is another network than the snapshot: where they are far
    apart, the contour does not show the losses of the training.

    Raises
    ------
    UserError
        If the landscape has no trajectory.
    """
    path = landscape.trajectory
    if path is None:
        raise UserError(
            "this landscape has no trajectory: compute it for a run with snapshots"
        )
    columns = min(3, len(losses) + 1)
    lines = -(-(len(losses) + 1) // columns)
    with mpl.rc_context(drawing.RC):
        figure = Figure(
            figsize=(width, 0.32 * width * lines + 0.3), layout="constrained"
        )
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel in axes[len(losses) + 1 :]:
            panel.set_axis_off()
        for panel, k in zip(axes, losses, strict=False):
            shown = ((path.loss[k], "snapshot"), (path.plane_loss[k], "projection"))
            for (values, label), style in zip(shown, drawing.lines(2), strict=True):
                panel.plot(path.iteration, values, **style, label=label)
            panel.set_title(drawing.plain(landscape.facts["losses"][k]))
        last = axes[len(losses)]
        last.plot(path.iteration, path.relative_distance, color="#009E73", label="")
        last.set(title="relative distance from the plane", ylim=(0, None))
        for panel in axes[: len(losses) + 1]:
            panel.set_xlabel("iteration", fontsize=8)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure


def is_log(height: NDArray[np.floating], scale: str) -> bool:
    """Return whether heights get a logarithmic scale; only positive ones can."""
    values = np.ma.compressed(np.ma.masked_invalid(height))
    low = values.min(initial=np.inf)
    return scale != "linear" and low > 0 and (
        scale == "log" or values.max(initial=0) > _FAR * low
    )  # fmt: skip


def axis_names(landscape: Landscape) -> tuple[str, str]:
    """Return what the axes are, with the share of variance that they explain."""
    facts = landscape.facts
    shares = facts["explained_variance"] or ()
    names = {
        "random": ("first random direction", "second random direction"),
        "pca": ("first principal component", "second principal component"),
        "between": ("from the first to the second model", "second direction"),
    }.get(facts["directions"], ("alpha", "beta"))
    if len(shares) == 2:
        first, second = (
            f"{name} ({share:.1%})" for name, share in zip(names, shares, strict=True)
        )
        return first, second
    return names


def _check_plane(landscape: Landscape) -> None:
    if landscape.facts["kind"] != "plane" or landscape.beta.size < 2:
        raise UserError("this landscape is a line: draw it with 'figure profile'")


def _finite(landscape: Landscape, k: int) -> np.ma.MaskedArray:
    height = np.ma.masked_invalid(landscape.height(k))
    if height.count() < 2:
        raise UserError(
            f"loss {landscape.facts['losses'][k]} has {height.count()} points with a "
            "value: continue the landscape with surface.py landscape"
        )
    return height


def _range(values: NDArray[np.floating]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    if low > high:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def _levels(height: np.ma.MaskedArray, log: bool) -> tuple[Normalize, NDArray]:
    low, high = _range(height.compressed())
    if log:
        return LogNorm(low, high), np.geomspace(low, high, 21)
    return Normalize(low, high), np.linspace(low, high, 21)


def _label_axes(axes: Axes, landscape: Landscape) -> None:
    first, second = axis_names(landscape)
    axes.set_xlabel(first, fontsize=8)
    axes.set_ylabel(second, fontsize=8)


def _caption(figure: Figure, landscape: Landscape, width: float) -> None:
    words = textwrap.fill(caption(landscape), int(17 * width))
    figure.supxlabel(words, x=0.01, ha="left", fontsize=6.5, ma="left")
