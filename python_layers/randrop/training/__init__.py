"""Training by `caffe train`: its prototxts, its log, snapshots, and the run folder."""
