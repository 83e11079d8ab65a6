"""Kill the patch tool at random moments, on trees of many kinds, and run it again.

    build/venv/bin/python tests/patch_faults.py --seed 1234
    build/venv/bin/python tests/patch_faults.py --seed 1 --count 500 --seconds 600

A case makes a tree as users have it (tests/forks.py), and then patches, updates from
another version, edits or reverts it, a few times in random order. Each run may end by
kill -9 at a random moment. After each kill `--check` must answer, and after the last
the tree must end at "patched" and, reverted, at the original to the byte, without a
file left behind. The exit status is 1 when a case fails.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parent / "scripts/patch_caffe.py"
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts"), str(HERE.parent)]

import forks  # noqa: E402
from cases import options_of, run, wanted  # noqa: E402
from test_forks import state  # noqa: E402

KINDS = (
    *("bvlc", "debian", "bvlc-1-0", "crlf", "tabs", "old-headers", "segnet"),
    *("local-edits", "links", "committed", "staged", "ssd", "no-openmp", "shuffles"),
)
EDITED = "src/caffe/net.cpp"
KIND = "kill"
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


def tool(moment, other, tree, *action):
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
        done, killed = tool(moment, version, tree, *words)
        story.append(f"{action} killed at {moment}" if killed else action)
        known = killed or done.returncode == 0 or "nothing to revert" in done.stderr
        wanted(known, f"{story}: {done.stderr}")
        done, _ = tool(0, "-", tree, "--check")
        wanted(done.returncode in (0, 1, 3, 4, 5, 6), f"{story}: {done.stderr}")
    done, _ = tool(0, "-", tree)
    wanted(done.returncode == 0, f"{story}, patch: {done.stderr}")
    done, _ = tool(0, "-", tree, "--check")
    wanted(done.returncode == 0, f"{story}: at the end {done.stdout}{done.stderr}")
    done, _ = tool(0, "-", tree, "--revert")
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


def prepare(place):
    bvlc = forks.pristine(place / "bvlc")
    for large in ("docs", "examples", "data", "models", "matlab"):
        shutil.rmtree(bvlc / large)
    other = another_version(place / "other")
    return {KIND: lambda draw, folder: case(draw, folder, bvlc, other)}


if __name__ == "__main__":
    run(options_of(__doc__, [KIND]), "patch_faults", "kills of the patch tool", prepare)
