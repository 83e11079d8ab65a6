#ifndef CAFFE_SOFT_DICE_LOSS_LAYER_HPP_
#define CAFFE_SOFT_DICE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/cross_entropy.hpp"
#include "caffe/randrop/losses/dice.hpp"
#include "caffe/randrop/losses/top_k.hpp"

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
 * Registered as SoftDiceLoss and, unless Caffe already has a layer of that
 * name, as DiceLoss.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits
 *   -# SOFTMAX: @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$,
 *      classes 0 to C - 1 or loss_param.ignore_label; SIGMOID: the shape of the
 *      logits, 0, 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype>
class SoftDiceLossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit SoftDiceLossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "SoftDiceLoss"; }
  virtual bool IsSoftmax() const {
    return param_.activation() == RandropDiceParameter_Activation_SOFTMAX;
  }
  /// @brief Whether the sums are restricted to the hardest pixels.
  virtual bool IsTopK() const { return false; }
  bool IsForeground() const {
    return IsTopK() &&
        param_.region() == RandropDiceParameter_Region_FOREGROUND;
  }

  template <typename Device>
  unsigned char* Selection() {
    return selection_.Get<Device, unsigned char>(this->labels_);
  }
  template <typename Device>
  randrop::DiceInput<Dtype> Dice(const vector<Blob<Dtype>*>& bottom) {
    const randrop::DiceInput<Dtype> dice = {
        this->template Input<Device>(bottom), param_.squared(), IsForeground(),
        IsTopK() ? Selection<Device>() : NULL};
    return dice;
  }
  /// @brief Runs op over the labels; a segment is an image (SIGMOID: channel).
  template <typename Device, typename Operation>
  void ReduceLabels(const Operation& op, randrop::PixelSums* sums) {
    Device::Reduce(Segments(), this->area_, op, sums, &this->loops_);
  }
  int Segments() const {
    return IsSoftmax() ? this->images_ : this->images_ * this->classes_;
  }
  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  template <typename Device>
  void SelectHardest(const vector<Blob<Dtype>*>& bottom);
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  RandropDiceParameter param_;
  randrop::ScratchMemory selection_, cross_entropy_, pixel_sums_, wanted_;
  randrop::ScratchMemory dice_sums_, tally_, terms_, total_;
};

template <typename Dtype>
template <typename Device>
void SoftDiceLossLayer<Dtype>::ForwardOn(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  if (IsTopK()) {
    SelectHardest<Device>(bottom);
  }
  const int groups = this->images_ * this->classes_;
  randrop::DiceSums* sums = dice_sums_.Get<Device, randrop::DiceSums>(groups);
  if (IsSoftmax()) {
    const randrop::SumSoftmaxDice<Dtype> sum = {Dice<Device>(bottom)};
    Device::ReduceClasses(this->images_, this->classes_, this->area_, sum, sums,
        &this->loops_);
  } else {
    const randrop::SumSigmoidDice<Dtype> sum = {Dice<Device>(bottom)};
    Device::Reduce(groups, this->area_, sum, sums, &this->loops_);
  }
  randrop::DiceTerm<Dtype>* terms =
      terms_.Get<Device, randrop::DiceTerm<Dtype> >(groups);
  const randrop::ClassGroups<randrop::DiceSums> of = {sums, this->images_, this->classes_,
      param_.batch(), param_.include_background() ? 0 : 1};
  const randrop::CountClassGroups<randrop::DiceSums> count = {of};
  randrop::GroupTally* tally = tally_.Get<Device, randrop::GroupTally>(1);
  Device::Reduce(1, groups, count, tally, &this->loops_);
  const randrop::WriteDiceTerm<Dtype> write = {of, tally, param_.smooth(),
      param_.squared(), terms};
  Device::ForEach(groups, write);
  const randrop::SumGroupTerms<randrop::DiceSums, randrop::DiceTerm<Dtype> >
      sum_terms = {sums, terms};
  randrop::GroupedLoss* total = total_.Get<Device, randrop::GroupedLoss>(1);
  Device::Reduce(1, groups, sum_terms, total, &this->loops_);
  const randrop::GroupedLoss found = Device::Read(total);
  this->CheckLabel(*bottom[1], found.bad_label);
  top[0]->mutable_cpu_data()[0] = found.loss;
}

template <typename Dtype>
template <typename Device>
void SoftDiceLossLayer<Dtype>::SelectHardest(
    const vector<Blob<Dtype>*>& bottom) {
  typedef typename randrop::OrderedKey<Dtype>::Type Key;
  const randrop::LossInput<Dtype> input = this->template Input<Device>(bottom);
  Dtype* ce = cross_entropy_.Get<Device, Dtype>(this->labels_);
  randrop::PixelSums* sums =
      pixel_sums_.Get<Device, randrop::PixelSums>(Segments());
  if (IsSoftmax()) {
    const randrop::SoftmaxCrossEntropy<Dtype> compute = {input, ce,
        Selection<Device>()};
    ReduceLabels<Device>(compute, sums);
  } else {
    const randrop::SigmoidCrossEntropy<Dtype> compute = {input, ce,
        Selection<Device>()};
    ReduceLabels<Device>(compute, sums);
  }
  int* wanted = wanted_.Get<Device, int>(Segments());
  const randrop::WantShareOfPixels want = {sums, param_.k_percent(), wanted};
  const randrop::HardestPixels<Dtype> hardest = {ce, Selection<Device>()};
  if (!IsForeground()) {
    Device::ForEach(Segments(), want);
    Device::template Select<Key>(Segments(), this->area_, hardest, wanted,
        &this->loops_);
    return;
  }
  for (int own = IsSoftmax() ? 0 : 1;
       own < (IsSoftmax() ? this->classes_ : 2); ++own) {
    const randrop::CountClass<Dtype> count = {
        Selection<Device>(), input.label, own};
    ReduceLabels<Device>(count, sums);
    Device::ForEach(Segments(), want);
    const randrop::HardestOfClass<Dtype> of_class = {hardest, input.label, own};
    Device::template Select<Key>(Segments(), this->area_, of_class, wanted,
        &this->loops_);
  }
}

template <typename Dtype>
template <typename Device>
void SoftDiceLossLayer<Dtype>::BackwardOn(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!this->GoesDown(propagate_down)) {
    return;
  }
  const randrop::DiceTerm<Dtype>* terms =
      terms_.Get<Device, randrop::DiceTerm<Dtype> >(
          this->images_ * this->classes_);
  const Dtype scale = top[0]->cpu_diff()[0];
  Dtype* diff = Device::MutableDiff(bottom[0]);
  if (IsSoftmax()) {
    const randrop::WriteSoftmaxDiceDiff<Dtype> write = {
        Dice<Device>(bottom), terms, scale, diff};
    Device::ForEach(Segments(), this->area_, write);
  } else {
    const randrop::WriteSigmoidDiceDiff<Dtype> write = {
        Dice<Device>(bottom), terms, scale, diff};
    Device::ForEach(Segments(), this->area_, write);
  }
}

}  // namespace caffe

#endif  // CAFFE_SOFT_DICE_LOSS_LAYER_HPP_
