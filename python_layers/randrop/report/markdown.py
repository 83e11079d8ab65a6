"""Tables and intervals in Markdown."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table without a newline after its last line."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def bounds(interval: Sequence[float] | None, sign: str = "") -> str:
    """Return an interval to put after a number, with `sign` "+" for differences."""
    if not interval:
        return ""
    return f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]"
