"""Scripts that are killed, meet a full disk or damaged files; each can be repeated.

    build/venv/bin/python tests/faults.py --seed 1234
    build/venv/bin/python tests/faults.py --seed 1 --count 1000 --seconds 600

A case is one of these:

kill-train  kill -9 of train.py at random times, then --resume: bit-equal weights
kill        kill -9 of another script at a random time, then the same again: it works
disk        a script on a disk of a random size: done, or a sentence that says so; with
            more room it works
read-only   the same, of a disk that may not be written to any more: nothing changes
damaged     a script reads a run or data set with a file that has flipped bits or is
            cut: a sentence, or a result; damaged weights are never used

No script may end with a traceback, by a signal or late, or write into what it reads.
Needs root for disks; without it those cases are left out. The exit status is 1 when a
case fails.
"""

import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers"), str(HERE.parent)]
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import every_script  # noqa: E402
import numpy as np  # noqa: E402
from cases import Fault, options_of, run, wanted  # noqa: E402
from small_training import command, weights  # noqa: E402

LATE = 300
OFTEN = ("--snapshot", 3, "--workers", 2, "--threads", 2)
ITERATIONS = 30
# Scripts that take seconds and produce the same files each time.
SCRIPTS = ("make_phantom", "make_organs", "prepare", "export_lmdb", "train", "predict",
           "evaluate", "evaluate_labels", "export_model", "make_prototxt")  # fmt: skip
# Which script reads which part of the world.
READERS = {
    "phantom": ("prepare", "export_lmdb", "predict", "evaluate"),
    "run": ("predict", "export_model", "evaluate"),
    "organs": ("evaluate_labels",),
    "organs_run": ("evaluate_labels",),
    "maps": ("evaluate",),
}


def words_of(name, world, out):
    return [
        *(sys.executable, str(HERE.parent / f"scripts/{name}.py")),
        *map(str, every_script.FOLDERS[name](world, out)),
    ]


def execute(words, allowed=(0, 2)):
    """Run a command that must end with one of these statuses and clear messages."""
    words = list(map(str, words))
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=LATE
        )
    except subprocess.TimeoutExpired:
        raise Fault(f"after {LATE} s not at its end: {' '.join(words)}") from None
    said = f"{' '.join(words)}\n  status {done.returncode}: {done.stderr[-1500:]}"
    wanted("Traceback" not in done.stderr, said)
    wanted(done.returncode in allowed, said)
    wanted(done.returncode == 0 or "error: " in done.stderr, said)
    return done


def files(folder):
    """Return path, size and content of everything in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".randrop.lock"
    }


def kill_after(words, seconds):
    """Start a command, kill it after a time, and return whether it had ended before."""
    process = subprocess.Popen(
        list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


class Cases:
    """The cases, over a world that is created once, as far as needed."""

    def __init__(self, folder):
        from randrop.data.phantom_set import write_phantom
        from randrop.pycaffe.build import import_caffe

        self.folder = folder
        self.caffe = import_caffe()
        self.phantom = folder / "phantom"
        write_phantom(self.phantom, images=4, size=192, seed=3, workers=1)

    @functools.cached_property
    def world(self):
        return every_script.make_world(self.phantom, self.folder)

    @functools.cached_property
    def whole(self):
        """A training that is not killed, and its duration in seconds."""
        out, begin = self.folder / "whole", time.monotonic()
        execute(command(self.phantom, out, *OFTEN, iterations=ITERATIONS), (0,))
        return out, time.monotonic() - begin

    def weights(self, run):
        return weights(self.caffe, run / "final.caffemodel")

    def kill_train(self, draw, out):
        whole, long = self.whole
        words = command(self.phantom, out, *OFTEN, iterations=ITERATIONS)
        kills = 0
        for _ in range(draw.choice([1, 2, 3])):
            more = ["--resume"] if list(out.glob("snapshots/*.sha256")) else []
            more = more or (["--force"] if out.exists() else [])
            if kill_after([*words, *more], draw.uniform(0.3, 1.1) * long):
                break
            kills += 1
        if not (out / "final.caffemodel").exists():
            resumable = list(out.glob("snapshots/*.sha256"))
            execute([*words, "--resume" if resumable else "--force"], (0,))
        same = np.array_equal(self.weights(out), self.weights(whole))
        wanted(same, "the weights are not those of a training that was not killed")
        return f"train, killed {kills} times"

    def kill(self, draw, out):
        name = draw.choice([name for name in SCRIPTS if name != "train"])
        words = words_of(name, self.world, out)
        ended = kill_after(words, draw.uniform(0.2, 3))
        execute(words, (0,))
        return f"{name}, {'ended before' if ended else 'killed'}"

    def full_disk(self, draw, out):
        name = draw.choice(SCRIPTS)
        with Disk(out, 2 ** draw.uniform(13, 20)) as disk:
            words = words_of(name, self.world, disk / "out")
            if execute(words).returncode:
                mount("remount,size=64m", disk)
                resume = list(disk.glob("out/snapshots/*.sha256"))
                again = ["--resume" if resume else "--force"] * (name == "train")
                execute([*words, *again], (0,))
        return name

    def read_only(self, draw, out):
        name = draw.choice(SCRIPTS)
        with Disk(out, 2**26) as disk:
            words = words_of(name, self.world, disk / "out")
            if draw.random() < 0.5:
                execute(words, (0,))
            before = files(disk)
            mount("remount,ro", disk)
            done = execute(words)
            wanted(files(disk) == before, "files of a read-only disk changed")
            # A file that already has its final content need not be written.
            wanted(done.returncode or before, f"{name} has written nothing")
        return name

    def damaged(self, draw, out):
        out.mkdir()
        part = draw.choice(list(READERS))
        name = draw.choice(READERS[part])
        world = every_script.World(**vars(self.world))
        copy = shutil.copytree(getattr(world, part), out / part)
        setattr(world, part, copy)
        path = draw.choice(sorted(p for p in copy.rglob("*") if p.is_file()))
        how = draw.choice(["flip", "cut", "empty", "gone"])
        content = bytearray(path.read_bytes())
        if how == "flip" and content:
            for _ in range(draw.choice([1, 1, 8])):
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        elif how == "cut" and content:
            del content[draw.randrange(len(content)) :]
        else:
            content.clear()
        path.write_bytes(content)
        if how == "gone":
            path.unlink()
        done = execute(words_of(name, world, out / "out"))
        sealed = path.name == "final.caffemodel"
        wanted(done.returncode or not sealed, f"{name} took damaged weights ({how})")
        return f"{name}, {part}/{path.relative_to(copy)}: {how}"


def mount(options, folder):
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


class Disk:
    """A memory disk of a given size in bytes; unmounted on exit."""

    def __init__(self, folder, size):
        self.folder, self.size = folder, int(size)

    def __enter__(self):
        self.folder.mkdir()
        if not mount(f"size={self.size}", self.folder):
            raise NotImplementedError("no disks here")
        return self.folder

    def __exit__(self, *_):
        subprocess.run(["umount", str(self.folder)], check=True)


KINDS = {
    "kill-train": Cases.kill_train,
    "kill": Cases.kill,
    "disk": Cases.full_disk,
    "read-only": Cases.read_only,
    "damaged": Cases.damaged,
}


def prepare(folder):
    cases = Cases(folder)
    return {kind: functools.partial(case, cases) for kind, case in KINDS.items()}


if __name__ == "__main__":
    run(
        options_of(__doc__, list(KINDS)),
        "faults",
        "kills, disks and damaged files",
        prepare,
    )
