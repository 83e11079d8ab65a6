"""Compares the results of a case through oneDNN and through Caffe's own layers.

Each number may differ by 1e-4 of the largest in its tensor, plus the change in the
results of Caffe's own layers when the input changes by a millionth. If that change is
large, a ReLU or a maximum is on the edge: the case proves nothing, and other data are
drawn for it. The engine's results play no part in that decision.
"""

import dataclasses

import numpy as np

from engine_property.running import run

TOLERANCE = 1e-4
_SHAKES = (1, 2)
_WITH_PARAMS = {
    "Convolution",
    "Deconvolution",
    "InnerProduct",
    "Scale",
    "Bias",
    "PReLU",
    "BatchNorm",
}


@dataclasses.dataclass
class Verdict:
    """The outcome of a case: ok, failed, edge, zeros or refused; and why."""

    what: str
    why: str = ""
    tensors: int = 0
    case: dict | None = None
    flips: int = 0


def _size(values):
    return float(np.abs(values).max(initial=0))


def _largest(records, what):
    """Return the median size of the tensors of a kind, to recognise mere rounding."""
    sizes = [_size(v) for label, v in records if label.endswith(what)]
    return float(np.median([s for s in sizes if s > 0] or [1.0]))


def mistrusted(records, case):
    """Return whether so much of the gradients is zero that they prove little."""
    back = {
        step.get("net", 0)
        for step in case["steps"]
        if step["op"] in ("backward", "step")
    }
    # Nothing may need an input's gradient, and BatchNorm's statistics have none.
    none = {
        (str(i), layer["name"])
        for i, net in enumerate(case["nets"])
        for layer in net["layers"]
        if layer["type"] == "Input"
    }
    last = {}
    for label, values in records:
        words = label.split(": ", 1)[-1].split(" ")
        if words[-1] != "diff" or "_split_" in words[1] or int(words[0]) not in back:
            continue
        statistics = len(words) == 4 and words[1].startswith("batchnorm")
        if not statistics and (words[0], words[1]) not in none:
            last[tuple(words)] = values
    zero = [np.count_nonzero(v) < 0.02 * v.size for v in last.values() if v.size]
    return bool(zero) and np.mean(zero) > 0.6


def _spreads(reference, shaken):
    """Return how far each record's results move when the input is shaken."""
    spreads = []
    for i, (_, values) in enumerate(reference):
        off = [np.abs(run[i][1] - values).max(initial=0) for run in shaken]
        spreads.append(float(max(off)))
    return spreads


def _on_edge(reference, spreads):
    """Name a record that a millionth of the input changes a lot, or return None."""
    usual = {what: _largest(reference, what) for what in ("data", "diff")}
    for (label, values), spread in zip(reference, spreads, strict=True):
        size = _size(values)
        # A tensor of mere rounding, such as a bias' gradient before BatchNorm.
        floor = 1e-2 * usual["diff" if label.endswith("diff") else "data"]
        if spread > 1e-3 * max(size, floor):
            return label
    return None


def first_difference(records, reference, spreads, skip):
    """Return the worst difference in words, and the share of numbers that differ."""
    if [label for label, _ in records] != [label for label, _ in reference]:
        return "other blobs were looked at", 1
    usual = {what: _largest(reference, what) for what in ("data", "diff")}
    worst, told, count = 0.0, None, 0
    for (label, mine), (_, theirs), spread in zip(
        records, reference, spreads, strict=True
    ):
        if skip(label):
            continue
        if mine.shape != theirs.shape:
            return f"{label}: shape {mine.shape}, Caffe's own {theirs.shape}", 1
        size = _size(theirs)
        # If large terms cancel, their sum is the rounding of the terms.
        rounding = 1e-6 * usual["diff" if label.endswith("diff") else "data"]
        allowed = TOLERANCE * size + 8 * spread + rounding
        off = np.abs(mine - theirs)
        error = np.inf if np.isnan(off).any() else float(off.max(initial=0))
        if error > allowed:
            count += 1
            ratio = error / max(size, 1e-30)
            if ratio > worst or told is None:
                worst = ratio
                told = f"{label}: differs by {error:.3g}, largest value {size:.3g}"
    return told, count


def undefined_diffs(case):
    """Return the diffs that Caffe leaves undefined: (number of net, blob).

    Without `force_backward`, a layer whose bottom needs no gradient may use that
    bottom's diff for anything (Scale does).
    """
    found = set()
    for i, net in enumerate(case["nets"]):
        if net.get("force_backward"):
            continue
        needing = set()
        for layer in net["layers"]:
            has_params = layer["type"] in _WITH_PARAMS and len(layer["bottom"]) < 2
            has_params |= bool(layer.get("scale_param", {}).get("bias_term"))
            has_params |= layer["type"] in ("Convolution", "Deconvolution")
            specs = layer.get("param", [])
            if specs and all(spec.get("lr_mult", 1) == 0 for spec in specs):
                has_params = False
            if has_params or needing.intersection(layer.get("bottom", [])):
                needing.update(layer["top"])
            else:
                found.update((i, top) for top in layer["top"] if top not in needing)
    return found


def _skipper(case):
    undefined = undefined_diffs(case)

    def skip(label):
        words = label.split(": ", 1)[-1].split(" ")
        if len(words) != 3 or words[2] != "diff":
            return False
        name = words[1].split("_split_")[0]
        return any(
            int(words[0]) == i and (name == blob or name.startswith(blob + "_"))
            for i, blob in undefined
        )

    return skip


def judge_once(caffe, case):
    """Return the verdict on a case with the data that the case names."""
    reference, problem = run(caffe, case, "CAFFE")
    if problem:
        return Verdict("refused", f"Caffe's own layers: {problem}", case=case)
    if not all(np.isfinite(values).all() for _, values in reference):
        return Verdict("zeros", "Caffe's own layers give NaN or infinity", case=case)
    if mistrusted(reference, case):
        return Verdict("zeros", "the gradients are nearly all zero", case=case)
    records, problem = run(caffe, case, "ONEDNN")
    if problem:
        return Verdict("failed", problem, case=case)
    skip = _skipper(case)
    count = len(reference)
    if first_difference(records, reference, [0.0] * count, skip)[0] is None:
        return Verdict("ok", tensors=count, case=case)
    # Only differences have to be distinguished from rounding.
    shaken = [run(caffe, case, "CAFFE", shake)[0] for shake in _SHAKES]
    spreads = _spreads(reference, shaken)
    told, differing = first_difference(records, reference, spreads, skip)
    if told is None:
        return Verdict("ok", tensors=count, case=case)
    shaken += [run(caffe, case, "CAFFE", shake)[0] for shake in range(3, 11)]
    edge = _on_edge(reference, _spreads(reference, shaken))
    if edge:
        return Verdict("edge", f"{edge} changes by much with a millionth of the input")
    return Verdict(
        "failed", f"{told} ({differing} of {count} tensors differ)", count, case
    )


def judge(caffe, case, draws=4):
    """Return the verdict on a case; on an edge, other data are drawn for it."""
    for turn in range(draws):
        verdict = judge_once(caffe, {**case, "data_seed": case["data_seed"] + turn})
        verdict.flips = turn
        if verdict.what != "edge":
            return verdict
    return verdict
