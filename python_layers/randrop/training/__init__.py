"""Training with `caffe train`: prototxts, log, snapshots, and the run folder."""
