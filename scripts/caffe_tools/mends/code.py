"""Mends of C++ sources that go by what is called, wherever it is called."""

import re

from caffe_tools.mends import cxx
from caffe_tools.mends.mend import CODE, CodeMend, Remark, line_of

_LIMIT = re.compile(r"(?:\.|->)\s*SetTotalBytesLimit\s*\(")
_SHUFFLE = re.compile(
    r"(?<![\w:.>])(?:(?:::\s*)?std\s*::\s*|::\s*)?random_shuffle\s*(?=\()"
)
_USING = re.compile(r"\busing\s+(?:::\s*)?std\s*::\s*random_shuffle\s*;")
_MENTION = re.compile(r"(?:(?<!\w)(?:::\s*)?\bstd\s*::\s*)?\brandom_shuffle\b")
# Blanks, also those of a line that goes on.
_END = re.compile(r"(?:\s|\\\n)+\Z")
_RNG = "caffe/util/rng.hpp"


def _limit_calls(text: str) -> list[tuple[int, list[tuple[int, int]] | None]]:
    masked = cxx.code(text)
    calls = []
    for match in _LIMIT.finditer(masked):
        found = cxx.arguments(masked, match.end() - 1)
        calls.append((match.start(), found[0] if found else None))
    return calls


def _whole_line(text: str, begin: int, end: int) -> tuple[int, int]:
    """Widen a part to its line, if there is nothing else in it."""
    first = text.rfind("\n", 0, begin) + 1
    last = text.find("\n", end) + 1 or len(text)
    if text[first:begin].strip() or text[end:last].strip():
        return begin, end
    return first, last


def _limit(text: str) -> str:
    """Leave the second argument to old versions of protobuf."""
    changes = []
    masked = cxx.code(text)
    if cxx.declarations(masked, "SetTotalBytesLimit"):
        # Of two of that name, it takes a compiler to know which is meant.
        return text
    for at, arguments in _limit_calls(text):
        # A macro cannot hold directives.
        if arguments and len(arguments) == 2 and not cxx.in_directive(masked, at):
            (_, begin), (_, end) = arguments
            guarded = (
                "\n#if GOOGLE_PROTOBUF_VERSION < 3006000\n"
                f"    {_END.sub('', text[begin:end]).strip()}\n"
                "#endif\n    "
            )
            changes.append((begin, end, guarded))
    return cxx.splice(text, changes)


def _limit_left(text: str) -> list[Remark]:
    what = "protobuf 3.6 and newer take one argument: write it so"
    return [
        Remark(line_of(text, at), what)
        for at, arguments in _limit_calls(text)
        if arguments is not None and len(arguments) != 1
    ]


def _shuffles(text: str) -> list[tuple[re.Match, int]]:
    """Return the calls of std::random_shuffle and how many arguments each has."""
    masked = cxx.code(text)
    free = _USING.search(masked) or re.search(r"\busing\s+namespace\s+std\b", masked)
    own = cxx.declarations(masked, "random_shuffle")
    calls = []
    for match in _SHUFFLE.finditer(masked):
        if "std" not in match[0] and (own or not free):
            continue
        if cxx.is_member(masked, match.start()):
            continue
        found = cxx.arguments(masked, match.end())
        calls.append((match, len(found[0]) if found else 0))
    return calls


def _shuffle(text: str) -> str:
    calls = _shuffles(text)
    if any(count != 2 for _, count in calls) or cxx.hides(cxx.code(text), "caffe"):
        return text
    new = cxx.splice(text, [(*m.span(), "caffe::shuffle") for m, _ in calls])
    masked = cxx.code(new)
    if _USING.search(masked) and _others(masked):
        # Somebody still needs it.
        return text
    using = [_whole_line(new, *m.span()) for m in _USING.finditer(masked)]
    new = cxx.splice(new, [(*span, "") for span in using])
    if not calls:
        return new
    uses = [m.start() for m in re.finditer(r"\bcaffe::shuffle\b", cxx.code(new))]
    if cxx.sees(new, _RNG, uses):
        return new
    at = cxx.place_for_include(new, uses)
    return cxx.splice(new, [(at, at, f'#include "{_RNG}"\n')])


def _shuffle_left(text: str) -> list[Remark]:
    what = "C++17 has no std::random_shuffle: call caffe::shuffle of caffe/util/rng.hpp"
    masked = cxx.code(text)
    places = {m.start() for m, _ in _shuffles(text)} | set(_others(masked))
    return [Remark(line_of(text, at), what) for at in sorted(places)]


def _others(masked: str) -> list[int]:
    """Return where std::random_shuffle is meant, but not called in a plain way."""
    own = cxx.declarations(masked, "random_shuffle")
    known = cxx.is_global(masked, own)
    using = [m.span() for m in _USING.finditer(masked)]
    calls = {m.start() for m in _SHUFFLE.finditer(masked) if "std" in m[0]}
    free = _USING.search(masked) or re.search(r"\busing\s+namespace\s+std\b", masked)
    if free and not own:
        calls |= {m.start() for m in _SHUFFLE.finditer(masked)}
    found = []
    for match in _MENTION.finditer(masked):
        at = match.start()
        # Of two of that name, it takes a compiler to know which is meant.
        theirs = "std" not in match[0] and (at in own or (own and known))
        declared = any(begin <= at < end for begin, end in using)
        if not (theirs or declared or at in calls or cxx.is_member(masked, at)):
            found.append(at)
    return found


CODE_MENDS = (
    CodeMend(
        "protobuf-bytes-limit",
        "CodedInputStream::SetTotalBytesLimit takes one argument since protobuf 3.6",
        CODE,
        ("SetTotalBytesLimit",),
        _limit,
        _limit_left,
    ),
    CodeMend(
        "random-shuffle",
        "C++17 has no std::random_shuffle; Caffe's own shuffle obeys random_seed",
        CODE,
        ("random_shuffle",),
        _shuffle,
        _shuffle_left,
    ),
)
