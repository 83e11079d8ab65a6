"""What the page holds of recordings and landscapes."""

import base64
import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.data import IGNORE_LABEL
from randrop.errors import UserError
from randrop.surface.compared import is_sum, over_pixels
from randrop.surface.landscape_file import Landscape
from randrop.surface.recording import Recording
from randrop.surface.viewer import packing

_SMALLEST = 1e-7
"""The lowest end of a colour scale, in units of its upper end."""


class Blobs:
    """The compressed parts of a page, numbered.

    Attributes
    ----------
    texts : list of str
        Each in base64.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, parts: Sequence[bytes]) -> int:
        """Compress parts together; return their number."""
        self.texts.append(base64.b64encode(packing.blob(parts)).decode())
        return len(self.texts) - 1


def check_pair(recordings: Sequence[Recording]) -> None:
    """Refuse recordings that cannot be shown side by side.

    Raises
    ------
    UserError
        If they have no image in common, other channels or another size, or nothing
        was recorded.
    """
    for recording in recordings:
        if not recording.iterations:
            raise UserError(
                f"{recording.path} has no complete snapshot yet: run surface.py record "
                "again, which continues"
            )
    first = recordings[0]
    for other in recordings[1:]:
        for what in ("size", "channels", "activation"):
            if first.facts[what] != other.facts[what]:
                raise UserError(
                    f"{first.path} has {what} {_words(first.facts[what])}, and "
                    f"{other.path} {_words(other.facts[what])}: record both with the "
                    "same images, size and kind of network, or view each for itself"
                )
        if not set(first.names) & set(other.names):
            raise UserError(
                f"{first.path} and {other.path} have no image in common: record both "
                "with the same images, or view each for itself"
            )


def _words(value: Any) -> str:
    return " × ".join(map(str, value)) if isinstance(value, list) else str(value)


def of_recording(
    recording: Recording, blobs: Blobs, names: Sequence[str], every: int = 1
) -> dict[str, Any]:
    """Return what the page's script needs of a recording; pack its maps.

    Parameters
    ----------
    recording : Recording
    blobs : Blobs
        Gets the maps.
    names : sequence of str
        The images to show.
    every : int
        Take each n-th snapshot, and the last.

    Returns
    -------
    dict
        Ready for JSON.
    """
    facts = recording.facts
    shown = [recording.names.index(name) for name in names]
    taken = _taken(len(recording.iterations), every)
    sums = [is_sum(name, facts["activation"]) for name in facts["losses"]]
    ranges = [_Range(divided) for divided in sums]
    pictures = [_Picture(recording, i) for i in shown]
    steps = [
        [_pack(recording, blobs, t, picture, ranges) for picture in pictures]
        for t in taken
    ]
    return {
        "facts": facts,
        "file": recording.path.name,
        "names": [recording.names[i] for i in shown],
        "subsets": [recording.subsets[i] for i in shown],
        "iterations": [recording.iterations[t] for t in taken],
        "measures": [_finite(recording.measures(t)) for t in taken],
        "pictures": [picture.png for picture in pictures],
        "truths": [
            blobs.add([s.astype(np.uint8).tobytes() for s in picture.states])
            for picture in pictures
        ],
        "steps": steps,
        "ranges": [r.ends() for r in ranges],
        "sums": sums,
        "selects": [recording.kept(0, k, 0) is not None for k in range(len(ranges))],
    }


def _taken(count: int, every: int) -> list[int]:
    """Return each n-th number below `count`, and the last."""
    return sorted({*range(0, count, every), count - 1})


class _Picture:
    """An image, and the class of each of its pixels.

    Attributes
    ----------
    number : int
    png : str
        A data URL.
    states : list of (H, W)
        The class of each pixel, `ignored` where it is ignored: one map for each channel
        of a sigmoid, one in all for a softmax.
    ignored : int
    """

    def __init__(self, recording: Recording, number: int) -> None:
        self.number = number
        _, content = cv2.imencode(".png", recording.picture(number)[..., ::-1])
        self.png = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        truth = recording.truth(number)
        self.softmax = recording.facts["activation"] == "softmax"
        if self.softmax:
            self.ignored = len(truth)
            unknown = (truth == IGNORE_LABEL).any(axis=0) | ~(truth == 1).any(axis=0)
            classes = (truth == 1).argmax(axis=0)
            self.states = [np.where(unknown, self.ignored, classes)]
        else:
            self.ignored = 2
            self.states = [np.where(t == IGNORE_LABEL, 2, t == 1) for t in truth]


def _pack(
    recording: Recording,
    blobs: Blobs,
    t: int,
    picture: _Picture,
    ranges: Sequence["_Range"],
) -> dict[str, Any]:
    """Pack all maps of an image at a snapshot; return where they are and of what kind.

    The parts are the probability of each channel; then, for each loss, what it dropped
    in each of its maps if it selects, and its values in each of its maps.
    """
    states, count = picture.states, picture.ignored + 1
    code = packing.codes(recording.probability(t, picture.number))
    parts = [packing.grid_part(c) for c in code]
    # A softmax has one loss a pixel, which follows from the probability of its class.
    seen = code
    if picture.softmax:
        inside = np.minimum(states[0], len(code) - 1)
        seen = np.take_along_axis(code, inside[None], axis=0)
    key = [packing.keys(c, s, count) for c, s in zip(seen, states, strict=True)]
    kinds = []
    for k, bounds in enumerate(ranges):
        value = recording.loss(t, k, picture.number)
        if bounds.divided:
            value = over_pixels(value)
        kept = recording.kept(t, k, picture.number)
        bounds.add(value)
        dropped = [None] * len(key) if kept is None else list(kept == 0)
        parts += [packing.bits_part(d) for d in dropped if d is not None]
        packed = [
            packing.loss_part(*one, count)
            for one in zip(value, key, dropped, strict=True)
        ]
        kinds.append("".join(kind for kind, _ in packed))
        parts += [part for _, part in packed]
    return {"blob": blobs.add(parts), "kinds": kinds}


class _Range:
    """The ends of a loss's colour scale: a low quantile and the largest value.

    Attributes
    ----------
    divided : bool
        The loss is a sum over pixels, and shown over their number.
    """

    EDGES = np.linspace(-20, 10, 3001)

    def __init__(self, divided: bool) -> None:
        self.divided = divided
        self.counts = np.zeros(self.EDGES.size - 1, np.int64)
        self.largest = 0.0

    def add(self, value: NDArray[np.floating]) -> None:
        """Count the values of a map."""
        flat = np.asarray(value, np.float64).ravel()
        flat = flat[np.isfinite(flat) & (flat > 0)]
        self.largest = max(self.largest, flat.max(initial=0))
        self.counts += np.histogram(np.log10(flat[::7]), self.EDGES)[0]

    def ends(self) -> list[float]:
        """Return both ends, above 0."""
        if not self.largest:
            return [_SMALLEST, 1.0]
        total = self.counts.cumsum()
        low = 10.0 ** self.EDGES[np.searchsorted(total, 0.02 * total[-1], "right")]
        return [
            max(min(low, self.largest / 10), self.largest * _SMALLEST),
            self.largest,
        ]


def of_landscape(landscape: Landscape, name: str) -> dict[str, Any]:
    """Return what the page's script needs of a landscape.

    Parameters
    ----------
    landscape : Landscape
    name : str
        Of the file.

    Returns
    -------
    dict
        Ready for JSON.
    """
    path = landscape.trajectory
    return {
        "facts": _finite(dict(landscape.facts)),
        "file": name,
        "holes": landscape.holes,
        "left": int((landscape.state == 0).sum()),
        "alpha": landscape.alpha.tolist(),
        "beta": landscape.beta.tolist(),
        "heights": [
            _rounded(landscape.height(k)) for k in range(len(landscape.facts["losses"]))
        ],
        "average_precision": _rounded(landscape.average_precision),
        "trajectory": path
        and {
            "iteration": path.iteration.tolist(),
            **{
                what: _rounded(getattr(path, what))
                for what in ("alpha", "beta", "distance", "relative_distance")
            },
            "loss": [_rounded(values) for values in path.loss],
            "plane_loss": [_rounded(values) for values in path.plane_loss],
        },
        "hessian": _finite(dict(landscape.hessian)) if landscape.hessian else None,
    }


def _rounded(values: NDArray[np.floating]) -> list[Any]:
    """Return numbers of seven digits, and None for those that are not finite."""

    def each(value: Any) -> Any:
        if isinstance(value, list):
            return [each(v) for v in value]
        return float(f"{value:.7g}") if math.isfinite(value) else None

    return each(np.asarray(values, np.float64).tolist())


def _finite(value: Any) -> Any:
    """Return JSON's values with None in place of NaN and infinities."""
    if isinstance(value, dict):
        return {str(key): _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def common_names(recordings: Sequence[Recording], wanted: Sequence[str]) -> list[str]:
    """Return the images that all recordings have, or those of them that are wanted.

    Raises
    ------
    UserError
        If a wanted one is not among them.
    """

    def everywhere() -> Iterator[str]:
        for name in recordings[0].names:
            if all(name in recording.names for recording in recordings):
                yield name

    names = list(everywhere())
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UserError(
            f"no image {', '.join(map(repr, missing))}: the recording has "
            f"{', '.join(map(repr, names))}"
        )
    return [name for name in names if name in wanted] if wanted else names
