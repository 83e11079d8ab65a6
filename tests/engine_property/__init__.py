"""Random nets on the CPU engine, compared with Caffe's own layers."""
