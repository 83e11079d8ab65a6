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

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return session.run(None, {name: batch})[0]
        except Exception as error:
            raise _cannot("onnxruntime", batch, str(error)) from error

    return forward


def _cannot(program: str, batch: NDArray[np.float32], words: str) -> UserError:
    form = "x".join(map(str, batch.shape))
    return UserError(
        f"{program} cannot run the network for an input of {form}: "
        f"{' '.join(words.split())[:300]}"
    )


def in_opencv(model: "ModelProto") -> Forward:
    """Return a model as a function of float32 arrays.

    OpenCV 4 and 5 read ONNX; only 4 reads Caffe's own files. The function raises
    UserError for an input of which OpenCV would compute something else than Caffe.

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

    averages = any(node.op_type == "AveragePool" for node in model.graph.node)
    seen = set()

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if averages and batch.shape not in seen:
            _check_windows(model, batch.shape)
            seen.add(batch.shape)
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            net.setInput(batch)
            # Without the copy, the next call would change the result.
            return net.forward().copy()
        except cv2.error as error:
            raise _cannot("OpenCV", batch, error.err) from error
        finally:
            cv2.utils.logging.setLogLevel(level)

    return forward


def _check_windows(model: "ModelProto", shape: tuple[int, ...]) -> None:
    """Refuse a mean over windows that the border cuts, which OpenCV gets wrong.

    Raises
    ------
    UserError
        Names the layer.
    """
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for dim, side in zip(
        sized.graph.input[0].type.tensor_type.shape.dim, shape, strict=True
    ):
        dim.dim_value = side
    # The other sides follow.
    sized.graph.output[0].type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    known = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim[2:]]
        for value in (*graph.input, *graph.value_info)
    }
    for node in graph.node:
        if node.op_type != "AveragePool":
            continue
        values = {each.name: list(each.ints) for each in node.attribute}
        sides = known.get(node.input[0], [])
        windows = zip(sides, values["kernel_shape"], values["strides"], strict=False)
        if not sides or any((side - k) % s for side, k, s in windows):
            form = "x".join(map(str, sides))
            raise UserError(
                f"OpenCV computes layer {node.name!r} wrongly, the mean over windows "
                f"that the border of {form} numbers cuts: pass --backend onnxruntime "
                "or caffe"
            )
