"""What went wrong, from the output of CMake, make, compilers and linkers."""

import re

_CMAKE = re.compile(r"^CMake Error\b")
_BUILD = re.compile(
    r"\b(?:fatal )?error ?:|\bundefined reference\b|\bcannot find -l|"
    r"\bcollect2: |\.proto:\d+:\d+: (?!warning)",
    re.IGNORECASE,
)
_MAKE = re.compile(r"^g?make(?:\[\d+\])?: \*\*\* ")
_SHOWN = 5


def of_cmake(output: str) -> list[str]:
    """Return CMake's own explanations, or its last lines where it gives none."""
    lines = output.splitlines()
    told: list[str] = []
    for first, line in enumerate(lines):
        if _CMAKE.match(line):
            block = _block(lines[first:])
            if block not in (told[i : i + len(block)] for i in range(len(told))):
                told += block
    return told[: 4 * _SHOWN] or _last(lines)


def _block(lines: list[str]) -> list[str]:
    """Return an error's first line and the indented lines that explain it."""
    block = lines[:1]
    for line in lines[1:]:
        if line.strip() and not line[0].isspace():
            break
        block.append(line.rstrip())
    return [line for line in block if line]


def of_make(output: str) -> list[str]:
    """Return the first errors of a build, or its last lines where it names none."""
    lines = output.splitlines()
    errors = [line for line in lines if _BUILD.search(line)]
    errors = errors or [line for line in lines if _MAKE.match(line)]
    if any(_CMAKE.match(line) for line in lines):
        return of_cmake(output)
    return errors[:_SHOWN] or _last(lines)


def _last(lines: list[str]) -> list[str]:
    return [line for line in lines if line.strip()][-_SHOWN:]
