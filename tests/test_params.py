"""Which parameters of a prototxt the Python layers accept, and which they refuse."""

import json
from typing import get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_family import loss_net

from randrop.errors import UserError
from randrop.files import schema
from randrop.losses.registry import LAYERS

MODELS = {kind: layer.options for kind, layer in LAYERS.items()}
TWINS = list(MODELS)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["false", "true", "255", "LOG", "NaN", "\ud800", -1, 0, 255.0]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", TWINS)
def test_fields_are_those_of_the_proto(caffe, kind):
    """Names, enum values, and whether it is a list, a boolean or a number."""
    messages = caffe.proto.caffe_pb2
    own = messages.LayerParameter.DESCRIPTOR.fields_by_name[LAYERS[kind].field]
    common = messages.LossParameter.DESCRIPTOR
    for name, field in MODELS[kind].model_fields.items():
        owner = own.message_type if name in own.message_type.fields_by_name else common
        about = owner.fields_by_name[name]
        text = str(field.annotation)
        assert ("list" in text) == about.is_repeated, name
        assert (field.annotation is bool) == (about.cpp_type == about.CPPTYPE_BOOL)
        if owner is own.message_type:
            wanted = about.default_value if about.has_default_value else None
            if about.enum_type:
                wanted = about.enum_type.values_by_number[wanted].name
            assert field.default == ([] if about.is_repeated else wanted), name
        if about.enum_type:
            for value in about.enum_type.values_by_name:
                schema.check({name: value}, _without_rules(kind), kind)
            with pytest.raises(UserError, match=f"{name} is 'OTHER'"):
                schema.check({name: "OTHER"}, MODELS[kind], kind)
    if kind not in ("SoftmaxTopKLoss", "SigmoidFocalCELoss", "SoftmaxFocalCELoss",
                    "SoftDiceLoss", "TopKDiceLoss"):  # fmt: skip
        # The other types share their message with another layer.
        missing = set(own.message_type.fields_by_name) - set(MODELS[kind].model_fields)
        assert not missing


def _without_rules(kind):
    """The model of a layer whose options may be without effect."""

    class Same(MODELS[kind]):
        def idle(self):
            return iter(())

    return Same


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("SoftDiceLoss", {"squared": "false"}, "squared is 'false'.*true or false"),
        ("SoftDiceLoss", {"squared": 0}, "squared is 0.*true or false"),
        ("SoftDiceLoss", {"ignore_label": [1]}, r"ignore_label is \[1\].*whole number"),
        (
            "SoftDiceLoss",
            {"ignore_label": "255"},
            "ignore_label is '255'.*whole number",
        ),
        (
            "SoftDiceLoss",
            {"ignore_label": 255.0},
            "ignore_label is 255.0.*whole number",
        ),
        ("SoftDiceLoss", {"ignore_label": True}, "ignore_label is true.*whole number"),
        ("SoftDiceLoss", {"ignore_label": 2**31}, "ignore_label is 2147483648"),
        ("SoftDiceLoss", {"smooth": float("inf")}, "smooth is inf.*not NaN or inf"),
        ("SoftDiceLoss", {"smooth": -1}, "smooth is -1.*greater than or equal to 0"),
        ("SoftDiceLoss", {"activation": 0}, "activation is 0.*'SOFTMAX' or 'SIGMOID'"),
        (
            "SoftDiceLoss",
            {"k_percent": 3},
            "unknown key k_percent, choose from gamma",
        ),
        ("SigmoidFocalCELoss", {"gamma": "2"}, "gamma is '2'.*a number"),
        ("SigmoidFocalCELoss", {"gamma": float("nan")}, "gamma is nan.*not NaN"),
        ("SigmoidFocalCELoss", {"gamma": None}, "gamma is null.*a number"),
        ("SigmoidFocalCELoss", {"alpha": 1.5}, "alpha is 1.5.*less than or equal to 1"),
        ("SoftmaxFocalCELoss", {"class_alpha": 1}, "class_alpha is 1.*a list"),
        ("SoftmaxFocalCELoss", {"class_alpha": [1, "a"]}, r"class_alpha\[1\] is 'a'"),
        ("SoftmaxFocalCELoss", {"normalization": "valid"}, "'FULL', 'VALID'"),
        ("SigmoidRandomDropCELoss", {"seed": -1}, "seed is -1"),
        ("SigmoidRandomDropCELoss", {"seed": 1.5}, "seed is 1.5.*whole number"),
        ("SigmoidRandomDropCELoss", {"drop_in_test": 1}, "drop_in_test is 1"),
        ("SigmoidRandomDropCELoss", {"schedule_type": "log"}, "schedule_type is 'log'"),
        ("ExpLogLoss", {"label_frequency": {}}, "label_frequency is {}.*a list"),
        ("ExpLogLoss", {"label_frequency": [-1]}, r"label_frequency\[0\] is -1"),
        ("TopKDiceLoss", {"k_percent": 101}, "k_percent is 101.*less than or equal to"),
        ("TopKDiceLoss", {"normalization": "FULL"}, "unknown key normalization"),
    ],
)
def test_what_is_wrong_is_named(caffe, tmp_path, kind, given, words):
    with pytest.raises(ValueError, match=f"{kind}Layer: param_str:? .*{words}"):
        net_of(caffe, tmp_path, kind, json.dumps(given))


@pytest.mark.parametrize(
    ("kind", "given", "idle"),
    [
        ("SigmoidTopKCELoss", {"k_percent": 5}, "k_percent"),
        ("SigmoidTopKCELoss", {"k_percent": 5, "selection": "BIN"}, "k_percent"),
        ("SigmoidTopKCELoss", {"balance": "BATCH", "selection": "PERCENT"}, "balance"),
        ("SigmoidFocalCELoss", {"alpha": 0.3, "alpha_mode": "PER_IMAGE"}, "alpha"),
        ("SigmoidRandomDropCELoss", {"schedule_type": "NONE", "seed": 3}, "seed"),
        ("ExpLogLoss", {"weight_dice": 0, "batch": True}, "batch"),
        ("ExpLogLoss", {"weight_cross": 0, "gamma_cross": 1}, "gamma_cross"),
        (
            "TopKDiceLoss",
            {"activation": "SIGMOID", "include_background": True},
            "include_background",
        ),
    ],
)
def test_what_has_no_effect_is_refused(caffe, tmp_path, kind, given, idle):
    with pytest.raises(ValueError, match=f"{idle} (has|have) no effect with "):
        net_of(caffe, tmp_path, kind, json.dumps(given))
    del given[idle]
    net_of(caffe, tmp_path, kind, json.dumps(given))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 10**5, "nested more than 64 levels deep"),
        ('{"gamma": ' + "[" * 70 + "]" * 70 + "}", "nested more than 64 levels"),
        ("{", "is not JSON"),
        ("3", "the value is 3: it must be a JSON object"),
        ('{"gamma": 1' + "0" * 5000 + "}", "is not JSON"),
        ('{"gamma": 1e999}', "gamma is inf"),
    ],
)
def test_texts_that_are_no_parameters(text, words):
    from randrop.pycaffe.python_layer import parse_options

    with pytest.raises(UserError, match=f"^a: param_str:? .*{words}"):
        parse_options("a", text, MODELS["SoftmaxFocalCELoss"], {})


@pytest.mark.parametrize("kind", TWINS)
def test_any_value_is_accepted_as_it_is_or_refused(kind):
    """An accepted value has the proto's type; any other gives a clear message."""
    fields = MODELS[kind].model_fields

    @settings(max_examples=150, deadline=None)
    @given(
        st.dictionaries(st.sampled_from(sorted(fields)) | st.text(max_size=3), anything)
    )
    def check(options):
        try:
            accepted = schema.check(options, MODELS[kind], kind)
        except UserError as error:
            assert str(error).startswith(kind)
            assert len(str(error)) < 1000
            return
        assert accepted is options
        for name, value in options.items():
            annotation = fields[name].annotation
            if value is None:
                assert fields[name].default is None
            elif annotation is bool:
                assert isinstance(value, bool)
            elif get_origin(annotation) is list:
                assert all(type(v) in (int, float) for v in value)
            elif fields[name].default is None and name != "normalization":
                assert type(value) is int
            else:
                assert type(value) in (int, float, str)

    check()


def net_of(caffe, folder, kind, param_str):
    # In the prototxt's own quotes: a quote in the text would end it.
    text = json.dumps(param_str)
    layer = (
        'layer { name: "loss" type: "Python" bottom: "score" bottom: "t" top: "loss" '
        f'loss_weight: 1 python_param {{ module: "randrop.layers" '
        f'layer: "{kind}Layer" param_str: {text} }} }}'
    )
    return loss_net(caffe, folder, (1, 2, 3), (1, 2, 3), layer)


@pytest.mark.parametrize("kind", TWINS)
def test_errors_of_a_pass_name_the_layer(caffe, tmp_path, kind):
    net = net_of(caffe, tmp_path, kind, "{}")
    net.blobs["t"].data[...] = 5
    with pytest.raises(ValueError, match=f"^{kind}Layer: "):
        net.forward()


def test_logits_without_a_channel_are_refused():
    import numpy as np

    from randrop import losses

    for function in (losses.random_drop, losses.sigmoid_focal):
        with pytest.raises(UserError, match=r"\(2, 0, 3\), without a pixel"):
            function(np.zeros((2, 0, 3)), np.zeros((2, 0, 3)))
    for function in (losses.softmax_focal, losses.dice, losses.exp_log):
        with pytest.raises(UserError, match=r"\(2, 0, 3\), without a pixel"):
            function(np.zeros((2, 0, 3)), np.zeros((2, 1, 3)))
