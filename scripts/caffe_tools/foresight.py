"""What a build will refuse, told before anything is installed, copied or written."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from caffe_tools import (
    cuda_parts,
    origin,
    parameters,
    place,
    planning,
    recovery,
    toolchain,
)
from caffe_tools.errors import ToolError
from caffe_tools.record import read_manifest


def check_steps(
    options: argparse.Namespace, root: Path, parts: Sequence[cuda_parts.Part]
) -> None:
    """Refuse what a later step would refuse, before anything is done.

    Parameters
    ----------
    options : Namespace
        What build_caffe.py was told, without contradictions.
    root : Path
        The build folder.
    parts : sequence of Part
        What of a CUDA toolkit is to be used.

    Raises
    ------
    ToolError
        As that step does.
    """
    place.check(root)
    if options.python and (
        # Debian's may come with the packages.
        shutil.which(options.python)
        or options.no_install
        or Path(options.python).parent not in (Path(), Path("/usr/bin"))
    ):
        interpreter = root / "venv" / "bin" / "python"
        toolchain.check_interpreter(options.python, interpreter)
    if options.venv_only or options.judges:
        return
    tree = known_tree(options, root)
    if tree is not None:
        numbers = parameters.numbers(options.number)
        check_patch(tree, numbers, options.unpatched)
        cuda_parts.check_tree(tree, parts)


def known_tree(options: argparse.Namespace, root: Path) -> Path | None:
    """Return the tree whose content will be built, where it is here already.

    Raises
    ------
    ToolError
        If the tree of the options cannot be built in its place.
    """
    tree, own = tree_to_build(options, root), options.caffe_root
    if options.in_place:
        place.check_build(own)
        return own
    if own and options.clean:
        if own == tree:
            raise ToolError(
                f"--clean would delete {tree}, which --caffe-root names: omit one of "
                "them"
            )
        origin.check_apart(own, tree)
        return own
    if own:
        return tree if origin.is_copy(own, tree) else own
    if options.source_package:
        # What is in it is seen when it is unpacked.
        return None
    cached = root / "cache" / "caffe" / "tree"
    places = [cached] if options.clean else [tree, cached]
    return next((place for place in places if place.exists()), None)


def tree_to_build(options: argparse.Namespace, root: Path) -> Path:
    """Return the folder of the tree that will be built."""
    if options.in_place:
        return options.caffe_root
    name = "caffe-unpatched" if options.unpatched else "caffe"
    return root / (f"{name}-sanitized" if options.sanitize else name)


def check_patch(
    tree: Path, numbers: dict[str, int] | None = None, mends_only: bool = False
) -> None:
    """Refuse a tree that `patching.apply` would refuse; only read it.

    A tree that was edited since it was patched, or that lost its record, is left to
    `patching.apply`: only the way to a new record tells what becomes of it.

    Parameters
    ----------
    tree : Path
        Caffe tree.
    numbers : dict, optional
        Numbers for our fields where the tree uses ours; earlier choices stay.
    mends_only : bool
        Foresee only the compatibility mends.

    Raises
    ------
    ToolError
        As `patching.apply` does.
    """
    planning.check_tree(tree)
    manifest = read_manifest(tree)
    if manifest and numbers is None:
        # It was patched with the numbers that it has.
        return
    lost = not manifest and not mends_only and recovery.traces(tree)
    if lost or recovery.edited(tree, manifest):
        return
    numbers = {**manifest.get("numbers", {}), **(numbers or {})}
    planning.plan(tree, numbers, mends_only)
