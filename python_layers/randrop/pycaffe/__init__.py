"""Where Python and Caffe meet: the build, its environment, layers, child programs."""
