"""Runs one case in a child process, on one engine, and records everything it reads.

A case is a JSON-like dict: `nets`, `steps`, `seed` and, for a solver, `solver`. The
child is a fork, so that a crash ends only one case and every case starts alike.
"""

import ctypes
import os
import pickle
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

from engine_property.shapes import net_shapes
from engine_property.text import prototxt


class Player:
    """Plays the steps of a case.

    Parameters
    ----------
    caffe : module
        Pycaffe.
    case : dict
        The case.
    folder : pathlib.Path
        The child's own folder for files.
    shake : int
        If 1 or more, all input numbers change by about 1e-6 of their value, randomly
        with this seed: rounding may change the results as much as this does.
    """

    def __init__(self, caffe, case, folder, shake=0):
        self.caffe, self.case, self.folder = caffe, case, folder
        self.shake = np.random.default_rng(shake) if shake else None
        self.records, self.kept = [], {}
        self.kept_of = {}
        caffe.set_mode_cpu()
        caffe.set_random_seed(case["seed"] % 2**31)
        self.solver = None
        self.nets = []
        for net in case["nets"]:
            self.nets.append(self._make(net))
        for net, made in zip(case["nets"], self.nets, strict=True):
            if net.get("shares") is not None:
                made.share_with(self.nets[net["shares"]])
        if self.shake is not None:
            done = set()
            for made in self.nets:
                for blobs in made.params.values():
                    for blob in blobs:
                        where = blob.data.ctypes.data
                        if where not in done:
                            done.add(where)
                            blob.data[...] = self._shaken(blob.data)

    def _make(self, net):
        shapes, _ = net_shapes(net["layers"])
        path = self.folder / f"net{len(self.nets)}.prototxt"
        path.write_text(prototxt(net, shapes))
        if net.get("solver"):
            solver = self.folder / "solver.prototxt"
            solver.write_text(f'net: "{path}"\n' + net["solver"])
            self.solver = self.caffe.get_solver(str(solver))
            return self.solver.net
        return self.caffe.Net(str(path), getattr(self.caffe, net["phase"]))

    def _shaken(self, values):
        if self.shake is None:
            return values
        return values * (1 + 1e-6 * self.shake.normal(0, 1, np.shape(values)))

    def _numbers(self, step, shape):
        """Return the numbers that a step writes."""
        rng = np.random.default_rng([self.case["data_seed"], step["k"]])
        kind = step.get("kind", "normal")
        if kind == "normal":
            return self._shaken(rng.normal(0, 1, shape) * step.get("scale", 1))
        if kind == "labels":
            return rng.integers(0, step["classes"], shape)
        if kind == "shares":
            return self._shaken(rng.random(shape))
        if kind == "file":
            return np.load(step["path"])
        assert kind == "statistics", kind
        return self._shaken(rng.uniform(0.5, 2, shape))

    def _array(self, at):
        """Return pycaffe's view of a blob's data or diff: [net, name, what] etc."""
        net = self.nets[at[0]]
        blob = net.blobs[at[1]] if len(at) == 3 else net.params[at[1]][at[2]]
        return getattr(blob, at[-1])

    def record(self, label, values):
        self.records.append((label, np.array(values)))

    def play(self):
        for i, step in enumerate(self.case["steps"]):
            getattr(self, "do_" + step["op"])(step, f"{i} {step['op']}")

    def do_fill(self, step, label):
        for blob in step["blobs"]:
            array = self._array(blob["at"])
            array[...] = self._numbers(blob, array.shape)

    def _range(self, step, count, names):
        """Return the numbers of the first and last layer of a partial pass."""
        first, last = 0, count - 1
        if step.get("after"):
            first = names.index(step["after"]) + 1
        if step.get("to"):
            last = names.index(step["to"])
        return first, last

    def do_forward(self, step, label):
        net = self.nets[step["net"]]
        names = list(net._layer_names)
        first, last = self._range(step, len(names), names)
        if first > last:
            return
        if step.get("loud"):
            made = net.forward(start=names[first], end=names[last])
            for name in sorted(made):
                self.record(f"{label}: {name}", made[name])
        else:
            net._forward(first, last)

    def do_backward(self, step, label):
        net = self.nets[step["net"]]
        names = list(net._layer_names)
        first, last = len(names) - 1, 0
        if step.get("before"):
            first = names.index(step["before"]) - 1
        if step.get("to"):
            last = names.index(step["to"])
        if first < last:
            return
        if step.get("loud"):
            net.backward(start=names[first], end=names[last])
        else:
            net._backward(first, last)

    def do_look(self, step, label):
        for at in step["at"]:
            self.record(f"{label}: {' '.join(map(str, at))}", self._array(at))

    def do_keep(self, step, label):
        self.kept[step["key"]] = self._array(step["at"])
        self.kept_of[step["key"]] = step["at"]

    def do_peek(self, step, label):
        if step["key"] in self.kept:
            # Label it by the place it views: what is undefined there is undefined here.
            place = " ".join(map(str, self.kept_of[step["key"]]))
            self.record(f"{label} {step['key']}: {place}", self.kept[step["key"]])

    def do_poke(self, step, label):
        if "key" in step:
            if step["key"] not in self.kept:
                return
            array = self.kept[step["key"]]
        else:
            array = self._array(step["at"])
        if step["how"] == "scale":
            array *= np.float32(step["by"])
        elif step["how"] == "part":
            flat = array.reshape(-1)
            assert np.shares_memory(flat, array)
            count = max(1, flat.size // 3)
            flat[:count] = self._numbers(step, (count,))
        else:
            array[...] = self._numbers(step, array.shape)

    def do_reshape(self, step, label):
        # Memory may move, so drop the kept views.
        self.kept.clear()
        net = self.nets[step["net"]]
        for name, shape in step["shapes"].items():
            net.blobs[name].reshape(*shape)
        if step.get("at_once"):
            net.reshape()

    def do_clear(self, step, label):
        self.nets[step["net"]].clear_param_diffs()

    def do_update(self, step, label):
        done = set()
        for name, blobs in self.nets[step["net"]].params.items():
            if name in step.get("leave", []):
                continue
            for blob in blobs:
                data, diff = blob.data, blob.diff
                if data.ctypes.data not in done:
                    done.add(data.ctypes.data)
                    size = np.abs(diff).max(initial=0)
                    data -= np.float32(0.05 / (1 + size)) * diff

    def do_save(self, step, label):
        """Write a net's weights to a file, and read them into it or another net."""
        path = self.folder / "weights"
        if step.get("hdf5"):
            self.nets[step["net"]].save_hdf5(str(path))
            self.nets[step["into"]].load_hdf5(str(path))
        else:
            self.nets[step["net"]].save(str(path))
            self.nets[step["into"]].copy_from(str(path))

    def do_step(self, step, label):
        self.solver.step(step["count"])

    def do_all(self, step, label):
        """Read everything in a net, in an order of its own."""
        net = self.nets[step["net"]]
        places = [
            [step["net"], name, what] for name in net.blobs for what in ("data", "diff")
        ]
        for name, blobs in net.params.items():
            for i in range(len(blobs)):
                places += [[step["net"], name, i, what] for what in ("data", "diff")]
        order = np.random.default_rng([self.case["seed"], step.get("k", 0)])
        self.do_look({"at": [places[i] for i in order.permutation(len(places))]}, label)


def _child(play, engine, threads, folder):
    """Play the case in this process, which then ends."""
    status = 1
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        os.environ["RANDROP_ENGINE"] = engine
        ctypes.CDLL("libgomp.so.1").omp_set_num_threads(threads)
        records = play(folder)
        with (folder / "records").open("wb") as stream:
            pickle.dump(records, stream)
        status = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def run(caffe, case, engine, shake=0):
    """Play a case in a child process.

    Returns
    -------
    records : list of (str, numpy.ndarray) or None
        What it read, in order; None if the child failed.
    problem : str or None
        How it ended instead.
    """

    def play(folder):
        player = Player(caffe, case, folder, shake)
        player.play()
        # The player ends here, so that freeing is checked, too.
        return player.records

    return run_in_child(play, engine, case.get("threads", 1))


def run_in_child(play, engine, threads=1, limit=60):
    """Call a function in a child process, on an engine, with a folder of its own.

    Returns
    -------
    result : object
        What the function returned; None if the child failed.
    problem : str or None
        How it ended instead.
    """
    with tempfile.TemporaryDirectory(prefix="engine-nets-") as name:
        folder = Path(name)
        child = os.fork()
        if child == 0:
            _child(play, engine, threads, folder)
        end = time.monotonic() + limit
        pause = 0.001
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None, f"still running after {limit} s"
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        if status == 0:
            with (folder / "records").open("rb") as stream:
                return pickle.load(stream), None
        lines = (folder / "log").read_text(errors="replace").strip().splitlines()
        told = [x for x in lines if "ERROR: " in x or "Check failed" in x]
        told += [x for x in lines if "runtime error" in x or x.startswith("    #")][:4]
        told = told or lines[-1:]
        if os.WIFSIGNALED(status):
            how = signal.Signals(os.WTERMSIG(status)).name
        else:
            how = f"exit status {os.waitstatus_to_exitcode(status)}"
        return None, " | ".join([how, *(line.strip() for line in told)])
