"""Kill the patch tool at random moments, on trees of many kinds, and run it again.

    build/venv/bin/python tests/patch_faults.py --seed 1234
    build/venv/bin/python tests/patch_faults.py --seed 1 --count 500 --seconds 600

A case makes a tree as users have it (tests/forks.py), and then patches, updates from
another version, edits or reverts it, a few times in random order. Each run may end by
kill -9 at a random moment. After each kill `--check` must answer, and after the last
the tree must end at "patched" and, reverted, at the original to the byte, without a
file left behind. The exit status is 1 when a case fails.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parent / "scripts/patch_caffe.py"
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts"), str(HERE.parent)]

import forks  # noqa: E402
from test_forks import state  # noqa: E402

KINDS = (
    *("bvlc", "debian", "bvlc-1-0", "crlf", "tabs", "old-headers", "segnet"),
    *("local-edits", "links", "committed", "staged", "ssd", "no-openmp", "shuffles"),
)
EDITED = "src/caffe/net.cpp"
EDIT = "\n// the user's\n"
# Kills the process at the n-th call that changes the disk; the version is another one
# if the second word says so.
RUN = """
import os, pathlib, runpy, signal, sys
moment, other, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def killing(function):
    def call(*words, **options):
        global moment
        moment -= 1
        if moment == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*words, **options)
    return call
for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "symlink", "open"):
    setattr(os, name, killing(getattr(os, name)))
for name in (
    *("replace", "rename", "unlink", "mkdir", "rmdir", "write_bytes", "symlink_to"),
):
    setattr(pathlib.Path, name, killing(getattr(pathlib.Path, name)))
sys.path.insert(0, str(pathlib.Path(script).parent))
from caffe_tools import planning
if other != "-":
    planning.LAYERS = pathlib.Path(other)
sys.argv = [script, *sys.argv[4:]]
runpy.run_path(script, run_name="__main__")
"""


class Fault(Exception):  # noqa: N818
    """A fault that a case reveals."""


def wanted(holds, why):
    if not holds:
        raise Fault(why)


def run(moment, other, tree, *action):
    words = [sys.executable, "-c", RUN, str(moment), str(other), str(SCRIPT)]
    done = subprocess.run(
        [*words, str(tree), *action], capture_output=True, text=True, check=False
    )
    killed = done.returncode == -signal.SIGKILL
    wanted(killed or "Traceback" not in done.stderr, done.stderr[-1500:])
    return done, killed


def case(draw, folder, bvlc, other):
    """Return what was done with one tree."""
    kind = draw.choice(KINDS)
    tree = forks.make(kind, folder / "caffe", bvlc)
    before, story, edited = state(tree), [kind], False
    for _ in range(draw.choice([1, 2, 3, 4])):
        action = draw.choice(["patch", "update", "revert", "edit"])
        if action == "edit":
            if not edited and not (tree / EDITED).is_symlink():
                with (tree / EDITED).open("a") as stream:
                    stream.write(EDIT)
                edited = True
                story.append("edit")
            continue
        version = other if action == "update" else "-"
        words = ["--revert"] if action == "revert" else []
        moment = int(2 ** draw.uniform(0, 11))
        done, killed = run(moment, version, tree, *words)
        story.append(f"{action} killed at {moment}" if killed else action)
        known = killed or done.returncode == 0 or "nothing to revert" in done.stderr
        wanted(known, f"{story}: {done.stderr}")
        done, _ = run(0, "-", tree, "--check")
        wanted(done.returncode in (0, 1, 3, 4, 5, 6), f"{story}: {done.stderr}")
    done, _ = run(0, "-", tree)
    wanted(done.returncode == 0, f"{story}, patch: {done.stderr}")
    done, _ = run(0, "-", tree, "--check")
    wanted(done.returncode == 0, f"{story}: at the end {done.stdout}{done.stderr}")
    done, _ = run(0, "-", tree, "--revert")
    wanted(done.returncode == 0, f"{story}, revert: {done.stderr}")
    if edited:
        path = tree / EDITED
        content = path.read_bytes()
        wanted(content.endswith(EDIT.encode()), f"{story}: the edit is lost")
        path.write_bytes(content.removesuffix(EDIT.encode()))
    after = state(tree)
    differ = [p for p in {*after, *before} if after.get(p) != before.get(p)]
    wanted(not differ, f"{story}: not as it was: {sorted(map(str, differ))[:5]}")
    return ", ".join(story)


def another_version(folder):
    """Return our layers as another version has them: one more, one less, one other."""
    shutil.copytree(HERE.parent / "caffe_layers", folder)
    place = folder / "include/caffe/randrop/math"
    (place / "philox.hpp").write_text("// an older text\n")
    (place / "gone.hpp").write_text("// dropped since\n")
    (place / "label.hpp").unlink()
    return folder


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first case")
    parser.add_argument("--count", type=int, default=1, help="how many cases")
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--tried", help="append the counts to this file")
    return parser.parse_args()


def main():
    options = arguments()
    import tried

    start, cases, faults = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="randrop-patch-faults-") as name:
        place = Path(name)
        bvlc = forks.pristine(place / "bvlc")
        for large in ("docs", "examples", "data", "models", "matlab"):
            shutil.rmtree(bvlc / large)
        other = another_version(place / "other")
        for seed in range(options.seed, options.seed + options.count):
            if options.seconds and time.monotonic() - start > options.seconds:
                break
            line = f"build/venv/bin/python tests/patch_faults.py --seed {seed}"
            folder = place / f"case{seed}"
            cases += 1
            try:
                print(f"ok: {line}  # {case(random.Random(seed), folder, bvlc, other)}")
            except Fault as fault:
                faults += 1
                print(f"FAILED: {line}\n  {fault}")
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            sys.stdout.flush()
    print(f"{cases} cases, {faults} faults, {time.monotonic() - start:.0f} s")
    seconds = time.monotonic() - start
    tried.add(options.tried, "kills of the patch tool", cases, faults, seconds,
              options.seed)  # fmt: skip
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
