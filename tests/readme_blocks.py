"""README.md's blocks of code, and the rules by which tests run their commands small."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from conftest import REPOSITORY

README = REPOSITORY / "README.md"
FENCE = re.compile(r"^```\w*\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^(python3|build/\S+|bash|cp|randrop|PYTHONPATH=\S+) ")

SMALL = (
    # Caffe is built before any test runs.
    (r"^python3 scripts/build_caffe\.py$", "true"),
    # A made tree stands for the user's data.
    (r'("A\. Segmentation"|\bSOURCE\b)', "'{source}'"),
    (r"/path/to/caffe\b", "'{tree}'"),
    # A few small iterations; solver.prototxt is copied with `max_iter: 3`.
    (
        r"(scripts/train\.py .*)",
        r"\1 --iterations 4 --base-channels 2 --depth 2 --patch 32 --test-interval 4 "
        "--test-iterations 1 --threads 1",
    ),
    (r"_iter_4000\b", "_iter_3"),
    (r"(scripts/predict\.py .*)", r"\1 --tile 128 --overlap 16"),
)
"""Pattern and replacement; {source} and {tree} are the test's folders."""


class Block(NamedTuple):
    """A block of code and the headings that it stands under."""

    heading: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Return the commands of a shell block, a line each; none of another's."""
        lines = re.sub(r" *\\\n *", " ", self.text).splitlines()
        lines = [line for line in lines if line and not line.startswith("#")]
        return lines if all(SHELL.match(f"{line} ") for line in lines) else []


def blocks(path: Path = README) -> list[Block]:
    """Return all blocks of code of a file in Markdown."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        headings = re.findall(r"^#+ (.*)$", text[: match.start()], re.MULTILINE)
        found.append(Block(headings[-1] if headings else "", match[1]))
    return found


def under(heading: str) -> Block:
    """Return the first shell block under a heading."""
    return next(b for b in blocks() if b.heading == heading and b.commands)


def small(command: str, **folders: Path) -> str:
    """Return a command by the rules of SMALL."""
    for pattern, replacement in SMALL:
        command = re.sub(pattern, replacement, command)
    return command.format(**folders) if folders else command


def words(command: str) -> list[str]:
    """Return a command's words, without a comment."""
    return shlex.split(command, comments=True)
