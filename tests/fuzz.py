"""Random layers and files: each is taken for what it says, or refused in a sentence.

    build/venv/bin/python tests/fuzz.py --seed 1234
    build/venv/bin/python tests/fuzz.py --seed 1 --count 2000 --nets 200

Half of the cases are loss layers, native and as Python twins, with random parameters,
shapes and labels, right and wrong ones: a layer may end Caffe only by a check whose
message names it, and both agree where both accept. The others are files that scripts
read (JSON, HDF5, images, weights), changed at random. Each case has a process of its
own. The exit status is 1 when a case fails.
"""

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers"), str(HERE.parent)]
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

SECONDS = 60
ODD = [
    *(float("nan"), float("inf"), float("-inf"), -1, -0.5, 0, 1e-45, 1e-30, 1e30),
    *(3e38, 1e39, 101, 2, 2**31 - 1, 2**31, -(2**31), 2**64, True),
]
ODD += ["NONE", "text", "", None, [], [0.5], [1.0, 2.0, 3.0, 4.0, 5.0]]


def drawn(strategy, number):
    """Return the value that a strategy draws for a seed."""
    found = []

    @seed(number)
    @settings(
        max_examples=3,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value):
        found.append(value)

    collect()
    # The first ones are the simplest.
    return found[-1]


@st.composite
def layers(draw):
    """A loss layer: its type, parameters, and the content of its blobs."""
    from test_layers import shapes

    from randrop.losses.registry import LAYERS

    kind = draw(st.sampled_from(sorted(LAYERS)))
    member = member_of(kind)
    options = dict(draw(member.options))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        name = draw(st.sampled_from(sorted(LAYERS[kind].options.model_fields)))
        options[name] = draw(st.sampled_from(ODD))
    return {
        "kind": kind,
        "options": options,
        "shape": draw(shapes),
        "labels": draw(st.sampled_from(["right", "right", "right", "odd", "shape"])),
        "share": draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        "spread": draw(st.sampled_from([0.1, 3.0, 30.0])),
        "numbers": draw(st.integers(0, 2**32 - 1)),
    }


def member_of(kind):
    from loss_family import BY_TYPE
    from nonfinite_child import DROP

    if kind in BY_TYPE:
        return BY_TYPE[kind]
    import dataclasses

    names = ["LINEAR", "SQU", "LOG", "NONE"]
    options = {"schedule_type": st.sampled_from(names), "seed": st.integers(0, 2**40)}
    ignored = {"ignore_label": st.sampled_from([255, -1, 77])}
    drawn = st.fixed_dictionaries(options, optional=ignored)
    return dataclasses.replace(DROP, options=drawn)


def blobs(case):
    """Return the logits and labels of a case."""
    from loss_family import labels, logits

    rng = np.random.default_rng(case["numbers"])
    member, options = member_of(case["kind"]), case["options"]
    # An invalid ignore label is refused with the parameters.
    known = {"activation": "SOFTMAX"} if "activation" in member_fields(member) else {}
    known |= {k: v for k, v in options.items() if k == "activation"}
    ignore = options.get("ignore_label")
    if type(ignore) is int and abs(ignore) < 2**24:
        known["ignore_label"] = ignore
    shape = tuple(case["shape"])
    x = logits(rng, member, known, shape, case["spread"])
    t = labels(rng, member, known, shape, case["share"])
    if case["labels"] == "odd":
        t.flat[rng.integers(t.size)] = rng.choice([-1, 2, 5, 0.5, np.nan, np.inf, 1e9])
    elif case["labels"] == "shape":
        t = np.concatenate([t, t], axis=int(rng.integers(t.ndim)))
    return x, t


def member_fields(member):
    from randrop.losses.registry import LAYERS

    return LAYERS[member.type].options.model_fields


def in_child(folder, action):
    """Call an action in its own process; return its result and the stderr."""
    out, err = folder / "out", folder / "err"
    for path in (out, err):
        path.write_text("")
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        with err.open("w") as stream:
            os.dup2(stream.fileno(), 2)
            os.dup2(stream.fileno(), 1)
        try:
            out.write_text(json.dumps(action()))
        except BaseException:
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = json.loads(out.read_text()) if status == 0 else None
    return status, said, err.read_text(errors="replace")


def outcome(folder, case, python):
    """Return ("taken", numbers), ("refused", why) or ("failed", why) of a layer."""
    from loss_family import layer_text, loss_net, run

    from randrop.pycaffe.build import import_caffe

    def passes():
        member = member_of(case["kind"])
        x, t = blobs(case)
        text = layer_text(member, case["options"], python, 3.7)
        text = text.replace('name: "loss"', 'name: "the_layer"')
        try:
            net = loss_net(import_caffe(), folder, x.shape, t.shape, text)
            loss, grad, _ = run(net, x, t)
        except ValueError as error:
            return {"refused": str(error)}
        return {"loss": loss, "grad": grad.ravel().astype(float).tolist()}

    status, said, err = in_child(folder, passes)
    if status == 0 and "refused" in said:
        named = f"{case['kind']}Layer: " in said["refused"]
        return ("refused" if named else "failed"), said["refused"]
    if status == 0:
        return "taken", said
    end = err[-1500:]
    # Caffe ends by abort; protobuf's reader names the file, which is not a layer yet.
    named = "the_layer" in err or ("Failed to parse" in err and "net.prototxt" in err)
    if status == -signal.SIGABRT and "Check failure" in err and named:
        return "refused", end
    return "failed", f"status {status}: {end}"


def try_layer(folder, case):
    """Return None or the fault, and how the layer and its twin ended."""
    native = outcome(folder, case, python=False)
    try:
        twin = outcome(folder, case, python=True)
    except UnicodeError:
        twin = ("refused", "")
    ends = f"layer {native[0]}, twin {twin[0]}"
    for name, (what, why) in (("layer", native), ("twin", twin)):
        if what == "failed":
            return f"{name}: {why}", ends
    if native[0] == twin[0] == "taken":
        return differs(native[1], twin[1]), ends
    return None, ends


def differs(native, twin):
    """Return the differences of two passes in single precision."""
    a, b = (np.array([p["loss"]]) for p in (native, twin))
    if not np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True):
        return f"loss {a[0]:.9g}, of the twin {b[0]:.9g}"
    if not np.isfinite(a[0]):
        return None  # Beyond single precision, which has no gradient then.
    a, b = (np.array(p["grad"]) for p in (native, twin))
    finite = np.abs(b[np.isfinite(b)]).max(initial=0)
    if np.allclose(a, b, rtol=1e-3, atol=1e-4 * finite + 1e-9, equal_nan=True):
        return None
    off = np.nan_to_num(np.abs(a - b), nan=np.inf) * (np.isnan(a) != np.isnan(b))
    at = np.argmax(np.where(a == b, 0, np.maximum(off, np.nan_to_num(abs(a - b)))))
    return f"gradient {a[at]:.9g}, of the twin {b[at]:.9g}, at {at} of {a.size}"


def damaged(rng, content):
    """Return changed bytes: flipped, cut, doubled, or overwritten."""
    content = bytearray(content)
    how = ["flip", "cut", "zeros", "copy", "numbers"][rng.integers(5)]
    at = int(rng.integers(max(1, len(content))))
    length = int(rng.integers(1, 40))
    if how == "flip":
        for _ in range(rng.integers(1, 9)):
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    elif how == "cut":
        del content[at:]
    elif how == "zeros":
        content[at : at + length] = bytes(length)
    elif how == "copy":
        content[at:at] = content[at : at + length]
    else:
        content[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\x80"][rng.integers(2)]
    return bytes(content)


def readers(folder):
    """Return the non-JSON files that are read: name to content and reader."""
    from PIL import Image
    from test_documents import labelled_set

    from randrop import nets
    from randrop.data import images, labelled
    from randrop.pycaffe.build import import_caffe
    from randrop.training import weights

    rng = np.random.default_rng(5)
    found = {}
    photograph = Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8))
    mask = Image.fromarray((rng.random((24, 20)) < 0.1).astype(np.uint8) * 255)
    for suffix in ("png", "jpg", "tif", "bmp", "webp"):
        photograph.save(folder / f"photograph.{suffix}")
        found[f"photograph.{suffix}"] = images.read_image
    for suffix in ("png", "tif", "gif"):
        mask.save(folder / f"mask.{suffix}")
        found[f"mask.{suffix}"] = images.read_mask
    manifest = {"labels": ["x", "y"], "shape": [1, 4, 4], "frequency": [0.9, 0.1]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    labelled_set(folder)
    found["train.h5"] = lambda path: labelled.check_values(
        labelled.read_labelled(path.parent)
    )
    deploy = nets.unet(2, base_channels=2, depth=2)

    def save():
        (folder / "net.prototxt").write_text(deploy)
        caffe = import_caffe()
        net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
        net.save(str(folder / "net.caffemodel"))
        net.save_hdf5(str(folder / "net.h5"))
        return True

    in_child(folder, save)
    for name in ("net.caffemodel", "net.h5"):
        found[name] = lambda path: weights.check(path, deploy)
    return {name: ((folder / name).read_bytes(), r) for name, r in found.items()}


def try_file(folder, number, known):
    """Change and read a file; return None or the fault, and how it ended."""
    from test_documents import KINDS, changes, write

    from randrop.errors import UserError

    rng = np.random.default_rng(number)
    if rng.random() < 0.6:
        name = sorted(KINDS)[rng.integers(len(KINDS))]
        valid, reader = KINDS[name]
        content = json.dumps(valid).encode() + b"\n"
        if rng.random() < 0.5:
            text = json.dumps(drawn(changes(valid), number))
            content = text.encode("utf-8", "surrogatepass") + b"\n"
        else:
            content = damaged(rng, content)
    else:
        name = sorted(known)[rng.integers(len(known))]
        content, reader = known[name]
        content = damaged(rng, content)

    def read():
        path = write(folder, name, content)
        try:
            reader(folder if name in KINDS else path)
        except UserError as error:
            return str(error)
        return ""

    status, said, err = in_child(folder, read)
    if status:
        return f"{name}: status {status}: {err[-1500:]}", "file failed"
    if said and Path(name).stem not in said and str(folder) not in said:
        return f"{name}: the message names no file: {said}", "file failed"
    return None, "file refused" if said else "file read"


def try_nets(options):
    """Run engine_nets.py and return whether it found no fault."""
    words = ["--seed", options.seed, "--count", options.nets, "--quiet"]
    words += ["--seconds", options.seconds] if options.seconds else []
    words += ["--tried", options.tried] if options.tried else []
    program = [sys.executable, HERE / "engine_nets.py", *words]
    # The layers here are small: one thread is enough.
    env = {key: v for key, v in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(list(map(str, program)), check=False, env=env)
    return done.returncode == 0


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first case")
    parser.add_argument("--count", type=int, default=1, help="how many cases")
    parser.add_argument("--seconds", type=float, help="stop each part after so many")
    parser.add_argument("--nets", type=int, default=0, help="and so many random nets")
    parser.add_argument("--show", action="store_true", help="tell of every case")
    parser.add_argument("--tried", help="append the counts to this file")
    return parser.parse_args()


def main():
    warnings.simplefilter("ignore")
    options = arguments()
    import tried

    from randrop.pycaffe.build import import_caffe

    sums, faults, start = collections.Counter(), 0, time.monotonic()
    import_caffe()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "known").mkdir()
        known = readers(folder / "known")
        for number in range(options.seed, options.seed + options.count):
            if options.seconds and time.monotonic() - start > options.seconds:
                break
            inner = folder / str(number)
            inner.mkdir()
            case = None
            if number % 2:
                case = drawn(layers(), number)
                wrong, ends = try_layer(inner, case)
            else:
                # The other files that a reader needs exist and are intact.
                for other, (content, _) in known.items():
                    (inner / other).write_bytes(content)
                (inner / "validation.h5").write_bytes(known["train.h5"][0])
                manifest = (folder / "known" / "manifest.json").read_text()
                (inner / "manifest.json").write_text(manifest)
                wrong, ends = try_file(inner, number, known)
            sums[ends] += 1
            line = f"build/venv/bin/python tests/fuzz.py --seed {number}"
            if options.show:
                print(f"{line}  # {ends} {case or ''}")
            if wrong:
                faults += 1
                print(f"FAILED: {line}\n  {case or ''}\n  {wrong}", flush=True)
            subprocess.run(["rm", "-r", inner], check=True)
    cases = sum(sums.values())
    told = ", ".join(f"{count} {what}" for what, count in sorted(sums.items()))
    print(f"{cases} cases: {told}; {faults} faults")
    seconds = time.monotonic() - start
    tried.add(options.tried, "layers and files at random", cases, faults, seconds,
              options.seed)  # fmt: skip
    good = not options.nets or try_nets(options)
    sys.exit(1 if faults or not good else 0)


if __name__ == "__main__":
    main()
