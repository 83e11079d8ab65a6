"""Convert the weights of a PyTorch network into a caffemodel of the same network."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import tempfile
from pathlib import Path

import _start  # noqa: F401

import numpy as np

from randrop import cli
from randrop.errors import UserError
from randrop.exchange import onnx_model, torch_weights
from randrop.files import ownership, write_bytes
from randrop.prediction import without_caffe

log = logging.getLogger("randrop")

DESCRIPTION = """\
Convert the state_dict of a PyTorch network into a caffemodel of the same network.

The network in Caffe is a deploy file, as train.py or make_prototxt.py write it. Each of
its layers, from first to last, takes the first unused part of the state_dict of its
kind and shape: names do not matter, but parts of one shape must come in one order. The
list that is printed shows what went where, and --map corrects it. A convolution's bias
before batch normalisation goes into the mean; running statistics become Caffe's three
blobs. Parts without a layer, and layers without a part, are errors.

Needs no Caffe, and for an .npz no PyTorch. --check compares the result with what
PyTorch computed: use it.
"""

EXAMPLES = """\
  python -c "import numpy, torch; s = torch.load('net.pt', map_location='cpu'); \\
             numpy.savez('net.npz', **{k: v.numpy() for k, v in s.items()})"
  import_weights.py net.npz --deploy prototxt/unet/deploy.prototxt \\
             --out build/net.caffemodel
  import_weights.py net.npz --deploy deploy.prototxt --out net.caffemodel \\
             --check example.npz
      example.npz has "input", N x 3 x H x W, and "output", PyTorch's probabilities
  predict.py --deploy deploy.prototxt --weights net.caffemodel --lesions MA HE eye.jpg
"""

TOLERANCE = 1e-4


def main(arguments: list[str] | None = None) -> int:
    """Convert, check and write; return 0."""
    options = _parse(arguments)
    if options.out.suffix != ".caffemodel":
        raise UserError(
            f"cannot write {options.out}: give a name that ends in .caffemodel"
        )
    ownership.check(options.out, maker="import_weights")
    state = torch_weights.read_state(options.state)
    found = torch_weights.convert(state, options.deploy, _pairs(options.map))
    for step in found.steps:
        form = "x".join(map(str, step.shape))
        log.info("%-24s <- %-32s %s", step.layer, step.module, form)
    if options.check:
        _check(options.check, options.deploy, found.weights)
    write_bytes(options.out, found.weights)
    log.info("%d parts in %s", len(found.steps), options.out)
    if not options.check:
        log.warning("Not compared with PyTorch: --check does that")
    return 0


def _pairs(words: list[str]) -> dict[str, str]:
    """Return the layers and parts of --map."""
    found = {}
    for word in words:
        layer, equals, part = word.partition("=")
        if not equals:
            raise UserError(f"--map {word}: give LAYER=NAME")
        found[layer] = part
    return found


def _check(example: Path, deploy: Path, weights: bytes) -> None:
    """Compare the network's output with that of PyTorch.

    Raises
    ------
    UserError
        If they differ, or the file lacks an array.
    """
    arrays = torch_weights.read_state(example)
    lacking = {"input", "output"} - set(arrays)
    if lacking:
        raise UserError(f"--check {example} has no array {' and '.join(lacking)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.caffemodel")
        path.write_bytes(weights)
        model = onnx_model.convert(deploy, path).model
    run = {
        "onnxruntime": without_caffe.in_onnxruntime,
        "opencv": without_caffe.in_opencv,
    }[without_caffe.best()]
    try:
        output = run(model)(np.ascontiguousarray(arrays["input"], np.float32))
    except UserError as error:
        raise UserError(f"--check {example}: {error}") from error
    expected = arrays["output"]
    if output.shape != expected.shape:
        raise UserError(
            f"--check {example}: the output has shape {output.shape}, PyTorch's "
            f"{expected.shape}: give the probabilities of the same input"
        )
    difference = float(np.abs(output - expected).max())
    if not difference < TOLERANCE:
        raise UserError(
            f"--check {example}: the outputs differ by up to {difference:.2g}: parts "
            "of one shape come in another order (--map), the module was not in eval(), "
            "or the output lacks the sigmoid or softmax"
        )
    log.info("Equal to PyTorch: largest difference %.1e", difference)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("state", type=Path, help=".npz of the state_dict, or a file of torch.save")
    add("--deploy", type=Path, required=True, help="the same network in Caffe")
    add("--out", type=Path, required=True, help="the caffemodel to write")
    add("--check", type=Path, help="an input and PyTorch's output, as .npz")
    add(
        "--map",
        action="append",
        default=[],
        metavar="LAYER=NAME",
        help="the part that a layer takes; can be repeated",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
