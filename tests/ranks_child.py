"""One rank of a training without BatchNorm, noise and dropout; for rank_equality.py.

The statistics of BatchNorm are those of a rank's share, and noise and dropout are drawn
alike for each share, so with them the weights depend on the number of ranks. Here they
are removed from the networks that train.py writes; everything else is what a rank of
train.py runs. Each rank adds its masks to what the first one writes into weights.npz.
The argument is a list of plans, which are trained one after the other.
"""

import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python_layers"))

import numpy as np

from randrop.pycaffe.build import import_caffe
from randrop.training import prototxts
from randrop.training.ranks import averaging, rank

_PLAN = {}
_LAYER = re.compile(r"^layer \{\n(?:^  .*\n)*^\}\n", re.MULTILINE)


def bare(text):
    """Return a network without what makes ranks differ; a Scale stays."""
    return _LAYER.sub(lambda match: _bare_layer(match[0]), text)


def _bare_layer(text):
    if 'type: "BatchNorm"' in text:
        return ""
    if 'type: "DummyData"' in text:
        text = text.replace('type: "gaussian"', 'type: "constant"')
    return re.sub("dropout_ratio: .*", "dropout_ratio: 0", text)


def _texts(run, settings, *more, _made=prototxts.texts):
    # Of the other ranks, too, the mask is compared.
    settings = settings | {"watch_mask": _PLAN["settings"]["watch_mask"]}
    # The folder of these ranks is removed as soon as the networks are read.
    own = f"{_PLAN['run']}/kept-{os.getpid()}.jsonl"
    return {
        name: bare(text).replace(str(run / "kept.jsonl"), own)
        for name, text in _made(run, settings, *more).items()
    }


def weights_of(net, which="data"):
    return np.concatenate(
        [getattr(b, which).ravel() for blobs in net.params.values() for b in blobs]
    )


class _Seen(averaging.Averaging):
    """Keeps the network, to look at it in the end."""

    def __init__(self, comm, solver, *more, **options):
        super().__init__(comm, solver, *more, **options)
        self.masks, self.gradient = [], None
        self.last, self.start = (comm, solver.net), weights_of(solver.net)
        _Seen.it = self

    def _average(self):
        net = self.last[1]
        if "mask" in net.blobs:
            self.masks.append(net.blobs["mask"].data.astype(np.int8))
        super()._average()
        if self.gradient is None:
            self.gradient = weights_of(net, "diff")


def main():
    prototxts.texts, rank.Averaging = _texts, _Seen
    MPI = rank._mpi(120)
    caffe = import_caffe()
    for plan in json.loads(sys.argv[1]):
        _PLAN.clear()
        _PLAN.update(plan)
        # As in a new process.
        caffe.set_solver_count(1)
        caffe.set_solver_rank(0)
        status = rank._main(_PLAN, MPI.COMM_WORLD)
        if status:
            sys.exit(status)
        _write_weights()
        # glog begins once in a process.
        caffe.init_log = lambda *_: None
    MPI.Finalize()


def _write_weights():
    comm, net = _Seen.it.last
    masks = comm.gather(_Seen.it.masks)
    if comm.rank == 0:
        found = {"weights": weights_of(net), "start": _Seen.it.start}
        found["gradient"] = _Seen.it.gradient
        if masks[0]:
            # Iterations, then the images of all ranks.
            found["mask"] = np.concatenate([np.stack(own) for own in masks], axis=1)
        np.savez(Path(_PLAN["run"]) / "weights.npz", **found)


if __name__ == "__main__":
    main()
