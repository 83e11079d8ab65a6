"""Shrinks a failing case as long as it still fails."""

import copy
import time

from engine_property.acting import overwriting_scales
from engine_property.comparing import judge_once
from engine_property.shapes import InvalidNetError, net_shapes

_CAFFES = {"engine": "CAFFE"}


def _names(net):
    """Return what steps can refer to in a net: its blobs and layers."""
    blobs = {top for layer in net["layers"] for top in layer["top"]}
    return blobs | {layer["name"] for layer in net["layers"]}


def _check_passes(case):
    """Refuse a backward pass without a preceding forward pass.

    Raises
    ------
    InvalidNetError
        If there is one.
    """
    ready, full = set(), set()
    adding = [
        not overwriting_scales(net, net_shapes(net["layers"])[0])
        for net in case["nets"]
    ]
    for step in case["steps"]:
        net = step.get("net", 0)
        if step["op"] == "clear":
            full.discard(net)
        if step["op"] == "forward" and not step.get("to"):
            ready.add(net)
        elif step["op"] == "reshape":
            ready.discard(net)
        elif step["op"] == "backward":
            if net not in ready or (net in full and not adding[net]):
                raise InvalidNetError
            if not step.get("to"):
                ready.discard(net)
                full.add(net)


def _mended(case):
    """Return the case without steps and outputs that refer to removed parts."""
    known = [_names(net) for net in case["nets"]]

    def is_there(at):
        return at[0] < len(known) and at[1] in known[at[0]]

    for net in case["nets"]:
        if net.get("outputs") is not None:
            read = {b for layer in net["layers"] for b in layer.get("bottom", [])}
            tops = [t for layer in net["layers"] for t in layer["top"]]
            open_ones = [t for t in dict.fromkeys(tops) if t not in read]
            net["outputs"] = [t for t in net["outputs"] if t in open_ones] or open_ones
    steps, keys = [], set()
    for step in case["steps"]:
        step = dict(step)
        if step.get("net", 0) >= len(known) or step.get("into", 0) >= len(known):
            continue
        if "blobs" in step:
            step["blobs"] = [b for b in step["blobs"] if is_there(b["at"])]
            if not step["blobs"]:
                continue
        places = step.get("at", [])
        if step["op"] == "look":
            step["at"] = [at for at in places if is_there(at)]
            if not step["at"]:
                continue
        elif places and not is_there(places):
            continue
        if step["op"] == "keep":
            keys.add(step["key"])
        elif "key" in step and step["key"] not in keys:
            continue
        for field in ("after", "to", "before"):
            if step.get(field) and step[field] not in known[step["net"]]:
                step[field] = None
        if "shapes" in step:
            there = known[step["net"]]
            step["shapes"] = {k: v for k, v in step["shapes"].items() if k in there}
            # The net as it is now, with the remaining layers.
            net_shapes(case["nets"][step["net"]]["layers"], step["shapes"])
        steps.append(step)
    case["steps"] = steps
    _check_passes(case)
    for net in case["nets"]:
        net_shapes(net["layers"])
    return case


def _without_layer(case, i, j):
    """Return the case without a layer; its readers then read its bottom."""
    made = copy.deepcopy(case)
    for net in made["nets"]:
        if net is not made["nets"][i] and net.get("shares") is None:
            continue
        layer = net["layers"].pop(j)
        for later in net["layers"][j:]:
            later["bottom"] = [
                layer["bottom"][0] if b in layer["top"] else b
                for b in later.get("bottom", [])
            ]
    return made


def _without_what_follows(case, i, j):
    """Return the case without a layer and everything that depends on it."""
    made = copy.deepcopy(case)
    for net in made["nets"]:
        if net is not made["nets"][i] and net.get("shares") is None:
            continue
        gone = {net["layers"][j]["name"]}
        lost = set(net["layers"][j]["top"]) - set(net["layers"][j].get("bottom", []))
        for layer in net["layers"][j + 1 :]:
            of = layer.get("like", {}).get("of")
            if lost.intersection([*layer.get("bottom", []), of]):
                gone.add(layer["name"])
                lost.update(layer["top"])
        net["layers"] = [x for x in net["layers"] if x["name"] not in gone]
    return made


def _through_caffe(case, i, j):
    made = copy.deepcopy(case)
    layer = made["nets"][i]["layers"][j]
    if layer["type"] == "Input" or layer.get("randrop_engine_param") == _CAFFES:
        raise InvalidNetError
    layer["randrop_engine_param"] = _CAFFES
    return made


def _smaller(case):
    """Yield slightly smaller cases."""
    if len(case["nets"]) > 1:
        for keep in range(len(case["nets"])):
            if case["nets"][keep].get("shares") is None:
                made = copy.deepcopy(case)
                made["nets"] = [made["nets"][keep]]
                made["steps"] = (
                    [s for s in made["steps"] if s.get("net", 0) in (keep,)]
                    if keep == 0
                    else []
                )
                yield made
    if case.get("threads", 1) > 1:
        yield {**copy.deepcopy(case), "threads": 1}
    count = len(case["steps"])
    size = max(1, count // 2)
    while size:
        for at in range(0, count, size):
            made = copy.deepcopy(case)
            del made["steps"][at : at + size]
            yield made
        size //= 2
    for step in range(count):
        if case["steps"][step].get("loud"):
            made = copy.deepcopy(case)
            del made["steps"][step]["loud"]
            yield made
    for change in (_without_what_follows, _without_layer, _through_caffe):
        for i, net in enumerate(case["nets"]):
            if net.get("shares") is not None and change is not _through_caffe:
                continue
            for j in reversed(range(len(net["layers"]))):
                try:
                    yield change(case, i, j)
                except (InvalidNetError, LookupError):
                    continue


def shrink(caffe, case, why, seconds=90):
    """Return a smaller failing case, and why it fails."""
    end = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < end:
        progress = False
        for candidate in _smaller(case):
            if time.monotonic() > end:
                break
            try:
                candidate = _mended(candidate)
            except (InvalidNetError, LookupError):
                continue
            verdict = judge_once(caffe, candidate)
            if verdict.what == "failed":
                case, why, progress = candidate, verdict.why, True
                break
    return case, why
