"""Every script that writes, with a command that takes seconds."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import small_training
import surface_files
from conftest import REPOSITORY

from randrop.exchange import reading
from randrop.prediction import ensemble

ABOUT = {"title": "Discs", "data": "Drawn.", "licence": "None.", "limits": ["Small."]}
SHORT = ("--iterations", 4, "--base-channels", 2, "--depth", 2, "--snapshot", 2)


@dataclass
class World:
    """The inputs of the scripts."""

    phantom: Path
    organs: Path
    run: Path
    organs_run: Path
    maps: Path
    about: Path
    recording: Path
    state: Path


def start(name, *words, **options):
    """Run a script, or a command of one ("surface record"), and return its result."""
    script, *commands = name.split()
    path = str(REPOSITORY / f"scripts/{script}.py")
    command = [sys.executable, path, *commands, *map(str, words)]
    # Python shows nothing of files and processes that are left open unless it is asked.
    variables = {**os.environ, **options.pop("env", {})}
    variables.setdefault("PYTHONWARNINGS", "always::ResourceWarning")
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env=variables,
        **options,
    )


def done(result):
    assert result.returncode == 0, result.stderr
    assert "ResourceWarning" not in result.stderr
    return result


def make_world(phantom, folder):
    world = World(
        phantom,
        *(folder / name for name in ("organs", "run", "organs_run", "maps", "about")),
        surface_files.write_recording(folder / "recording.h5", size=(16, 16)),
        folder / "net.npz",
    )
    world.about.write_text(json.dumps(ABOUT))
    done(start("make_organs", world.organs, *ORGANS))
    done(small_training.run(phantom, world.run, "--snapshot", 6))
    common = ("--data", world.organs, "--loss", "cross-entropy", *SHORT)
    done(start("train", *common, "--out", world.organs_run))
    done(start("predict", *PREDICT(world, world.maps)))
    write_state(world)
    return world


def write_state(world):
    """Write the weights of the run as those of a PyTorch module."""
    stored = reading.read_weights(world.run / "final.caffemodel", "")
    state = {}
    for layer in reading.layers_with_weights(stored):
        blobs = [reading.array_of(blob) for blob in layer.blobs]
        names = ("weight", "bias")
        if layer.type == "BatchNorm":
            names, blobs = ("running_mean", "running_var"), blobs[:2]
            norm = layer.name
        # PyTorch has scale and normalisation in one.
        part = norm if layer.type == "Scale" else layer.name
        state |= {f"{part}.{n}": b for n, b in zip(names, blobs, strict=False)}
    np.savez(world.state, **state)


ORGANS = (
    *("--size", 16, "--labels", 3, "--smallest", 0.1),
    *("--train", 2, "--validation", 1),
)


def PREDICT(world, out):  # noqa: N802
    return ("--run", world.run, "--data", world.phantom, "--list", "--out", out)


def cross_validated(world, width):
    """Return an ensemble of the run, as if trained with a field of that width."""
    folder = world.run.parent / f"folds-{width}"
    if not folder.exists():
        folder.mkdir()
        ensemble.write(folder, [world.run] * 2, [["eye1"], ["eye2"]], width)
    return folder


def _train(world, out):
    return small_training.command(world.phantom, out, "--snapshot", 6)[2:]


# The name of a script, and the arguments that make it write to a folder.
FOLDERS = {
    "make_phantom": lambda w, out: (out, "--images", 2, "--size", 128, "--workers", 1),
    "make_organs": lambda w, out: (out, *ORGANS),
    "prepare": lambda w, out: ("folder", w.phantom, out, "--width", 64),
    "export_lmdb": lambda w, out: (
        *("--data", w.phantom, "--out", out, "--patches", 4, "--patch", 32),
        *("--validation-patches", 2, "--base-channels", 2),
    ),
    "train": _train,
    "predict": PREDICT,
    "evaluate": lambda w, out: (
        *("--run", w.run, "--data", w.phantom, "--probabilities", w.maps),
        *("--out", out),
    ),
    "calibrate": lambda w, out: (
        *("--run", w.run, "--subset", "all", "--check", "all", "--dry-run"),
        *("--out", out),
    ),
    "evaluate_labels": lambda w, out: (
        *("--run", w.organs_run, "--data", w.organs, "--out", out),
    ),
    "export_model": lambda w, out: ("--run", w.run, "--about", w.about, "--out", out),
    "compare": lambda w, out: (
        *("--data", w.organs, "--losses", "cross-entropy", "--out", out),
        *("--costs", "--", *SHORT),
    ),
    "cross_validate": lambda w, out: (
        *("--data", w.phantom, "--folds", 2, "--out", out, "--", *SHORT),
        *("--patch", 32, "--test-iterations", 1, "--validate-every", 0),
    ),
    "combine_scales": lambda w, out: (
        *("--runs", cross_validated(w, 64), cross_validated(w, 32), "--out", out),
    ),
    "average_snapshots": lambda w, out: (
        *("--run", w.run, "--last", 2, "--batches", 1, "--no-measure", "--out", out),
    ),
    "make_prototxt": lambda w, out: ("--out", out),
    "surface curves": lambda w, out: (
        *("--out", out, "--losses", "focal", "--points", 3, "--seeds", 0),
        *("--scenes", "one", "--against", "p", "--formats", "png", "--pixels", 1000),
    ),
}

# The same for scripts that write one or two files.
FILES = {
    "show_kept": lambda w, out: ("--run", w.run, "--out", out / "kept.png"),
    "export_onnx": lambda w, out: (w.run, out / "lesions.onnx"),
    "show_patches": lambda w, out: (
        *("--data", w.phantom, "--patch", 32, "--number", 2, "--paste", 1),
        *("--out", out / "patches.png"),
    ),
    "find_false_alarms": lambda w, out: (
        *("--probabilities", w.maps, "--data", w.phantom, "--subset", "validation"),
        *("--least", 0, "--out", out / "alarms.json"),
    ),
    "import_weights": lambda w, out: (
        *(w.state, "--deploy", w.run / "deploy.prototxt"),
        *("--out", out / "net.caffemodel"),
    ),
    "surface record": lambda w, out: (
        *("--run", w.run, "--size", 32, "--measured", 1, "--losses", "dice"),
        *("--out", out / "recording.h5"),
    ),
    "surface figure": lambda w, out: (
        *("graphs", w.recording, "--out", out / "graphs.png"),
    ),
    "surface landscape": lambda w, out: (
        *("--run", w.run, "--kind", "line", "--points", 2, "--images", 1),
        *("--workers", 1, "--out", out / "landscape.h5"),
    ),
    "surface view": lambda w, out: (w.recording, "--out", out / "viewer.html"),
    "surface measures": lambda w, out: (w.recording, "--out", out / "measures.json"),
    "time_layers": lambda w, out: (
        *("--run", w.run, "--passes", 1, "--out", out / "layers.json"),
    ),
    "make_layer_table": lambda w, out: ("--out", out / "page.md"),
    "bench_losses_gpu": lambda w, out: (
        *("--device", "cpu", "--losses", "focal", "--largest", 2**19),
        *("--out", out / "losses.json"),
    ),
    "bench_loaded": lambda w, out: (
        *("--losses", "bin", "--no-step", "--threads", 1, "--rounds", 1),
        *("--repeats", 1, "--shape", 1, 1, 16, 16, "--out", out / "loaded.json"),
    ),
    "bench_inference": lambda w, out: (
        *("--contenders", "caffe", "--threads", 1, "--size", 128, 128, "--base", 2),
        *("--tile", 128, "--rounds", 1, "--out", out / "inference.json"),
    ),
    "bench_predict": lambda w, out: (
        *("--models", "idrid-small", "--backends", "caffe", "--rounds", 1),
        *("--width", 256, "--out", out / "predict.json"),
    ),
    "bench_ranks": lambda w, out: (
        *("--nets", "unet:2:2", "--patch", 16, "--iterations", 20, "--rounds", 1),
        *("--out", out / "ranks.json"),
    ),
}

# Scripts that take minutes: test only that they refuse.
LONG = {
    "bundle": lambda w, out: ("--out", out / "a.tar.gz"),
    "bench_losses": lambda w, out: ("--without-pytorch", "--out", out / "a.json"),
    "run_protocol": lambda w, out: (
        *(REPOSITORY / "results/lesion_protocol.json", "--records", out / "records"),
        *("--summary", out / "a.json"),
    ),
    "bench_training": lambda w, out: (
        *("--contenders", "caffe", "--out", out / "a.json"),
    ),
    "bench_large_set": lambda w, out: (w.phantom, "--out", out / "a.json"),
}
LONG_FILES = {
    "bundle": ("a.tar.gz",),
    "bench_losses": ("a.json", "a.png"),
    "run_protocol": ("a.json", "a.md", "a.png"),
    "bench_training": ("a.json",),
    "bench_large_set": ("a.json",),
}
