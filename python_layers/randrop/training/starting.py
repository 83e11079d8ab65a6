"""Where the folds of a cross-validation start: the weights of an earlier one.

Fold k starts from the network that was trained without the photographs of fold k, so
that these stay unseen. So a training at low resolution is continued at a higher one, or
the networks of a shared model are trained further.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from randrop.errors import UserError
from randrop.exchange import merging, reading
from randrop.files import schema, write_bytes
from randrop.files.documents import ModelFolds, read_run
from randrop.files.reading import read_bytes
from randrop.files.split_file import Split
from randrop.training import snapshots, weights

_REMEDY = "give the output folder of cross_validate.py, or a model that is made of one"


def files(start: Path, out: Path, folds: Mapping[str, Sequence[str]]) -> list[Path]:
    """Return where the weights that each fold starts from are, or will be.

    Parameters
    ----------
    start : Path
        Folder of an earlier cross-validation, or a model that export_model.py made of
        one.
    out : Path
        Folder of the new one.
    folds : mapping of str to sequence of str
        The photographs that each fold validates, in order.

    Returns
    -------
    list of Path
        Below `start`; or below `out`, where `write` puts the networks of a model.

    Raises
    ------
    UserError
        If `start` is something else, weights are missing or damaged, or it has other
        folds: a network would start with photographs that it has to be measured on.
    """
    wanted = [sorted(names) for names in folds.values()]
    list_of_folds = start / "folds.json"
    if list_of_folds.is_file():
        known = list(schema.read_json(list_of_folds, Split, _REMEDY).values())
        paths = [
            start / f"fold{k}/run/final.caffemodel" for k in range(1, len(known) + 1)
        ]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise UserError(
                f"--start {start}: {missing[0]} is missing: finish that "
                "cross-validation first"
            )
        # Not when the turn of its fold comes, hours later.
        for path in paths:
            snapshots.check_weights(path)
    elif (start / "metrics.json").is_file():
        known = schema.read_json(
            start / "metrics.json", ModelFolds, _REMEDY, ("folds",)
        )["folds"]
        _check_model(start, len(known))
        paths = [out / f"start/fold{k}.caffemodel" for k in range(1, len(known) + 1)]
    else:
        raise UserError(f"--start {start} is no cross-validation: {_REMEDY}")
    if [sorted(names) for names in known] != wanted:
        raise UserError(
            f"--start {start} has other folds, so that a network would be measured on "
            "photographs that it started with: repeat the --folds, --fold-seed and "
            "photographs of that cross-validation"
        )
    return paths


def check(start: Path, paths: Sequence[Path], deploy: str) -> None:
    """Refuse networks of another shape than the one that is to be trained.

    Parameters
    ----------
    start : Path
        As of `files`.
    paths : sequence of Path
        What `files` returned.
    deploy : str
        Prototxt of the network that is to be trained.

    Raises
    ------
    UserError
        If a layer has another shape, or the weights cannot be read.
    """
    if (start / "folds.json").is_file():
        net = reading.read_weights(paths[0], _REMEDY)
    else:
        net = _parts(start)[0]
    stored = {
        layer.name: [reading.shape_of(blob) for blob in layer.blobs]
        for layer in reading.layers_with_weights(net)
    }
    weights.check_shapes(stored, weights.shapes_of(deploy), f"--start {start}")


def write(start: Path, paths: Sequence[Path]) -> None:
    """Write the networks of a model to the `paths` that `files` returned.

    Its run.json goes beside them: it tells how they were trained.

    Raises
    ------
    UserError
        If the model is damaged.
    """
    if (start / "folds.json").is_file():
        return
    write_bytes(paths[0].parent / "run.json", read_bytes(start / "run.json", _REMEDY))
    networks = _parts(start)
    if len(networks) != len(paths):
        raise UserError(
            f"--start {start}: final.caffemodel has {len(networks)} networks, but "
            f"metrics.json {len(paths)} folds: give its cross-validation"
        )
    for path, network in zip(paths, networks, strict=True):
        content = network.SerializeToString()
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)


def _parts(model: Path) -> list:
    """Return the networks of a model, in the order of its folds."""
    return merging.parts(reading.read_weights(model / "final.caffemodel", _REMEDY))


def _check_model(start: Path, folds: int) -> None:
    """Refuse a model that does not hold a network of each fold.

    Raises
    ------
    UserError
    """
    facts = read_run(start, _REMEDY)
    if facts.get("scales"):
        raise UserError(
            f"--start {start}: its networks work at several resolutions: give one of "
            "the cross-validations that it was combined of"
        )
    members = facts.get("members", folds)
    if members != folds:
        raise UserError(
            f"--start {start} was exported with --networks {members}, and has {folds} "
            "folds: give its cross-validation"
        )
