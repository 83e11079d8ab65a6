"""The ONNX file tells how to use it; our deploy files keep to Caffe 1.0."""

import itertools
import json

import numpy as np
import onnx
import small_unet
from conftest import REPOSITORY
from onnx_nets import (
    CONV,
    IN_PLACE,
    INPUT,
    LAYERS,
    LSEGS,
    UNETS,
    assert_same,
    noise,
    write,
)

from randrop import nets
from randrop.exchange import messages, onnx_model, reading
from randrop.prediction import without_caffe

# --- the file


def test_a_model_tells_how_to_use_it(caffe, tmp_path):
    run = small_unet.write_run(caffe, tmp_path, depth=3)
    facts = {
        "lesions": ["MA", "HE"],
        "thresholds": {"MA": 0.3, "HE": 0.6},
        "field_of_view": 1100,
        "iterations": 7,
        "data": "/home/somebody/photographs",
    }
    files = (run / "deploy.prototxt", run / "final.caffemodel")
    model = onnx_model.convert(*files, facts).model
    assert (model.ir_version, [o.version for o in model.opset_import]) == (8, [13])
    found = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(found["lesions"]) == ["MA", "HE"]
    assert json.loads(found["thresholds"]) == facts["thresholds"]
    assert (found["multiple_of"], found["channel_order"]) == ("4", "RGB")
    assert json.loads(found["training"])["iterations"] == 7
    assert "somebody" not in str(model)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == [
        *("batch", 3, "height", "width")
    ]
    read = onnx_model.facts_of(model)
    assert (read["field_of_view"], read["multiple_of"]) == (1100, 4)


def test_batch_normalisation_is_folded(caffe, tmp_path):
    run = small_unet.write_run(caffe, tmp_path)
    model = onnx_model.convert(run / "deploy.prototxt", run / "final.caffemodel").model
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "Relu", "MaxPool", "ConvTranspose", "Concat", "Sigmoid"}
    onnx.checker.check_model(model, full_check=True)


def test_softmax_outputs_name_the_background(caffe, tmp_path):
    files = write(caffe, tmp_path, nets.unet(3, activation="SOFTMAX", depth=2))
    model = onnx_model.convert(*files, {"lesions": ["MA", "HE"]}).model
    found = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(found["output_channels"]) == ["background", "MA", "HE"]


# --- our table of Caffe's format, and what our deploy files contain


def test_our_table_of_fields_is_caffes(caffe):
    theirs = caffe.proto.caffe_pb2
    for name, ours in messages.CLASSES.items():
        fields = getattr(theirs, name).DESCRIPTOR.fields_by_name
        for field in ours.DESCRIPTOR.fields:
            there = fields[field.name]
            assert (field.number, field.type) == (there.number, there.type), name
            assert field.is_repeated == there.is_repeated, (name, field.name)
            if not field.is_repeated and field.message_type is None:
                read = field.default_value == there.default_value
                unread = (
                    "mult" in field.name
                    or "decay" in field.name
                    or field.name
                    in (
                        *("value", "max", "std", "sparse", "moving_average_fraction"),
                        *("dropout_ratio", "type", "phase", "stable_prod_grad"),
                    )
                )
                assert read or unread, (name, field.name)
            if field.enum_type is not None:
                values = {v.name: v.number for v in field.enum_type.values}
                known = {v.name: v.number for v in there.enum_type.values}
                assert values.items() <= known.items()


def deploy_files():
    yield from sorted(REPOSITORY.glob("prototxt/*/deploy.prototxt"))
    yield from sorted(REPOSITORY.glob("models/*/deploy.prototxt"))


def test_deploy_files_have_nothing_that_caffe_1_lacks(caffe, tmp_path):
    # Our table has the fields of Caffe 1.0 alone, and is checked against it above.
    texts = {path: path.read_text() for path in deploy_files()}
    assert len(texts) >= 4
    for options in (*UNETS, *LSEGS):
        make = nets.lseg if options in LSEGS else nets.unet
        texts[str(options)] = make(**{"channels": 2, **options})
    for count in ((1,), (1, 2, 2)):
        texts[f"3-D {count}"] = nets.explog3d(3, convolutions=count)
    caffe_1 = {
        *("BatchNorm", "Concat", "Convolution", "Deconvolution", "Dropout", "Eltwise"),
        *("Input", "Pooling", "ReLU", "Reshape", "Scale", "Sigmoid", "Softmax"),
    }
    path = tmp_path / "deploy.prototxt"
    for name, text in texts.items():
        path.write_text(text)
        assert not reading.unknown_field(path), name
        net = reading.read_deploy(path, "")
        assert {layer.type for layer in net.layer} <= caffe_1, name


def test_names_in_a_graph_are_unique(caffe, tmp_path):
    again = (CONV % "kernel_size: 1").replace('"conv"', '"last"')
    again = again.replace('"data"', '"conv"')
    # The last blob has the name of an earlier layer.
    text = INPUT + LAYERS["in place"] + again.replace('top: "last"', 'top: "one"')
    files = write(caffe, tmp_path, text)
    model = assert_same(caffe, files, [noise(2, 4, 9, 7)], ["onnxruntime"])
    outputs = list(itertools.chain(*(node.output for node in model.graph.node)))
    assert len(set(outputs)) == len(outputs)
    assert model.graph.output[0].name == "one"


def test_layers_that_all_work_in_place_keep_input_and_output_apart(caffe, tmp_path):
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(INPUT + IN_PLACE)
    weights = tmp_path / "final.caffemodel"
    weights.write_bytes(b"")
    batch = noise(2, 4, 9, 7)
    model = onnx_model.convert(deploy, weights).model
    found = without_caffe.in_onnxruntime(model)(batch)
    np.testing.assert_array_equal(found, np.maximum(batch, 0))
