#include <vector>

#include "caffe/layers/tversky_loss_layer.hpp"

namespace caffe {

template <typename Dtype>
void TverskyLossLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const RandropTverskyParameter& options =
      this->layer_param_.randrop_tversky_param();
  this->SetUpOverlap(options, bottom, top);
  this->CheckRange("alpha", options.alpha(), 0);
  this->CheckRange("beta", options.beta(), 0);
  this->CheckAbove("gamma", options.gamma(), 0);
  this->term_.alpha = options.alpha();
  this->term_.beta = options.beta();
  this->term_.gamma = options.gamma();
}

RANDROP_INSTANTIATE_LOSS(TverskyLossLayer);
REGISTER_LAYER_CLASS(TverskyLoss);

}  // namespace caffe
