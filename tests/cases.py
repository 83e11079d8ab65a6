"""The loop of programs that try random cases, each repeated by its seed.

`tests/faults.py` and `tests/patch_faults.py` use it. A case is a function of a random
generator and a folder of its own; it returns what it did, and raises `Fault` when that
did not end as it should.
"""

import argparse
import collections
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tried

Case = Callable[[random.Random, Path], str]


class Fault(Exception):  # noqa: N818
    """A fault that a case reveals."""


def wanted(holds: object, why: str) -> None:
    """Raise a `Fault` that says why, unless something holds."""
    if not holds:
        raise Fault(why)


def options_of(description: str, kinds: list[str]) -> argparse.Namespace:
    """Read the options of such a program.

    Parameters
    ----------
    description : str
        For --help.
    kinds : list of str
        The kinds of cases that the program has; of one alone, nobody has to choose.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first case")
    parser.add_argument("--count", type=int, default=1, help="how many cases")
    parser.add_argument("--seconds", type=float, help="stop after so many")
    if len(kinds) > 1:
        parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    else:
        parser.set_defaults(kinds=kinds)
    parser.add_argument("--tried", help="append the counts to this file")
    return parser.parse_args()


def run(
    options: argparse.Namespace,
    program: str,
    what: str,
    prepare: Callable[[Path], dict[str, Case]],
) -> None:
    """Try the cases, print the line that repeats each, and exit: 1 after a fault.

    Parameters
    ----------
    options : argparse.Namespace
        Of `options_of`.
    program : str
        The name of the program in tests/, which the lines name.
    what : str
        What is tried, for `tests/tried.py`.
    prepare : callable
        Takes a temporary folder, and returns the cases by their kinds. A case may raise
        NotImplementedError with what this machine lacks for it: it is left out.
    """
    sums: collections.Counter[str] = collections.Counter()
    left_out: collections.Counter[str] = collections.Counter()
    faults, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"randrop-{program}-") as name:
        place = Path(name)
        cases = prepare(place)
        for seed in range(options.seed, options.seed + options.count):
            if options.seconds and time.monotonic() - start > options.seconds:
                break
            kind = options.kinds[seed % len(options.kinds)]
            line = f"build/venv/bin/python tests/{program}.py --seed {seed}"
            line += f" --kinds {kind}" * (len(cases) > 1)
            folder = place / f"case{seed}"
            try:
                told = cases[kind](random.Random(seed), folder)
                sums[kind] += 1
                print(f"ok: {line}  # {kind}: {told}")
            except NotImplementedError as error:
                left_out[f"left out: {error}"] += 1
            except Fault as fault:
                faults += 1
                sums[kind] += 1
                print(f"FAILED: {line}\n  {kind}: {fault}")
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            sys.stdout.flush()
    seconds = time.monotonic() - start
    counts = sorted((sums + left_out).items())
    told = ", ".join(f"{count} {kind}" for kind, count in counts)
    print(f"{sum(sums.values())} cases: {told}; {faults} faults")
    tried.add(options.tried, what, sum(sums.values()), faults, seconds, options.seed)
    sys.exit(1 if faults else 0)
