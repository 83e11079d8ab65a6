"""Measure how a data set larger than the memory is prepared, read and trained on."""

WANTED: str = "Python 3.10 or newer"

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _start  # noqa: F401

import cv2
import numpy as np
from tqdm import tqdm

from randrop import cli, nets
from randrop.benchmarks import watched
from randrop.benchmarks.timing import made_net
from randrop.data import read_dataset
from randrop.data.phantom_set import write_phantom
from randrop.data.worker import shapes_of
from randrop.errors import UserError
from randrop.files import building, ownership, write_json
from randrop.pycaffe import processes
from randrop.pycaffe.build import (
    PACKAGES,
    caffe_binary,
    environment,
    import_caffe,
)

DESCRIPTION = """\
Measure how a data set larger than the memory is prepared, read and trained on.

Draws a quarter of the photographs and mirrors them in two directions, below FOLDER,
and prepares them. Then data workers cut patches from the set in a control group whose
memory is limited: from decoded photographs that each worker computes (computed), and
from those that prepare.py --arrays wrote (arrays). The patches must be the same. The
set is also exported as LMDB, which Caffe's own layers read, and caffe trains on.

The content of the files is not in memory when a measurement begins.
"""

EXAMPLES = """\
  scripts/bench_large_set.py build/large --out results/large_set.json
  scripts/bench_large_set.py build/large --before ../older/python_layers
"""

SCRIPTS = Path(__file__).parent
MIRRORS = 4
LESIONS = ("MA", "HE")
WARM = 20
"""Patches that a worker cuts before the time runs."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return 0."""
    options = _parse(arguments)
    if options.child:
        print(json.dumps(read_lmdb(**json.loads(options.child))))
        return 0
    if options.out:
        ownership.check_kind(options.out, ".json", '"decoded_MB"')
    if options.folder is None:
        raise UserError("give a FOLDER for the photographs")
    if options.images < 2 * MIRRORS or min(options.workers, options.patches) < 1:
        raise UserError(
            f"--images must be at least {2 * MIRRORS}, --workers and --patches at "
            "least 1"
        )
    folder = options.folder.resolve()
    limit = options.limit * 2**20 or None
    content = prepared(folder, options)
    content |= {
        "limit_MB": options.limit or None,
        "workers": options.workers,
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "patch": options.patch,
    }
    versions = {"now": PACKAGES}
    if options.before:
        versions = {"before": options.before.resolve(), **versions}
    runs = [
        (version, way, bound)
        for way in options.ways
        for version in versions
        for bound in dict.fromkeys((None, limit))
        if version == "before" or bound == limit
    ]
    content["ways"] = []
    for version, way, bound in tqdm(runs, "reading", unit="way", disable=None):
        found = cut(versions[version], folder / way, options, bound)
        name = {"version": version, "way": way, "limited": bound is not None}
        content["ways"].append(name | found)
        print(json.dumps(content["ways"][-1]), flush=True)
    digests = {way["sha256"] for way in content["ways"] if way["sha256"]}
    if len(digests) != 1:
        raise UserError(f"the patches differ: {sorted(digests)}")
    content["lmdb"] = through_lmdb(folder, options, limit)
    print(json.dumps(content["lmdb"]))
    if options.out:
        write_json(options.out, content)
    return 0


def prepared(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the set below a folder, unless it is there; return its size.

    "arrays" is the prepared set, and "computed" the same files without the arrays.
    """
    drawn, source = folder / "drawn", folder / "source"
    count = -(-options.images // MIRRORS)
    write_phantom(drawn, count, options.size, workers=options.workers)
    mirrored(drawn, source, options.images, options.workers)
    command = [sys.executable, str(SCRIPTS / "prepare.py"), "folder", str(source)]
    command += [str(folder / "arrays"), "--workers", str(options.workers), "--arrays"]
    command += ["--width", str(options.size)]
    new = not (folder / "arrays").exists()
    took = watched.finished(command)["seconds"]
    times = folder / "prepare.json"
    if new:
        write_json(times, {"seconds": took})
    computed = folder / "computed"
    computed.mkdir(exist_ok=True)
    for name in ("images", "masks", "split.json", "manifest.json"):
        if not (computed / name).exists():
            (computed / name).symlink_to(folder / "arrays" / name)
    cases = read_dataset(folder / "arrays").subset("train")
    sizes = [case.size() for case in cases]
    return {
        "images": options.images,
        "train": len(cases),
        "width": options.size,
        "decoded_MB": watched.megabytes(sum(4 * h * w for h, w in sizes)),
        "prepare_s": json.loads(times.read_text())["seconds"],
    }


def mirrored(drawn: Path, folder: Path, images: int, workers: int) -> None:
    """Write every photograph and mask as it is, and mirrored in either direction."""
    if folder.exists():
        if len(read_dataset(folder).cases) != images:
            raise UserError(
                f"{folder} has another number of photographs than {images}: choose "
                "another folder"
            )
        return
    cases = read_dataset(drawn).cases
    with building(folder, "bench_large_set") as temporary:
        (temporary / "images").mkdir()
        for lesion in LESIONS:
            (temporary / "masks" / lesion).mkdir(parents=True)
        tasks = [
            (path, temporary / path.relative_to(drawn).parent, k, images)
            for k, case in enumerate(cases)
            for path in (case.image_path, *case.mask_paths.values())
        ]
        with processes.pool(workers) as pool:
            done = pool.map(_mirror, tasks, chunksize=16)
            for _ in tqdm(done, "mirroring", len(tasks), disable=None):
                pass


def _mirror(task: tuple[Path, Path, int, int]) -> None:
    path, folder, k, images = task
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    for m in range(MIRRORS):
        if MIRRORS * k + m >= images:
            return
        turned = pixels[:: -1 if m & 1 else 1, :: -1 if m & 2 else 1]
        name = folder / f"{path.stem[:12]}-{m}{path.suffix}"
        _, content = cv2.imencode(path.suffix, np.ascontiguousarray(turned))
        name.write_bytes(content.tobytes())


def cut(
    package: Path, root: Path, options: argparse.Namespace, limit: int | None
) -> dict[str, Any]:
    """Let the data workers of a package cut patches; return times and memory.

    All figures but the SHA-256 of the first patches are None where a worker did not
    live: "ended" is its status.
    """
    layer = {"root": str(root), "split": None, "subset": "train"}
    layer |= {"lesions": list(LESIONS), "patch": options.patch, "lesion_share": 0.5}
    layer |= {"lesion_weights": None, "augment": True, "ignore_label": 255, "seed": 1}
    layer |= {"classes": False, "cells": False, "workers": options.workers}
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r})\n"
        f"sys.path += {[p for p in sys.path if p.endswith('-packages')]!r}\n"
        "from randrop.data.worker import main; main()"
    )
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    watched.forget([path.resolve() for path in (root / "images", root / "arrays")])
    digest = hashlib.sha256()
    found: dict[str, Any] = dict.fromkeys(
        (
            *("ended", "start_s", "start_processor_s", "patches_per_s"),
            *("processor_ms", "own_MB", "all_MB"),
        )
    )
    with watched.limited(limit) as group:
        begin = time.perf_counter()
        children = [
            watched.start(
                [
                    sys.executable,
                    "-I",
                    "-c",
                    code,
                    json.dumps({**layer, "first_patch": w}),
                ],
                group,
                stdout=subprocess.PIPE,
                env={**os.environ, **alone},
            )
            for w in range(options.workers)
        ]
        watch = watched.Watch(child.pid for child in children)
        try:
            for child in children:
                if child.stdout.read(1) != b"+":
                    raise EOFError
            first = _patch(children[0], layer)
            found["start_s"] = round(time.perf_counter() - begin, 2)
            spent = sum(watched.seconds_of(child.pid) for child in children)
            found["start_processor_s"] = round(spent / len(children), 2)
            digest.update(first)
            for k in range(1, WARM):
                digest.update(_patch(children[k % len(children)], layer))
            start = time.perf_counter()
            before = sum(watched.seconds_of(child.pid) for child in children)
            for k in range(options.patches):
                _patch(children[(WARM + k) % len(children)], layer)
            took = time.perf_counter() - start
            spent = sum(watched.seconds_of(child.pid) for child in children) - before
            found["patches_per_s"] = round(options.patches / took, 1)
            found["processor_ms"] = round(1000 * spent / options.patches, 2)
            found["all_MB"] = watched.megabytes(
                sum(watched.share_of(child.pid) for child in children)
            )
            found["sha256"] = digest.hexdigest()
        except EOFError:
            found["ended"] = _ended(children)
            found["sha256"] = None
        finally:
            watch.close()
            for child in children:
                child.kill()
                child.stdout.close()
                child.wait()
    found["own_MB"] = watched.megabytes(max(watch.anonymous.values()))
    return found


def _ended(children: list[subprocess.Popen]) -> int:
    """Return the status of the first of these that ends: one has closed its output."""
    while True:
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(0.1)


def _patch(child: subprocess.Popen, layer: dict[str, Any]) -> bytes:
    """Return the next patch of a worker."""
    size = sum(4 * int(np.prod(shape)) for shape in shapes_of(layer))
    content = child.stdout.read(size)
    if len(content) < size:
        child.wait()
        raise EOFError
    return content


def through_lmdb(
    folder: Path, options: argparse.Namespace, limit: int | None
) -> dict[str, Any]:
    """Export patches, read them by Caffe's own layers and train on them."""
    # Caffe leaves its snapshots beside the databases.
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        return _exported(folder, Path(temporary, "lmdb"), options, limit)


def _exported(
    folder: Path, out: Path, options: argparse.Namespace, limit: int | None
) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPTS / "export_lmdb.py"), "--out", str(out)]
    command += ["--data", str(folder / "arrays"), "--lesions", *LESIONS]
    command += ["--patches", str(options.exported), "--patch", str(options.patch)]
    command += ["--validation-patches", "8", "--base-channels", "4"]
    command += ["--iterations", str(options.iterations)]
    watched.forget([folder / "arrays" / "arrays"])
    found: dict[str, Any] = {"patches": options.exported}
    with watched.limited(limit) as group:
        export = watched.finished(command, group)
    found["export"] = export
    found["patches_per_s"] = round(options.exported / export["seconds"], 1)
    stores = [path.stat().st_size for path in out.glob("*/data.mdb")]
    found["stored_MB"] = watched.megabytes(sum(stores))
    watched.forget([out])
    task = {"folder": str(out), "count": options.exported}
    child = [sys.executable, __file__, "--child", json.dumps(task)]
    with watched.limited(limit) as group:
        started = watched.start(child, group, stdout=subprocess.PIPE, text=True)
        with started:
            watch = watched.Watch([started.pid])
            said = started.stdout.read()
            watch.close()
        if started.returncode:
            raise UserError(f"Caffe cannot read {out}: see its message above")
    found["read"] = json.loads(said.splitlines()[-1])
    found["read"]["own_MB"] = watched.megabytes(max(watch.anonymous.values()))
    train = [str(caffe_binary()), "train", "-solver", str(out / "solver.prototxt")]
    with watched.limited(limit) as group:
        found["train"] = watched.finished(train, group, env=environment(), cwd=folder)
    found["train"]["iterations"] = options.iterations
    return found


def read_lmdb(folder: str, count: int) -> dict[str, float]:
    """Read patches by Caffe's Data layers; return time to the first, and speed."""
    caffe = import_caffe()
    begin = time.perf_counter()
    net = caffe.NetSpec()
    net.data, net.label = nets.LmdbFeed(folder, 1).layer(caffe, "train", caffe.TRAIN)
    made = made_net(net)
    made.forward()
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in range(count):
        made.forward()
    speed = count / (time.perf_counter() - begin)
    return {"start_s": round(first, 2), "patches_per_s": round(speed, 1)}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("folder", type=Path, nargs="?", metavar="FOLDER", help="for the photographs")
    add("--images", type=int, default=5000, help="number of photographs")
    add("--size", type=int, default=512, help="their width in pixels")
    add(
        "--limit",
        type=int,
        default=1024,
        metavar="MB",
        help="memory of all workers together; 0 for no limit",
    )
    add("--workers", type=int, default=2, help="data workers, and other processes")
    add(
        "--ways",
        nargs="+",
        choices=("computed", "arrays"),
        default=["computed", "arrays"],
    )
    add("--patch", type=int, default=256, help="side of a patch in pixels")
    add("--patches", type=int, default=400, help="patches that are timed")
    add("--exported", type=int, default=2000, help="patches in LMDB")
    add("--iterations", type=int, default=20, help="iterations of caffe on LMDB")
    add(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="also measure another version: its python_layers",
    )
    add("--out", type=Path, help="write the figures to this JSON file")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
