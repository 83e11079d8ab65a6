"""Native layers warn of the options that the registry says have no effect."""

import itertools
import os
import re
import subprocess
import typing

from loss_family import fields

from randrop.losses.registry import LAYERS
from randrop.pycaffe.build import caffe_binary

CLASSES = 2
GROUP = 100


def values(field):
    """Values of an option: all choices, or the ends of its examples."""
    if field.examples:
        return [field.examples[0], field.examples[-1]][: len(field.examples)]
    if field.annotation is bool:
        return [False, True]
    if typing.get_origin(field.annotation) is list:
        return [[1.0] * CLASSES]
    return typing.get_args(field.annotation)


def combinations(layer):
    """Every combination of the options of its message, each given or left out."""
    model = layer.options.model_fields
    choices = [[None, *values(model[name])] for name in layer.parameters]
    for chosen in itertools.product(*choices):
        given = zip(layer.parameters, chosen, strict=True)
        yield {name: value for name, value in given if value is not None}


def idle(layer, options):
    """The given options that the registry says have no effect."""
    rules = layer.options.model_construct(**options).idle()
    return {name for names, _ in rules for name in names} & set(options)


def inputs(group):
    """The bottoms of a group of layers; a bottom of thousands is slow."""
    channels = {"score": CLASSES, "SIGMOID": CLASSES, "SOFTMAX": 1}
    return "".join(
        f'layer {{ name: "{name}{group}" type: "Input" top: "{name}{group}" '
        f"input_param {{ shape {{ dim: 1 dim: {n} dim: 2 dim: 2 }} }} }}\n"
        for name, n in channels.items()
    )


def loss_layer(number, layer, options):
    group = number // GROUP
    activation = options.get("activation", layer.activations[0])
    own = fields(options, lambda key: True)
    return (inputs(group) if number % GROUP == 0 else "") + (
        f'layer {{ name: "{number}" type: "{layer.type}" bottom: "score{group}" '
        f'bottom: "{activation}{group}" top: "{number}" {layer.field} {{{own}}} }}\n'
    )


def test_the_native_layers_have_the_rules_of_the_registry(caffe, tmp_path):
    cases = [
        (layer, options) for layer in LAYERS.values() for options in combinations(layer)
    ]
    path = tmp_path / "net.prototxt"
    path.write_text("".join(loss_layer(n, *case) for n, case in enumerate(cases)))
    told = subprocess.run(
        [caffe_binary(), "time", "-model", path, "-iterations", "1"],
        env={**os.environ, "GLOG_minloglevel": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    warned = {number: set() for number in range(len(cases))}
    for number, name in re.findall(r"layer '(\d+)': (\w+) has no effect", told):
        warned[int(number)].add(name)
    differ = {
        (layer.type, *sorted(idle(layer, options) ^ warned[number]))
        for number, (layer, options) in enumerate(cases)
    }
    assert {case for case in differ if len(case) > 1} == set()
    assert sum(map(bool, warned.values())) > len(cases) / 5
