#ifndef CAFFE_SIGMOID_RANDOMDROP_LAYER_HPP_
#define CAFFE_SIGMOID_RANDOMDROP_LAYER_HPP_

#include <vector>

#include "caffe/layers/sigmoid_cross_entropy_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
class SigmoidRandomDropCELossLayer
    : public SigmoidCrossEntropyLossLayer<Dtype> {
 public:
  explicit SigmoidRandomDropCELossLayer(const LayerParameter& param)
      : SigmoidCrossEntropyLossLayer<Dtype>(param) {}
  virtual inline const char* type() const { return "SigmoidRandomDropCELoss"; }
};

}  // namespace caffe

#endif  // CAFFE_SIGMOID_RANDOMDROP_LAYER_HPP_
