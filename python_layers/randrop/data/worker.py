"""Worker processes that cut patches ahead of the solver.

A worker is a separate Python process that writes its patches to a pipe, in order, and
works ahead by what its queue and the pipe hold. The caffe program holds Python's lock
while it computes, so threads inside it would never run. When the program ends, however
it ends, the pipe breaks and the workers end with it. They share nothing that could be
left behind.
"""

import contextlib
import json
import os
import queue
import select
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from randrop.data import memory
from randrop.data.datasets import read_dataset
from randrop.data.patch_options import Options, more_of
from randrop.data.patches import PatchSource, class_map
from randrop.data.voronoi import cells, class_cells
from randrop.errors import UserError
from randrop.pycaffe import processes

_AHEAD = 8  # patches that a worker has ready beyond what the pipe holds


def source_of(options: dict[str, Any]) -> PatchSource:
    """Return the source of patches that a data layer's options describe."""
    return PatchSource(
        read_dataset(options["root"], options["split"]),
        options["subset"],
        Options(
            lesions=tuple(options["lesions"]),
            patch=options["patch"],
            lesion_share=options["lesion_share"],
            lesion_weights=_weights(options),
            augment=options["augment"],
            seed=options["seed"],
            ignore_label=options["ignore_label"],
            **more_of(options),
        ),
        memory.for_photographs(options.get("workers", 1)),
    )


def _weights(options: dict[str, Any]) -> tuple[float, ...] | None:
    """Return the weights of the lesion types, in the order of the channels."""
    given = options["lesion_weights"]
    if given is None:
        return None
    lesions = options["lesions"]
    if not isinstance(given, dict) or set(given) - set(lesions):
        raise UserError(
            f"lesion_weights is {given!r}: give types from {', '.join(lesions)}, as "
            f'{{"{lesions[0]}": 2}}; the others have weight 1'
        )
    return tuple(float(given.get(lesion, 1)) for lesion in lesions)


def shapes_of(options: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Return the shapes of a patch's arrays: image, label and, with `cells`, these."""
    size, types = options["patch"], len(options["lesions"])
    classes = options["classes"]
    shapes = [(3, size, size), (1 if classes else types, size, size)]
    if options["cells"]:
        shapes.append((types + classes, size, size))
    return shapes


def number_of(options: dict[str, Any], k: int) -> int:
    """Return the number of the k-th patch that a data layer needs, from 0."""
    # Several processes share each batch.
    if stride := options.get("stride"):
        batch, place = divmod(k, options["batch_size"])
        k = batch * stride + place
    return options["first_patch"] + k


def arrays_of_patch(
    source: PatchSource, options: dict[str, Any], k: int
) -> tuple[np.ndarray, ...]:
    """Return the arrays of patch k, in the shapes of `shapes_of`."""
    image, label = source.patch(k)
    if options["classes"]:
        label = class_map(label, options["ignore_label"])
    if not options["cells"]:
        return image, label
    if options["classes"]:
        return image, label, class_cells(label[0], len(options["lesions"]) + 1)
    return image, label, cells(label)


class Workers:
    """Patches in order, from `options["workers"]` processes.

    Worker w of W cuts the patches w, w + W, ... of those that the layer needs.

    Raises
    ------
    UserError
        If a worker cannot start or ends; its own message is included.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.count = options["workers"]
        self.next = 0
        self.shapes = shapes_of(options)
        # Threads of the workers would take the solver's cores.
        alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        code = "from randrop.data.worker import main; main()"
        self.processes = []
        for w in range(self.count):
            own = json.dumps(options)
            self.processes.append(
                subprocess.Popen(
                    processes.python(code, own, str(w), interpreter=_python()),
                    stdout=subprocess.PIPE,
                    env={**os.environ, **alone},
                )
            )
        for process in self.processes:
            if process.stdout.read(1) != b"+":
                self._fail(process)

    def read(self) -> tuple[np.ndarray, ...]:
        """Return the arrays of the next patch, float32."""
        process = self.processes[self.next % self.count]
        self.next += 1
        arrays = []
        for shape in self.shapes:
            array = np.empty(shape, np.float32)
            view = memoryview(array).cast("B")
            if process.stdout.readinto(view) != len(view):
                self._fail(process)
            arrays.append(array)
        return tuple(arrays)

    def close(self) -> None:
        """End the workers."""
        for process in self.processes:
            process.kill()
            process.stdout.close()
            process.wait()

    def _fail(self, process: subprocess.Popen) -> None:
        status = process.wait()
        self.close()
        raise UserError(
            f"a data worker ended with status {status}: see its message above"
        )


def _python() -> str:
    """Return the interpreter for workers; `caffe` has no useful sys.executable."""
    candidates = (
        os.environ.get("RANDROP_PYTHON"),
        str(Path(sys.prefix, "bin", f"python3.{sys.version_info.minor}")),
        shutil.which(f"python3.{sys.version_info.minor}"),
        shutil.which("python3"),
    )
    for path in candidates:
        if path and Path(path).exists():
            return path
    raise UserError("found no python3 for the data workers: set RANDROP_PYTHON to one")


def _write(options: dict[str, Any], k: int, pipe: BinaryIO) -> None:
    """Write the patches from the k-th on to the pipe until it breaks."""
    source = source_of(options)
    ready: queue.Queue = queue.Queue(_AHEAD)

    def cut(k: int) -> None:
        try:
            while True:
                ready.put(arrays_of_patch(source, options, number_of(options, k)))
                k += options["workers"]
        except BaseException as error:
            ready.put(error)

    threading.Thread(target=cut, args=(k,), daemon=True).start()
    pipe.write(b"+")
    pipe.flush()
    while True:
        patch = ready.get()
        if isinstance(patch, BaseException):
            raise patch
        for array in patch:
            pipe.write(memoryview(np.ascontiguousarray(array, np.float32)).cast("B"))
        pipe.flush()


def _end_with_reader() -> None:
    """End this process once nobody reads its pipe, whatever it is doing."""
    broken = select.poll()
    broken.register(sys.stdout.fileno(), 0)
    broken.poll()
    os._exit(0)


def main() -> None:
    """Run a worker process: its arguments are options and number."""
    threading.Thread(target=_end_with_reader, daemon=True).start()
    try:
        with contextlib.suppress(BrokenPipeError):
            options, *number = sys.argv[1:]
            first = int(number[0]) if number else 0
            _write(json.loads(options), first, sys.stdout.buffer)
    except UserError as error:
        print(f"UserError: {error}", file=sys.stderr, flush=True)
        os._exit(2)
    # The interpreter would flush the broken pipe again and complain.
    os._exit(0)
