"""Networks that leave Caffe, as ONNX, and weights that come from elsewhere."""
