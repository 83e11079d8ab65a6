"""Runs exported networks in other programs, and compares them with Caffe.

Each program gets a virtual environment of its own below build/elsewhere. The shipped
model sees whole photographs in tiles, noise of odd shapes, a batch, black, and the
smallest input; the other networks see noise. What Caffe computes is the truth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
PINS = {
    "onnxruntime": ("onnxruntime==1.31.1",),
    "opencv4": ("opencv-python-headless==4.14.0.94",),
    "opencv5": ("opencv-python-headless==5.0.0.93",),
    "openvino": ("openvino==2026.4.1",),
    "ncnn": ("ncnn==1.0.20261020",),
}
# Its Python part asks for PyTorch; the converter itself needs nothing.
ALONE = {"ncnn": ("pnnx==20261020",)}
WAYS = {name: ("",) for name in PINS} | {
    "openvino": ("f32", "default"),
    "ncnn": ("f32", "default"),
}
"""How each program computes: the precision, where it has a choice."""

Forward = Callable[[np.ndarray], np.ndarray]

# --- In the environment of a program: NumPy and that program are all there is.


def open_onnxruntime(model: Path, way: str, threads: int) -> tuple[str, Forward]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(model), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return onnxruntime.__version__, lambda x: session.run(None, {name: x})[0]


def open_opencv(model: Path, way: str, threads: int) -> tuple[str, Forward]:
    import cv2

    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(str(model))

    def forward(x: np.ndarray) -> np.ndarray:
        net.setInput(x)
        return net.forward().copy()

    return cv2.__version__, forward


def open_openvino(model: Path, way: str, threads: int) -> tuple[str, Forward]:
    import openvino

    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if way == "f32":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.Core().compile_model(str(model), "CPU", options)
    version = openvino.__version__.partition("-")[0]
    return version, lambda x: compiled(x)[0].copy()


def open_ncnn(model: Path, way: str, threads: int) -> tuple[str, Forward]:
    import ncnn

    (pnnx,) = Path(ncnn.__file__).parents[1].glob("pnnx/pnnx")
    copy = model.with_name("ncnn.onnx")
    copy.write_bytes(model.read_bytes())
    shape = json.loads(model.with_suffix(".json").read_text())["input"]
    larger = [*shape[:2], *(2 * side for side in shape[2:])]
    shapes = [f"inputshape={json.dumps(shape, separators=(',', ':'))}"]
    if len(shape) == 4:
        shapes.append(f"inputshape2={json.dumps(larger, separators=(',', ':'))}")
    command = [str(pnnx), copy.name, *shapes, "fp16=0"]
    child = subprocess.run(command, cwd=copy.parent, capture_output=True, text=True)
    net = ncnn.Net()
    net.opt.num_threads = threads
    if way == "f32":
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{name}", False)
    found = [copy.with_name(f"ncnn.ncnn.{kind}") for kind in ("param", "bin")]
    if (
        child.returncode
        or net.load_param(str(found[0]))
        or net.load_model(str(found[1]))
    ):
        raise RuntimeError("pnnx or ncnn does not take the network")

    def one(x: np.ndarray) -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(np.ascontiguousarray(x)).clone())
            _, output = extractor.extract("out0")
            return np.array(output)

    return ncnn.__version__, lambda x: np.stack([one(image) for image in x])


OPEN = {
    "onnxruntime": open_onnxruntime,
    "opencv4": open_opencv,
    "opencv5": open_opencv,
    "openvino": open_openvino,
    "ncnn": open_ncnn,
}


def child(name: str, way: str, folder: Path, threads: int) -> dict[str, Any]:
    """Run every network on its inputs, and return the differences."""
    found: dict[str, Any] = {"networks": {}}
    for model in sorted(folder.glob("*.onnx")):
        if not model.with_suffix(".npz").exists():
            continue  # A converter's.
        try:
            found["version"], forward = OPEN[name](model, way, threads)
            found["networks"][model.stem] = compared(model, forward)
        except Exception as error:  # Theirs are of every class.
            words = " ".join(str(error).split())[:120]
            found["networks"][model.stem] = {"refused": words}
    return found


def compared(model: Path, forward: Forward) -> dict[str, Any]:
    differences, cases, seconds = [], {}, 0.0
    with np.load(model.with_suffix(".npz")) as pairs:
        names = [key for key in pairs.files if not key.endswith("_output")]
        for key in names:
            output = forward(pairs[key])
            if key.startswith("tile"):
                seconds += best_time(forward, pairs[key])
            expected = pairs[f"{key}_output"]
            if output.shape != expected.shape:
                raise RuntimeError(f"the output of {key} has shape {output.shape}")
            off = np.abs(output - expected)
            differences.append(off.ravel())
            kind = key.partition("-")[0]
            cases[kind] = max(cases.get(kind, 0.0), float(off.max()))
    whole = np.concatenate(differences)
    return {
        "median": float(np.median(whole)),
        "largest": float(whole.max()),
        "cases": cases,
        "seconds": seconds,
    }


def best_time(forward: Forward, x: np.ndarray) -> float:
    """Return the shortest of three, in seconds of the processor.

    Other programs on the machine change it less than they change the time of a clock.
    """
    times = []
    for _ in range(3):
        begin = time.process_time()
        forward(x)
        times.append(time.process_time() - begin)
    return min(times)


# --- In our own environment.


def write_networks(folder: Path, photographs: int, size: int) -> dict[str, Any]:
    """Write networks, inputs and what Caffe computes; return Caffe's figures."""
    import small_unet

    from randrop import nets
    from randrop.data import field_of_view, network_input
    from randrop.data.images import read_image
    from randrop.data.phantom_set import write_phantom
    from randrop.prediction import inference, tiles
    from randrop.prediction.model import SMALL
    from randrop.pycaffe.build import import_caffe

    caffe = import_caffe()
    write_phantom(folder / "phantom", max(photographs, 2), size, seed=5)
    files = (SMALL / "deploy.prototxt", SMALL / "final.caffemodel")
    network = inference.load(*files, "caffe")
    pairs: dict[str, np.ndarray] = {}
    seconds = 0.0

    def recorded(batch: np.ndarray) -> np.ndarray:
        nonlocal seconds
        output = network.forward(batch)
        seconds += best_time(network.forward, batch)
        key = f"tile-{len(pairs) // 2}"
        pairs[key], pairs[f"{key}_output"] = batch, output
        return output

    for path in sorted((folder / "phantom" / "images").iterdir())[:photographs]:
        image = read_image(path)
        inside = field_of_view(image)
        tiles.predict(
            recorded,
            network_input(image, inside),
            inside,
            channels=network.channels,
            stride=network.stride,
        )
    rng = np.random.default_rng(0)
    for kind, shape in (
        *(("odd", (1, 3, 8 * 7, 8 * 13)), ("batch", (2, 3, 72, 40))),
        *(("smallest", (1, 3, 8, 8)), ("black", (1, 3, 64, 104))),
    ):
        x = rng.normal(0, 0 if kind == "black" else 1, shape).astype(np.float32)
        pairs[kind], pairs[f"{kind}_output"] = x, network.forward(x)
    export(folder / "unet.onnx", *files, pairs)
    for name, text, shape in (
        ("lseg", nets.lseg(2), (1, 3, 64, 96)),
        ("explog3d", nets.explog3d(20), (1, 1, 32, 32, 32)),
    ):
        deploy, weights = folder / "deploy.prototxt", folder / "net.caffemodel"
        deploy.write_text(text)
        net = caffe.Net(str(deploy), caffe.TEST)
        small_unet.randomise(net)
        net.save(str(weights))
        x = rng.normal(0, 1, shape).astype(np.float32)
        net.blobs["data"].reshape(*shape)
        net.blobs["data"].data[...] = x
        output = net.forward()["prob"]
        export(
            folder / f"{name}.onnx",
            deploy,
            weights,
            {"noise": x, "noise_output": output},
        )
    return {"seconds": seconds / photographs}


def export(out: Path, deploy: Path, weights: Path, pairs: dict[str, Any]) -> None:
    from randrop.exchange import onnx_model

    model = onnx_model.convert(deploy, weights).model
    out.write_bytes(model.SerializeToString())
    np.savez(out.with_suffix(".npz"), **pairs)
    first = next(iter(pairs.values()))
    out.with_suffix(".json").write_text(json.dumps({"input": first.shape}))


def environment(folder: Path, name: str) -> Path:
    """Make the virtual environment of a program; return its Python."""
    import numpy

    from randrop.errors import UserError

    place = folder / name
    pins = [f"numpy=={numpy.__version__}", *PINS[name]]
    stamp = place / "pins.txt"
    wanted = "\n".join([*pins, *ALONE.get(name, ())])
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"Installing {' '.join(PINS[name])} into {place}", flush=True)
        pip = [str(place / "bin/python"), "-m", "pip", "install", "-q"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [*pip, *pins],
            *([[*pip, "--no-deps", *ALONE[name]]] if name in ALONE else []),
        ):
            if subprocess.run(command, check=False).returncode:
                raise UserError(f"cannot install {name}: omit it with --programs")
        stamp.write_text(wanted)
    return place / "bin/python"


def main() -> int:
    """Compare all and write the figures."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers")]
    from randrop import cli
    from randrop.errors import UserError
    from randrop.files import ownership, write_json
    from randrop.pycaffe.build import build_dir

    parser = cli.parser(
        __doc__,
        "  tests/onnx_elsewhere.py --out results/onnx_differences.json\n"
        "  tests/onnx_elsewhere.py --programs onnxruntime --here",
    )
    add = parser.add_argument
    add("--programs", nargs="+", choices=tuple(PINS), default=list(PINS))
    add("--here", action="store_true", help="use the packages of this Python")
    add("--photographs", type=int, default=2)
    add("--size", type=int, default=1024, help="their width in pixels")
    add("--threads", type=int, default=1)
    add("--out", type=Path, help="write the figures to this JSON file")
    options: argparse.Namespace = parser.parse_args()
    if min(options.photographs, options.threads) < 1 or options.size < 128:
        raise UserError("give at least one photograph, one thread and 128 pixels")
    if options.out:
        ownership.check_kind(options.out, ".json", '"programs"')
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    content: dict[str, Any] = {
        "photographs": options.photographs,
        "width": options.size,
        "threads": options.threads,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content["caffe"] = write_networks(folder, options.photographs, options.size)
        content["programs"] = []
        for program in options.programs:
            python = Path(sys.executable)
            if not options.here:
                python = environment(build_dir() / "elsewhere", program)
            for way in WAYS[program]:
                words = [program, way, str(folder), str(options.threads)]
                command = [str(python), __file__, "--child", *words]
                told = subprocess.run(command, capture_output=True, text=True)
                if told.returncode:
                    raise UserError(f"{program} failed: {told.stderr[-500:]}")
                found = json.loads(told.stdout.splitlines()[-1])
                unet = found["networks"]["unet"]
                if "seconds" in unet:
                    unet["seconds"] /= options.photographs
                entry = {"program": program, "precision": way, **found}
                content["programs"].append(entry)
                for network, figures in found["networks"].items():
                    words = figures.get("refused") or (
                        f"median {figures['median']:.1e}, "
                        f"largest {figures['largest']:.1e}"
                    )
                    print(f"{program:12} {way:8} {network:9} {words}", flush=True)
                print(
                    f"{program:12} {way:8} {unet.get('seconds', 0):.2f} s a photograph"
                )
    print(f"Caffe: {content['caffe']['seconds']:.2f} s a photograph")
    if options.out:
        write_json(options.out, content)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        program, way, folder, threads = sys.argv[2:]
        print(json.dumps(child(program, way, Path(folder), int(threads))))
    else:
        sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers")]
        from randrop import cli

        cli.run(main)
