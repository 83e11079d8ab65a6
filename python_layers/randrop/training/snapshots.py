"""The snapshots of a training and their digests: which are whole, which is the newest.

`net_iter_N.sha256` holds the SHA-256 of `net_iter_N.caffemodel` and `.solverstate` in
the format of `sha256sum -c`. Caffe writes the two files. This program reads caffe's log
and writes the digests once a line shows that both files are finished, and both can be
parsed to the end. A snapshot without digests may be incomplete: it is used only if
there is no other.
"""

import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from randrop.errors import UserError
from randrop.files import write_text
from randrop.files.ownership import matching, sha256
from randrop.pycaffe.build import import_caffe

log = logging.getLogger(__name__)

PREFIX = "net"
"""Of the names that the solver gives to snapshots."""

PATTERNS = tuple(
    f"snapshots/{PREFIX}_iter_#.{kind}"
    for kind in ("solverstate", "caffemodel", "sha256")
)
"""What a training writes into its folder of snapshots; `#` is the iteration."""

_WRITES = re.compile(r"\] Snapshotting (?:solver state )?to binary proto file ")
_NAME = re.compile(rf"/({PREFIX}_iter_[0-9]+\.(?:caffemodel|solverstate))$")


def files(run: Path) -> list[Path]:
    """Return the snapshots of a run with their digests."""
    return matching(run, PATTERNS)


def states(run: Path) -> list[Path]:
    """Return the solver states of a run, newest first."""
    found = [path for path in files(run) if path.suffix == ".solverstate"]
    return sorted(found, key=iteration_of, reverse=True)


def iteration_of(snapshot: Path) -> int:
    """Return the iteration in the name of a snapshot."""
    number = snapshot.stem.rpartition("_")[2]
    return int(number) if number.isdecimal() else -1


def newest(run: Path) -> Path:
    """Return the newest .solverstate that is whole and has a whole .caffemodel.

    Raises
    ------
    UserError
        If there is none; tells how to continue.
    """
    unknown = []
    for state in states(run):
        whole = is_sealed(state)
        if whole:
            for other in unknown:
                log.warning("%s has no digest file, as after a kill: skipped", other)
            return state
        if whole is None and is_whole(state):
            unknown.append(state)
        else:
            log.warning("%s or its .caffemodel is damaged: skipped", state)
    if unknown:
        log.warning(
            "%s has no digest file: accepted, because it can be read completely",
            unknown[0],
        )
        return unknown[0]
    if states(run):
        raise UserError(
            f"every snapshot in {run / 'snapshots'} is damaged: there is nothing to "
            "resume from: move that folder away, or train from scratch with --force"
        )
    raise UserError(
        f"{run / 'snapshots'} has no snapshot to resume from: omit --resume to train "
        "from scratch"
    )


def is_whole(state: Path) -> bool:
    """Return whether both files of a snapshot can be parsed to the end."""
    # Caffe misses a write error at the very end, and a kill may truncate a file
    # anywhere. Caffe would resume from such a state, or start from such weights, and
    # draw what is missing at random.
    messages = import_caffe().proto.caffe_pb2
    solver, net = messages.SolverState(), messages.NetParameter()
    try:
        solver.ParseFromString(state.read_bytes())
        net.ParseFromString(state.with_suffix(".caffemodel").read_bytes())
    except (OSError, DecodeError):
        return False
    blobs = sum(len(layer.blobs) for layer in net.layer)
    # Adam keeps two moments per parameter; the step comes last in the file.
    return (
        blobs > 0
        and len(solver.history) == 2 * blobs
        and solver.HasField("current_step")
    )


def seal(path: Path, *others: Path) -> None:
    """Write the digests of files that share one name into NAME.sha256 beside them."""
    lines = [f"{sha256(file)}  {file.name}\n" for file in (path, *others)]
    write_text(path.with_suffix(".sha256"), "".join(lines))


def is_sealed(path: Path) -> bool | None:
    """Return whether a file (both files of a snapshot) matches its digest.

    Returns
    -------
    bool or None
        None if there is no digest.
    """
    wanted = [path]
    if path.suffix == ".solverstate":
        wanted.append(path.with_suffix(".caffemodel"))
    for beside in (path.with_suffix(".sha256"), path.with_name(f"{path.name}.sha256")):
        try:
            text = beside.read_text(errors="replace")
        except OSError:
            continue
        listed = {
            name: digest
            for digest, name in re.findall(r"^(\S{64}) [ *](.+)$", text, re.M)
        }
        if path.name not in listed and path.suffix != ".solverstate":
            # A digest of another file, or a damaged one of this file.
            continue
        try:
            return all(listed.get(file.name) == sha256(file) for file in wanted)
        except OSError:
            return False
    return None


def check_weights(path: Path) -> None:
    """Refuse weights that do not match the digest beside them.

    Raises
    ------
    UserError
        Naming both files.
    """
    if path.is_file() and is_sealed(path) is False:
        beside = path.with_suffix(".sha256")
        raise UserError(
            f"{path} is damaged or was replaced: its SHA-256 differs from the one in "
            f"{beside.name} beside it. Restore an intact copy; or move it away, and "
            "run the same training with --resume to rebuild it from the newest "
            "complete snapshot"
        )


def weights_of(model: Path) -> bytes:
    """Return the weights of a snapshot, the same whether its training was resumed.

    Parameters
    ----------
    model : Path
        Its .caffemodel.
    """
    net = import_caffe().proto.caffe_pb2.NetParameter()
    net.ParseFromString(model.read_bytes())
    _forget_start(net)
    return net.SerializeToString()


def digest_of(model: Path) -> str:
    """Return the SHA-256 that `weights_of` a snapshot have in a file of their own."""
    return hashlib.sha256(weights_of(model)).hexdigest()


_OF_START = ("first_iteration", "first_element")


def _forget_start(net: Any) -> None:
    """Remove where a part of a training began, and which share of the batch it was.

    So the weights are the same whether it was resumed, and on how many ranks.

    Parameters
    ----------
    net : NetParameter
    """
    for layer in net.layer:
        # An unpatched Caffe does not know the first field.
        for field, message in layer.ListFields():
            if field.name == "randrop_loss_param":
                for name in _OF_START:
                    # An older patch of ours has fewer.
                    if name in message.DESCRIPTOR.fields_by_name:
                        message.ClearField(name)
                if not message.ListFields():
                    layer.ClearField(field.name)
        if layer.python_param.module.startswith("randrop."):
            options = json.loads(layer.python_param.param_str)
            for name in ("first_patch", *_OF_START):
                options.pop(name, None)
            # One of several processes had a share of the batch.
            if options.get("stride"):
                options["batch_size"] = options.pop("stride")
            layer.python_param.param_str = json.dumps(options)


class Sealer:
    """Seals snapshots of a run as caffe's log reports them."""

    def __init__(self, run: Path) -> None:
        self._folder = run / "snapshots"
        self._pending: Path | None = None
        self._announced = False

    def read(self, line: str) -> Path | None:
        """Read a line of the log: everything written before it is complete.

        Returns
        -------
        Path or None
            The .solverstate of a snapshot that is complete now.
        """
        sealed = self.close()
        # If the folder's name has line breaks, the file's name is on a later line.
        self._announced |= bool(_WRITES.search(line))
        if self._announced and (match := _NAME.search(line)):
            self._announced = False
            path = self._folder / match[1]
            if path.suffix == ".solverstate":
                self._pending = path
            else:
                path.with_suffix(".sha256").unlink(missing_ok=True)
        return sealed

    def close(self) -> Path | None:
        """Seal complete snapshots; return the .solverstate, as `read` does."""
        state = self._pending
        # A line of another thread may come between; then the next line decides.
        if state is not None and is_whole(state):
            seal(state.with_suffix(".caffemodel"), state)
            self._pending = None
            return state
        return None
