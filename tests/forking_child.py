"""Runs a net, forks, and runs nets in parent and child, for test_engine_forked.py.

It needs its own process, because a fork that hangs must not take pytest along.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from randrop import nets
from randrop.pycaffe.build import import_caffe

FORKS = 5


def made(caffe):
    """Return a U-Net whose weights are always the same."""
    shape = (2, 3, 64, 64)
    feed = nets.InputFeed(shape, (2, 1, 64, 64))
    losses = nets.parse_losses("random-drop:LOG", "SIGMOID")
    text = nets.unet(1, feed, losses, base_channels=16, depth=2)
    caffe.set_random_seed(3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        path.write_text(text)
        net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["data"].data[...] = np.random.default_rng(0).normal(0, 1, shape)
    net.blobs["label"].data[...] = net.blobs["data"].data[:, :1] > 1
    return net


def passes(net):
    """Run a net forward and backward; return its first gradient."""
    net.clear_param_diffs()
    net.forward()
    net.backward()
    return next(iter(net.params.values()))[0].diff.copy()


def threads():
    """Return how many threads this process has."""
    return len(list(Path("/proc/self/task").iterdir()))


def main():
    """Exit with 0 if parent and children compute the same, on several threads."""
    caffe = import_caffe()
    net = made(caffe)
    passes(net)
    for _ in range(FORKS):
        first = passes(made(caffe))
        pid = os.fork()
        own = [passes(made(caffe)), passes(made(caffe))]
        passes(net)  # made before the fork
        right = all(np.array_equal(first, other) for other in own) and first.any()
        right = right and threads() >= int(os.environ["OMP_NUM_THREADS"])
        if pid == 0:
            os._exit(0 if right else 1)
        if not right or os.waitpid(pid, 0)[1]:
            sys.exit(1)


if __name__ == "__main__":
    main()
