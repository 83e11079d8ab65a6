"""The record of what random drop keeps never touches somebody else's file."""

import json
import os

import pytest

from randrop.errors import UserError
from randrop.files import ownership
from randrop.training import kept_file

LINE = (
    '{"iteration": %d, "negatives": 9.0, "kept": 3.0, "expected": 2.5, "variance": 1}'
)


def watch_net(caffe, folder, file, **options):
    text = json.dumps(json.dumps({"file": str(file), "every": 1, **options}))
    path = folder / "net.prototxt"
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        "input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }"
        for name in ("mask", "x", "t")
    )
    path.write_text(
        inputs + 'layer { name: "watch" type: "Python" bottom: "mask" bottom: "x" '
        'bottom: "t" python_param { module: "randrop.watch" layer: "KeptShareLayer" '
        f"param_str: {text} }} }}"
    )
    return caffe.Net(str(path), caffe.TRAIN)


@pytest.mark.parametrize(
    "content",
    [
        b"my thesis\n",
        b"no line end",
        b'{"iteration": 5}\n',
        b"[1, 2]\n",
        b"\xff\xfe\x00",
        b"#!/bin/sh\nrm x\n",
        (LINE % 1 + "\nand then mine\n").encode(),
        (LINE % 1 + "\n\n" + LINE % 2 + "\n").encode(),
        (LINE.replace("9.0", "NaN") % 1 + "\n").encode(),
        b"[" * 9000 + b"\n",
    ],
)
def test_a_file_of_another_is_refused_and_stays(caffe, tmp_path, content):
    file = tmp_path / "thesis"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"KeptShareLayer: .*thesis.*give a new file"):
        watch_net(caffe, tmp_path, file)
    assert file.read_bytes() == content


def test_folders_and_pipes_are_refused(caffe, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for file, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a pipe")):
        with pytest.raises(ValueError, match=f"is {kind}, not a file"):
            watch_net(caffe, tmp_path, file)


@pytest.mark.parametrize("cut", ["", '{"iteration": 4, "neg', '{"iter'])
def test_a_record_of_ours_goes_on(caffe, tmp_path, cut):
    file = tmp_path / "kept.jsonl"
    ownership.claim(tmp_path, "watch", streams=[file.name])
    file.write_text("".join(LINE % n + "\n" for n in (1, 2, 3)) + cut)
    net = watch_net(caffe, tmp_path, file, first_iteration=2)
    net.blobs["mask"].data[...] = 1
    net.forward()
    lines = kept_file.read(file)
    assert [line["iteration"] for line in lines] == [1, 2, 3]
    assert [line["kept"] for line in lines] == [3, 3, 16]
    assert file.read_text().endswith("}\n")


def test_reading_names_the_line(tmp_path):
    file = tmp_path / "kept.jsonl"
    file.write_text(LINE % 1 + "\n" + LINE.replace("9.0", '"9"') % 2 + "\n")
    with pytest.raises(UserError, match="line 2: negatives is '9'"):
        kept_file.read(file)
