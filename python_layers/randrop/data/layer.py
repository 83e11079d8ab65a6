"""The pycaffe data layer: patches of fundus photographs with their labels."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from randrop.data.cases import IGNORE_LABEL
from randrop.data.worker import (
    Workers,
    arrays_of_patch,
    number_of,
    shapes_of,
    source_of,
)
from randrop.errors import UserError
from randrop.files.documents import Lesions, Structure
from randrop.files.schema import Count, Int32, Model, NotNegative, Number, Share
from randrop.pycaffe.python_layer import PythonLayer, parse_options

_REPORT_EVERY = 100  # batches


class PatchParams(Model):
    """The parameters of `LesionPatchDataLayer`, with their defaults."""

    root: Annotated[str, Field(min_length=1)]
    lesions: Lesions
    split: str | None = None
    subset: str = "train"
    patch: Number = 256
    batch_size: Number = 2
    lesion_share: Share = 0.5
    lesion_weights: dict[Structure, NotNegative] | None = None
    lesion_draw: Literal["pixel", "lesion"] = "pixel"
    healthy_share: Share = 0.0
    false_alarms: str | None = None
    false_alarm_share: Share = 0.0
    paste: NotNegative = 0.0
    colour: NotNegative = 0.0
    blur: NotNegative = 0.0
    noise: NotNegative = 0.0
    augment: bool = True
    ignore_label: Int32 = IGNORE_LABEL
    workers: Count = 1
    seed: Count = 1
    first_patch: Count = 0
    stride: Number | None = None
    cycle: Number | None = None
    classes: bool = False
    cells: bool = False


class LesionPatchDataLayer(PythonLayer):
    """Patches and labels for training or validation.

    Tops are the network input (N, 3, P, P) and the label (N, C, P, P): 1 on a lesion of
    the channel's type, 0 elsewhere, the ignore label outside the field of view. With
    `classes` true the label is (N, 1, P, P), for a softmax: 0 is background, c + 1 is
    lesion type c; where types overlap, the first of `lesions` counts. With `cells` true
    there is a third top for the losses of overlap, `randrop.data.cells` of each channel
    of the network's output.

    `param_str` is JSON: `root` and `lesions` (required), `split`, `subset`, `patch`,
    `batch_size`, `lesion_share`, `lesion_weights` (relative frequency of each type
    among patches near a lesion: {"MA": 3, "HE": 1}), `augment`, `ignore_label`,
    `workers` (processes that cut ahead; 0 cuts in the solver's own), `seed`,
    `first_patch` (number of the first patch, to resume a training), `stride` (patches
    from the start of a batch to that of the next, by default `batch_size`; more where
    several processes each take a share of the batch), `cycle` (start
    again after this many patches; by default never in training, and after one pass in
    validation, see below), `classes`, `cells`, and what
    `randrop.data.patch_options.MORE_DEFAULTS` names.

    In the TEST phase, patches start again from the first after each `cycle`, so that
    each validation sees the same ones. Every 100 batches, the log shows how long the
    solver waited for patches.
    """

    defaults: ClassVar[dict[str, Any]] = {
        name: field.default for name, field in PatchParams.model_fields.items()
    }

    def setup(self, bottom: Any, top: Any) -> None:
        """Read the parameters and the data, start the workers."""
        name = type(self).__name__
        options = parse_options(name, self.given_options(), PatchParams, self.defaults)
        if (options["stride"] or options["batch_size"]) < options["batch_size"]:
            raise UserError(
                f"{name}: stride {options['stride']} in param_str is less than "
                f"batch_size {options['batch_size']}, so that batches would overlap: "
                "omit it"
            )
        if bottom or len(top) != len(shapes_of(options)):
            tops = "three tops with cells" if options["cells"] else "two tops"
            raise UserError(f"{name}: this layer takes no bottoms and {tops}")
        if not Path(options["root"]).is_dir():
            raise UserError(
                f"{name}: root {options['root']!r} in param_str is not a folder, "
                f"relative to {Path.cwd()}: prepare the data there "
                "(scripts/prepare.py), start caffe from the folder that the "
                "prototxt's paths start from, or change root"
            )
        self.options = options
        # A fixed cycle of patches is cut once and kept; only endless patches need
        # workers.
        self.kept = None
        self.workers = None
        if options["cycle"]:
            source = source_of(options)
            self.kept = [
                arrays_of_patch(source, options, k) for k in range(options["cycle"])
            ]
        elif options["workers"]:
            self.workers = Workers(options)
        else:
            self.source = source_of(options)
        self.number = 0
        self.batches = 0
        self.waited = 0.0
        self.started = None

    def reshape(self, bottom: Any, top: Any) -> None:
        """Shape the tops."""
        for k, shape in enumerate(shapes_of(self.options)):
            top[k].reshape(self.options["batch_size"], *shape)

    def forward(self, bottom: Any, top: Any) -> None:
        """Write the next batch."""
        begin = time.perf_counter()
        if self.started is None:
            self.started = begin
        for n in range(self.options["batch_size"]):
            for k, array in enumerate(self.next_patch()):
                top[k].data[n] = array
        self.waited += time.perf_counter() - begin
        self.batches += 1
        if self.workers is not None and self.batches % _REPORT_EVERY == 0:
            self.report()

    def next_patch(self) -> tuple[np.ndarray, ...]:
        """Return the next patch, from the workers, the cycle or the source."""
        k = self.number
        self.number += 1
        if self.kept is not None:
            return self.kept[k % len(self.kept)]
        if self.workers is not None:
            return self.workers.read()
        return arrays_of_patch(self.source, self.options, number_of(self.options, k))

    def report(self) -> None:
        """Log the share of the time spent waiting for patches."""
        total = time.perf_counter() - self.started
        print(
            f"randrop.data: waited {self.waited:.2f} s of {total:.1f} s "
            f"({100 * self.waited / max(total, 1e-9):.1f} %) for "
            f"{self.batches * self.options['batch_size']} patches",
            file=sys.stderr,
            flush=True,
        )

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        """Do nothing: data has no gradient."""
