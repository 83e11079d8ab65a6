"""proto/LAYERS.md agrees with the proto and the layers."""

import make_layer_table as table
from caffe_tools.planning import registered_types
from randrop.losses.registry import LAYERS


def test_the_page_is_what_the_script_writes():
    assert table.PAGE.read_text() == table.page(), "run scripts/make_layer_table.py"


def test_every_type_is_on_the_page():
    named = [n for layer in LAYERS.values() for n in (layer.type, *layer.other_types)]
    assert sorted(named) == sorted(set(registered_types()))


def test_every_parameter_is_on_the_page(caffe):
    layer = caffe.proto.caffe_pb2.LayerParameter.DESCRIPTOR
    for entry in LAYERS.values():
        message = layer.fields_by_name[entry.field].message_type
        assert set(entry.parameters) <= set(message.fields_by_name)
        shown = set()
        for other in LAYERS.values():
            if other.field == entry.field:
                shown |= set(other.parameters)
        assert shown == set(message.fields_by_name), entry.field
