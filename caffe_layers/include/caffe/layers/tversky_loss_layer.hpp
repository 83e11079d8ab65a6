#ifndef CAFFE_TVERSKY_LOSS_LAYER_HPP_
#define CAFFE_TVERSKY_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/overlap_loss_layer.hpp"
#include "caffe/randrop/losses/tversky.hpp"

namespace caffe {

/**
 * @brief Tversky loss: the mean over images and classes of
 *        @f$ (1 - T)^\gamma @f$ with
 * @f[ T = \frac{2 \sum p y + s}{2 \sum p y + 2 \alpha \sum p (1 - y) +
 *     2 \beta \sum (1 - p) y + s} @f]
 * (Salehi et al., MLMI 2017; with @f$ \gamma @f$ Abraham and Khan, ISBI 2019,
 * whose exponent is 1 over their gamma). randrop_tversky_param sets alpha
 * (0.3), the weight of false positives, beta (0.7), that of false negatives,
 * gamma (1), smooth @f$ s @f$ (1), activation, include_background and batch;
 * the last three are as in SoftDiceLoss. With alpha = beta = 0.5 and gamma = 1
 * it equals SoftDiceLoss without squares.
 *
 * Bottoms and tops are those of OverlapLossLayer.
 */
template <typename Dtype>
class TverskyLossLayer
    : public OverlapLossLayer<Dtype, randrop::WriteTverskyTerm<Dtype> > {
 public:
  explicit TverskyLossLayer(const LayerParameter& param)
      : OverlapLossLayer<Dtype, randrop::WriteTverskyTerm<Dtype> >(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "TverskyLoss"; }
};

}  // namespace caffe

#endif  // CAFFE_TVERSKY_LOSS_LAYER_HPP_
