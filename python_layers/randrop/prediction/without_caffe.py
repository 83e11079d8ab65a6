"""A network in ONNX as a function, through onnxruntime or OpenCV's dnn module."""

import importlib.util
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from randrop.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def best() -> str:
    """Return the faster backend of those that are installed."""
    return "onnxruntime" if importlib.util.find_spec("onnxruntime") else "opencv"


def in_onnxruntime(model: "ModelProto") -> Forward:
    """Return a model as a function of float32 arrays.

    Raises
    ------
    UserError
        If onnxruntime is not installed or refuses the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"onnxruntime cannot be imported ({error}): 'python3 "
            "scripts/build_caffe.py --venv-only' installs it, or pass --backend opencv"
        ) from error
    options = onnxruntime.SessionOptions()
    # Tiles change their size from one photograph to the next.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    # Caffe and OpenBLAS read the same variable.
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # Its classes are private.
        raise UserError(f"onnxruntime cannot run the network: {error}") from error
    name = model.graph.input[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def in_opencv(model: "ModelProto") -> Forward:
    """Return a model as a function of float32 arrays.

    OpenCV 4 and 5 read ONNX; only 4 reads Caffe's own files.

    Raises
    ------
    UserError
        If OpenCV refuses the model.
    """
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        content = np.frombuffer(model.SerializeToString(), np.uint8)
        net = cv2.dnn.readNetFromONNX(content)
    except cv2.error as error:
        words = " ".join(error.err.split())
        raise UserError(f"OpenCV cannot run the network: {words}") from error
    finally:
        cv2.utils.logging.setLogLevel(log_level)

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        net.setInput(batch)
        # Without the copy, the next call would change the result.
        return net.forward().copy()

    return forward
