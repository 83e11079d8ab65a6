#ifndef CAFFE_SOFT_DICE_LOSS_LAYER_HPP_
#define CAFFE_SOFT_DICE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/overlap_loss_layer.hpp"
#include "caffe/randrop/losses/dice.hpp"

namespace caffe {

/**
 * @brief Soft Dice loss: 1 minus the mean over images and classes of
 * @f[ D = \frac{2 \sum p y + s}{\sum p^2 + \sum y^2 + s} @f]
 * (Milletari et al., V-Net, 3DV 2016), with softmax or sigmoid
 * probabilities @f$ p @f$ and truth @f$ y @f$. randrop_dice_param sets
 * activation (SOFTMAX), smooth @f$ s @f$ (1), squared (true; if false, the
 * denominator is @f$ \sum p + \sum y + s @f$), include_background (true; if
 * false, the mean omits class 0 of a softmax) and batch (false; if true, the
 * sums run over the whole batch and the mean over classes only). An entirely
 * ignored image or channel is not in the mean.
 *
 * gamma (0) weighs each element of the sums by @f$ |y - p|^\gamma @f$, a
 * constant for the gradient (Hosseini, 2025, arXiv:2506.15744). weight_cross (0)
 * adds that multiple of a group's mean cross-entropy to its 1 - D: with a third
 * bottom, the term of components of CC-DiceCE (Bouteille et al., 2025,
 * arXiv:2511.17146).
 *
 * Registered as SoftDiceLoss and, unless Caffe already has a layer of that
 * name, as DiceLoss.
 *
 * Bottoms and tops are those of OverlapLossLayer.
 */
template <typename Dtype>
class SoftDiceLossLayer
    : public OverlapLossLayer<Dtype, randrop::WriteDiceTerm<Dtype> > {
 public:
  explicit SoftDiceLossLayer(const LayerParameter& param)
      : OverlapLossLayer<Dtype, randrop::WriteDiceTerm<Dtype> >(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "SoftDiceLoss"; }
  /// @brief Whether the sums are restricted to the hardest pixels.
  virtual bool IsTopK() const { return false; }

  RandropDiceParameter param_;
};

}  // namespace caffe

#endif  // CAFFE_SOFT_DICE_LOSS_LAYER_HPP_
