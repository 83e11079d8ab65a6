"""Reading C++ well enough to change names, calls and includes in it."""

import re
from collections.abc import Iterable

from caffe_tools.mends.mend import line_of

_NOT_CODE = re.compile(
    r"//(?:\\\n|[^\n])*"
    r"|/\*.*?(?:\*/|\Z)"
    r'|\bR"([^()\s\\"]*)\(.*?\)\1"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'",
    re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b(.*)$")
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)


def code(text: str) -> str:
    """Return the text with blanks in place of comments and strings.

    Every character keeps its position.
    """
    return _NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def includes(text: str) -> list[tuple[int, str]]:
    """Return the line (from 0) and the name of each file that the text includes."""
    # In the masked text, "names" are blank, but the directive is still there.
    masked = code(text).split("\n")
    found = []
    for number, line in enumerate(text.split("\n")):
        match = _INCLUDE.match(line)
        if match and re.match(r"\s*#\s*include\b", masked[number]):
            found.append((number, match[1]))
    return found


def conditions(text: str) -> list[frozenset[str]]:
    """Return for each line the conditions of the preprocessor that it stands under."""
    stack: list[tuple[str, ...]] = []
    found = []
    for line in code(text).split("\n"):
        match = _DIRECTIVE.match(line)
        if match:
            word, rest = match[1], " ".join(match[2].split())
            if word == "endif":
                del stack[-1:]
            elif word in ("else", "elif") and stack:
                # In another branch than the one before.
                denied = tuple(f"not {condition}" for condition in stack[-1][:1])
                stack[-1] = (f"elif {rest}", *denied) if rest else denied
            elif word.startswith("if"):
                stack.append((f"{word} {rest}",))
        found.append(frozenset(c for branch in stack for c in branch))
    return found


def place_for_include(text: str, uses: Iterable[int], beside: str | None = None) -> int:
    """Return the position for one more include, where all uses see it.

    Parameters
    ----------
    text : str
        The file.
    uses : iterable of int
        Positions in the text that need it.
    beside : str, optional
        A regular expression of file names: the include is put after the first of them
        rather than after the last include of all.
    """
    state = conditions(text)
    needed = [state[line_of(text, at) - 1] for at in uses]
    allowed = frozenset.intersection(*needed) if needed else frozenset()
    every = includes(text)
    near = [n for n, name in every if beside and re.search(beside, name)]
    # The last resort is a place with other conditions than the uses.
    near = [n for n in near if state[n] <= allowed] or near
    seen = [n for n, _ in every if state[n] <= allowed]
    number = near[0] + 1 if near else seen[-1] + 1 if seen else 0
    return sum(len(line) + 1 for line in text.split("\n")[:number])


def arguments(masked: str, opening: int) -> tuple[list[tuple[int, int]], int] | None:
    """Return where the arguments of a call are.

    Parameters
    ----------
    masked : str
        The text without comments and strings, from `code`.
    opening : int
        The position of the call's opening parenthesis.

    Returns
    -------
    (list of (int, int), int) or None
        Begin and end of each argument, and the position of the closing parenthesis;
        None if there is none.
    """
    depth, begin, found = 0, opening + 1, []
    for at in range(opening, len(masked)):
        char = masked[at]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                if found or masked[begin:at].strip():
                    found.append((begin, at))
                return found, at
        elif char == "," and depth == 1:
            found.append((begin, at))
            begin = at + 1
        elif char == "#" and not masked[masked.rfind("\n", 0, at) + 1 : at].strip():
            # A directive inside the call: somebody has seen to the versions.
            return None
    return None


def splice(text: str, changes: Iterable[tuple[int, int, str]]) -> str:
    """Return the text with parts from begin to end replaced."""
    for begin, end, new in sorted(changes, reverse=True):
        text = text[:begin] + new + text[end:]
    return text
