// Caffe includes this header of Thrust's and uses nothing of it.
