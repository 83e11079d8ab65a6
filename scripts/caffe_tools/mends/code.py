"""Mends of C++ sources that go by what is called, wherever it is called."""

import re

from caffe_tools.mends import cxx
from caffe_tools.mends.mend import CODE, CodeMend, Remark, line_of

_LIMIT = re.compile(r"(?:\.|->)\s*SetTotalBytesLimit\s*\(")
_SHUFFLE = re.compile(r"(?<![\w:.>])(?:(?:::\s*)?std\s*::\s*)?random_shuffle\s*(?=\()")
_USING = re.compile(r"^[ \t]*using\s+(?:::\s*)?std\s*::\s*random_shuffle\s*;\n", re.M)
_RNG = "caffe/util/rng.hpp"


def _limit_calls(text: str) -> list[tuple[int, list[tuple[int, int]] | None]]:
    masked = cxx.code(text)
    calls = []
    for match in _LIMIT.finditer(masked):
        found = cxx.arguments(masked, match.end() - 1)
        calls.append((match.start(), found[0] if found else None))
    return calls


def _limit(text: str) -> str:
    """Leave the second argument to old versions of protobuf."""
    changes = []
    for _, arguments in _limit_calls(text):
        if arguments and len(arguments) == 2:
            (_, begin), (_, end) = arguments
            guarded = (
                "\n#if GOOGLE_PROTOBUF_VERSION < 3006000\n"
                f"    {text[begin:end].strip()}\n"
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
    calls = []
    for match in _SHUFFLE.finditer(masked):
        if "std" not in match[0] and not free:
            continue
        found = cxx.arguments(masked, match.end())
        calls.append((match, len(found[0]) if found else 0))
    return calls


def _shuffle(text: str) -> str:
    calls = _shuffles(text)
    if any(count != 2 for _, count in calls):
        return text
    new = cxx.splice(text, [(*m.span(), "caffe::shuffle") for m, _ in calls])
    masked = cxx.code(new)
    new = cxx.splice(new, [(*m.span(), "") for m in _USING.finditer(masked)])
    if not calls or _RNG in [name for _, name in cxx.includes(new)]:
        return new
    uses = [m.start() for m in re.finditer(r"\bcaffe::shuffle\b", cxx.code(new))]
    at = cxx.place_for_include(new, uses)
    return cxx.splice(new, [(at, at, f'#include "{_RNG}"\n')])


def _shuffle_left(text: str) -> list[Remark]:
    what = "C++17 has no std::random_shuffle: call caffe::shuffle of caffe/util/rng.hpp"
    return [Remark(line_of(text, m.start()), what) for m, _ in _shuffles(text)]


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
