"""Figures in the reports' style.

Matplotlib is imported when something is drawn: it is slow to import, and errors of
options should come at once.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(**options: Any) -> "Figure":
    """Return a new figure whose axes make room for their labels.

    Parameters
    ----------
    **options
        For `matplotlib.figure.Figure`, such as figsize in inches.
    """
    from matplotlib.figure import Figure

    return Figure(layout="constrained", **options)


def measured_style() -> AbstractContextManager[None]:
    """Return a context in which figures of measurements are drawn."""
    import matplotlib as mpl

    return mpl.rc_context({"font.size": 11, "axes.spines.top": False})
