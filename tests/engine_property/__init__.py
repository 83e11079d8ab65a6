"""Random nets on the CPU engine, held against Caffe's own layers."""
