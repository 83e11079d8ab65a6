"""The CPU engine's changes to Caffe's own files: all of them, or none."""

import re
from collections.abc import Callable
from pathlib import Path

from caffe_tools import series
from caffe_tools.hooks import ENGINE, Hook
from caffe_tools.unified import FileDiff

_CAFFE_LAYER = re.compile(r'^#include "(caffe/layers/\w+\.hpp)"', re.MULTILINE)


def steps(patches: Path) -> list[tuple[str, FileDiff | Hook]]:
    """Return the changes, in their order, each with its purpose."""
    patched = [
        (f"{patch.name}: {patch.what}", diff)
        for patch in series.read(patches)
        for diff in patch.diffs
    ]
    return patched + [(f"{hook.name}: {hook.why}", hook) for hook in ENGINE]


def misfits(
    patches: Path, layers: Path, read: Callable[[str], str | None]
) -> dict[str, str]:
    """Return what keeps the engine out of a tree.

    Parameters
    ----------
    patches, layers : Path
        The folders of patches and of our layers.
    read : callable
        Returns the text of a file of the tree, mended, or None if there is none.

    Returns
    -------
    dict of str to str
        Files, and what is wrong with each. Empty if everything fits.
    """
    wrong: dict[str, str] = {}
    texts: dict[str, str] = {}
    for _, step in steps(patches):
        path = step.path
        if path in wrong:
            continue
        text = texts.get(path) if path in texts else read(path)
        if text is None:
            wrong[path] = "is missing"
            continue
        found = step.misfits(text)
        if found:
            wrong[path] = "; ".join(found)
        else:
            texts[path] = step.apply(text)
    for path in _headers(layers):
        if read(f"include/{path}") is None:
            wrong[f"include/{path}"] = (
                "is missing: a layer of the engine derives from it"
            )
    return wrong


def _headers(layers: Path) -> list[str]:
    """Return the headers of Caffe's layers that the engine's layers include."""
    ours = {
        p.relative_to(layers / "include").as_posix()
        for p in layers.rglob("*.hpp")
        if (layers / "include") in p.parents
    }
    found: dict[str, None] = {}
    for file in sorted(layers.rglob("onednn_*_layer.hpp")):
        found |= dict.fromkeys(_CAFFE_LAYER.findall(file.read_text()))
    return [path for path in found if path not in ours]
