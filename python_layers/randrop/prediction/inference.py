"""A trained network as a function, through pycaffe or OpenCV's dnn module."""

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError
from randrop.files.reading import read_text
from randrop.prediction.folding import fold
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
        (N, C, H, W). No training layers: OpenCV cannot read ours.
    weights : Path
        The caffemodel.
    backend : {"auto", "caffe", "opencv"}
        "auto" uses Caffe if it is built, else OpenCV. Both compute the same.
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
    check_deploy(deploy)
    check_weights(weights)
    if backend == "auto":
        backend = "caffe" if gpu or _caffe_is_built() else "opencv"
    if backend == "opencv" and gpu:
        raise UserError("--gpu needs Caffe: omit it, or pass --backend caffe")
    loader = {"caffe": _load_caffe, "opencv": _load_opencv}[backend]
    return loader(deploy, weights, gpu)


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


def _load_opencv(deploy: Path, weights: Path, gpu: bool) -> Network:
    """Load with OpenCV, which reports errors as exceptions."""
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        net = cv2.dnn.readNetFromCaffe(str(deploy), str(weights))
        net.setInput(np.zeros((1, 3, PROBE, PROBE), np.float32))
        shape = net.forward().shape
        _, _, blobs = net.getLayersShapes([1, 3, PROBE, PROBE])
    except cv2.error as error:
        raise UserError(
            f"OpenCV cannot run {deploy} with {weights}: {_meaning(error.err)}; "
            f"{REMEDY}"
        ) from error
    finally:
        cv2.utils.logging.setLogLevel(log_level)

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        net.setInput(batch)
        return net.forward()

    sides = [int(shape[-1]) for outputs in blobs for shape in outputs if len(shape) > 3]
    return Network("opencv", int(shape[1]), _stride(sides), forward)


def _meaning(message: str) -> str:
    """Explain an error of OpenCV, with its own message."""
    message = " ".join(message.split())
    if "blobs" in message or "matrices have different count" in message:
        return (
            "the weights lack a layer of the network, or a layer has another size "
            f"({message})"
        )
    return message


def _load_caffe(deploy: Path, weights: Path, gpu: bool) -> Network:
    """Load with pycaffe, after a child process has shown that it works."""
    facts = _probe_caffe(deploy, weights, gpu)
    caffe = import_caffe()
    if gpu:
        caffe.set_mode_gpu()
        caffe.set_device(0)
    else:
        caffe.set_mode_cpu()
    net = _folded_net(caffe, deploy, weights)

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        blob = net.blobs[facts["input"]]
        if blob.data.shape != batch.shape:
            blob.reshape(*batch.shape)
            net.reshape()
        blob.data[...] = batch
        return net.forward()[facts["output"]].copy()

    return Network("caffe", facts["channels"], _stride(facts["sides"]), forward)


def _folded_net(caffe: Any, deploy: Path, weights: Path) -> Any:
    """Return the network with batch normalisation folded, as OpenCV does itself."""
    folded = fold(deploy, weights)
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
from caffe.proto import caffe_pb2
deploy, weights, gpu = sys.argv[1], sys.argv[2], sys.argv[3] == "1"
if gpu:
    caffe.set_mode_gpu()
    caffe.set_device(0)
net = caffe.Net(deploy, caffe.TEST)
stored = caffe_pb2.NetParameter()
with open(weights, "rb") as file:
    try:
        stored.ParseFromString(file.read())
    except Exception:
        sys.exit("the weights file is damaged or not a caffemodel")
names = {{layer.name for layer in [*stored.layer, *stored.layers] if layer.blobs}}
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
