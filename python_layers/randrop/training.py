"""Running `caffe train` on a run folder: settings, progress, interruption, curves."""

import collections
import contextlib
import itertools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from randrop import nets
from randrop.caffe_build import caffe_binary, environment
from randrop.errors import UserError
from randrop.files import replacing, write_json, write_text

log = logging.getLogger(__name__)

LOSSES = {
    "random-drop": nets.Loss(
        "SigmoidRandomDropCELoss", "randrop_loss_param", has_mask=True
    ),
    "class-balanced": nets.Loss(
        "SigmoidRandomDropCELoss", "randrop_loss_param", {"schedule_type": "NONE"}
    ),
    "cross-entropy": nets.Loss("SigmoidCrossEntropyLoss"),
}
"""The losses by the names that the command line takes."""

_NUMBER = r"([-+0-9.einfa]+)"
_TRAIN = re.compile(rf"\] Iteration (\d+) .*loss = {_NUMBER}")
_RATE = re.compile(rf"\] Iteration (\d+), lr = {_NUMBER}")
_TESTING = re.compile(r"\] Iteration (\d+), Testing net")
_TEST = re.compile(rf"Test net output #\d+: loss = {_NUMBER}")
_WAIT = re.compile(
    r"randrop\.data: waited ([0-9.]+) s of ([0-9.]+) s \(([0-9.]+) %\) for (\d+)"
)
# What of a failed run's log says why: glog's fatal lines, and Python's last words.
_FATAL = re.compile(r"^F\d+ \d\d:\d\d:\d\d\S*\s+\d+ \S+\] (.*)")
_PYTHON = re.compile(r"^(?:[\w.]+\.)?(\w*Error): (.*)")
_LOG = re.compile(r"^[IWEF]\d+ |^\*\*\* |^ *@ |^\w*Error: |^terminate called")

_REMEDIES = {
    "Unknown layer type: Python": (
        "this Caffe is built without Python layers, which read the data: build it with "
        "WITH_PYTHON_LAYER := 1 (Makefile.config) or -DBUILD_python_layer=ON (CMake), "
        "or with scripts/build_caffe.py"
    ),
    "Unknown layer type: Sigmoid": (
        "this Caffe does not have the layer: patch it with scripts/patch_caffe.py and "
        "rebuild it, or use the Python layer (--python-layer)"
    ),
    "has no field named": (
        "this Caffe does not know the field: patch it with scripts/patch_caffe.py and "
        "rebuild it, or use the Python layer (--python-layer)"
    ),
    "No space left": "the disk is full: free some space, then train.py --resume",
    "(google::protobuf::util": "the disk is full or the folder not writable",
    "out of memory": "use smaller --patch, --batch or --base-channels",
}


class Curves:
    """The numbers in Caffe's log: losses, learning rate, validation, waiting."""

    def __init__(self) -> None:
        self.training: list[tuple[int, float]] = []
        self.validation: list[tuple[int, float]] = []
        self.rate: list[tuple[int, float]] = []
        self.waited: dict[str, float] = {}
        self._testing = 0

    def read(self, line: str) -> bool:
        """Take in a line of the log; true if it told the training loss."""
        if match := _TRAIN.search(line):
            self._add(self.training, int(match[1]), match[2])
            return True
        if match := _RATE.search(line):
            self._add(self.rate, int(match[1]), match[2])
        elif match := _TESTING.search(line):
            self._testing = int(match[1])
        elif match := _TEST.search(line):
            self._add(self.validation, self._testing, match[1])
        elif match := _WAIT.search(line):
            names = ("waited_s", "of_s", "share_percent", "patches")
            numbers = map(float, match.groups())
            waited = dict(zip(names, numbers, strict=True))
            # Both phases report; the training layer is the one that is asked most.
            if waited["patches"] >= self.waited.get("patches", 0):
                self.waited = waited
        return False

    @staticmethod
    def _add(curve: list[tuple[int, float]], iteration: int, value: str) -> None:
        # A resumed run repeats the iterations after its snapshot.
        while curve and curve[-1][0] >= iteration:
            curve.pop()
        curve.append((iteration, float(value)))

    def to_json(self) -> dict[str, Any]:
        """Return lists of [iteration, value]; a value that is not finite is null."""

        def finite(curve: list[tuple[int, float]]) -> list[list[float | None]]:
            return [[i, v if abs(v) < float("inf") else None] for i, v in curve]

        return {
            "training_loss": finite(self.training),
            "validation_loss": finite(self.validation),
            "learning_rate": finite(self.rate),
            "data_waiting": self.waited,
        }


def write_run(run: Path, settings: dict[str, Any], iteration: int = 0) -> None:
    """Write net, solver and deploy files of a run that starts at `iteration`."""
    loss = LOSSES[settings["loss"]]
    if loss.type == "SigmoidRandomDropCELoss":
        params = {"schedule_type": settings["schedule"], **loss.params}
        if iteration:
            params["first_iteration"] = iteration
        loss = nets.dataclasses.replace(
            loss, params=params, python=settings["python_layer"]
        )
    elif settings["python_layer"]:
        raise UserError(f"--python-layer: {settings['loss']} has no Python layer")
    data = {
        "root": settings["data"],
        "split": settings["split"],
        "lesions": settings["lesions"],
        "patch": settings["patch"],
        "batch_size": settings["batch"],
        "lesion_share": settings["lesion_share"],
        "augment": True,
        "ignore_label": 255,
        "workers": settings["workers"],
        "seed": settings["seed"],
        "first_patch": iteration * settings["batch"],
        "cycle": settings["test_iterations"] * settings["batch"],
    }
    watch = None
    if settings["watch_mask"]:
        watch = {
            "file": str(run / "kept.jsonl"),
            "schedule_type": loss.params.get("schedule_type", "NONE"),
            "first_iteration": iteration,
        }
    shape = {
        "lesions": settings["lesions"],
        "base_channels": settings["base_channels"],
        "depth": settings["depth"],
    }
    net = nets.unet(data=data, loss=loss, prior=settings["prior"], watch=watch, **shape)
    write_text(run / "train_val.prototxt", net)
    write_text(run / "deploy.prototxt", nets.unet(**shape))
    solver = nets.solver(
        net=str(run / "train_val.prototxt"),
        iterations=settings["iterations"],
        test_iterations=settings["test_iterations"],
        snapshot_prefix=str(run / "snapshots" / "unet"),
        learning_rate=settings["lr"],
        test_interval=settings["test_interval"],
        snapshot=settings["snapshot"],
        seed=settings["seed"],
        gpu=settings["gpu"],
    )
    write_text(run / "solver.prototxt", solver)
    (run / "snapshots").mkdir(exist_ok=True)


def newest_snapshot(run: Path) -> tuple[Path, int]:
    """Return the newest .solverstate that has its .caffemodel, and its iteration.

    Raises
    ------
    UserError
        When there is none.
    """
    states = {
        int(path.stem.rpartition("_")[2]): path
        for path in (run / "snapshots").glob("*_iter_*.solverstate")
        if path.with_suffix(".caffemodel").exists()
    }
    if not states:
        raise UserError(
            f"no snapshot in {run / 'snapshots'} to resume from: use --force to train "
            "anew"
        )
    return states[max(states)], max(states)


def train(
    run: Path,
    iterations: int,
    snapshot: Path | None = None,
    weights: Path | None = None,
    threads: int | None = None,
    gpu: bool = False,
) -> bool:
    """Run `caffe train`, showing its progress, until it ends.

    Parameters
    ----------
    run : Path
        Folder with solver.prototxt; `log.txt` and `curves.json` are written there.
    iterations : int
        Length of the progress bar.
    snapshot, weights : Path, optional
        Solver state to go on from, or weights to start from.
    threads : int, optional
        For the BLAS library.
    gpu : bool
        Train on all GPUs that are visible.

    Returns
    -------
    bool
        False when Ctrl-C stopped it after a snapshot.

    Raises
    ------
    UserError
        When caffe fails; with its last words and a remedy.
    """
    command = [str(caffe_binary()), "train", "-solver", str(run / "solver.prototxt")]
    if snapshot:
        command += ["-snapshot", str(snapshot)]
    if weights:
        command += ["-weights", str(weights)]
    if gpu:
        command += ["-gpu", "all"]
    variables = {**environment(), "GLOG_logtostderr": "1", "GLOG_minloglevel": "0"}
    if threads:
        variables |= {"OPENBLAS_NUM_THREADS": str(threads)}
    curves = Curves()
    log_path = run / "log.txt"
    if snapshot and log_path.exists():
        for line in log_path.read_text(errors="replace").splitlines():
            curves.read(line)
    caffe = subprocess.Popen(
        command,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # Ctrl-C reaches caffe from us alone: once, and the data workers never.
        start_new_session=True,
    )
    tail: collections.deque[str] = collections.deque(maxlen=60)
    try:
        with (
            log_path.open("a" if snapshot else "w", buffering=1) as stream,
            tqdm(total=iterations, unit="it", dynamic_ncols=True) as bar,
            _passing_on_interrupts(caffe) as interrupts,
        ):
            for line in caffe.stderr:
                stream.write(line)
                tail.append(line.rstrip())
                if curves.read(line):
                    _show(bar, curves)
                elif "WARNING" in line or (
                    line[0] == "W" and "randrop" in line.lower()
                ):
                    bar.write(line.rstrip())
            status = caffe.wait()
            if not status and not interrupts:
                bar.update(iterations - bar.n)
    except OSError as error:
        raise UserError(
            f"cannot write {log_path}: {error.strerror}; caffe was stopped. Free some "
            "space, then train.py --resume (or --force)"
        ) from error
    write_json(run / "curves.json", curves.to_json())
    if interrupts:
        return False
    if status:
        raise UserError(_why(list(tail), status, log_path))
    return True


def finish(run: Path) -> Path:
    """Copy the newest weights to `final.caffemodel` and return that."""
    state, _ = newest_snapshot(run)
    final = run / "final.caffemodel"
    with replacing(final) as temporary:
        shutil.copyfile(state.with_suffix(".caffemodel"), temporary)
    return final


def _show(bar: tqdm, curves: Curves) -> None:
    iteration, loss = curves.training[-1]
    shown = {"loss": f"{loss:.4g}"}
    if curves.validation:
        shown["validation"] = f"{curves.validation[-1][1]:.4g}"
    if loss != loss:
        bar.write(
            f"iteration {iteration}: THE LOSS IS NaN. The network has diverged or an "
            "input is NaN: stop it (Ctrl-C) and lower --lr"
        )
    bar.set_postfix(shown, refresh=False)
    bar.update(iteration - bar.n)


@contextlib.contextmanager
def _passing_on_interrupts(caffe: subprocess.Popen) -> Iterator[list[int]]:
    """Pass SIGINT on as caffe understands it; yield the list of those that came."""
    came: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        came.append(number)
        if len(came) == 1:
            log.warning(
                "Stopping: caffe writes a snapshot. Ctrl-C again ends it at once."
            )
            caffe.send_signal(signal.SIGINT)
        else:
            os.killpg(caffe.pid, signal.SIGKILL)

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        if caffe.poll() is None:
            os.killpg(caffe.pid, signal.SIGKILL)
            caffe.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _why(tail: list[str], status: int, log_path: Path) -> str:
    """Return what a failed caffe said last that tells why, and a remedy."""
    said = "\n".join(tail[-5:])
    for k, line in enumerate(tail):
        if match := _FATAL.match(line):
            said = match[1]
        elif match := _PYTHON.match(line):
            # A message of ours may go on for some lines. The first tells the cause.
            more = itertools.takewhile(lambda t: not _LOG.match(t), tail[k + 1 : k + 6])
            said = "\n".join([match[2], *more])
            break
    text = "\n".join(tail)
    remedy = next((r for key, r in _REMEDIES.items() if key in text), "")
    return (
        f"caffe train ended with status {status}: {said}"
        + (f"\n{remedy}" if remedy else "")
        + f"\nIts log: {log_path}"
    )


def same_settings(run: Path, settings: dict[str, Any]) -> bool:
    """Say whether the run folder holds a run with these settings.

    Raises
    ------
    UserError
        When it holds one with others; names them.
    """
    path = run / "run.json"
    if not path.exists():
        return False
    try:
        old = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}): use --force to train anew"
        ) from error
    changed = sorted(k for k in settings if old.get(k) != settings[k])
    if changed:
        shown = ", ".join(f"{k} {old.get(k)!r} -> {settings[k]!r}" for k in changed)
        raise UserError(
            f"{run} holds a run with other settings ({shown}): choose another --out, "
            "or --force to train anew there"
        )
    return True
