"""Patches in LMDB, for a Caffe without Python layers."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from tqdm import tqdm

from randrop.data.arrays import LEVELS, TRANSFORM, ZERO
from randrop.data.datasets import Dataset
from randrop.data.patch_options import MORE_DEFAULTS, Options, more_of
from randrop.data.patches import PatchSource, class_map
from randrop.errors import UserError
from randrop.files import building, write_json
from randrop.pycaffe.build import import_caffe

_BATCH = 2**25  # bytes that are written in one transaction


def write_lmdb(
    dataset: Dataset,
    options: Options,
    folder: Path,
    patches: dict[str, int],
    classes: bool = False,
) -> dict[str, Any]:
    """Write the first patches that a data layer would cut, atomically.

    `folder` receives SUBSET_data (3 x P x P, bytes: see `arrays.TRANSFORM`) and
    SUBSET_label (C x P x P; with `classes` 1 x P x P, 0 for background), databases with
    the same keys in the same order, and manifest.json.

    Parameters
    ----------
    dataset : Dataset
    options : Options
        Only training patches are augmented, and have the options of training.
    folder : Path
        New, or a folder in which this function wrote every file.
    patches : dict of str to int
        Number of patches per subset.
    classes : bool
        Labels for a softmax.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    UserError
        If the folder holds something else, the photographs cannot be read, or it
        cannot be written.
    """
    for subset, count in patches.items():
        if count < 1:
            raise UserError(f"{count} patches for {subset}: give at least 1")
    # Readers of a database write into its lock file.
    with building(folder, "export_lmdb", ("*/lock.mdb",)) as temporary:
        for subset, count in patches.items():
            own = (
                dataclasses.replace(options, augment=False, **MORE_DEFAULTS)
                if subset != "train"
                else options
            )
            source = PatchSource(dataset, subset, own)
            _write(temporary, subset, source, count, classes)
        manifest = {
            "generator": "randrop lmdb",
            "data": dataset.root.resolve().name,
            "lesions": list(options.lesions),
            "patch": options.patch,
            "patches": patches,
            "classes": classes,
            "ignore_label": options.ignore_label,
            **more_of(vars(options)),
            "transform": TRANSFORM,
        }
        write_json(temporary / "manifest.json", manifest)
    return manifest


def _write(
    folder: Path, subset: str, source: PatchSource, count: int, classes: bool
) -> None:
    ignore = source.options.ignore_label
    size = source.options.patch**2
    channels = 3 + len(source.options.lesions)
    # Space for all records and LMDB's overhead; the file only grows as needed.
    room = 2 * count * (channels * size + 8192) + 2**24
    names = {kind: str(folder / f"{subset}_{kind}") for kind in ("data", "label")}
    stores: dict[str, lmdb.Environment] = {}
    try:
        for kind, name in names.items():
            stores[kind] = lmdb.open(name, map_size=room)
        patches = tqdm(range(count), f"{subset} patches", unit="patch", disable=None)
        for some in _in_batches(patches, max(1, _BATCH // (channels * size))):
            content: dict[str, list[tuple[bytes, bytes]]] = {k: [] for k in stores}
            for k in some:
                image, label = source.patch(k)
                if classes:
                    label = class_map(label, ignore)
                levels = np.rint(image * LEVELS + ZERO).clip(0, 255)
                key = f"{k:08d}".encode()
                content["data"].append((key, _datum(levels)))
                content["label"].append((key, _datum(label)))
            for kind, store in stores.items():
                with store.begin(write=True) as transaction:
                    for key, value in content[kind]:
                        transaction.put(key, value, append=True)
    except lmdb.Error as error:
        # The code that builds the folder adds its name and the remedy.
        raise OSError(str(error)) from error
    finally:
        for store in stores.values():
            store.close()


def _in_batches(numbers: Any, most: int) -> Iterator[list[int]]:
    some: list[int] = []
    for number in numbers:
        some.append(number)
        if len(some) == most:
            yield some
            some = []
    if some:
        yield some


def _datum(content: np.ndarray) -> bytes:
    datum = import_caffe().proto.caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = content.shape
    datum.data = content.astype(np.uint8).tobytes()
    return datum.SerializeToString()
