"""Turn CUDA C++ into C++ that runs over cuda_on_cpu.hpp.

Three things are no C++: `kernel<<<grid, block>>>(arguments)`, variables that are
`__shared__`, and the barrier, which should tell where it stands. All else is left as it
is, line by line, so that messages name the places of the source.

With --mutants, each place where a fault is put on purpose (mutants.py) becomes a choice
that a number in the environment makes when the program runs: one build has them all.
"""

import argparse
import re
import sys
from pathlib import Path

import mutants

# A Caffe macro generates kernels and joins their names with ##.
_NAME = re.compile(r"[\w:#]+$")
_SHARED = re.compile(
    r"(?P<extern>extern\s+)?__shared__\s+(?P<type>[\w:<>, ]+?)\s+(?P<name>\w+)\s*"
    r"(?:\[(?P<length>[^\]]*)\])?\s*;"
)


class RewriteError(Exception):
    """A source that this script does not understand."""


def _closing(text: str, start: int, pair: str) -> int:
    """Return the index after the bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == pair[0]) - (text[index] == pair[1])
        if depth == 0:
            return index + 1
    raise RewriteError(f"no {pair[1]} for the {pair[0]} in: {text[start : start + 60]}")


def _kernel_before(text: str, end: int) -> int:
    """Return the start of the kernel name that ends at `end`."""
    start = end
    while text[start - 1].isspace():
        start -= 1
    if text[start - 1] == ">":
        depth = 0
        while True:
            start -= 1
            depth += (text[start] == ">") - (text[start] == "<")
            if depth == 0:
                break
    match = _NAME.search(text, 0, start)
    if not match:
        raise RewriteError(f"no kernel before <<< in: {text[end - 40 : end]}")
    return match.start()


def launches(text: str) -> str:
    """Replace `kernel<<<grid, block>>>(a, b)` with a call that runs it on the CPU."""
    while (middle := text.find("<<<")) >= 0:
        start = _kernel_before(text, middle)
        kernel = text[start:middle].strip()
        end = text.find(">>>", middle)
        if end < 0:
            raise RewriteError(f"no >>> for <<< in: {text[middle : middle + 60]}")
        call = re.compile(r"\s*\(").match(text, end + 3)
        if not call:
            raise RewriteError(f"no arguments after: {text[middle : end + 3]}")
        name = re.match(r"[\w:#]+", kernel)[0]
        replaced = (
            f'::cuda_on_cpu::Launch("{name}", {text[middle + 3 : end]})'
            f"([](const auto&... a) {{ {kernel}(a...); }}"
        )
        behind = _closing(text, call.end() - 1, "()")
        arguments = text[call.end() : behind]
        comma = "" if arguments == ")" else ", "
        text = text[:start] + replaced + comma + arguments + text[behind:]
    return text


def _shared(match: re.Match) -> str:
    kind, name, length = match["type"], match["name"], match["length"]
    if match["extern"]:
        return f"{kind}* const {name} = ::cuda_on_cpu::DynamicShared<{kind}>();"
    if length is None:
        return f"{kind}& {name} = ::cuda_on_cpu::Shared<{kind}>([] {{}});"
    return (
        f"{kind} (&{name})[{length}] = "
        f"::cuda_on_cpu::Shared<{kind}[{length}]>([] {{}});"
    )


def rewrite(text: str, name: str) -> str:
    """Return a CUDA source as C++."""
    text = _SHARED.sub(_shared, text)
    return f'#include "cuda_on_cpu.hpp"\n#line 1 "{name}"\n' + launches(text)


def main() -> None:
    """Rewrite one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--mutants", action="store_true", help="put faults in")
    options = parser.parse_args()
    text = options.source.read_text()
    if options.mutants:
        text = mutants.insert(text, options.source.name)
    try:
        result = rewrite(text, str(options.source))
    except RewriteError as error:
        sys.exit(f"error: {options.source}: {error}")
    options.target.parent.mkdir(parents=True, exist_ok=True)
    new = options.target.with_name(options.target.name + ".new")
    new.write_text(result)
    new.replace(options.target)


if __name__ == "__main__":
    main()
