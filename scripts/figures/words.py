"""Figures in words: lists, enumerations and ranges."""

from collections.abc import Iterable, Sequence


def bullets(lines: Iterable[str]) -> str:
    """Return lines as a list."""
    return "\n".join(f"- {line}" for line in lines)


def listed(names: Sequence[str]) -> str:
    """Return "a, b and c", or "none"."""
    if len(names) < 2:
        return "".join(names) or "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def span(values: Iterable[float], digits: int) -> str:
    """Return the smallest and largest of some values, or the one value if all agree."""
    ends = dict.fromkeys(f"{end(values):.{digits}f}" for end in (min, max))
    return " to ".join(ends)
