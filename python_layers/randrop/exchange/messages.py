"""The part of Caffe's file format that deployed networks have, without Caffe.

The tables below are the fields of caffe.proto that a network of Caffe 1.0 may set in
the layers that `graph` translates: name, number, type. A file with another field is no
network that we can read completely, and reading it strictly says so. Weights are read
leniently: what a caffemodel says beside names and numbers is the prototxt's matter.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TYPES = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
}

ENUMS = {
    "Phase": ("TRAIN", "TEST"),
    "PoolMethod": ("MAX", "AVE", "STOCHASTIC"),
    "EltwiseOp": ("PROD", "SUM", "MAX"),
    "Engine": ("DEFAULT", "CAFFE", "CUDNN"),
    "VarianceNorm": ("FAN_IN", "FAN_OUT", "AVERAGE"),
    "DimCheckMode": ("STRICT", "PERMISSIVE"),
}
"""Enumerations, their values from 0 on."""

# A field is "name number type", where * marks a list, + a packed list, and = a default.
MESSAGES = {
    "BlobShape": "dim 1 int64+",
    "BlobProto": "num 1 int32, channels 2 int32, height 3 int32, width 4 int32, "
    "data 5 float+, diff 6 float+, shape 7 BlobShape, double_data 8 double+, "
    "double_diff 9 double+",
    "FillerParameter": "type 1 string, value 2 float, min 3 float, max 4 float, "
    "mean 5 float, std 6 float, sparse 7 int32, variance_norm 8 VarianceNorm",
    "ParamSpec": "name 1 string, share_mode 2 DimCheckMode, lr_mult 3 float, "
    "decay_mult 4 float",
    "NetStateRule": "phase 1 Phase, min_level 2 int32, max_level 3 int32, "
    "stage 4 string*, not_stage 5 string*",
    "BatchNormParameter": "use_global_stats 1 bool, moving_average_fraction 2 float, "
    "eps 3 float=1e-05",
    "ConcatParameter": "concat_dim 1 uint32=1, axis 2 int32=1",
    "ConvolutionParameter": "num_output 1 uint32, bias_term 2 bool=true, pad 3 uint32*,"
    " kernel_size 4 uint32*, group 5 uint32=1, stride 6 uint32*, "
    "weight_filler 7 FillerParameter, bias_filler 8 FillerParameter, pad_h 9 uint32, "
    "pad_w 10 uint32, kernel_h 11 uint32, kernel_w 12 uint32, stride_h 13 uint32, "
    "stride_w 14 uint32, engine 15 Engine, axis 16 int32=1, "
    "force_nd_im2col 17 bool, dilation 18 uint32*",
    "DropoutParameter": "dropout_ratio 1 float",
    "EltwiseParameter": "operation 1 EltwiseOp=SUM, coeff 2 float*, "
    "stable_prod_grad 3 bool",
    "InputParameter": "shape 1 BlobShape*",
    "PoolingParameter": "pool 1 PoolMethod, kernel_size 2 uint32, stride 3 uint32=1, "
    "pad 4 uint32, kernel_h 5 uint32, kernel_w 6 uint32, stride_h 7 uint32, "
    "stride_w 8 uint32, pad_h 9 uint32, pad_w 10 uint32, engine 11 Engine, "
    "global_pooling 12 bool",
    "ReLUParameter": "negative_slope 1 float, engine 2 Engine",
    "ReshapeParameter": "shape 1 BlobShape, axis 2 int32, num_axes 3 int32=-1",
    "ScaleParameter": "axis 1 int32=1, num_axes 2 int32=1, filler 3 FillerParameter, "
    "bias_term 4 bool, bias_filler 5 FillerParameter",
    "SigmoidParameter": "engine 1 Engine",
    "SoftmaxParameter": "engine 1 Engine, axis 2 int32=1",
    "TanHParameter": "engine 1 Engine",
    "V1LayerParameter": "bottom 2 string*, top 3 string*, name 4 string, "
    "blobs 6 BlobProto*",
    "LayerParameter": "name 1 string, type 2 string, bottom 3 string*, top 4 string*, "
    "loss_weight 5 float*, param 6 ParamSpec*, blobs 7 BlobProto*, "
    "include 8 NetStateRule*, exclude 9 NetStateRule*, phase 10 Phase, "
    "propagate_down 11 bool*, concat_param 104 ConcatParameter, "
    "convolution_param 106 ConvolutionParameter, dropout_param 108 DropoutParameter, "
    "eltwise_param 110 EltwiseParameter, pooling_param 121 PoolingParameter, "
    "relu_param 123 ReLUParameter, sigmoid_param 124 SigmoidParameter, "
    "softmax_param 125 SoftmaxParameter, tanh_param 127 TanHParameter, "
    "reshape_param 133 ReshapeParameter, batch_norm_param 139 BatchNormParameter, "
    "scale_param 142 ScaleParameter, input_param 143 InputParameter",
    "NetParameter": "name 1 string, layers 2 V1LayerParameter*, input 3 string*, "
    "input_dim 4 int32*, force_backward 5 bool, input_shape 8 BlobShape*, "
    "layer 100 LayerParameter*",
}
"""Messages in an order in which each comes after those that it holds."""


def _messages() -> dict[str, Any]:
    """Return the classes of all messages."""
    file = descriptor_pb2.FileDescriptorProto(
        name="randrop/network.proto", package="randrop", syntax="proto2"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            _add_field(message, *text.split())
    # A pool of our own: Caffe's messages may live in the same process.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: _class(pool.FindMessageTypeByName(f"randrop.{name}")) for name in MESSAGES
    }


def _add_field(message: Any, name: str, number: str, kind: str) -> None:
    kind, _, default = kind.partition("=")
    base = kind.rstrip("*+")
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_OPTIONAL if base == kind else field.LABEL_REPEATED
    if kind.endswith("+"):
        field.options.packed = True
    if default:
        field.default_value = default
    if base in _TYPES:
        field.type = _TYPES[base]
    elif base in ENUMS:
        # Inside the message, as in Caffe: two enumerations there have a value MAX.
        if base not in [enum.name for enum in message.enum_type]:
            enum = message.enum_type.add(name=base)
            for value, word in enumerate(ENUMS[base]):
                enum.value.add(name=word, number=value)
        field.type = field.TYPE_ENUM
        field.type_name = f".randrop.{message.name}.{base}"
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".randrop.{base}"


def _class(descriptor: Any) -> Any:
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory().GetPrototype(descriptor)


CLASSES = _messages()
NetParameter: Any = CLASSES["NetParameter"]
