"""Random networks with random damage, for tests/random_networks.py."""

import os
import random

import conftest  # noqa: F401  It says where the project is.
import numpy as np
from random_layers import make

from randrop.errors import UserError
from randrop.exchange import messages, onnx_model


def damage(seed):
    """Return the text of a random network with some random damage."""
    rng = random.Random(seed)
    net = messages.NetParameter()
    from google.protobuf import text_format

    text_format.Parse(make(seed)[0], net)
    for _ in range(rng.randint(1, 3)):
        layer = rng.choice(list(net.layer) or [net.layer.add()])
        rng.choice([_blobs, _number, _number, _number, _copy, _kind])(rng, net, layer)
    return str(net)


def _blobs(rng, net, layer):
    blobs = rng.choice([layer.bottom, layer.top])
    if blobs and rng.random() < 0.5:
        del blobs[rng.randrange(len(blobs))]
    else:
        blobs.append(rng.choice([b for each in net.layer for b in each.top] or ["x"]))


def _number(rng, net, layer):
    """Set a random number of a layer's options."""
    params = [m for field, m in layer.ListFields() if field.name.endswith("_param")]
    if not params:
        layer.name = rng.choice(["", net.layer[0].name, net.layer[-1].name])
        return
    param = rng.choice(params)
    field = rng.choice(
        [f for f in param.DESCRIPTOR.fields if f.message_type is None]
        or [param.DESCRIPTOR.fields[0]]
    )
    if field.message_type is not None:
        shape = getattr(param, field.name)
        shape = shape.add() if field.is_repeated else shape
        shape.dim.append(rng.choice([-2, -1, 0, 1, 5, 2**40]))
        return
    values = [0, 1, 2, 3, 7, 40, 2**32 - 1, -1, -3]
    if field.enum_type is not None:
        values = [value.number for value in field.enum_type.values]
    value = rng.choice(values)
    try:
        if field.is_repeated:
            getattr(param, field.name).append(value)
        elif rng.random() < 0.3:
            param.ClearField(field.name)
        else:
            kind = bool if field.type == field.TYPE_BOOL else lambda number: number
            setattr(param, field.name, kind(value))
    except ValueError:
        pass  # Negative, for a field that has no sign.


def _copy(rng, net, layer):
    net.layer.add().CopyFrom(layer)


def _kind(rng, net, layer):
    layer.type = rng.choice([*(each.type for each in net.layer), "Reshape", "LRN"])


def assert_damaged_is_refused_or_translated(folder, seed):
    """Translate a damaged network; return the file, and whether it was translated."""
    deploy, weights = folder / "damaged.prototxt", folder / "damaged.caffemodel"
    deploy.write_text(damage(seed))
    weights.write_bytes(_any_weights(deploy))
    try:
        onnx_model.convert(deploy, weights)
    except UserError as error:
        assert str(error).startswith(str(deploy)), error
        assert "\n" not in str(error)
        return deploy, False
    return deploy, True


def _any_weights(deploy):
    """Return weights that fit, if it can be said which do."""
    from randrop.exchange import layers, reading

    net = reading.read_deploy(deploy, "")
    stored = messages.NetParameter()
    try:
        layers.check_layers(net)
        shapes = layers.shapes_of_weights(net)
    except UserError:
        shapes = {}
    for name, wanted in shapes.items():
        layer = stored.layer.add(name=name)
        for shape in wanted:
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.extend([0.5] * int(np.prod(shape)))
    return stored.SerializeToString()


def caffe_accepts(caffe, deploy):
    """Return whether Caffe takes a network, which a child of this process tries."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            caffe.Net(str(deploy), caffe.TEST).forward()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
