"""A trained network as a function, through pycaffe or, as ONNX, without Caffe."""

import json
import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.files.reading import read_text
from randrop.prediction import without_caffe
from randrop.prediction.folding import Folded, fold
from randrop.pycaffe import processes
from randrop.pycaffe.build import caffe_root, import_caffe
from randrop.training.snapshots import check_weights

TRAINING_LAYER = re.compile(
    r'\btype\s*:\s*["\'](Python|Accuracy|\w*Data|\w*Loss(?:Layer|Parameter)?)["\']'
)
# A side that is a multiple of every stride that a network for photographs may have.
PROBE = 256
REMEDY = "give the deploy file and the weights of the same training"


class Network(NamedTuple):
    """A network ready to predict."""

    backend: str
    channels: int
    stride: int
    forward: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def load(
    deploy: Path, weights: Path, backend: str = "auto", gpu: bool = False
) -> Network:
    """Load a trained network.

    Parameters
    ----------
    deploy : Path
        Prototxt with one input (N, 3, H, W) and one output of probabilities,
        (N, C, H, W), without training layers; or a file of scripts/export_onnx.py.
    weights : Path
        The caffemodel; the same file again for ONNX.
    backend : {"auto", "caffe", "onnxruntime", "opencv"}
        "auto" uses Caffe if it is built, else onnxruntime, else OpenCV. The last two
        run the network as ONNX, which OpenCV 5 still reads. All compute the same.
    gpu : bool
        Compute on the first GPU; Caffe only.

    Returns
    -------
    Network
        Its `forward` maps float32 (1, 3, h, w) to float32 (1, C, h, w), with sides that
        are multiples of its `stride`.

    Raises
    ------
    UserError
        If a file is missing or damaged, deploy has training layers, the two files do
        not match, or the backend is not available.
    """
    for path, what in ((deploy, "network"), (weights, "weights")):
        if not path.is_file():
            raise UserError(
                f"{what} file {path} does not exist: give the folder of a finished "
                "training with --run, or files with --deploy and --weights"
            )
    is_onnx = deploy.suffix.lower() == ".onnx"
    if backend == "auto" and (is_onnx or not (gpu or _caffe_is_built())):
        backend = without_caffe.best()
    backend = "caffe" if backend == "auto" else backend
    if backend != "caffe" and gpu:
        raise UserError("--gpu needs Caffe: omit it, or pass --backend caffe")
    if is_onnx:
        if backend == "caffe":
            raise UserError(
                f"Caffe does not read {deploy}: omit --backend, or give the folder of "
                "the training"
            )
        return _load_onnx(deploy, None, backend)
    check_deploy(deploy)
    check_weights(weights)
    if backend == "caffe":
        return _load_caffe(deploy, weights, gpu)
    return _load_onnx(deploy, weights, backend)


def check_deploy(deploy: Path) -> None:
    """Refuse a deploy file with training layers.

    Raises
    ------
    UserError
        Names the layer types; also raised if the file is not text.
    """
    text = read_text(deploy, "check that --deploy and --weights are not swapped")
    found = sorted(set(TRAINING_LAYER.findall(re.sub("#.*", "", text))))
    if found:
        raise UserError(
            f"{deploy} holds training layers ({', '.join(found)}); a deploy file "
            'starts with an "Input" layer and ends with the "Sigmoid": remove data, '
            "loss and accuracy layers, or take the run's deploy.prototxt, not train_val"
        )


def _caffe_is_built() -> bool:
    try:
        import_caffe()
    except UserError:
        return False
    return True


def _stride(sides: list[int]) -> int:
    """Return the stride of a network, from its blobs' sides for an input of PROBE."""
    return PROBE // min(sides)


def _load_onnx(path: Path, weights: Path | None, backend: str) -> Network:
    """Load a file in ONNX, or the translation of a deploy file and its weights."""
    # Loading it takes a while, and Caffe does without.
    from randrop.exchange import onnx_model

    if weights is None:
        model = onnx_model.read(path)
    else:
        model = onnx_model.convert(path, weights).model
    facts = onnx_model.facts_of(model)
    sides = model.graph.input[0].type.tensor_type.shape.dim
    if len(sides) != 4 or sides[1].dim_value != 3 or sides[2].dim_value:
        shape = "x".join(side.dim_param or str(side.dim_value) for side in sides)
        raise UserError(
            f"the network takes {shape} numbers, not photographs of three channels "
            f"and any size: {REMEDY}"
        )
    forward = {
        "onnxruntime": without_caffe.in_onnxruntime,
        "opencv": without_caffe.in_opencv,
    }[backend](model)
    channels = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return Network(backend, channels, facts["multiple_of"], forward)


def _load_caffe(deploy: Path, weights: Path, gpu: bool) -> Network:
    """Load with pycaffe, after a child process has shown that it works."""
    with ThreadPoolExecutor() as pool:
        folding = pool.submit(fold, deploy, weights)
        # Before anything else: its message names the cause of whatever fails here.
        facts = _probe_caffe(deploy, weights, gpu)
        folded = folding.result()
    caffe = import_caffe()
    if gpu:
        caffe.set_mode_gpu()
        caffe.set_device(0)
    else:
        caffe.set_mode_cpu()
    net = _net(caffe, deploy, weights, folded)

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        blob = net.blobs[facts["input"]]
        if blob.data.shape != batch.shape:
            blob.reshape(*batch.shape)
            net.reshape()
        blob.data[...] = batch
        return net.forward()[facts["output"]].copy()

    return Network("caffe", facts["channels"], _stride(facts["sides"]), forward)


def _net(caffe: Any, deploy: Path, weights: Path, folded: Folded | None) -> Any:
    """Return the network, with batch normalisation folded where it can be."""
    if folded is None:
        return caffe.Net(str(deploy), str(weights), caffe.TEST)
    with tempfile.TemporaryDirectory() as folder:
        deploy, weights = Path(folder, "deploy"), Path(folder, "weights")
        deploy.write_text(folded.deploy)
        weights.write_bytes(folded.weights)
        return caffe.Net(str(deploy), str(weights), caffe.TEST)


def _probe_caffe(deploy: Path, weights: Path, gpu: bool) -> dict:
    """Load and run the network in a child process, and return its facts.

    Caffe ends the process on bad input; the child's last message becomes our error.
    Caffe silently accepts weights that lack a layer of the network and leaves the layer
    at random values, so the child compares them.

    Raises
    ------
    UserError
    """
    import_caffe()
    command = processes.python(_CHILD, str(deploy), str(weights), str(int(gpu)))
    environment = {
        **os.environ,
        "CAFFE_ROOT": str(caffe_root()),
        "GLOG_minloglevel": "2",
        "GLOG_logtostderr": "1",
    }
    child = processes.run(command, capture_output=True, text=True, env=environment)
    if child.returncode == 0:
        return json.loads(child.stdout.splitlines()[-1])
    words = (
        last_words(child.stderr) or f"the process ended with status {child.returncode}"
    )
    remedy = "omit --gpu, or build Caffe for this machine's GPU" if gpu else REMEDY
    raise UserError(f"Caffe cannot run {deploy} with {weights}: {words}; {remedy}")


def last_words(stderr: str) -> str:
    """Return the message of glog's fatal line or of the last exception."""
    fatal = re.findall(r"^F\d{4,8} .*?\] (.*)$", stderr, re.MULTILINE)
    parsing = re.findall(r"Error parsing .*$", stderr, re.MULTILINE)
    if fatal:
        # Caffe's message continues with all known types, or with how to train again.
        words = re.split(r" \(known types|  To learn this", fatal[0])[0].strip(" .")
        return "; ".join([*parsing[:1], words])
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


_CHILD = f"""
import json, sys
from randrop.pycaffe.build import import_caffe
caffe = import_caffe()
from pathlib import Path
from randrop.errors import UserError
from randrop.exchange import reading
deploy, weights, gpu = sys.argv[1], sys.argv[2], sys.argv[3] == "1"
if gpu:
    caffe.set_mode_gpu()
    caffe.set_device(0)
net = caffe.Net(deploy, caffe.TEST)
try:
    stored = reading.read_weights(Path(weights), "")
except UserError:
    sys.exit("the weights file is damaged or not a caffemodel")
owned = [name for name, layer in zip(net._layer_names, net.layers) if len(layer.blobs)]
for name in owned:
    if list(net._layer_names).count(name) > 1:
        sys.exit(f"two layers are called {{name!r}}, of which Caffe gives weights to "
                 "the first alone")
names = {{layer.name for layer in reading.layers_with_weights(stored)}}
missing = [name for name in net.params if name not in names]
if missing:
    sys.exit("the weights have no data for layer " + ", ".join(missing[:5])
             + f" ({{len(missing)}} of {{len(net.params)}} layers missing)")
net.copy_from(weights)
if len(net.inputs) != 1 or len(net.outputs) != 1:
    sys.exit(f"the network has inputs {{net.inputs}} and outputs {{net.outputs}}, "
             "not one each")
net.blobs[net.inputs[0]].reshape(1, 3, {PROBE}, {PROBE})
net.reshape()
net.forward()
print(json.dumps(dict(
    input=net.inputs[0], output=net.outputs[0],
    channels=net.blobs[net.outputs[0]].shape[1],
    sides=[blob.shape[3] for blob in net.blobs.values() if len(blob.shape) > 3])))
"""
