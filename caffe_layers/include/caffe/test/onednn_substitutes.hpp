// Included before Caffe's own test files, which then test the oneDNN layers
// instead of Caffe's.
#ifndef CAFFE_TEST_ONEDNN_SUBSTITUTES_HPP_
#define CAFFE_TEST_ONEDNN_SUBSTITUTES_HPP_

#include "caffe/layers/onednn_batch_norm_layer.hpp"
#include "caffe/layers/onednn_concat_layer.hpp"
#include "caffe/layers/onednn_conv_layer.hpp"
#include "caffe/layers/onednn_eltwise_layer.hpp"
#include "caffe/layers/onednn_pooling_layer.hpp"
#include "caffe/layers/onednn_relu_layer.hpp"
#include "caffe/layers/onednn_scale_layer.hpp"
#include "caffe/layers/onednn_softmax_layer.hpp"
#include "caffe/layers/onednn_split_layer.hpp"

#define BatchNormLayer OnednnBatchNormLayer
#define ConcatLayer OnednnConcatLayer
#define ConvolutionLayer OnednnConvolutionLayer
#define DeconvolutionLayer OnednnDeconvolutionLayer
#define EltwiseLayer OnednnEltwiseLayer
#define PoolingLayer OnednnPoolingLayer
#define ReLULayer OnednnReLULayer
#define ScaleLayer OnednnScaleLayer
#define SoftmaxLayer OnednnSoftmaxLayer
#define SplitLayer OnednnSplitLayer

#endif  // CAFFE_TEST_ONEDNN_SUBSTITUTES_HPP_
