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

    OpenCV 4 and 5 read ONNX; only 4 reads Caffe's own files. Both compute some networks
    wrongly, and say nothing. So a small input is compared with onnxruntime or, without
    it, with ONNX's own definition in NumPy, which takes a second or two. The function
    raises UserError for an input that OpenCV would compute otherwise than Caffe.

    Raises
    ------
    UserError
        If OpenCV refuses the model, or computes something else than ONNX defines.
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
    sides = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        # OpenCV takes other channels, after a first input, and reads beyond them.
        if len(sides) != batch.ndim or any(
            side not in (0, given)
            for side, given in zip(sides, batch.shape, strict=True)
        ):
            raise _cannot("OpenCV", batch, "it takes another shape")
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

    _check_numbers(model, forward)
    return forward


def _check_numbers(model: "ModelProto", forward: Forward) -> None:
    """Refuse a network that OpenCV computes otherwise than ONNX defines.

    Raises
    ------
    UserError
        Names the largest difference.
    """
    facts = {each.key: each.value for each in model.metadata_props}
    multiple = int(facts.get("multiple_of", "1"))
    # Two of the steps that the sides must have, or a few pixels.
    side = multiple * max(2, -(-16 // multiple))
    given = model.graph.input[0]
    dims = given.type.tensor_type.shape.dim
    shape = [each.dim_value or side for each in dims]
    shape[0] = dims[0].dim_value or 1
    noise = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    try:
        expected = _judged(model, noise)
        found = forward(noise)
    except UserError:
        # The sides are too small for it, or known to be computed wrongly.
        return
    if expected is None:
        return
    if found.shape != expected.shape:
        raise UserError(
            f"OpenCV computes the network wrongly: its output for an input of "
            f"{'x'.join(map(str, shape))} is {'x'.join(map(str, found.shape))}, not "
            f"{'x'.join(map(str, expected.shape))}: pass --backend onnxruntime or caffe"
        )
    off = float(np.abs(found - expected).max())
    # Not a number is not near, either.
    if not off <= 1e-3 * max(1.0, float(np.abs(expected).max())):
        raise UserError(
            f"OpenCV computes the network wrongly: a number is off by {off:.2g}: pass "
            "--backend onnxruntime or caffe"
        )


def _judged(
    model: "ModelProto", batch: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Return what the model should give, or None if nothing here can tell."""
    if importlib.util.find_spec("onnxruntime"):
        return in_onnxruntime(model)(batch)
    from onnx.reference import ReferenceEvaluator

    try:
        name = model.graph.input[0].name
        return ReferenceEvaluator(model).run(None, {name: batch})[0]
    except (ValueError, IndexError, NotImplementedError):
        # It does not know transposed convolutions in groups, for instance.
        return None


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
