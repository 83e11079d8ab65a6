"""Runs two passes of a network and writes its content as .npz, for test_engine.py.

It needs its own process, because Caffe chooses the engine when it is loaded.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from randrop import nets
from randrop.pycaffe.build import import_caffe


def unet(base):
    """Return a U-Net whose channels are multiples of a vector, or not."""
    shape = (2, 3, 40, 48)
    feed = nets.InputFeed(shape, (2, 2, 40, 48))
    losses = nets.parse_losses("random-drop:LOG", "SIGMOID")
    return nets.unet(2, feed, losses, base_channels=base, depth=3), feed


def volumes():
    """Return the network for volumes."""
    feed = nets.InputFeed((1, 1, 16, 16, 16), (1, 1, 16, 16, 16))
    losses = nets.parse_losses("exp-log", "SOFTMAX")
    return nets.explog3d(5, feed, losses, shape=feed.shape[1:]), feed


NETS = {
    "unet16": lambda: unet(16),
    "unet5": lambda: unet(5),
    "explog3d": volumes,
}


def main():
    """Write the content of a network after training passes."""
    name, out = sys.argv[1:]
    caffe = import_caffe()
    text, feed = NETS[name]()
    caffe.set_random_seed(3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        path.write_text(text)
        net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    found = {}
    # The first pass detects who reads which data; later passes rely on it.
    for turn in range(3):
        net.blobs["data"].data[...] = rng.normal(0, 1, feed.shape)
        net.blobs["label"].data[...] = rng.random(feed.label_shape) < 0.1
        net.clear_param_diffs()
        net.forward()
        net.backward()
        found[f"{turn} loss"] = net.blobs["loss"].data.copy()
    for key, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            found[f"param {key} {i}"] = blob.data.copy()
            found[f"param diff {key} {i}"] = blob.diff.copy()
    for key, blob in net.blobs.items():
        found[f"blob {key}"], found[f"blob diff {key}"] = blob.data, blob.diff
    np.savez(out, **{key.replace("/", " "): value for key, value in found.items()})


if __name__ == "__main__":
    main()
