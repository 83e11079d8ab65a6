"""Draws the steps of a case: passes, reads, writes, new shapes, solver steps."""

import copy
import random
from math import prod

from engine_property.drawing import draw_layers
from engine_property.shapes import InvalidNetError, net_shapes

_SOLVERS = (
    'type: "SGD" momentum: 0.9 weight_decay: 0.001',
    'type: "Adam" momentum: 0.9 momentum2: 0.999',
    'type: "Nesterov" momentum: 0.9',
    'type: "SGD" iter_size: 2',
)


def _add_losses(draft):
    """End the net in losses; some outputs stay without one."""
    rng, outputs = draft.rng, draft.open()
    for x in (
        outputs
        if draft.chance(0.8)
        else rng.sample(outputs, rng.randint(1, len(outputs)))
    ):
        shape = draft.shapes[x]
        weight = {"loss_weight": rng.choice((1, 1, 0.3))}
        kind = rng.choice(("EuclideanLoss", "Sigmoid", "SoftmaxWithLoss", "weight"))
        if kind == "SoftmaxWithLoss" and len(shape) > 1:
            label = draft.input(of=x, label=True)
            draft.add(kind, [x, label], **weight)
        elif kind == "Sigmoid" and len(shape) > 0:
            target = draft.input(of=x)
            draft.layers[-1]["kind"] = "shares"
            draft.add("SigmoidCrossEntropyLoss", [x, target], **weight)
        elif kind == "weight" and len(shape) > 0:
            # Any layer's top may have a loss weight, but a single number is more usual.
            y = draft.add("Reduction", x, reduction_param={"operation": "SUMSQ"})
            draft.layers[-1]["loss_weight"] = [0.1]
            assert draft.shapes[y] == ()
        elif len(shape) <= 4:
            draft.add("EuclideanLoss", [x, draft.input(of=x)], **weight)


def overwriting_scales(net, shapes):
    """Return the Scales whose gradient Caffe's own layer overwrites.

    With one group outside the scaled axes, it fails to add to the existing gradient;
    the engine adds, as all other layers do.
    """
    found = []
    for layer in net["layers"]:
        if layer["type"] == "Scale" and len(layer["bottom"]) == 1:
            axis = layer["scale_param"].get("axis", 1)
            if prod(shapes[layer["bottom"][0]][:axis]) == 1:
                found.append(layer["name"])
    return found


class Script:
    """The steps of a case while they are drawn."""

    def __init__(self, rng, nets):
        self.rng, self.nets = rng, nets
        self.steps, self.k, self.keys = [], 0, {}
        self.shapes = [net_shapes(net["layers"]) for net in nets]
        self.passes = [0] * len(nets)
        self.overwriting = [
            overwriting_scales(net, shapes)
            for net, (shapes, _) in zip(nets, self.shapes, strict=True)
        ]
        # How often the steps read or write: some nets are left alone.
        self.curiosity = rng.choice((0, 0, 0.3, 0.7))
        self.writes = rng.random() < 0.5

    def chance(self, share):
        return self.rng.random() < share

    def number(self):
        self.k += 1
        return self.k

    def do(self, op, **step):
        self.steps.append({"op": op, **step})

    def fill(self, i):
        blobs = []
        for layer in self.nets[i]["layers"]:
            if layer["type"] == "Input":
                one = {"at": [i, layer["top"][0], "data"], "k": self.number()}
                if layer.get("kind") == "labels":
                    classes = self.shapes[i][0][layer["like"]["of"]][1]
                    one.update(kind="labels", classes=classes)
                elif layer.get("kind"):
                    one["kind"] = layer["kind"]
                blobs.append(one)
        self.do("fill", blobs=blobs)

    def statistics(self, i):
        """Give BatchNorms the statistics of an earlier training."""
        blobs = []
        for layer in self.nets[i]["layers"]:
            if layer["type"] == "BatchNorm":
                for j in range(3):
                    kind = "normal" if j == 0 else "statistics"
                    at = [i, layer["name"], j, "data"]
                    blobs.append({"at": at, "k": self.number(), "kind": kind})
        if blobs:
            self.do("fill", blobs=blobs)

    def place(self, i):
        """Return a readable place in a net, and whether it is safe."""
        blobs, params = self.shapes[i]
        what = self.rng.choice(("data", "data", "diff"))
        filled = [n for n, found in params.items() if found]
        if filled and self.chance(0.3):
            name = self.rng.choice(filled)
            return [i, name, self.rng.randrange(len(params[name])), what]
        return [i, self.rng.choice(list(blobs)), what]

    def _shares_memory(self, at):
        """Return whether a layer replaces a blob's memory, as Split does."""
        if len(at) == 4:
            return False
        for layer in self.nets[at[0]]["layers"]:
            touches = at[1] in layer["top"] or at[1] in layer.get("bottom", [])
            sharing = ("Flatten", "Reshape", "Split", "Concat", "Slice", "Eltwise")
            if touches and layer["type"] in sharing:
                return True
        return False

    def _writable(self, at):
        """Return whether a write to a place means the same to every engine."""
        if len(at) == 4:
            layer = next(x for x in self.nets[at[0]]["layers"] if x["name"] == at[1])
            if at[-1] == "diff":
                return layer["name"] not in self.overwriting[at[0]]
            return layer["type"] != "BatchNorm"
        makers = [x for x in self.nets[at[0]]["layers"] if at[1] in x["top"]]
        return not any(x.get("kind") == "labels" for x in makers)

    def be_curious(self, i):
        """Perhaps read something, or write, or keep a view for later."""
        while self.chance(self.curiosity):
            at = self.place(i)
            act = self.rng.random()
            if self.keys and act < 0.35:
                key = self.rng.choice(list(self.keys))
                if self.writes and self.chance(0.5) and self._writable(self.keys[key]):
                    self.poke({"key": key})
                else:
                    self.do("peek", key=key)
            elif act < 0.55 and self.passes[i] > 0 and not self._shares_memory(at):
                key = f"view{self.number()}"
                self.keys[key] = at
                self.do("keep", at=at, key=key)
            elif act < 0.8 or not self.writes or not self._writable(at):
                self.do("look", at=[at])
            else:
                self.poke({"at": at})

    def poke(self, where):
        how = self.rng.choice(("scale", "part", "all", "scale"))
        step = {**where, "how": how, "k": self.number()}
        at = where.get("at") or self.keys[where["key"]]
        if how == "scale":
            step["by"] = self.rng.choice((0.5, 1.5, -1))
        elif len(at) == 4:
            step["scale"] = 0.3
        self.do("poke", **step)

    def forward(self, i):
        names = [layer["name"] for layer in self.nets[i]["layers"]]
        loud = {"loud": True} if self.curiosity and self.chance(0.5) else {}
        if self.curiosity and self.chance(0.4):
            cuts = sorted(self.rng.sample(range(len(names)), min(2, len(names) - 1)))
            ends = [names[cut] for cut in cuts]
            parts = zip([None, *ends], [*ends, None], strict=True)
            for after, to in parts:
                self.do("forward", net=i, after=after, to=to, **loud)
                self.be_curious(i)
        else:
            self.do("forward", net=i, **loud)
            self.be_curious(i)

    def backward(self, i):
        net = self.nets[i]
        if net.get("outputs"):
            blobs = [
                {"at": [i, name, "diff"], "k": self.number()} for name in net["outputs"]
            ]
            self.do("fill", blobs=blobs)
        loud = {"loud": True} if self.curiosity and self.chance(0.5) else {}
        names = [layer["name"] for layer in net["layers"]]
        if self.curiosity and self.chance(0.4):
            end = self.rng.choice(names)
            self.do("backward", net=i, to=end, **loud)
            self.be_curious(i)
            self.do("backward", net=i, before=end, **loud)
        else:
            self.do("backward", net=i, **loud)
        self.be_curious(i)

    def reshape(self, i):
        """Give a net's data another size, if its layers accept it."""
        net = self.nets[i]
        first = net["layers"][0]
        shapes, params = self.shapes[i]
        for _ in range(5):
            new = [self.rng.randint(1, 3)]
            new.append(first["shape"][1])
            new += [max(1, s + self.rng.randint(-3, 3)) for s in first["shape"][2:]]
            if self.chance(0.3):
                new[2:] = first["shape"][2:]
            try:
                made, wanted = net_shapes(net["layers"], {first["name"]: new})
            except InvalidNetError:
                continue
            if wanted != params or made == shapes:
                continue
            if overwriting_scales(net, made) != self.overwriting[i]:
                continue
            inputs = [x["top"][0] for x in net["layers"] if x["type"] == "Input"]
            given = {name: list(made[name]) for name in inputs}
            self.do("reshape", net=i, shapes=given, at_once=self.chance(0.7))
            self.shapes[i] = (made, params)
            self.keys.clear()
            self.passes[i] = 0
            self.fill(i)
            return

    def turn(self, i):
        """One round of a net: perhaps new data, a forward pass, perhaps a backward."""
        if self.passes[i] and self.chance(0.3):
            self.reshape(i)
        if not self.passes[i] or self.chance(0.7):
            self.fill(i)
        if self.overwriting[i] or self.chance(0.3):
            self.do("clear", net=i)
        self.be_curious(i)
        self.forward(i)
        if self.nets[i]["phase"] == "TRAIN" or self.chance(0.5):
            self.backward(i)
            self.passes[i] += 1
            if self.chance(0.4):
                frozen = [
                    x["name"]
                    for x in self.nets[i]["layers"]
                    if x["type"] == "BatchNorm"
                ]
                self.do("update", net=i, leave=frozen)


def _draw_net(rng, loss):
    """Return a net of random layers, with losses or with outputs to write diffs to."""
    while True:
        draft = draw_layers(rng)
        net = {"layers": draft.layers, "phase": "TRAIN"}
        try:
            if loss:
                _add_losses(draft)
            else:
                outputs = [x for x in draft.open() if "input" not in x]
                net["outputs"] = [x for x in outputs if rng.random() < 0.95] or outputs
        except InvalidNetError:
            continue
        if not loss and not net["outputs"]:
            continue
        if not loss or rng.random() < 0.5:
            net["force_backward"] = True
        return net


def _second_net(rng, net):
    """Return a second net for the same process: another, or the first for testing."""
    kind = rng.random()
    if kind < 0.4:
        return _draw_net(rng, rng.random() < 0.5)
    second = {**copy.deepcopy(net), "shares": 0}
    if kind < 0.8:
        second["phase"] = "TEST"
    for layer in second["layers"]:
        if rng.random() < 0.2:
            layer["randrop_engine_param"] = {"engine": "CAFFE"}
    return second


def draw_case(seed):
    """Return the case of a seed."""
    rng = random.Random(seed)
    solver = rng.random() < 0.15
    net = _draw_net(rng, loss=solver or rng.random() < 0.5)
    nets = [net]
    if solver:
        kinds = _SOLVERS[
            : 3 if overwriting_scales(net, net_shapes(net["layers"])[0]) else 4
        ]
        net["solver"] = (
            f'{rng.choice(kinds)} base_lr: 0.01 lr_policy: "fixed" max_iter: 1000 '
            f"display: 0 snapshot: 0 solver_mode: CPU random_seed: {seed % 1000}\n"
        )
    if rng.random() < 0.1:
        net["phase"] = "TRAIN" if solver else "TEST"
    if rng.random() < 0.25:
        second = _second_net(rng, net)
        second.pop("solver", None)
        nets.append(second)
    script = Script(rng, nets)
    for i, one in enumerate(nets):
        if one.get("shares") is None and rng.random() < 0.5:
            script.statistics(i)
    if net["phase"] == "TEST" and not any(s["op"] == "fill" for s in script.steps):
        script.statistics(0)
    for turn in range(rng.randint(1, 3) * len(nets)):
        i = turn % len(nets)
        if solver and i == 0:
            script.fill(0)
            script.be_curious(0)
            script.do("step", count=rng.randint(1, 2))
            script.passes[0] += 1
            script.be_curious(0)
        else:
            script.turn(i)
        if rng.random() < 0.1:
            into = rng.randrange(len(nets)) if nets[-1].get("shares") == 0 else i
            script.do("save", net=i, into=into, hdf5=rng.random() < 0.3)
    for i in range(len(nets)):
        script.do("all", net=i, k=script.number())
    return {
        "seed": seed,
        "data_seed": seed,
        "threads": rng.choice((1, 1, 1, 2, 3)),
        "nets": nets,
        "steps": script.steps,
    }
