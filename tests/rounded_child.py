"""Runs random nets of small whole numbers, for test_engine_bf16.py.

It needs its own process, because Caffe chooses the engine when it is loaded. bfloat16
holds whole numbers up to 256 exactly, so rounding to it changes nothing here. A
normalisation makes fractions of them, and is the last layer.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from randrop.pycaffe.build import import_caffe

CHANNELS = (16, 16, 32, 48, 8, 5)


class Builder:
    """A net under construction: its text, and the shape of each top."""

    def __init__(self, rng, axes, sides=None):
        """Begin with an input."""
        self.rng, self.axes = rng, axes
        sides = sides or [8 if axes == 2 else 4] * axes
        shape = [2, int(rng.choice(CHANNELS)), *sides]
        dims = " ".join(f"dim: {n}" for n in shape)
        self.text = "force_backward: true\n"
        self.text += 'layer { name: "data" type: "Input" top: "data" '
        self.text += f"input_param {{ shape {{ {dims} }} }} }}\n"
        self.tops = {"data": shape}

    def add(self, kind, bottoms, rest="", top=None):
        """Add a layer, and return the name of its top."""
        name = f"{kind.lower()}{self.text.count('layer {')}"
        self.text += f'layer {{ name: "{name}" type: "{kind}" '
        self.text += " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.text += f' top: "{top or name}" {rest} }}\n'
        return top or name

    def grow(self):
        """Add one layer of some kind on the newest top, or on two like it."""
        name, shape = list(self.tops.items())[-1]
        kind = self.rng.choice(
            ["same", "same", "1", "down", "wide", "up", "mean", "relu", "join", "sum"]
        )
        side, out = shape[2], int(self.rng.choice(CHANNELS))
        convolution = {
            "same": ("kernel_size: 3 pad: 1", side),
            "1": ("kernel_size: 1", side),
            "down": ("kernel_size: 2 stride: 2", side // 2),
            "wide": ("kernel_size: 3 pad: 2 dilation: 2", side),
        }
        if kind in convolution and side > 1:
            words, size = convolution[kind]
            top = self.add(
                "Convolution",
                [name],
                f"convolution_param {{ num_output: {out} {words} }}",
            )
            self.tops[top] = [2, out, *[size] * self.axes]
        elif kind == "up" and side < 16:
            top = self.add(
                "Deconvolution",
                [name],
                f"convolution_param {{ num_output: {out} kernel_size: 2 stride: 2 }}",
            )
            self.tops[top] = [2, out, *[2 * side] * self.axes]
        elif kind == "mean" and side > 1 and self.axes == 2:
            words = "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"
            top = self.add("Pooling", [name], words)
            self.tops[top] = [2, shape[1], *[side // 2] * self.axes]
        elif kind == "relu" and name != "data":
            self.add("ReLU", [name], top=name)
        elif kind in ("join", "sum"):
            others = [
                other
                for other, its in self.tops.items()
                if other != name
                and its[2:] == shape[2:]
                and (kind == "join" or its[1] == shape[1])
            ]
            if others:
                both = [str(self.rng.choice(others)), name]
                top = self.add("Concat" if kind == "join" else "Eltwise", both)
                channels = sum(self.tops[other][1] for other in both)
                self.tops[top] = [2, channels, *shape[2:]]
                if kind == "sum":
                    self.tops[top] = shape

    def odd(self):
        """Add a convolution of any kernel, and return whether there is one.

        Some elements of it may never meet the image, but only its border.
        """
        name, shape = list(self.tops.items())[-1]
        kind = str(self.rng.choice(["Convolution", "Deconvolution"]))
        words, sides = f"num_output: {self.rng.choice([16, 32, 48])}", []
        # oneDNN has fast code for few other steps and pads.
        kernel, stride = (int(self.rng.integers(1, most)) for most in (6, 4))
        step = int(self.rng.choice([1, 1, 1, 2])) if kernel > 1 else 1
        reach = step * (kernel - 1)
        pad = int(self.rng.integers(0, reach + 1))
        for side in shape[2:]:
            for key, value in zip(
                ("kernel_size", "stride", "dilation", "pad"),
                (kernel, stride, step, pad),
                strict=True,
            ):
                words += f" {key}: {value}"
            room = side + 2 * pad - reach - 1
            up = kind == "Deconvolution"
            sides.append(
                (side - 1) * stride + reach + 1 - 2 * pad if up else room // stride + 1
            )
        if min(sides) < 1:
            return False
        self.add(kind, [name], f"convolution_param {{ {words} }}", top="odd")
        self.tops["odd"] = [shape[0], 0, *sides]
        return True

    def normalise(self):
        """End with a convolution, BatchNorm and what may follow it in place."""
        name, shape = list(self.tops.items())[-1]
        out = int(self.rng.choice([16, 32, 48, 8, 5]))
        words = f"convolution_param {{ num_output: {out} kernel_size: 1 }}"
        top = self.add("Convolution", [name], words)
        self.tops[top] = [2, out, *shape[2:]]
        self.add("BatchNorm", [top], top=top)
        if self.rng.random() < 0.7:
            self.add("Scale", [top], "scale_param { bias_term: true }", top=top)
        if self.rng.random() < 0.7:
            self.add("ReLU", [top], top=top)


def whole(rng, shape, most=1, share=1.0):
    """Return whole numbers from -most to most, most of them 0 with a small share."""
    values = rng.integers(-most, most + 1, shape)
    return values * (rng.random(shape) < share)


def network(rng, seed):
    """Return a random net, which every second seed ends with a normalisation."""
    build = Builder(rng, 3 if seed % 4 == 3 else 2)
    for _ in range(int(rng.integers(3, 9))):
        build.grow()
    if seed % 2:
        build.normalise()
    return build


def odd_layer(rng):
    """Return one convolution of a small image, with any kernel, stride and pad."""
    while True:
        axes = int(rng.choice([1, 2, 2, 2, 3]))
        build = Builder(rng, axes, [int(rng.integers(1, 7)) for _ in range(axes)])
        if build.tops["data"][1] % 16 == 0 and build.odd():
            return build


def passes(caffe, kind, seed, found):
    """Run one random net twice, and keep all of its content."""
    rng = np.random.default_rng(seed)
    build = network(rng, seed) if kind == "nets" else odd_layer(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        path.write_text(build.text)
        net = caffe.Net(str(path), caffe.TRAIN)
    for name, blobs in net.params.items():
        for blob in blobs:
            if kind == "layers":
                blob.data[...] = whole(rng, blob.data.shape)
            elif name.startswith(("conv", "deconv")):
                blob.data[...] = whole(rng, blob.data.shape, share=0.04)
            elif name.startswith("scale"):
                blob.data[...] = rng.normal(0, 1, blob.data.shape)
    last = list(net.blobs)[-1]
    for turn in range(2):
        net.clear_param_diffs()
        net.blobs["data"].data[...] = whole(rng, net.blobs["data"].data.shape, 2)
        net.forward()
        if rng.random() < 0.5:
            # From now on, this one has Caffe's layout, too.
            some = str(rng.choice(list(net.blobs)))
            found[f"{seed} {turn} look {some}"] = net.blobs[some].data.copy()
        net.blobs[last].diff[...] = whole(rng, net.blobs[last].diff.shape, share=0.2)
        net.backward()
        for name, blobs in net.params.items():
            for i, blob in enumerate(blobs):
                found[f"{seed} {turn} param {name} {i}"] = blob.diff.copy()
    for name, blob in net.blobs.items():
        found[f"{seed} blob {name}"] = blob.data.copy()
        found[f"{seed} diff {name}"] = blob.diff.copy()


def main():
    """Run the "nets", or the odd "layers", of all seeds and write what they contain."""
    out, kind, first, count = sys.argv[1:]
    caffe = import_caffe()
    found = {}
    for seed in range(int(first), int(first) + int(count)):
        passes(caffe, kind, seed, found)
    np.savez(out, **found)


if __name__ == "__main__":
    main()
