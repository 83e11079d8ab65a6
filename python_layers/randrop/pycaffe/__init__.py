"""Between Python and Caffe: the build, its environment, layers, child programs."""
