"""Trainings of a few seconds with scripts/train.py, for the tests."""

import json
import os
import subprocess
import sys

import numpy as np
from conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "train.py"
NET = "--patch 32 --batch 2 --base-channels 2 --depth 2 --threads 1"
# Validation on photographs has tests of its own: it takes longer than the training.
SMALL = f"{NET} --test-iterations 2 --validate-every 0"


def command(data, out, *more, iterations=12, interval=6):
    return [
        *(sys.executable, str(SCRIPT), "--data", str(data), "--out", str(out)),
        *SMALL.split(),
        *("--iterations", str(iterations), "--test-interval", str(interval)),
        *map(str, more),
    ]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "always::ResourceWarning"},
    )


def losses(out):
    return json.loads((out / "curves.json").read_text())["training_loss"]


def kept(out):
    return [json.loads(line) for line in (out / "kept.jsonl").read_text().splitlines()]


def weights(caffe, path):
    message = caffe.proto.caffe_pb2.NetParameter()
    message.ParseFromString(path.read_bytes())
    blobs = [blob for layer in message.layer for blob in layer.blobs]
    return np.concatenate([np.array(blob.data) for blob in blobs])
