"""What a mend is: a change of meaning, made whole or not at all."""

import bisect
import dataclasses
import difflib
import fnmatch
import functools
import re
from collections.abc import Callable

from caffe_tools.merging import split_lines

CODE = "*.cpp *.cc *.hpp *.h *.cu *.cuh"
"""The paths of C++ and CUDA sources."""
CMAKE = "CMakeLists.txt */CMakeLists.txt *.cmake"
"""The paths of CMake's files."""


@dataclasses.dataclass(frozen=True)
class Remark:
    """A place that has what a mend is for, in a form that it cannot mend.

    Attributes
    ----------
    line : int
        Its number, from 1.
    what : str
        What to do about it.
    """

    line: int
    what: str


@dataclasses.dataclass(frozen=True)
class Mend:
    """Changes by regular expressions that belong together.

    They are all made, or none: a file never gets half of them.

    Attributes
    ----------
    name, why : str
        Its name and its purpose.
    path : str
        The file, relative to the tree; or patterns of paths, separated by blanks.
    changes : tuple of (str, str)
        Regular expressions and their replacements. `^` and `$` match at every line.
    sign : str
        A regular expression of what the mend is for. Where it still matches after the
        mend, a remark says so. None by default.
    advice : str
        What such a remark says.
    """

    name: str
    why: str
    path: str
    changes: tuple[tuple[str, str], ...]
    sign: str = ""
    advice: str = ""

    def covers(self, path: str) -> bool:
        """Return whether the mend is for this file."""
        return covers(self.path, path)

    def fits(self, text: str) -> bool:
        """Return whether every change finds its place in the text."""
        plain = text.replace("\r\n", "\n")
        return all(re.search(p, plain, re.MULTILINE) for p, _ in self.changes)

    def apply(self, text: str) -> str:
        """Return the mended text; the same text if there is nothing to mend."""
        if not self.fits(text):
            return text
        return on_lines(text, self._substitute)

    def left(self, text: str) -> list[Remark]:
        """Return the places of a mended text that it could not mend."""
        if not self.sign:
            return []
        plain = text.replace("\r\n", "\n")
        found = re.finditer(self.sign, plain, re.MULTILINE)
        return [Remark(line_of(plain, m.start()), self.advice) for m in found]

    def _substitute(self, plain: str) -> str:
        for pattern, replacement in self.changes:
            plain = re.sub(pattern, replacement, plain, flags=re.MULTILINE)
        return plain


@dataclasses.dataclass(frozen=True)
class CodeMend:
    """A change that a function makes, in all files of some paths.

    Attributes
    ----------
    name, why, path : str
        As for `Mend`.
    words : tuple of str
        Only a text with one of these words is looked at.
    change : callable
        Takes a text with plain line ends, and returns the mended one.
    remarks : callable
        Takes a mended text, and returns the remarks.
    """

    name: str
    why: str
    path: str
    words: tuple[str, ...]
    change: Callable[[str], str]
    remarks: Callable[[str], list[Remark]]

    def covers(self, path: str) -> bool:
        """Return whether the mend is for this file."""
        return covers(self.path, path)

    def apply(self, text: str) -> str:
        """Return the mended text; the same text if there is nothing to mend."""
        if not any(word in text for word in self.words):
            return text
        return on_lines(text, self.change)

    def left(self, text: str) -> list[Remark]:
        """Return the places of a mended text that it could not mend."""
        if not any(word in text for word in self.words):
            return []
        return self.remarks(text.replace("\r\n", "\n"))


def covers(patterns: str, path: str) -> bool:
    """Return whether a path has one of the patterns, which blanks separate."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns.split())


def line_of(text: str, at: int) -> int:
    """Return the number of the line of a position, from 1."""
    return bisect.bisect_left(_line_ends(text), at) + 1


@functools.lru_cache(maxsize=8)
def _line_ends(text: str) -> list[int]:
    return [match.start() for match in re.finditer("\n", text)]


def on_lines(text: str, change: Callable[[str], str]) -> str:
    """Change a text without regard to its line ends, and keep them.

    A changed line keeps its own; new lines get the one that most lines have.
    """
    plain = text.replace("\r\n", "\n")
    changed = change(plain)
    if changed == plain:
        return text
    if "\r\n" not in text:
        return changed
    windows = text.count("\r\n")
    usual = "\r\n" if 2 * windows > text.count("\n") else "\n"
    if windows == text.count("\n"):
        return changed.replace("\n", usual)
    old, new = split_lines(text), split_lines(changed)
    lines = [line.replace("\r\n", "\n") for line in old]
    out: list[str] = []
    matcher = difflib.SequenceMatcher(None, lines, new, autojunk=False)
    for tag, i, k, j, m in matcher.get_opcodes():
        if tag == "equal":
            out += old[i:k]
        elif k - i == m - j:
            for was, line in zip(old[i:k], new[j:m], strict=True):
                end = "\r\n" if was.endswith("\r\n") else "\n"
                out.append(line.replace("\n", end))
        else:
            out += [line.replace("\n", usual) for line in new[j:m]]
    return "".join(out)
