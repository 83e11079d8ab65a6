#!/usr/bin/env python3
"""Patch a Caffe tree with the layers of this project, or remove them."""

WANTED: str = "Python 3.10 or newer"

import argparse
import sys
from pathlib import Path

import _wanted

_wanted.check()
_wanted.keep_description()

from caffe_tools import command, folders, parameters, patching, planning
from caffe_tools.errors import ToolError
from caffe_tools.patching import State

WORDS = {
    State.PATCHED: "patched",
    State.NOT_PATCHED: "not patched",
    State.PARTLY: "partly patched: run this tool again to complete it, or --revert",
    State.EDITED: (
        "patched, and edited since: run this tool again to patch it around the edits, "
        "or --revert, which keeps them"
    ),
    State.RECORD_LOST: (
        "patched, but by hand, or the record of it, .randrop, is gone: run this tool "
        "again to make a record, or --revert"
    ),
    State.OTHER_VERSION: (
        "patched by another version of this project: run this tool again to update it"
    ),
}

EPILOG = """\
examples:
  python3 scripts/patch_caffe.py ~/caffe --dry-run   see the diff, change nothing
  python3 scripts/patch_caffe.py ~/caffe             patch; then rebuild Caffe
  python3 scripts/patch_caffe.py ~/caffe --check     report
  python3 scripts/patch_caffe.py ~/caffe --revert    restore it byte for byte

It copies caffe_layers/ to the same paths, adds one marked block of messages and one of
fields to src/caffe/proto/caffe.proto, and applies the compatibility patches that this
tree needs to build with current libraries. CAFFE_ROOT/.randrop keeps the originals.

exit status: 0 done, or patched; with --check also 1 not patched, 3 partly patched,
4 patched by another version, 5 edited since, 6 patched without its record; 2 an
error, after which the tree is as it was.
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("root", type=Path, metavar="CAFFE_ROOT")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check", action="store_true", help="report the state of the tree"
    )
    action.add_argument("--revert", action="store_true", help="remove the patch")
    action.add_argument("--dry-run", action="store_true", help="print the diff only")
    parser.add_argument(
        "--number",
        action="append",
        metavar="FIELD=N",
        help="number of one of our fields in LayerParameter, if the tree already uses "
        "our number",
    )
    options = parser.parse_args()
    if options.number and (options.check or options.revert):
        parser.error("--number is for patching and --dry-run")
    return options


def main() -> int:
    """Run the requested action; return the exit status."""
    options = arguments()
    root = folders.resolved(options.root)
    if options.check:
        state = patching.check(root)
        refused = patching.refused(root) if state is State.EDITED else []
        words = "\n".join(["patched, and edited since:", *refused])
        print(f"{root}: {words if refused else WORDS[state]}")
        return state.value
    if options.revert:
        changed = patching.revert(root)
        print(f"{root}: reverted, {len(changed)} files restored")
        return 0
    if options.dry_run:
        planning.check_tree(root)
        state = patching.check(root)
        if state is State.EDITED:
            raise ToolError(
                f"{root} was changed since it was patched: patch it again, which keeps "
                "your edits, or --revert, and then see the diff"
            )
        changes = patching.planned(root, state, parameters.numbers(options.number))
        # Sources may be in any encoding, and `git apply` wants their bytes.
        for line in planning.differences(changes, root):
            sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
        for line in planning.told(root):
            print(line, file=sys.stderr)
        return 0
    changed = patching.apply(root, parameters.numbers(options.number))
    for path in changed:
        print(f"  {path}")
    for path, (name, file) in planning.second_names_taken(root).items():
        print(
            f"{path} skipped: {file} already registers {name}; proto/LAYERS.md lists "
            "our layer's other name"
        )
    for line in planning.told(root):
        print(line)
    print(
        f"{root}: patched, {len(changed)} files changed. Now rebuild Caffe. With "
        "CMake, configure again first, so that it finds the new files"
        if changed
        else f"{root}: already patched, nothing changed"
    )
    return 0


if __name__ == "__main__":
    command.run(main, "interrupted: --check tells the state of the tree")
