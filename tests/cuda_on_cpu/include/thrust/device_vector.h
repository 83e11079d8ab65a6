// Caffe includes this Thrust header but uses nothing from it.
