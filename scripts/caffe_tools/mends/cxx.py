"""Reading C++ well enough to change names, calls and includes in it."""

import bisect
import functools
import itertools
import re
from collections.abc import Iterable

from caffe_tools.mends.mend import line_of

_NOT_CODE = re.compile(
    # As compilers do, whatever blanks follow the sign that a line goes on.
    r"//(?:\\[ \t]*\n|[^\n])*"
    r"|/\*.*?(?:\*/|\Z)"
    r'|(?<!\w)(?:u8|[uUL])?R"([^()\s\\"]*)\(.*?\)\1"'
    r'|"(?:\\.|[^"\\\n])*"'
    # A number may have quotes between its digits.
    r"|(?P<number>(?<!\w)\.?\d(?:[eEpP][+-]|[\w.]|'\w)*)"
    r"|'(?:\\.|[^'\\\n])*'",
    re.DOTALL,
)
_LOGICAL = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
_DEFINED = re.compile(r"([ \t]*#[ \t]*define[ \t]+\w+(?:\([^()\n]*\))?)(.*)", re.DOTALL)
# Words before a name that is used, not declared.
_BEFORE_USE = frozenset(
    (
        *("return", "case", "else", "do", "throw", "sizeof", "new", "delete"),
        *("and", "or", "not", "xor", "bitand", "bitor", "compl", "and_eq", "or_eq"),
        *("xor_eq", "not_eq", "co_return", "co_yield", "co_await", "typeid"),
    )
)
# Lists in braces or brackets that declare names: values, and parts of a value.
_ENUM = re.compile(r"\benum\b[^;{}()]*\{((?:[^{}]|\{[^{}]*\})*)\}")
_PARTS = re.compile(r"\bauto\b[\s&]*\[([^\[\]]*)\]")
# What stands between the begin of a statement and a name that it declares: `type*`,
# `type a, `, `} ` of a struct, `decltype(x)`, `[[attribute]]`, `type (*`.
# Each repeated part can be read in one way only, or a long statement takes for ever.
_WORD = r"[\w:]+(?![\w:])"
_VALUE = r"\s*(?:\[[^][]*\]\s*|=[^,]*)?"
_TYPE = re.compile(rf"\s*(?:{_WORD}[\s*&]*(?:<[^;{{}}()]*>[\s*&]*)?)+(?<=[*&>])")
_LIST = re.compile(
    rf"\s*(?:{_WORD}[\s*&]+)+{_WORD}{_VALUE}(?:,[\s*&]*{_WORD}{_VALUE})*,[\s*&]*"
)
_KIND = re.compile(r"\b(?:decltype|alignas|typeof|__attribute__)\s*\(.*\)", re.DOTALL)
_POINTER = re.compile(r"[\w>*&]\s*\(\s*[*&]+")
_PASTES = re.compile(
    r"^[ \t]*#[ \t]*define[ \t]+(\w+)\((?:\\\n|[^\n])*##", re.MULTILINE
)
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b(.*)$")
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)


@functools.lru_cache(maxsize=8)
def code(text: str) -> str:
    """Return the text with blanks in place of comments and strings.

    Every character keeps its position.
    """

    def blank(match: re.Match) -> str:
        return match[0] if match["number"] else re.sub(r"[^\n]", " ", match[0])

    return _NOT_CODE.sub(blank, text)


def in_directive(masked: str, at: int) -> bool:
    """Return whether a position is in a directive, such as the value of a macro."""
    spans = _directives(masked)
    last = bisect.bisect_right(spans, (at, len(masked))) - 1
    return last >= 0 and at < spans[last][1]


@functools.lru_cache(maxsize=8)
def _directives(masked: str) -> list[tuple[int, int]]:
    return [match.span() for match in _LOGICAL.finditer(masked)]


@functools.lru_cache(maxsize=8)
def depths(masked: str) -> list[int]:
    """Return for the start of each line how many brackets are open there.

    Of the branches of a condition, the last counts.
    """
    found, stack, depth = [], [], 0
    continued = False
    for line in masked.split("\n"):
        found.append(depth)
        match = _DIRECTIVE.match(line)
        if match and not continued:
            if match[1].startswith("if"):
                stack.append(depth)
            elif match[1] == "endif":
                del stack[-1:]
            elif stack:
                depth = stack[-1]
        directive = continued or line.lstrip()[:1] == "#"
        continued = directive and line.endswith("\\")
        if not directive:
            depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
    return found


@functools.lru_cache(maxsize=8)
def _statements(masked: str) -> str:
    """Return the text without directives; what a macro stands for is a statement."""

    def blank(match: re.Match) -> str:
        defined = _DEFINED.match(match[0])
        value = defined[2] if defined else ""
        before = match[0][: len(match[0]) - len(value)]
        return ";" + re.sub(r"[^\n]", " ", before[1:]) + value.replace("\\\n", " \n")

    return _LOGICAL.sub(blank, masked)


@functools.lru_cache(maxsize=8)
def _ends(masked: str) -> list[int]:
    """Return where statements and blocks end or begin.

    What a macro stands for ends with its line.
    """
    found = {match.end() for match in re.finditer("[;{}]", _statements(masked))}
    found.update(end for _, end in _directives(masked))
    return sorted(found)


def _last(text: str, at: int) -> int:
    """Return the end of what is before a position, without blanks."""
    while at and text[at - 1].isspace():
        at -= 1
    return at


def is_member(masked: str, at: int) -> bool:
    """Return whether what begins at a position belongs to what is before it."""
    end = _last(masked, at)
    if masked.endswith("...", 0, end):
        return False
    return masked.endswith((".", "->", "::"), 0, end)


def pasted(masked: str, at: int) -> bool:
    """Return whether a position is in a call of a macro that makes names by `##`."""
    begins, ends = _pasting(masked)
    before = bisect.bisect_left(begins, at)
    return before > 0 and at < ends[before - 1]


@functools.lru_cache(maxsize=8)
def _pasting(masked: str) -> tuple[list[int], list[int]]:
    """Return where such calls' arguments begin, and where the last so far has ended."""
    names = set(_PASTES.findall(masked))
    calls = []
    for call in re.finditer(r"\b(\w+)\s*(?=\()", masked) if names else ():
        if call[1] in names and not in_directive(masked, call.start()):
            found = arguments(masked, call.end())
            if found:
                calls.append((call.end(), found[1]))
    ends = itertools.accumulate((end for _, end in calls), max)
    return [begin for begin, _ in calls], list(ends)


def hides(masked: str, name: str) -> bool:
    """Return whether the text has a namespace of this name in another one."""
    depth = depths(masked)
    for match in re.finditer(rf"\bnamespace\s+([\w:]+\s*::\s*)?{name}\s*[{{=]", masked):
        line = masked[masked.rfind("\n", 0, match.start()) + 1 : match.start()]
        if match[1] or depth[line_of(masked, match.start()) - 1] or "{" in line:
            return True
    return False


def declarations(masked: str, name: str) -> list[int]:
    """Return where the text declares a name: as a variable, value, type or function.

    Parameters
    ----------
    masked : str
        The text without comments and strings, from `code`.
    name : str
        The name.
    """
    if name not in masked:
        return []
    plain = _statements(masked)
    ends = _ends(masked)
    found = []
    for match in re.finditer(rf"\b{name}\b", plain):
        at = match.start()
        if is_member(plain, at):
            continue
        begin = bisect.bisect_right(ends, at)
        begin = ends[begin - 1] if begin else 0
        rest = bisect.bisect_left(ends, match.end())
        rest = ends[rest] if rest < len(ends) else len(plain)
        after = plain[match.end() : rest].lstrip()
        if _declares(plain[begin:at].rstrip(), after, plain[begin - 1 : begin]):
            found.append(at)
    # Directives end statements, but no list.
    lists = _LOGICAL.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), masked)
    for values in (*_ENUM.finditer(lists), *_PARTS.finditer(lists)):
        for value in re.finditer(rf"(?:^|,)\s*({name})\b", values[1]):
            found.append(values.start(1) + value.start(1))
    return sorted(set(found))


def _declares(before: str, after: str, end: str) -> bool:
    """Return whether a name is declared, by its statement before and after it.

    `end` is what ended the statement before that.
    """
    # Nobody assigns to a constant of a library.
    if re.match(r"=(?!=)", after):
        return True
    word = re.search(r"(\w+)$", before)
    if word:
        return not word[1][0].isdigit() and word[1] not in _BEFORE_USE
    if not before:
        # A variable or type after the braces of its struct, or a label.
        return (end == "}" and after[:1] in (";", ",", "[")) or bool(
            re.match(r":(?!:)", after)
        )
    if _BEFORE_USE.intersection(re.findall(r"\w+", before)):
        return False
    if before.endswith("]]") or (_KIND.search(before) and before.endswith(")")):
        return True
    if re.search(_POINTER.pattern + r"$", before) and re.match(r"\)\s*[(\[]", after):
        return True
    # `type* name`, where a product would be of no use; `type a, name`.
    return bool(_TYPE.fullmatch(before) or _LIST.fullmatch(before))


@functools.lru_cache(maxsize=8)
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


@functools.lru_cache(maxsize=8)
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


def is_global(masked: str, places: Iterable[int]) -> bool:
    """Return whether all of some positions are outside of all brackets."""
    depth = depths(masked)
    for at in places:
        line = masked[masked.rfind("\n", 0, at) + 1 : at]
        if depth[line_of(masked, at) - 1] or set(line) & set("([{"):
            return False
    return True


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
    lines = [line_of(text, at) - 1 for at in uses]
    needed = [state[line] for line in lines]
    allowed = frozenset.intersection(*needed) if needed else frozenset()
    every = [
        (n, name)
        for n, name in _between_statements(text)
        if n < min(lines, default=len(state))
    ]
    near = [n for n, name in every if beside and re.search(beside, name)]
    # The last resort is a place with other conditions than the uses.
    near = [n for n in near if state[n] <= allowed] or near
    seen = [n for n, _ in every if state[n] <= allowed]
    number = near[0] + 1 if near else seen[-1] + 1 if seen else 0
    if number == 0:
        return 1 if text.startswith("\ufeff") else 0
    return sum(len(line) + 1 for line in text.split("\n")[:number])


def _between_statements(text: str) -> list[tuple[int, str]]:
    """Return the includes that stand between declarations, outside of all brackets."""
    masked = code(text)
    depth = depths(masked)
    plain = _statements(masked)
    starts = [0]
    for line in plain.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    raw = text.split("\n")
    found = []
    for number, name in includes(text):
        end = _last(plain, starts[number])
        last = number + 1 == len(raw) or raw[number].rstrip().endswith("\\")
        # A comment may go on in the next line.
        open_ended = "/*" in raw[number] and "*/" not in raw[number].split("/*")[-1]
        free = depth[number] == 0 and plain[max(end - 1, 0) : end] in ("", ";", "}")
        if free and not last and not open_ended:
            found.append((number, name))
    return found


def sees(text: str, header: str, uses: Iterable[int]) -> bool:
    """Return whether a header is included before all uses, wherever these compile."""
    state = conditions(text)
    lines = [line_of(text, at) - 1 for at in uses]
    return any(
        name == header and all(n < u and state[n] <= state[u] for u in lines)
        for n, name in includes(text)
    )


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
    parts, at = [], 0
    for begin, end, new in sorted(changes):
        parts += [text[at:begin], new]
        at = end
    return "".join([*parts, text[at:]])
