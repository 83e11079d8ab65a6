"""Blocks of code in README and docs/, and how tests run their commands small."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- long: (?P<long>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELL = re.compile(
    r"^(python3|(build|~/randrop-venv)/\S+|bash|cat|cp|git|grep|patch|sed|mpiexec"
    r"|PYTHONPATH=\S+) "
)

SHORT = "--iterations 4 --base-channels 2 --depth 2 --test-interval 4"
PATCHES = "--patch 32 --test-iterations 1"
COMPARED = "--seeds 1 --search-iterations 2 --jobs 2 --"

SMALL = (
    # Caffe is built before the tests run, and the package has its own test.
    (r"^python3 scripts/build_caffe\.py( --venv-only\b.*)?$", "true"),
    (r"^python3 -m venv ~/randrop-venv$", "true"),
    (r"^~/randrop-venv/bin/pip install \.( *#.*)?$", "true"),
    (
        r"^~/randrop-venv/bin/randrop ",
        "PYTHONPATH=python_layers build/venv/bin/python -m randrop ",
    ),
    # Generated trees and photographs stand in for the user's data.
    (r"\bfolder SOURCE\b", "folder '{folder}'"),
    (r'("A\. Segmentation"|\bSOURCE\b)', "'{source}'"),
    (r"/path/to/caffe\b", "'{tree}'"),
    (r"\bphoto\.jpg\b", "'{photo}'"),
    # The tests' own Slurm has one partition.
    (r" partition=\S+", ""),
    # A few small iterations; solver.prototxt is copied with `max_iter: 3`.
    (r"(scripts/train\.py .*organs.*)", rf"\1 {SHORT} --snapshot 2 --threads 1"),
    (
        r"(scripts/train\.py (?!.*organs).*)",
        rf"\1 {SHORT} {PATCHES} --snapshot 2 --validate-photographs 1 --threads 1",
    ),
    # Longer than the training that it extends.
    (r"(scripts/train\.py .*--iterations 8000.*)", r"\1 --iterations 6"),
    (
        r"(scripts/cross_validate\.py .*) -- .*",
        rf"\1 --folds 2 --jobs 2 -- {SHORT} {PATCHES} --validate-every 0",
    ),
    (r"(scripts/average_snapshots\.py .*)", r"\1 --last 2 --batches 2"),
    # A trajectory needs three snapshots.
    (r"(scripts/train\.py .*run-film.*)", r"\1 --snapshot 1"),
    (r"(scripts/compare\.py .*organs.*) -- .*", rf"\1 {COMPARED} {SHORT}"),
    (
        r"(scripts/compare\.py (?!.*organs).*) -- .*",
        rf"\1 {COMPARED} {SHORT} {PATCHES}",
    ),
    # One loss is enough to search a learning rate for.
    (r"cross-entropy (random-drop:LOG --learning-rates)", r"\1"),
    (r"_iter_4000\b", "_iter_3"),
    (r"(scripts/make_phantom\.py .*)", r"\1 --images 4 --size 192 --workers 1"),
    (r"(scripts/make_organs\.py .*)", r"\1 --train 2 --validation 1"),
    (
        r"(scripts/export_lmdb\.py .*)",
        r"\1 --patches 4 --validation-patches 2 --patch 32 --base-channels 2 "
        "--iterations 3",
    ),
    (r"(scripts/predict\.py .*)", r"\1 --tile 128 --overlap 64"),
    (r"(scripts/time_layers\.py .*)", r"\1 --passes 1"),
    (
        r"(scripts/surface\.py landscape .*)",
        r"\1 --points 2 --images 1 --workers 1",
    ),
    (r"(scripts/surface\.py curves .*)", r"\1 --points 3 --pixels 1000 --formats png"),
    # Their output is committed, or belongs to the user's build.
    (r"(scripts/readme_tables\.py)", r"\1 --check"),
    (r"(mkdocs build)", r"\1 --site-dir build/site"),
)
"""Pattern and replacement; words in braces are paths of the test's."""


class Block(NamedTuple):
    """A code block with its page."""

    page: str
    language: str
    text: str
    long: str = ""

    @property
    def commands(self) -> list[str]:
        """Return the commands of a shell block, one per line; none for other blocks."""
        lines = re.sub(r" *\\\n *", " ", self.text).splitlines()
        lines = [line for line in lines if line and not line.startswith("#")]
        return lines if all(SHELL.match(f"{line} ") for line in lines) else []

    @property
    def is_typed(self) -> bool:
        """Whether the tests run its commands."""
        return self.language == "sh" and not self.long


def blocks(paths=PAGES) -> list[Block]:
    """Return all code blocks of Markdown files."""
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        page = path.name
        if path.is_relative_to(REPOSITORY):
            page = path.relative_to(REPOSITORY).as_posix()
        for match in FENCE.finditer(text):
            found.append(
                Block(page, match["language"], match["text"], match["long"] or "")
            )
    return found


def of_page(page: str) -> list[Block]:
    """Return the blocks of a page that the tests run."""
    return [block for block in blocks() if block.page == page and block.is_typed]


def small(command: str, **folders: Path) -> str:
    """Return a command rewritten by the rules of SMALL."""
    for pattern, replacement in SMALL:
        command = re.sub(pattern, replacement, command)
    return command.format(**folders) if folders else command


def words(command: str) -> list[str]:
    """Return a command's words, without comments."""
    return shlex.split(command, comments=True)
