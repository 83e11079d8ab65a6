"""Whether a training can go on in a folder, and with which settings."""

from pathlib import Path
from typing import Any

from randrop.errors import UserError
from randrop.files.documents import read_run
from randrop.training.settings import OF_PHOTOGRAPHS

FREE = (
    *("workers", "gpu", "ranks", "snapshot", "test_interval"),
    *("validate_every", "validate_photographs"),
)
"""Settings that do not change what is learnt: a training may go on with others."""

_DIGESTS = ("photographs_sha256", "files_sha256", "split_sha256")
_ELSEWHERE = "choose another --out, or --force to train from scratch there"


def same_settings(
    run: Path, settings: dict[str, Any], resume: bool = False, remedy: str = ""
) -> bool:
    """Return whether the run folder holds a run with these settings.

    Settings in `FREE` may differ, and so may the place of the same photographs; a
    training that resumes may have more iterations.

    Parameters
    ----------
    run : Path
    settings : dict
    resume : bool
    remedy : str
        Of a script without --force and --resume, which never changes the length.

    Raises
    ------
    UserError
        If it holds a run with other settings; names them.
    """
    path = run / "run.json"
    if not path.exists():
        return False
    old = read_run(run, "move it away, and train from scratch with --force")
    # A run of an older version lacks what it could not choose.
    missing = OF_PHOTOGRAPHS if "labels" not in old else {}
    told = {k for k in _DIGESTS if old.get(k)}
    missing |= {"bf16": False, "max_channels": None}
    old = missing | old | {k: settings.get(k) for k in set(_DIGESTS) - told}
    changed = {k for k in settings if k not in FREE and old.get(k) != settings[k]}
    if "split_sha256" in told - changed:
        # A copy of it is as good.
        changed.discard("split")
    if told - changed == set(_DIGESTS):
        # The same photographs in another place.
        changed.discard("data")
    changed = sorted(changed)
    digests = [name for name in changed if name in _DIGESTS]
    # Repeating its arguments would not help.
    if digests and not {"data", "split"} & set(changed):
        raise UserError(
            f"{run} was trained on other photographs than {settings['data']} has now "
            f"(another split, size, source or mask; {' and '.join(digests)} in "
            "run.json): "
            "restore those, or " + (remedy or _ELSEWHERE)
        )
    if changed == ["iterations"] and not remedy:
        _check_length(run, old["iterations"], settings["iterations"], resume)
    elif changed:
        shown = ", ".join(f"{k} {old.get(k)!r} -> {settings[k]!r}" for k in changed)
        raise UserError(
            f"{run} contains a run with other settings ({shown}): "
            + (remedy or f"repeat its arguments, or {_ELSEWHERE}")
        )
    return True


def _check_length(run: Path, old: int, new: int, resume: bool) -> None:
    """Refuse to shorten a training, or to extend one unasked."""
    if new < old:
        raise UserError(
            f"--iterations {new}: the training in {run} is one of {old}, which can be "
            f"extended, but not shortened: use one of its snapshots, or give another "
            "--out, or --force to train from scratch there"
        )
    if not resume:
        raise UserError(
            f"--iterations {new}: the training in {run} is one of {old} iterations: "
            "add --resume to extend it, or give another --out, or --force to train "
            "from scratch there"
        )


def is_trained(run: Path, iterations: int) -> bool:
    """Return whether a run has the weights of its last iteration, this one."""
    if not (run / "final.caffemodel").exists():
        return False
    known = read_run(run, "train from scratch with --force", ("iterations",))
    return known["iterations"] == iterations


def history(run: Path, iterations: int, first: int) -> dict[str, Any]:
    """Return what run.json keeps of a training's earlier parts.

    Parameters
    ----------
    run : Path
    iterations : int
        The length from now on.
    first : int
        Where it goes on.

    Returns
    -------
    dict
        `extended`: the earlier lengths, and where they were changed, if they were;
        `best`: the best snapshot so far, if there is one.

    Raises
    ------
    UserError
        If it is finished, and its last snapshot is missing: final.caffemodel would be
        its only copy.
    """
    old = read_run(run, "train from scratch with --force", ("iterations",))
    found = {name: old[name] for name in ("extended", "best") if old.get(name)}
    if old["iterations"] == iterations:
        return found
    if (run / "final.caffemodel").exists() and first != old["iterations"]:
        raise UserError(
            f"{run} cannot be extended: its snapshot of iteration {old['iterations']} "
            "is missing or damaged. Start another training with --weights "
            f"{run / 'final.caffemodel'}"
        )
    earlier = {"iterations": old["iterations"], "at": first}
    return found | {"extended": [*found.get("extended", []), earlier]}
