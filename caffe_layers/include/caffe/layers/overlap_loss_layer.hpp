#ifndef CAFFE_OVERLAP_LOSS_LAYER_HPP_
#define CAFFE_OVERLAP_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/dice.hpp"

namespace caffe {

/**
 * @brief Base of the losses that are a mean over images and classes of a
 *        function of the overlap of p and truth: passes, common options and
 *        checks.
 *
 * The message of such a loss has the fields activation, smooth,
 * include_background and batch of RandropDiceParameter.
 *
 * Passes names the arithmetic:
 *   -# Sums: of a group, which is one class of one image
 *   -# SumSigmoid, SumSoftmax: {in}; add an element, or a pixel, to them
 *   -# WriteTerm: writes the Term of a group. It has the members groups, tally,
 *      smooth and terms, and the loss's own options; see term_
 *   -# Term: the loss of a group, and its slopes by p
 *   -# WriteSigmoidDiff, WriteSoftmaxDiff: {in, terms, scale, diff}
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits
 *   -# SOFTMAX: @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$,
 *      classes 0 to C - 1 or loss_param.ignore_label; SIGMOID: the shape of the
 *      logits, 0, 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype, typename Passes>
class OverlapLossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit OverlapLossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param), term_() {}
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  virtual bool IsSoftmax() const { return softmax_; }

  /// @brief Takes and checks the common options; for LayerSetUp.
  template <typename Message>
  void SetUpOverlap(const Message& options,
      const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);

  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    ForwardOver<Device>(this->template Input<Device>(bottom), bottom, top);
  }
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    BackwardOver<Device>(this->template Input<Device>(bottom), top,
        propagate_down, bottom);
  }
  /// @brief The passes over other inputs than the bottoms alone.
  template <typename Device, typename In>
  void ForwardOver(const In& in, const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  template <typename Device, typename In>
  void BackwardOver(const In& in, const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  /// The loss's LayerSetUp sets its own options here.
  typename Passes::WriteTerm term_;

 private:
  bool softmax_, include_background_, batch_;
  randrop::ScratchMemory sums_, tally_, terms_, total_;
};

template <typename Dtype, typename Passes>
template <typename Message>
void OverlapLossLayer<Dtype, Passes>::SetUpOverlap(const Message& options,
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  softmax_ = options.activation() == RandropDiceParameter_Activation_SOFTMAX;
  include_background_ = options.include_background();
  batch_ = options.batch();
  term_.smooth = options.smooth();
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  this->RefuseNormalization();
  this->CheckRange("smooth", options.smooth(), 0);
  CHECK(softmax_ || include_background_) << this->Title()
      << ": include_background: false leaves class 0 of a softmax out; with"
      << " activation: SIGMOID every channel is a foreground.";
  this->WarnIfIdle(!softmax_ && options.has_include_background(),
      "include_background", "with activation: SIGMOID");
}

template <typename Dtype, typename Passes>
void OverlapLossLayer<Dtype, Passes>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  CHECK(include_background_ || this->classes_ > 1) << this->Title()
      << ": include_background: false leaves nothing of one class; leave it"
      << " out, or give the network a channel for each class.";
}

template <typename Dtype, typename Passes>
template <typename Device, typename In>
void OverlapLossLayer<Dtype, Passes>::ForwardOver(const In& in,
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  typedef typename Passes::Sums Sums;
  typedef typename Passes::Term Term;
  const int groups = this->images_ * this->classes_;
  Sums* sums = sums_.Get<Device, Sums>(groups);
  if (softmax_) {
    const typename Passes::SumSoftmax sum = {in};
    Device::ReduceClasses(this->images_, this->classes_, this->area_, sum, sums,
        &this->loops_);
  } else {
    const typename Passes::SumSigmoid sum = {in};
    Device::Reduce(groups, this->area_, sum, sums, &this->loops_);
  }
  const randrop::ClassGroups<Sums> of = {sums, this->images_, this->classes_,
      batch_, include_background_ ? 0 : 1};
  const randrop::CountClassGroups<Sums> count = {of};
  randrop::GroupTally* tally = tally_.Get<Device, randrop::GroupTally>(1);
  Device::Reduce(1, groups, count, tally, &this->loops_);
  typename Passes::WriteTerm write = term_;
  write.groups = of;
  write.tally = tally;
  write.terms = terms_.Get<Device, Term>(groups);
  Device::ForEach(groups, write);
  const randrop::SumGroupTerms<Sums, Term> sum_terms = {sums, write.terms};
  randrop::GroupedLoss* total = total_.Get<Device, randrop::GroupedLoss>(1);
  Device::Reduce(1, groups, sum_terms, total, &this->loops_);
  const randrop::GroupedLoss found = Device::Read(total);
  this->CheckLabel(*bottom[1], found.bad_label);
  top[0]->mutable_cpu_data()[0] = found.loss;
}

template <typename Dtype, typename Passes>
template <typename Device, typename In>
void OverlapLossLayer<Dtype, Passes>::BackwardOver(const In& in,
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!this->GoesDown(propagate_down)) {
    return;
  }
  const int groups = this->images_ * this->classes_;
  const typename Passes::Term* terms =
      terms_.Get<Device, typename Passes::Term>(groups);
  const Dtype scale = top[0]->cpu_diff()[0];
  Dtype* diff = Device::MutableDiff(bottom[0]);
  if (softmax_) {
    const typename Passes::WriteSoftmaxDiff write = {in, terms, scale, diff};
    Device::ForEach(this->images_, this->area_, write);
  } else {
    const typename Passes::WriteSigmoidDiff write = {in, terms, scale, diff};
    Device::ForEach(groups, this->area_, write);
  }
}

}  // namespace caffe

#endif  // CAFFE_OVERLAP_LOSS_LAYER_HPP_
