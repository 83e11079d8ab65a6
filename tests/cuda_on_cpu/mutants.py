"""Deliberate faults in CUDA sources, to check that the tests find them.

Each fault is a choice at run time (CUDA_ON_CPU_MUTANT=number), so that one build has
them all, and a run without the variable has none.
"""

import re
from dataclasses import dataclass
from pathlib import Path

LAYERS = Path(__file__).resolve().parents[2] / "caffe_layers"
# The thousands of a number tell the file.
FILES = sorted({*LAYERS.rglob("*.cuh"), *LAYERS.rglob("*.cu")}, key=lambda p: p.name)


@dataclass(frozen=True)
class Mutant:
    """One fault: its number, its place in the source, and the change."""

    number: int
    place: str
    what: str


@dataclass(frozen=True)
class _Rule:
    """A pattern, the possible changes, and the text with {a}, {b}... for choices."""

    pattern: re.Pattern
    what: tuple[str, ...]
    instead: str


def _rules() -> list[_Rule]:
    # Three levels of nested brackets.
    inner = r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))"
    rows = (
        (r"__syncthreads\(\);", ("no barrier",), "if (!{a}) {{ __syncthreads(); }}"),
        (
            rf"atomicAdd\((?P<all>{inner}+)\)",
            ("not atomic",),
            "({a} ? ::cuda_on_cpu::PlainAdd({all}) : atomicAdd({all}))",
        ),
        (
            r"(?P<left>\b\w+) < (?P<right>(?:[\w.\s+*]|\(\w[^()<>]*\))+?);",
            ("one more", "one less"),
            "{left} < ({right}) + ({a} ? 1 : {b} ? -1 : 0);",
        ),
        (
            r"\+= (?P<step>[\w.]+(?: \* [\w.]+)?)\)",
            ("a step longer by one",),
            "+= ({step}) + ({a} ? 1 : 0))",
        ),
        (
            r"i \+= (?P<step>static_cast<int64_t>\(blockDim\.x\) \* gridDim\.x)",
            ("a step in 32 bits",),
            "i = {a} ? static_cast<int>(i + {step}) : i + {step}",
        ),
        (
            r"(?P<sign>[=+]\s+)threadIdx\.x;",
            ("the next thread's start",),
            "{sign}(threadIdx.x + ({a} ? 1u : 0u));",
        ),
        (
            r"(?P<op>/=?|\*=) 2(?P<end>[;)])",
            ("4 for 2",),
            "{op} ({a} ? 4 : 2){end}",
        ),
        (
            r"threadIdx\.x == 0\b",
            ("another thread writes",),
            "threadIdx.x == ({a} ? 1u : 0u)",
        ),
        (
            r"<<<(?P<grid>[^,]+), (?P<block>\w+)>>>",
            ("a block less", "a block more", "half the threads"),
            "<<<({grid}) + ({a} ? -1 : {b} ? 1 : 0), ({block}) / ({c} ? 2 : 1)>>>",
        ),
    )
    return [
        _Rule(re.compile(pattern), what, instead) for pattern, what, instead in rows
    ]


def _found(text: str, name: str) -> list[tuple[list[Mutant], re.Match, str]]:
    number = 1000 * (1 + [path.name for path in FILES].index(name))
    code = re.sub(r"//[^\n]*", lambda match: " " * len(match[0]), text)
    found = []
    for rule in _rules():
        for match in rule.pattern.finditer(code):
            line = text.count("\n", 0, match.start()) + 1
            here = []
            for what in rule.what:
                here.append(Mutant(number, f"{name}:{line}", what))
                number += 1
            found.append((here, match, rule.instead))
    return found


def of_file(path: Path) -> list[Mutant]:
    """Return the faults that `insert` puts into a file."""
    found = _found(path.read_text(), path.name)
    return [mutant for here, _, _ in found for mutant in here]


def insert(text: str, name: str) -> str:
    """Return a source with all its faults inserted but switched off."""
    found = _found(text, name)
    for here, match, instead in sorted(found, key=lambda f: f[1].start(), reverse=True):
        choices = {
            letter: f"::cuda_on_cpu::Mutant({mutant.number})"
            for letter, mutant in zip("abc", here, strict=False)
        }
        new = instead.format(**choices, **match.groupdict())
        # The change keeps the line breaks of the original.
        lines = match[0].count("\n")
        ending = "\\\n" if "\\\n" in match[0] else "\n"
        flat = re.sub(r"\\?\n", " ", new) + ending * lines
        text = text[: match.start()] + flat + text[match.end() :]
    return text
