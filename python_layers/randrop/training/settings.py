"""The checked command line of a training: the settings in run.json."""

import argparse
import logging
from typing import Any

from randrop.data import Dataset, check_lesions, memory, read_dataset
from randrop.data.arrays import LARGE, size_in_memory
from randrop.data.datasets import check_looked_for, digests
from randrop.data.false_alarms import centres_of
from randrop.data.labelled import SUBSETS, check_values, is_labelled, read_labelled
from randrop.data.patch_options import MORE_DEFAULTS, check_more
from randrop.data.set_statistics import frequency
from randrop.errors import UserError
from randrop.files import ownership
from randrop.nets.losses import activation_of
from randrop.pycaffe import precision
from randrop.training import prototxts, snapshots, validation
from randrop.training.patch_arguments import weights_of

log = logging.getLogger("randrop")

OF_PHOTOGRAPHS = {
    "split": None,
    "lesions": ["MA", "HE"],
    "patch": 256,
    "prior": 0.01,
    "lesion_share": 0.5,
    "lesion_weights": None,
    "workers": 1,
    "activation": None,
    **MORE_DEFAULTS,
    "validate_every": None,
    "validate_photographs": 16,
}
"""What only patches of photographs have, with its defaults."""


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that define the run, as run.json holds them.

    Parameters
    ----------
    options : Namespace
        The arguments of scripts/train.py.

    Raises
    ------
    UserError
        If settings or data are invalid, before anything is written.
    """
    labelled = is_labelled(options.data)
    settings = dict(vars(options))
    settings["bf16"] = precision.in_bfloat16(options.bf16, options.gpu)
    for name in ("out", "resume", "force", "threads", "mpi", "mpi_patience"):
        settings.pop(name, None)
    for name in ("data", "split", "weights", "false_alarms"):
        path = settings[name]
        settings[name] = None if path is None else str(path.resolve())
    if options.weights and "," in str(options.weights):
        raise UserError(
            f"--weights {options.weights}: caffe splits the path at commas: rename "
            "the file"
        )
    if options.weights and not options.weights.exists():
        raise UserError(f"--weights {options.weights}: the file does not exist")
    if options.weights:
        snapshots.check_weights(options.weights)
    add = _labelled if labelled else _photographs
    add(options, settings)
    defaults = {"unet": (16, 4), "lseg": (16, 5), "explog3d": (8, 3)}[settings["net"]]
    for name, value in zip(("base_channels", "depth"), defaults, strict=True):
        if settings[name] is None:
            settings[name] = value
    _check_width(settings)
    for name in ("iterations", "batch", "test_interval", "test_iterations", "snapshot"):
        if settings[name] < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1")
    for name in ("seed", "workers"):
        if (settings.get(name) or 0) < 0:
            raise UserError(f"--{name.replace('_', '-')} must be at least 0")
    prototxts.losses_of(settings, settings.get("activation", "SOFTMAX"))
    if not labelled:
        settings["stride"] = stride = 2 ** (settings["depth"] - 1)
        if options.patch < 1 or options.patch % stride:
            raise UserError(
                f"--patch {options.patch} is not a multiple of {stride}, which "
                f"--depth {settings['depth']} needs"
            )
        settings["validate_every"] = _validate_every(options)
    return settings


def _check_width(settings: dict[str, Any]) -> None:
    if settings["max_channels"] is None:
        return
    if settings["net"] != "unet":
        raise UserError(f"--max-channels is for --net unet, not {settings['net']}")
    if settings["max_channels"] < settings["base_channels"]:
        raise UserError(
            f"--max-channels {settings['max_channels']} must be at least the "
            f"{settings['base_channels']} of --base-channels"
        )


def check_loss(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Check another loss against the data and network of `settings`.

    Raises
    ------
    UserError
        If it is unknown or does not fit them.
    """
    activation = settings.get("activation", "SOFTMAX")
    own = dict(settings) | {"loss": options.loss}
    if "labels" not in settings and options.activation is None:
        activation = own["activation"] = activation_of(options.loss)
        if activation == "SOFTMAX":
            own["frequency"] = frequency(options.data, options.lesions)
        if activation != settings["activation"]:
            dataset = read_dataset(options.data, options.split)
            check_looked_for(dataset, options.lesions, activation == "SOFTMAX")
    prototxts.losses_of(own, activation)


def _photographs(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Check the photographs and add their settings."""
    if options.net == "explog3d":
        raise UserError(
            "--net explog3d is for volumes: use unet or lseg for photographs"
        )
    settings["net"] = options.net or "unet"
    settings["lesion_weights"] = weights_of(options.lesion_weights, options.lesions)
    if options.activation is None:
        settings["activation"] = activation_of(options.loss)
    if options.test_iterations is None:
        settings["test_iterations"] = 20
    check_lesions(options.lesions)
    if settings["activation"] == "SOFTMAX":
        settings["frequency"] = frequency(options.data, options.lesions)
    dataset = read_dataset(options.data, options.split)
    # Files may be changed, or others be found under their names.
    settings |= digests(dataset, options.split)
    check_looked_for(dataset, options.lesions, settings["activation"] == "SOFTMAX")
    for subset in SUBSETS:
        for case in dataset.subset(subset):
            case.check_headers(options.lesions)
    _tell_of_memory(dataset, options.workers)
    check_more(settings)
    if options.false_alarms:
        sizes = {case.name: case.size() for case in dataset.subset("train")}
        centres_of(options.false_alarms, sizes, options.lesions)
        # The file may be found anew under the same name.
        settings["false_alarms_sha256"] = ownership.sha256(options.false_alarms)


def _tell_of_memory(dataset: Dataset, workers: int) -> None:
    """Report what decoded photographs take, where it is much and can be shared."""
    subsets = {name: size_in_memory(dataset.subset(name)) for name in SUBSETS}
    workers = max(1, workers)
    most = memory.for_photographs(workers)
    total = workers * min(subsets["train"], most) + subsets["validation"]
    if subsets["train"] > most:
        log.warning(
            "the photographs for training take %.1f GB decoded, and each of %d data "
            "worker(s) may keep %.1f GB: they decode the others each time, which is "
            "slow: run prepare.py --arrays",
            *(subsets["train"] / 2**30, workers, most / 2**30),
        )
    elif total > LARGE:
        log.info(
            "%d data worker(s) decode all photographs first and keep %.1f GB in all; "
            "prepare.py --arrays avoids both",
            *(workers, total / 2**30),
        )


def _validate_every(options: argparse.Namespace) -> int:
    """Return the iterations between validations on photographs; 0 for none.

    Raises
    ------
    UserError
        If they fall between two snapshots, or there are no photographs.
    """
    every, snapshot = options.validate_every, options.snapshot
    if every is not None and every < 0:
        raise UserError(
            f"--validate-every {every}: give a number of iterations, or 0 for no "
            "validation on photographs"
        )
    if every is not None and every % snapshot:
        raise UserError(
            f"--validate-every {every} is not a multiple of --snapshot {snapshot}, and "
            "what is validated are snapshots: change one of them, or give 0 for no "
            "validation on photographs"
        )
    if options.validate_photographs < 1:
        raise UserError(
            "--validate-photographs must be at least 1; --validate-every 0 turns the "
            "validation on photographs off"
        )
    if every is not None:
        return every
    cases = read_dataset(options.data, options.split).subset("validation")
    return validation.interval(
        validation.chosen(cases, options.validate_photographs),
        options.batch * options.patch**2,
        snapshot,
        options.iterations,
    )


def _labelled(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Check the labelled set and add its settings."""
    for name, default in OF_PHOTOGRAPHS.items():
        # Nothing to turn off is no error.
        off = name == "validate_every" and options.validate_every == 0
        if getattr(options, name) != default and not off:
            raise UserError(
                f"--{name.replace('_', '-')} is for photographs, but {options.data} "
                "is a labelled set: omit it"
            )
        del settings[name]
    data = read_labelled(options.data)
    check_values(data)
    fitting = "unet" if len(data.shape) == 3 else "explog3d"
    if options.net not in (None, fitting):
        raise UserError(
            f"--net {options.net}: {options.data} has {len(data.shape) - 1} axes: use "
            f"{fitting}"
        )
    settings |= {"net": fitting, "labels": list(data.labels)}
    settings |= {"shape": list(data.shape), "frequency": list(data.frequency)}
    if options.test_iterations is None:
        images = data.images("validation")
        settings["test_iterations"] = -(-images // max(1, options.batch))
