"""Merging two changes of one text, line by line."""

import dataclasses
import difflib
import re


@dataclasses.dataclass(frozen=True)
class _Region:
    """Lines start to end of the old text, and what replaces them."""

    start: int
    end: int
    lines: tuple[str, ...]

    def touches(self, other: "_Region") -> bool:
        """Return whether it is not clear how to make both changes."""
        if self.start == self.end and other.start == other.end:
            return self.start == other.start
        if self.start == self.end:
            return other.start < self.start < other.end
        if other.start == other.end:
            return self.start < other.start < self.end
        return self.start < other.end and other.start < self.end


def merge(old: str, mine: str, yours: str) -> str | None:
    """Return the text with both changes, or None if they touch the same lines.

    A change that both have is made once.

    Parameters
    ----------
    old : str
        The text that both began with.
    mine, yours : str
        What became of it.
    """
    lines = split_lines(old)
    first, second = _regions(lines, mine), _regions(lines, yours)
    regions = dict.fromkeys([*first, *second])
    if any(a != b and a.touches(b) for a in first for b in second):
        return None
    merged, at = [], 0
    for region in sorted(regions, key=lambda r: (r.start, r.end)):
        merged += lines[at : region.start]
        merged += region.lines
        at = region.end
    return "".join(merged + lines[at:])


def split_lines(text: str) -> list[str]:
    """Split at line feeds only, unlike str.splitlines, and keep them."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _regions(old: list[str], text: str) -> list[_Region]:
    new = split_lines(text)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [
        _Region(start, end, tuple(new[first:last]))
        for tag, start, end, first, last in matcher.get_opcodes()
        if tag != "equal"
    ]
