"""Where a network's data and labels come from, in training and in validation."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from randrop.data.arrays import TRANSFORM
from randrop.data.patch_options import MORE_DEFAULTS


@dataclasses.dataclass(frozen=True)
class PatchFeed:
    """Patches of fundus photographs from `randrop.data.layer`.

    Attributes
    ----------
    options : mapping
        `param_str` of the layer, without `subset`.
    rank, ranks : int
        Take this one of so many shares of each batch in training.
    """

    options: Mapping[str, Any]
    rank: int = 0
    ranks: int = 1

    def layer(self, caffe: Any, subset: str, phase: int) -> tuple[Any, ...]:
        """Return data, label and perhaps cells of `subset`, for a NetSpec."""
        options = {**self.options, "subset": subset}
        if phase == caffe.TEST:
            options["augment"] = False
            for name in ("first_patch", *MORE_DEFAULTS):
                options.pop(name, None)
        else:
            options.pop("cycle", None)
            if self.ranks > 1:
                whole = options["batch_size"]
                options |= {"batch_size": whole // self.ranks, "stride": whole}
                first = self.rank * options["batch_size"]
                options["first_patch"] = options.get("first_patch", 0) + first
        return caffe.layers.Python(
            module="randrop.data.layer",
            layer="LesionPatchDataLayer",
            param_str=json.dumps(options),
            include={"phase": phase},
            ntop=3 if options.get("cells") else 2,
        )


@dataclasses.dataclass(frozen=True)
class VolumeFeed:
    """Whole images or volumes with one class per pixel, from Caffe's HDF5Data.

    Attributes
    ----------
    lists : mapping of str to str
        The text file that lists the HDF5 files, for train and validation.
    batch : int
    ranks : int
        Take one of so many shares of each batch in training: which one, the layer
        asks Caffe.
    """

    lists: Mapping[str, str]
    batch: int
    ranks: int = 1

    @property
    def share(self) -> int:
        """Return the number of images in training."""
        return self.batch // self.ranks

    def layer(self, caffe: Any, subset: str, phase: int) -> tuple[Any, Any]:
        """Return data and label of `subset`, for a NetSpec."""
        return caffe.layers.HDF5Data(
            source=self.lists[subset],
            batch_size=self.share if phase == caffe.TRAIN else self.batch,
            shuffle=phase == caffe.TRAIN,
            include={"phase": phase},
            ntop=2,
        )


@dataclasses.dataclass(frozen=True)
class InputFeed:
    """Data and labels that a program writes to the network's inputs.

    Attributes
    ----------
    shape, label_shape : tuple of int
        Shapes of the blobs data and label.
    """

    shape: tuple[int, ...]
    label_shape: tuple[int, ...]

    @property
    def batch(self) -> int:
        """Return the number of images."""
        return self.shape[0]

    def layer(self, caffe: Any, subset: str, phase: int) -> tuple[Any, Any]:
        """Return data and label, for a NetSpec."""
        shapes = [{"dim": list(shape)} for shape in (self.shape, self.label_shape)]
        return caffe.layers.Input(
            input_param={"shape": shapes}, include={"phase": phase}, ntop=2
        )


@dataclasses.dataclass(frozen=True)
class LmdbFeed:
    """Patches written by scripts/export_lmdb.py, read by Caffe's own Data layers.

    Attributes
    ----------
    folder : str
        Holds SUBSET_data and SUBSET_label.
    batch : int
    """

    folder: str
    batch: int

    def layer(self, caffe: Any, subset: str, phase: int) -> tuple[Any, Any]:
        """Return data and label of `subset`, for a NetSpec."""
        lmdb = caffe.params.Data.LMDB
        return tuple(
            caffe.layers.Data(
                data_param={
                    "source": f"{self.folder}/{subset}_{kind}",
                    "batch_size": self.batch,
                    "backend": lmdb,
                },
                include={"phase": phase},
                ntop=1,
                **({"transform_param": TRANSFORM} if kind == "data" else {}),
            )
            for kind in ("data", "label")
        )


TOPS = ("data", "label", "cells")
"""What a feed gives; the last is for losses over cells, and few feeds have it."""

Feed = PatchFeed | VolumeFeed | InputFeed | LmdbFeed


def begin(caffe: Any, feed: Feed | None, shape: Sequence[int]) -> tuple[Any, str]:
    """Return a NetSpec with what the feed gives, and the prototxt of its layers.

    Without a feed, data is an input of one image of this shape, there is no label, and
    the prototxt is empty.
    """
    net = caffe.NetSpec()
    if feed is None:
        net.data = caffe.layers.Input(
            input_param={"shape": {"dim": [1, *shape]}}, ntop=1
        )
        return net, ""
    text = ""
    for phase, subset in ((caffe.TRAIN, "train"), (caffe.TEST, "validation")):
        spec = caffe.NetSpec()
        found = dict(zip(TOPS, feed.layer(caffe, subset, phase), strict=False))
        for name, top in found.items():
            spec[name] = top
        text += str(spec.to_proto())
    for name, top in found.items():
        net[name] = top
    return net, text


def with_feed(head: str, net: Any, tops: Sequence[str] = ("data", "label")) -> str:
    """Return the prototxt of a network; `head` holds the layers with these `tops`."""
    text = net.to_proto()
    if head:
        body = [layer for layer in text.layer if not set(tops) & set(layer.top)]
        kept = [type(layer).FromString(layer.SerializeToString()) for layer in body]
        del text.layer[:]
        text.layer.extend(kept)
    return head + str(text)
