"""Unified diffs: parse them, and apply them with an offset and with fuzz.

    header, (diff,) = unified.parse(Path("x.patch").read_text(), "x.patch")
    if diff.fits(text):
        text = diff.apply(text)

The tool searches the whole file for each hunk and ignores its line number. The two
outermost context lines on each side may differ (FUZZ, the default of the `patch`
program). All other lines must match, and in one place only: if they occur twice, the
target is ambiguous, and a second copy often also does what the patch must catch. A text
that already contains the patch is left alone.

Blanks at both ends of a line do not count, so a hunk also matches where a fork uses
tabs or Windows line ends. Added lines take the line end of their neighbours. Only
existing files are patched: caffe_layers/ holds the new ones.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from caffe_tools.errors import ToolError

FUZZ = 2
"""Number of context lines on each side of a hunk that may differ."""

_RANGES = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_BETWEEN_FILES = ("diff ", "index ")


@dataclasses.dataclass(frozen=True)
class Hunk:
    """Adjacent lines that change together.

    Attributes
    ----------
    where : str
        File and line of the patch, for messages.
    lines : tuple of str
        Each begins with its mark: ' ' context, '-' removed, '+' added.
    """

    where: str
    lines: tuple[str, ...]

    def core(self) -> tuple[str, ...]:
        """Return the lines that must match: all but the outermost context."""
        lead, trail = _context(self.lines), _context(reversed(self.lines))
        # The line next to a change must always match.
        first, last = min(FUZZ, max(lead - 1, 0)), min(FUZZ, max(trail - 1, 0))
        return self.lines[first : len(self.lines) - last]

    def places(self, text: list[str], marks: str) -> list[int]:
        """Return the indices in a text where the core's lines with such marks begin.

        A hunk without context on one side belongs at that end of the file.

        Parameters
        ----------
        text : list of str
            The lines of the file, stripped.
        marks : str
            ' -' for the lines before the patch, ' +' for those after it.
        """
        core = self.core()
        wanted = [line[1:].strip() for line in core if line[0] in marks]
        last = len(text) - len(wanted)
        return [
            at
            for at in range(last + 1)
            if text[at : at + len(wanted)] == wanted
            and (at == 0 or core[0][0] == " ")
            and (at == last or core[-1][0] == " ")
        ]

    def lack(self, text: list[str], marks: str) -> str:
        """Return in words which of the lines to be matched a text lacks."""
        wanted = [line[1:].strip() for line in self.core() if line[0] in marks]
        for line in wanted:
            if line and line not in text:
                return f": the file has no line '{line}'"
        return ": its lines do not follow each other there"


@dataclasses.dataclass(frozen=True)
class FileDiff:
    """The changes of a patch to one file.

    Attributes
    ----------
    path : str
        The file, relative to the tree.
    hunks : tuple of Hunk
        In the order of the file.
    """

    path: str
    hunks: tuple[Hunk, ...]

    def misfits(self, text: str) -> list[str]:
        """Return what is wrong with each hunk that finds no place."""
        return [] if self.applied(text) else self._locate(text, " -")[1]

    def fits(self, text: str) -> bool:
        """Return whether the patch can be applied, or has been."""
        return not self.misfits(text)

    def applied(self, text: str) -> bool:
        """Return whether the text already contains the patch."""
        return not self._locate(text, " +")[1]

    def apply(self, text: str) -> str:
        """Return the patched text; the same text if it already contains the patch.

        Raises
        ------
        ToolError
            If a hunk finds no place; names its line in the patch.
        """
        return text if self.applied(text) else self._exchange(text, "-+")

    def undo(self, text: str) -> str:
        """Return the text without the patch.

        Raises
        ------
        ToolError
            If it does not contain the patch.
        """
        return self._exchange(text, "+-")

    def _exchange(self, text: str, marks: str) -> str:
        """Put the lines with the second mark in the place of those with the first."""
        gone, new = marks
        places, misfits = self._locate(text, " " + gone)
        if misfits:
            raise ToolError(f"{self.path}: {'; '.join(misfits)}")
        lines = _split(text)
        # Lines may be added after a last line that has no line end.
        open_end = not lines[-1].endswith("\n")
        if open_end:
            lines[-1] += _end(lines[0])
        patched, at = [], 0
        for hunk, place in zip(self.hunks, places, strict=True):
            patched += lines[at:place]
            at, end = place, _end(lines[place])
            for line in hunk.core():
                if line[0] == new:
                    patched.append(line[1:] + end)
                    continue
                if line[0] == " ":
                    patched.append(lines[at])
                at += 1
        patched += lines[at:]
        whole = "".join(patched)
        return whole.removesuffix(_end(whole)) if open_end else whole

    def _locate(self, text: str, marks: str) -> tuple[list[int], list[str]]:
        """Return the places of all hunks, and what is wrong with those without one."""
        lines = [line.strip() for line in _split(text)]
        places, wrong, end = [], [], 0
        for hunk in self.hunks:
            found = hunk.places(lines, marks)
            if len(found) != 1:
                often = f"occurs {len(found)} times" if found else "is not found"
                lacks = "" if found else hunk.lack(lines, marks)
                wrong.append(f"the hunk at {hunk.where}, {often}{lacks}")
            elif found[0] < end:
                wrong.append(f"the hunk at {hunk.where}, is out of order")
            else:
                places.append(found[0])
                end = found[0] + sum(line[0] in marks for line in hunk.core())
        return places, wrong


def parse(text: str, name: str) -> tuple[str, tuple[FileDiff, ...]]:
    """Parse a patch.

    Parameters
    ----------
    text : str
        The patch, with Unix line ends.
    name : str
        Its name in error messages.

    Returns
    -------
    header : str
        The text before the first diff.
    diffs : tuple of FileDiff
        One diff for each file.

    Raises
    ------
    ToolError
        If it is malformed; names the line.
    """
    lines = text.removesuffix("\n").split("\n")
    starts = [at for at, line in enumerate(lines) if line.startswith("--- ")]
    at = starts[0] if starts else len(lines)
    header = "".join(f"{line}\n" for line in lines[:at])
    diffs = []
    while at < len(lines):
        if not lines[at] or lines[at].startswith(_BETWEEN_FILES):
            at += 1
            continue
        path = _path(lines, at, name)
        at += 2
        hunks = []
        while at < len(lines) and lines[at].startswith("@@"):
            hunk = _hunk(lines, at, name)
            hunks.append(hunk)
            at += 1 + len(hunk.lines)
        if not hunks:
            raise ToolError(f"{name}, line {at + 1}: expected '@@ -'")
        diffs.append(FileDiff(path, tuple(hunks)))
    if not diffs:
        raise ToolError(f"{name} is not a unified diff: no line begins with '--- a/'")
    return header, tuple(diffs)


def _path(lines: list[str], at: int, name: str) -> str:
    """Return the path from the two lines that begin a diff."""
    two = (*lines[at : at + 2], "", "")[:2]
    old, new = (
        line.removeprefix(sign).split("\t")[0].strip()
        for line, sign in zip(two, ("--- a/", "+++ b/"), strict=True)
    )
    signs = two[0].startswith("--- a/") and two[1].startswith("+++ b/")
    inside = not PurePosixPath(old).is_absolute() and ".." not in old.split("/")
    if not signs or old != new or not inside:
        raise ToolError(
            f"{name}, line {at + 1}: expected '--- a/PATH' and '+++ b/PATH', or a hunk "
            "has more lines than its '@@' line says"
        )
    return old


def _hunk(lines: list[str], at: int, name: str) -> Hunk:
    """Return the hunk that begins at a line."""
    where = f"{name}, line {at + 1}"
    ranges = _RANGES.match(lines[at])
    if ranges is None:
        raise ToolError(f"{where}: expected '@@ -LINE,COUNT +LINE,COUNT @@'")
    old, new = (int(count or 1) for count in ranges.groups())
    body: list[str] = []
    for line in lines[at + 1 :]:
        if old <= 0 and new <= 0:
            break
        # Some editors strip the blank that marks an empty context line.
        line = line or " "
        if line[0] not in " +-":
            break
        body.append(line)
        old -= line[0] in " -"
        new -= line[0] in " +"
    if old or new or all(line[0] == " " for line in body):
        raise ToolError(
            f"{where}: the hunk does not match the line counts of its '@@' line"
        )
    if all(line[0] == "+" for line in body):
        raise ToolError(f"{where}: the hunk has no context lines")
    return Hunk(where, tuple(body))


def _context(lines: Iterator[str] | tuple[str, ...]) -> int:
    """Count the context lines at the beginning."""
    return sum(1 for _ in itertools.takewhile(lambda line: line[0] == " ", lines))


def _split(text: str) -> list[str]:
    """Split at line feeds only, unlike str.splitlines, and keep them."""
    return re.findall(r"[^\n]*\n|[^\n]+", text) or [""]


def _end(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else "\n"
