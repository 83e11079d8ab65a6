#!/usr/bin/env python3
"""Tell what this machine and a Caffe tree can do, and what mends the rest."""

WANTED: str = "Python 3.10 or newer"

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import _wanted

_wanted.check()
_wanted.keep_description()

from caffe_tools import command, folders, planning
from caffe_tools.errors import ToolError
from checkup import machine, trees
from checkup.finding import NO, Finding

EPILOG = """\
Each line says ok, no or unknown. Below a "no" stands the command that mends it, if
there is one. Lines marked with * are not needed: they are about speed, or a GPU.
Nothing is changed or installed, and without --network nothing is asked there.

examples:
  python3 scripts/doctor.py                    this machine and build/
  python3 scripts/doctor.py ~/caffe            the tree that you want to patch, too
  python3 scripts/doctor.py --json | jq .      for programs

exit status: 0 all that is needed is there; 1 something is missing; 2 an error, such as
a folder that is no Caffe tree.
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", type=Path, nargs="?", metavar="CAFFE_ROOT", help="a Caffe tree")
    add("--network", action="store_true", help="ask the package archives (5 s each)")
    add("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def look(root: Path | None, network: bool) -> list[Finding]:
    """Return what was found.

    Parameters
    ----------
    root : Path or None
        A Caffe tree, to look at in place of the build folder.
    network : bool
        Ask the package archives, too.

    Raises
    ------
    ToolError
        If `root` is no Caffe tree.
    """
    if root is not None:
        planning.check_tree(root)
    try:
        build = folders.build_folder()
        of_build = [] if root else trees.look_at_build(build)
    except ToolError as error:
        # There is no such place, but the machine can be told of another.
        build = planning.REPOSITORY / "build"
        remedy = "export RANDROP_BUILD=/another/folder"
        of_build = [Finding("build", "folder", NO, str(error), remedy)]
    found = [*machine.look(build, network), *of_build]
    return [*found, *trees.look_at(root)] if root else found


def text_of(found: list[Finding]) -> str:
    """Return the findings as lines for people."""
    width = max(len(finding.name) for finding in found)
    lines = []
    for finding in found:
        star = " " if finding.needed else "*"
        lines.append(f"{finding.state:7}{star} {finding.name:{width}}  {finding.words}")
        if finding.remedy and finding.state == NO:
            lines.append(f"{'':9}{'':{width}}  -> {finding.remedy}")
    return "\n".join(lines)


def main() -> int:
    """Look, print, and return the exit status."""
    options = arguments()
    # What cannot be shown in the user's encoding is shown by its number.
    sys.stdout.reconfigure(errors="backslashreplace")
    root = folders.resolved(options.root) if options.root else None
    found = look(root, options.network)
    missing = [f for f in found if f.needed and f.state == NO]
    if options.json:
        content = {
            "usable": not missing,
            "findings": [dataclasses.asdict(finding) for finding in found],
        }
        print(json.dumps(content, indent=1))
    else:
        print(text_of(found))
        print(
            "All that is needed is there."
            if not missing
            else f"Missing: {', '.join(finding.name for finding in missing)}."
        )
    return 1 if missing else 0


if __name__ == "__main__":
    command.run(main)
