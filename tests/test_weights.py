"""A training counts and reports what it takes from --weights; nothing is refused."""

import h5py
import numpy as np
import pytest

from randrop import nets
from randrop.errors import UserError
from randrop.training import weights


@pytest.fixture
def deploy():
    return nets.unet(2, base_channels=2, depth=2)


def saved(caffe, folder, text, name="net.caffemodel", change=None):
    (folder / "net.prototxt").write_text(text)
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    path = folder / name
    if name.endswith(".h5"):
        net.save_hdf5(str(path))
    else:
        net.save(str(path))
    if change is not None:
        stored = caffe.proto.caffe_pb2.NetParameter()
        stored.ParseFromString(path.read_bytes())
        change(stored)
        path.write_bytes(stored.SerializeToString())
    return path


@pytest.mark.parametrize("name", ["net.caffemodel", "net.h5"])
def test_weights_of_the_same_network_fit_whole(caffe, tmp_path, deploy, caplog, name):
    caplog.set_level("INFO")
    fit = weights.check(saved(caffe, tmp_path, deploy, name), deploy)
    assert not fit.missing
    assert not fit.unused
    assert fit.parameters == fit.of > 100
    assert f"All {len(fit.taken)} layers with weights start from" in caplog.text
    assert "scratch" not in caplog.text


def test_what_is_missing_and_unused_is_named(caffe, tmp_path, deploy, caplog):
    def change(stored):
        layers = [layer for layer in stored.layer if layer.blobs]
        layers[0].name = "another"
        del layers[1].blobs[:]

    fit = weights.check(saved(caffe, tmp_path, deploy, change=change), deploy)
    assert len(fit.missing) == 2
    assert fit.unused == ("another",)
    assert 0 < fit.parameters < fit.of
    assert f"From scratch: {', '.join(fit.missing)}. " in caplog.text
    assert "Unused in the file: another" in caplog.text


def rename(stored):
    for layer in stored.layer:
        layer.name = f"x_{layer.name}"


def without_blobs(stored):
    for layer in stored.layer:
        del layer.blobs[:]


def not_finite(stored):
    next(layer for layer in stored.layer if layer.blobs).blobs[0].data[0] = np.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rename, "has no layer of this network: its layers are x_"),
        (without_blobs, "contains no layers"),
        (not_finite, "has a weight that is not finite"),
    ],
)
def test_what_cannot_be_begun_with(caffe, tmp_path, deploy, change, words):
    path = saved(caffe, tmp_path, deploy, change=change)
    with pytest.raises(UserError, match=words):
        weights.check(path, deploy)


@pytest.mark.parametrize("content", [b"", b"no caffemodel", b"\x0a\xff\xff"])
def test_files_that_are_no_weights(tmp_path, deploy, content, caffe):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"contains no layers|not a caffemodel"):
        weights.check(path, deploy)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(UserError, match="contains no layers"):
        weights.check(tmp_path / "empty.h5", deploy)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data/conv/0", h5py.Empty("f4"), "data/conv/0 is empty, without a shape"),
        ("data/conv/0", "a text", "data/conv/0 has type .*cannot read"),
        ("data/conv/0/x", 3.0, "data/conv/0 is a group, not an array"),
        ("data/conv/x", 3.0, "data/conv is not a layer as Caffe writes it"),
        ("data/conv", np.ones(3), "data/conv is not a layer as Caffe writes it"),
        ("data/conv", 3.0, "data/conv is not a layer as Caffe writes it"),
        (
            "data/conv",
            h5py.SoftLink("/gone"),
            "data/conv is not a layer as Caffe writes",
        ),
        ("data/conv/0", h5py.SoftLink("/gone"), "has no array 'data/conv/0'"),
    ],
)
def test_hdf5_files_of_something_else(tmp_path, deploy, name, value, words):
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file[name] = value
    with pytest.raises(UserError, match=rf"net\.h5:? {words}.*omit --weights"):
        weights.check(path, deploy)


def test_another_size_is_named_before_caffe_dies(caffe, tmp_path, deploy):
    path = saved(caffe, tmp_path, nets.unet(2, base_channels=4, depth=2))
    with pytest.raises(
        UserError, match=r"belongs to another network: its layer '.*' has "
    ):
        weights.check(path, deploy)


def test_caffe_takes_what_is_said(caffe, tmp_path, deploy):
    """Only the layers that are named as taken are copied."""

    def change(stored):
        for layer in stored.layer:
            for blob in layer.blobs:
                blob.data[:] = [7.0] * len(blob.data)
        next(layer for layer in stored.layer if layer.blobs).name = "another"

    path = saved(caffe, tmp_path, deploy, change=change)
    fit = weights.check(path, deploy)
    net = caffe.Net(str(tmp_path / "net.prototxt"), str(path), caffe.TEST)
    for name, blobs in net.params.items():
        assert all((b.data == 7).all() for b in blobs) == (name in fit.taken), name


def test_a_layer_whose_name_is_no_text(caffe, tmp_path, deploy):
    path = saved(caffe, tmp_path, deploy)
    stored = caffe.proto.caffe_pb2.NetParameter()
    stored.ParseFromString(path.read_bytes())
    name = next(layer.name for layer in stored.layer if layer.blobs).encode()
    path.write_bytes(path.read_bytes().replace(name, b"\xff" + name[1:]))
    with pytest.raises(UserError, match="it contains the layer name b'"):
        weights.check(path, deploy)
