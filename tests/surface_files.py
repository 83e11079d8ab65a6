"""Recordings and landscapes as `surface.py` writes them, of a network that is drawn."""

import argparse
import json

import h5py
import numpy as np

from randrop.nets.losses import parse_losses
from randrop.surface import measures, numpy_losses
from randrop.surface.commands import view as command
from randrop.surface.landscape_file import DONE, FAILED, Landscape, Trajectory

LOSSES = ("random-drop:LOG", "cross-entropy", "focal:gamma=2", "top-k", "dice")


def view(*words):
    """Run `surface.py view` in this process."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def truth_of(rng, size, channels, ignored=True):
    """Discs of some pixels, (C, H, W), and a corner that is ignored."""
    height, width = size
    row, column = np.mgrid[:height, :width]
    truth = np.zeros((channels, height, width), np.uint8)
    for channel in truth:
        for _ in range(4):
            y, x = rng.integers(0, height), rng.integers(0, width)
            channel[(row - y) ** 2 + (column - x) ** 2 < (min(size) / 16) ** 2] = 1
    if ignored:
        truth[:, row + column < min(size) // 6] = 255
    return truth


def logits_of(rng, truth, share):
    """Logits of a network that has learned a share of what it will, (C, H, W)."""
    import cv2

    noise = rng.normal(size=truth.shape)
    smooth = np.stack([cv2.GaussianBlur(n, (0, 0), 2) * 5 for n in noise])
    known = np.stack([cv2.GaussianBlur((t == 1) * 1.0, (0, 0), 1.5) for t in truth])
    return (share * (11 * known - 7) - 1 + 0.8 * smooth).astype(np.float32)


def write_recording(
    path,
    *,
    run="run",
    names=("a", "b"),
    size=(48, 64),
    iterations=(100, 200, 400),
    losses=LOSSES,
    channels=("MA", "HE"),
    activation="sigmoid",
    seed=0,
    planned=None,
    speed=1.0,
):
    """Write a recording of drawn predictions, with the losses that NumPy computes."""
    rng = np.random.default_rng(seed)
    softmax = activation == "softmax"
    parsed = [parse_losses(text, activation.upper()) for text in losses]
    masks = [truth_of(rng, size, len(channels) - softmax) for _ in names]
    truths = [_one_hot(m) for m in masks] if softmax else masks
    facts = {
        "run": run,
        "loss": losses[0],
        "activation": activation,
        "channels": list(channels),
        "losses": list(losses),
        "iterations": list(planned or iterations),
        "network_sha256": "0",
        "data": {"name": "drawn", "sha256": "1"},
        "size": list(size),
        "made_by": "randrop 0",
    }
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["version"] = "randrop recording", 1
        file.attrs["facts"] = json.dumps(facts)
        images = file.create_group("images")
        images["picture"] = np.stack([_picture(rng, m) for m in masks])
        images["truth"] = np.stack(truths)
        images.attrs["names"] = json.dumps(list(names))
        kinds = ["training" if i % 2 == 0 else "validation" for i in range(len(names))]
        images.attrs["subsets"] = json.dumps(kinds)
        for n, iteration in enumerate(iterations):
            share = 1 - np.exp(-2.5 * speed * (n + 0.2) / len(iterations))
            group = file.create_group(f"steps/{iteration:08d}")
            _write_step(rng, group, truths, masks, parsed, losses, facts, share)
            group.attrs["complete"] = 1
    return path


def _picture(rng, mask):
    picture = np.array([80, 10, -40]) + rng.integers(60, 90, (*mask.shape[1:], 3))
    picture[(mask == 1).any(axis=0)] = [90, 20, 10]
    return picture.astype(np.uint8)


def _one_hot(mask):
    background = ~(mask == 1).any(axis=0)
    truth = np.stack([background, *(mask == 1)]).astype(np.uint8)
    truth[1:][:, truth[1:].sum(axis=0) > 1] = 0
    truth[0] = ~(truth[1:] == 1).any(axis=0)
    truth[:, (mask == 255).any(axis=0)] = 255
    return truth


def _write_step(rng, group, truths, masks, parsed, losses, facts, share):
    softmax = facts["activation"] == "softmax"
    found = {"probability": []}
    channels = {s: [measures.Channel() for _ in facts["channels"]] for s in SUBSETS}
    totals = {s: np.zeros(len(losses)) for s in SUBSETS}
    for i, (truth, mask) in enumerate(zip(truths, masks, strict=True)):
        logits = logits_of(rng, truth if softmax else mask, share)
        if softmax:
            e = np.exp(logits - logits.max(axis=0))
            p = e / e.sum(axis=0)
            label = np.where(truth[0] == 255, 255, truth.argmax(axis=0))[None]
        else:
            p, label = 1 / (1 + np.exp(-logits)), truth
        found["probability"].append(p)
        for channel, one, true in zip(channels[SUBSETS[i % 2]], p, truth, strict=True):
            channel.add(one.astype(np.float32), true)
        valid = (label != 255).sum()
        for k, loss in enumerate(parsed):
            result = numpy_losses.evaluate(loss, logits[None], label[None], 255, seed=i)
            value = result.per_pixel[0] * valid
            found.setdefault(f"loss/{k}", []).append(
                np.where(label == 255, np.nan, value)
            )
            totals[SUBSETS[i % 2]][k] += result.loss
            if any(numpy_losses.selects(one) for one in loss):
                found.setdefault(f"kept/{k}", []).append(result.mask[0])
    for name, maps in found.items():
        kind = np.int8 if name.startswith("kept") else np.float32
        group.create_dataset(
            name, data=np.stack(maps).astype(kind), compression="gzip", shuffle=True
        )
    group.attrs["measures"] = json.dumps(
        {
            s: {
                "photographs": len(truths),
                "loss": dict(zip(losses, totals[s].tolist(), strict=True)),
                "channels": {
                    name: channel.measures()
                    for name, channel in zip(
                        facts["channels"], channels[s], strict=True
                    )
                },
            }
            for s in SUBSETS
        }
    )


SUBSETS = ("training", "validation")


def landscape(*, run="run", points=21, kind="plane", snapshots=(100, 200, 400)):
    """Return a landscape with two valleys, a hole, and a path into one of them."""
    alpha = np.linspace(-1, 1, points)
    beta = np.linspace(-0.8, 0.8, points - 2) if kind == "plane" else np.zeros(1)
    x, y = np.meshgrid(alpha, beta)

    def height(x, y):
        valley = 3 * ((x - 0.3) ** 2 + 1.5 * y**2) + 0.02
        other = 2 * ((x + 0.6) ** 2 + (y - 0.4) ** 2) + 0.4
        return -np.log(np.exp(-4 * valley) + np.exp(-4 * other)) / 4 + 0.05

    first = height(x, y)
    state = np.full(first.shape, DONE, np.uint8)
    if kind == "plane":
        first[2:4, 3], state[2:4, 3] = np.nan, FAILED
    n = np.linspace(1, 0, len(snapshots))
    a, b = 0.3 - 1.1 * n, 0.6 * n * np.cos(2 * n)
    path = Trajectory(
        np.array(snapshots),
        *(a, b, 3 * n * (1 - n), n * (1 - n) * 0.4),
        loss=(height(a, b) - 0.03 * n, height(a, b) * 0.5),
        plane_loss=(height(a, b), height(a, b) * 0.5 + 0.05 * n),
    )
    facts = {
        "run": run,
        "kind": kind,
        "directions": "pca" if kind == "plane" else "between",
        "losses": ["cross-entropy", "focal:gamma=2"],
        "channels": ["MA", "HE"],
        "batch_norm": "kept",
        "seed": 0,
        "images": 4,
        "center": "iteration 400",
        "explained_variance": [0.81, 0.12] if kind == "plane" else None,
        "made_by": "randrop 0",
    }
    return Landscape(
        facts=facts,
        alpha=alpha,
        beta=beta,
        heights=(first, first**2),
        average_precision=np.exp(-2 * first),
        state=state,
        trajectory=path if kind == "plane" else None,
        hessian={"eigenvalues": [12.3, 4.5], "residuals": [0.01, 0.02], "loss": "dice"},
    )
