"""How exported networks differ from Caffe in other programs."""

from collections.abc import Mapping
from typing import Any

from figures.words import bullets, listed
from randrop.report.markdown import table

NAMES = {
    "onnxruntime": "onnxruntime",
    "opencv4": "OpenCV",
    "opencv5": "OpenCV",
    "openvino": "OpenVINO",
    "ncnn": "ncnn",
}
NETWORKS = {"unet": "idrid-small", "lseg": "lseg", "explog3d": "explog3d"}
EQUAL = 1e-5


def _name(run: Mapping[str, Any]) -> str:
    precision = f" ({run['precision']})" if run["precision"] else ""
    return f"{NAMES[run['program']]} {run['version']}{precision}"


def differences(content: Mapping[str, Any]) -> str:
    """Return the largest and the median difference, and the times."""
    heads = ["", *NETWORKS.values(), "median, idrid-small", "processor, s a photograph"]
    rows = []
    for run in content["programs"]:
        found = run["networks"]
        largest = [
            f"{found[name]['largest']:.1e}" if "largest" in found[name] else "refused"
            for name in NETWORKS
        ]
        ours = found["unet"]
        rows.append(
            [_name(run), *largest, f"{ours['median']:.1e}", f"{ours['seconds']:.2f}"]
        )
    caffe = content["caffe"]["seconds"]
    rows.append(["Caffe with our engine", "", "", "", "", f"{caffe:.2f}"])
    return table(heads, rows)


def notes(content: Mapping[str, Any]) -> str:
    """Return which programs compute the same as Caffe."""
    same, other, refused = [], [], []
    for run in content["programs"]:
        figures = [run["networks"][name] for name in NETWORKS]
        known = [each["largest"] for each in figures if "largest" in each]
        (same if max(known) < EQUAL else other).append(_name(run))
        refused += [
            f"{_name(run)} ({NETWORKS[name]})"
            for name in NETWORKS
            if "refused" in run["networks"][name]
        ]
    lines = [f"Within 1e-5 of Caffe: {listed(same)}."]
    if other:
        lines.append(f"Not, because they compute with fewer digits: {listed(other)}.")
    if refused:
        lines.append(f"Refused: {listed(refused)}.")
    return bullets(lines)
