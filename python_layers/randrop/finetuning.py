"""What of other weights a training starts from: Caffe is silent of the others."""

import logging
from pathlib import Path

from randrop.caffe_build import import_caffe
from randrop.errors import UserError

log = logging.getLogger("randrop")

_LEARNING = {
    "BatchNorm", "Bias", "Convolution", "Deconvolution", "Embed", "InnerProduct",
    "PReLU", "Scale",
}  # fmt: skip
_HDF5 = b"\x89HDF\r\n\x1a\n"


def tell_of_weights(weights: Path, network: str) -> None:
    """Say which layers of a network begin with weights of a file, and which do not.

    Caffe goes by names: it takes what it finds, and leaves the other layers as they
    are initialised.

    Parameters
    ----------
    weights : Path
        The caffemodel. One in HDF5 is not looked into.
    network : str
        The prototxt that is trained.

    Raises
    ------
    UserError
        When the file is no caffemodel, or has no layer of the network.
    """
    import_caffe()
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    content = weights.read_bytes()
    if content.startswith(_HDF5):
        return
    given, wanted = caffe_pb2.NetParameter(), caffe_pb2.NetParameter()
    try:
        given.ParseFromString(content)
    except DecodeError as error:
        raise UserError(
            f"--weights {weights} is no caffemodel ({error}): name the file that a "
            "training left"
        ) from error
    text_format.Parse(network, wanted)
    names = [layer.name for layer in wanted.layer if layer.type in _LEARNING]
    # Models of before 2014 have their layers in another field.
    filled = {layer.name for layer in (*given.layer, *given.layers) if layer.blobs}
    missing = [name for name in names if name not in filled]
    if len(missing) == len(names):
        raise UserError(
            f"--weights {weights} has no layer of this network: of {len(names)} layers "
            f"with weights ({', '.join(names[:3])}, ...) it names none; its own are "
            f"{', '.join(sorted(filled)[:3]) or 'none'}"
        )
    unused = sorted(filled - set(names))
    if missing or unused:
        log.warning(
            "%d of %d layers start from %s. From scratch: %s. Not used of the file: %s",
            *(len(names) - len(missing), len(names), weights),
            *(", ".join(missing) or "none", ", ".join(unused) or "none"),
        )
    else:
        log.info("All %d layers with weights start from %s", len(names), weights)
