"""Every JSON file that is read, randomly changed: accepted, or a clear message."""

import copy
import json
import os
import signal

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from randrop.data import labelled, set_statistics
from randrop.data.layouts import read_groups
from randrop.data.splits import read_split
from randrop.errors import UserError
from randrop.files import documents, reading, schema
from randrop.training import kept_file

NAMES = ("a", "b", "c")


def photographs(folder):
    import cv2

    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        cv2.imwrite(
            str(folder / "images" / f"{name}.png"), np.zeros((8, 8, 3), np.uint8)
        )
    return folder


def labelled_set(folder):
    for subset in labelled.SUBSETS:
        with h5py.File(folder / f"{subset}.h5", "w") as file:
            file["data"] = np.zeros((2, 1, 4, 4), np.float32)
            file["label"] = np.zeros((2, 1, 4, 4), np.uint8)
    return folder


RUN = {
    **{"net": "unet", "loss": "random-drop", "lesions": ["MA", "HE"], "prior": 0.01},
    **{"patch": 256, "batch": 2, "depth": 4, "base_channels": 8, "iterations": 10},
    **{"lr": 1e-3, "split": None, "data": "/data", "python_layer": False, "seed": 1},
    **{"lesion_weights": {"MA": 2.0}, "thresholds": {"MA": 0.5}, "field_of_view": 99},
    **{"stride": 8, "activation": "SIGMOID", "watch_mask": False, "workers": 1},
}
CASES = {n: {"unknown": ["EX"], "patient": f"p{n}", "size": [8, 8]} for n in NAMES}
MEASURE = {"average_precision": 0.4, "aupr_challenge": None, "froc": {"score": 0.3}}

# The documents: a name, a valid document, and the function that reads a folder with it.
KINDS = {
    "run.json": (RUN, lambda f: documents.read_photograph_run(f, "x", ("loss", "lr"))),
    "split.json": (
        {"train": ["a", "b"], "validation": ["c"]},
        lambda f: read_split(f / "split.json", set(NAMES)),
    ),
    "manifest.json": (
        {"generator": "randrop prepare", "cases": CASES},
        lambda f: read_groups(photographs(f), "folder"),
    ),
    "statistics.json": (
        {"MA": {"train": {"share": 0.1}}, "HE": {"train": {"share": 0.2}}},
        lambda f: set_statistics.frequency(f, ["MA", "HE"]),
    ),
    "labelled/manifest.json": (
        {"labels": ["x", "y"], "shape": [1, 4, 4], "frequency": [0.9, 0.1]},
        lambda f: labelled.read_labelled(labelled_set(f / "labelled")),
    ),
    "prediction.json": (
        {"complete": True, "lesions": ["MA"], "weights_sha256": "0", "backend": "caffe",
         "tile": 512, "overlap": 64, "seconds": {"a": 1.5}},
        lambda f: schema.read_json(f / "prediction.json", documents.Prediction, "x"),
    ),
    "metrics.json": (
        {"lesions": {"MA": MEASURE, "HE": MEASURE}},
        lambda f: documents.read_metrics(f / "metrics.json"),
    ),
    "labels/metrics.json": (
        {"labels": {"x": {"dice": 1.0, "iou": 1}, "y": {"dice": None, "iou": 0.5}},
         "mean_dice": 0.5, "mean_iou": None},
        lambda f: documents.read_metrics(f / "labels/metrics.json"),
    ),
    "about.json": (
        {"title": "t", "data": "d", "licence": "l", "limits": ["m"]},
        lambda f: schema.read_json(f / "about.json", documents.About, "x"),
    ),
    "layers.json": (
        {"ms": 3.5, "loss_share": 0.1, "data_share": 0.2, "layers": {}},
        lambda f: schema.read_json(f / "layers.json", documents.Costs, "x"),
    ),
    "curves.json": (
        {"training_loss": [[0, 1.5], [10, None]], "validation_loss": [],
         "learning_rate": [[0, 1e-3]], "data_waiting": {"patches": 3.0}},
        lambda f: schema.read_json(f / "curves.json", documents.Curves, "x"),
    ),
    "kept.jsonl": (
        {"iteration": 10, "negatives": 9.0, "kept": 3.0, "expected": 2.5,
         "variance": 1.0},
        lambda f: kept_file.read(f / "kept.jsonl"),
    ),
}  # fmt: skip
# Keys without effect on the readers: any value is accepted.
UNREAD = {"size", "generator", "layers"}

wrong = st.sampled_from(
    [None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", "text",
     "\ud800", "../../etc", [], {}, [[]], {"a": {}}, [None], "NaN", -(2**70), 1e308]
) | st.text(max_size=5)  # fmt: skip


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def changes(draw, valid):
    """A document with a few values replaced, removed, added, or nested deeply."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(value), key=str)))
        how = draw(st.sampled_from(["replace", "remove", "add", "nest"]))
        new = copy.deepcopy(draw(wrong))
        if how == "nest":
            for _ in range(draw(st.sampled_from([1, 70, 400]))):
                new = [new]
        if not path:
            if how in ("replace", "nest"):
                return new
            continue
        owner = value
        for key in path[:-1]:
            owner = owner[key]
        if how == "remove":
            del owner[path[-1]]
        elif how == "add" and isinstance(owner, dict):
            owner[draw(st.text(max_size=4) | st.sampled_from(["labels", "all"]))] = new
        elif how == "add":
            owner.append(new)
        else:
            owner[path[-1]] = new
        if how == "nest":
            break
    return value


class Hangs(BaseException):
    pass


def in_time(action, seconds=20):
    def late(_number, _frame):
        raise Hangs(seconds)

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        return action()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text, errors="surrogatepass")
    return path


@pytest.mark.parametrize("name", KINDS)
def test_what_is_right_is_read(tmp_path, name):
    valid, read = KINDS[name]
    write(tmp_path, name, json.dumps(valid) + "\n")
    assert read(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_a_changed_document_is_read_or_refused_by_name(tmp_path, name):
    valid, read = KINDS[name]
    refused = []

    @settings(max_examples=120, deadline=None,
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(changes(valid))
    def check(changed):
        path = write(tmp_path, name, json.dumps(changed) + "\n")
        try:
            in_time(lambda: read(tmp_path))
        except UserError as error:
            refused.append(changed)
            # If the manifest is valid and the images are not, they are named.
            assert str(path) in str(error) or str(path.parent) in str(error)
            assert len(str(error)) < 2000

    check()
    assert len(refused) > 20


LEAVES = [
    (name, path)
    for name, (valid, _) in KINDS.items()
    for path in places(valid)
    if path and not UNREAD & set(map(str, path))
]


@pytest.mark.parametrize(("name", "path"), LEAVES, ids=lambda v: str(v))
def test_no_value_of_a_wrong_type_is_taken(tmp_path, name, path):
    """Replace each single value with one of every other kind."""
    valid, read = KINDS[name]
    owner = valid
    for key in path:
        owner = owner[key]
    kinds = {
        "text": "x",
        "number": -7.25,
        "true": True,
        "list": [{}],
        "object": {"": 1},
    }
    kinds |= {"nan": float("nan"), "inf": float("inf")}
    if isinstance(owner, str) or path == ("split",):
        del kinds["text"]
    if isinstance(owner, dict):
        del kinds["object"]  # Its keys are changed separately.
    if name == "curves.json" and len(path) == 3:
        del kinds["number"]  # A loss may have any value.
    for value in kinds.values():
        changed = copy.deepcopy(valid)
        place = changed
        for key in path[:-1]:
            place = place[key]
        if isinstance(place[path[-1]], bool) and isinstance(value, bool):
            continue
        place[path[-1]] = value
        write(tmp_path, name, json.dumps(changed) + "\n")
        with pytest.raises(UserError):
            read(tmp_path)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"\xff\xfe{}",
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b"[" * 900 + b"]" * 900,
        b'{"lesions": 1' + b"0" * 10**5 + b"}",
        b"\0" * 100,
    ],
    ids=range(11),
)
def test_what_is_no_such_document(tmp_path, name, content):
    path = write(tmp_path, name, content + b"\n")
    with pytest.raises(UserError, match=str(path.name)):
        in_time(lambda: KINDS[name][1](tmp_path))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing", "device"])
def test_what_is_no_file(tmp_path, name, kind):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    if kind == "link to nothing" and name in ("manifest.json", "statistics.json"):
        in_time(lambda: KINDS[name][1](tmp_path))  # A set may lack one.
        return
    with pytest.raises(UserError, match=str(path.name)):
        in_time(lambda: KINDS[name][1](tmp_path))


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "run.json"
    with path.open("wb") as file:
        file.truncate(reading.LARGEST + 1)
    with pytest.raises(UserError, match="more than any file of this kind"):
        reading.read_bytes(path)


def test_manifests_of_others_are_not_ours(tmp_path):
    for text in ("[]", "3", "{}", '{"generator": 5}', "[" * 10**5, "\udcff"):
        path = write(tmp_path, "manifest.json", text.encode("utf-8", "surrogateescape"))
        assert schema.generated(path, "randrop phantom") is None
