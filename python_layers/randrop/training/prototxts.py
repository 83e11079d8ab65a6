"""The prototxt files of a training, generated from its settings."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from randrop import nets
from randrop.data.labelled import SUBSETS
from randrop.data.patch_options import more_of
from randrop.errors import UserError
from randrop.training.shares import WHOLE, Share, drawing
from randrop.training.snapshots import PREFIX

log = logging.getLogger(__name__)

MEMORY = 0.99
"""BatchNorm's memory of patches: Caffe's 0.999 is longer than a short training."""

NETS = (*nets.OF_PHOTOGRAPHS, "explog3d")
"""The networks by the names that the command line takes."""


def texts(
    run: Path, settings: dict[str, Any], iteration: int, share: Share = WHOLE
) -> dict[str, str]:
    """Return the text of each file of a run, by name.

    Parameters
    ----------
    run : Path
        The folder of the files.
    settings : dict
        As `run.json` holds them; with `labels` the data are a labelled set, otherwise
        fundus photographs.
    iteration : int
        Where the training starts.
    share : Share
        The part of each batch that the training network gets.

    Returns
    -------
    dict of str to str

    Raises
    ------
    UserError
        If the settings define no valid network.
    """
    make = _labelled if settings.get("labels") else _fundus
    return make(run, settings, iteration, share) | {
        "solver.prototxt": nets.solver(
            net=str(run / "train_val.prototxt"),
            iterations=settings["iterations"],
            test_iterations=settings["test_iterations"],
            snapshot_prefix=str(run / "snapshots" / PREFIX),
            learning_rate=settings["lr"],
            test_interval=settings["test_interval"],
            snapshot=settings["snapshot"],
            seed=settings["seed"],
            gpu=settings["gpu"],
        )
    }


def losses_of(
    settings: dict[str, Any], activation: str, iteration: int = 0
) -> tuple[nets.Loss, ...]:
    """Return the losses of a run that starts at `iteration`.

    Raises
    ------
    UserError
        If the loss is unknown, does not support this activation, or has no Python
        layer.
    """
    python = settings["python_layer"]
    channels = settings.get("labels") or settings["lesions"]
    classes = len(channels) + (activation == "SOFTMAX" and "labels" not in settings)
    losses = nets.parse_losses(
        settings["loss"], activation, settings.get("frequency"), python, classes
    )
    if python and not any(loss.python for loss in losses):
        raise UserError(
            f"--python-layer: {settings['loss']} has no Python layer: omit "
            "--python-layer"
        )
    return tuple(_starting(loss, iteration) for loss in losses)


def _starting(loss: nets.Loss, iteration: int) -> nets.Loss:
    """Make a loss that counts its forward passes start at `iteration`."""
    if not iteration or not loss.drops:
        return loss
    params = {**loss.params, "first_iteration": iteration}
    return dataclasses.replace(loss, params=params)


def _fundus(
    run: Path, settings: dict[str, Any], iteration: int, share: Share
) -> dict[str, str]:
    activation = settings.get("activation", "SIGMOID")
    logits = (len(settings["lesions"]) + (activation == "SOFTMAX")) * (
        settings["patch"] ** 2 * share.of(settings["batch"])
    )
    losses = tuple(
        drawing(loss, share, logits)
        for loss in losses_of(settings, activation, iteration)
    )
    feed = nets.PatchFeed(
        {
            "root": settings["data"],
            "split": settings["split"],
            "lesions": settings["lesions"],
            "patch": settings["patch"],
            "batch_size": settings["batch"],
            "lesion_share": settings["lesion_share"],
            "lesion_weights": settings.get("lesion_weights"),
            "augment": True,
            "ignore_label": 255,
            "workers": settings["workers"],
            "seed": settings["seed"],
            "first_patch": iteration * settings["batch"],
            "cycle": settings["test_iterations"] * settings["batch"],
            "classes": activation == "SOFTMAX",
            **more_of(settings),
            **({"cells": True} if any(loss.cells for loss in losses) else {}),
        },
        *(share.rank, share.ranks),
    )
    watch = None
    if settings["watch_mask"]:
        watch = _watch(run, losses, iteration)
        if watch is None:
            log.warning(
                "--watch-mask: %s drops nothing, so there is no share to record",
                settings["loss"],
            )
    shape = {
        # A softmax has a background class before the others.
        "channels": len(settings["lesions"]) + (activation == "SOFTMAX"),
        "activation": activation,
        "memory": MEMORY,
        **size_of(settings),
    }
    make = nets.OF_PHOTOGRAPHS[settings.get("net", "unet")]
    return {
        "train_val.prototxt": make(
            feed=feed, losses=losses, prior=settings["prior"], watch=watch, **shape
        ),
        "deploy.prototxt": make(**shape),
    }


def size_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how wide and deep the network is: arguments of its generator."""
    size = {name: settings[name] for name in ("base_channels", "depth")}
    # Runs of earlier versions do not have it, nor do other networks.
    if settings.get("max_channels"):
        size["max_channels"] = settings["max_channels"]
    return size


def _watch(
    run: Path, losses: Sequence[nets.Loss], iteration: int
) -> dict[str, Any] | None:
    masked = next((loss for loss in losses if loss.is_random_drop), None)
    if masked is None:
        return None
    return {
        "file": str(run / "kept.jsonl"),
        "schedule_type": masked.params.get("schedule_type", "LOG"),
        "first_iteration": iteration,
    }


def _labelled(
    run: Path, settings: dict[str, Any], iteration: int, share: Share
) -> dict[str, str]:
    losses = losses_of(settings, "SOFTMAX", iteration)
    share.of(settings["batch"])
    if settings["watch_mask"]:
        raise UserError("--watch-mask works only with photographs: omit it")
    files = {f"{name}.txt": f"{settings['data']}/{name}.h5\n" for name in SUBSETS}
    for name, text in files.items():
        if len(text.split()) != 1:
            raise UserError(
                f"{text.strip()}: Caffe cannot read an HDF5 file with a space in its "
                f"path ({name}): move the data, or use a link"
            )
    feed = nets.VolumeFeed(
        {name: str(run / f"{name}.txt") for name in SUBSETS},
        *(settings["batch"], share.ranks),
    )
    make, options = _net(settings)
    options |= {"channels": len(settings["labels"]), "ignore_label": None}
    return files | {
        "train_val.prototxt": make(feed=feed, losses=losses, **options),
        "deploy.prototxt": make(**options),
    }


def _net(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    depth, shape = settings["depth"], tuple(settings["shape"])
    if settings["net"] == "explog3d":
        convolutions = (1, *[2] * (depth - 1))
        return nets.explog3d, {
            "base_channels": settings["base_channels"],
            "shape": shape,
            "convolutions": convolutions,
        }
    stride = 2 ** (depth - 1)
    if any(n % stride for n in shape[1:]):
        raise UserError(
            f"images of {' x '.join(map(str, shape[1:]))}: --depth {depth} needs "
            f"multiples of {stride}"
        )
    return nets.unet, {
        **size_of(settings),
        "shape": shape,
        "activation": "SOFTMAX",
        "memory": 0.95,
    }
