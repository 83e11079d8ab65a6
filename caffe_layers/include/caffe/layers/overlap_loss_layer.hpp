#ifndef CAFFE_OVERLAP_LOSS_LAYER_HPP_
#define CAFFE_OVERLAP_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/overlap.hpp"

namespace caffe {

/**
 * @brief Base of the losses that are a mean over images and classes of a
 *        function of the overlap of p and truth: passes, common options and
 *        checks.
 *
 * The message of such a loss has the fields activation, smooth,
 * include_background and batch of RandropDiceParameter.
 *
 * WriteTerm is the arithmetic of the loss: it writes a group's OverlapTerm from
 * its OverlapSums; a group is one class of one image. It has the members
 * groups, tally, smooth and terms, and the loss's own options; see term_.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits
 *   -# SOFTMAX: @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$,
 *      classes 0 to C - 1 or loss_param.ignore_label; SIGMOID: the shape of the
 *      logits, 0, 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype, typename WriteTerm>
class OverlapLossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit OverlapLossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param), squared_(false), term_() {}
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  virtual bool IsSoftmax() const { return softmax_; }

  /// @brief Takes and checks the common options; for LayerSetUp.
  template <typename Message>
  void SetUpOverlap(const Message& options,
      const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);

  /// @brief The bottoms, all of whose elements take part.
  template <typename Device>
  randrop::OverlapInput<Dtype> Overlap(const vector<Blob<Dtype>*>& bottom)
      const {
    const randrop::OverlapInput<Dtype> overlap = {
        this->template Input<Device>(bottom), squared_, false, NULL};
    return overlap;
  }
  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    ForwardOver<Device>(Overlap<Device>(bottom), bottom, top);
  }
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    BackwardOver<Device>(Overlap<Device>(bottom), top, propagate_down, bottom);
  }
  /// @brief The passes over part of the elements.
  template <typename Device>
  void ForwardOver(const randrop::OverlapInput<Dtype>& overlap,
      const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  template <typename Device>
  void BackwardOver(const randrop::OverlapInput<Dtype>& overlap,
      const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  /// Whether the sums are of squares; for LayerSetUp.
  bool squared_;
  /// The loss's LayerSetUp sets its own options here.
  WriteTerm term_;

 private:
  bool softmax_, include_background_, batch_;
  randrop::ScratchMemory sums_, tally_, terms_, total_;
};

template <typename Dtype, typename WriteTerm>
template <typename Message>
void OverlapLossLayer<Dtype, WriteTerm>::SetUpOverlap(const Message& options,
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  softmax_ = options.activation() == RandropDiceParameter_Activation_SOFTMAX;
  include_background_ = options.include_background();
  batch_ = options.batch();
  term_.smooth = options.smooth();
  PixelLossLayer<Dtype>::LayerSetUp(bottom, top);
  this->RefuseNormalization();
  this->CheckRange("smooth", options.smooth(), 0);
  CHECK(softmax_ || include_background_) << this->Title()
      << ": include_background: false is for a softmax, where class 0 is the"
      << " background; with activation: SIGMOID every channel is foreground;"
      << " remove it.";
  this->WarnIfIdle(!softmax_ && options.has_include_background(),
      "include_background", "with activation: SIGMOID");
}

template <typename Dtype, typename WriteTerm>
void OverlapLossLayer<Dtype, WriteTerm>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  PixelLossLayer<Dtype>::Reshape(bottom, top);
  CHECK(include_background_ || this->classes_ > 1) << this->Title()
      << ": include_background: false needs two classes or more; remove it,"
      << " or give the network a channel for each class.";
}

template <typename Dtype, typename WriteTerm>
template <typename Device>
void OverlapLossLayer<Dtype, WriteTerm>::ForwardOver(
    const randrop::OverlapInput<Dtype>& overlap,
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int groups = this->images_ * this->classes_;
  randrop::OverlapSums* sums = sums_.Get<Device, randrop::OverlapSums>(groups);
  if (softmax_) {
    const randrop::SumSoftmaxOverlap<Dtype> sum = {overlap};
    Device::ReduceClasses(this->images_, this->classes_, this->area_, sum, sums,
        &this->loops_);
  } else {
    const randrop::SumSigmoidOverlap<Dtype> sum = {overlap};
    Device::Reduce(groups, this->area_, sum, sums, &this->loops_);
  }
  const randrop::ClassGroups of = {sums, this->images_, this->classes_,
      batch_, include_background_ ? 0 : 1};
  const randrop::CountClassGroups count = {of};
  randrop::GroupTally* tally = tally_.Get<Device, randrop::GroupTally>(1);
  Device::Reduce(1, groups, count, tally, &this->loops_);
  WriteTerm write = term_;
  write.groups = of;
  write.tally = tally;
  write.terms = terms_.Get<Device, randrop::OverlapTerm<Dtype> >(groups);
  Device::ForEach(groups, write);
  const randrop::SumOverlapTerms<Dtype> sum_terms = {sums, write.terms};
  randrop::GroupedLoss* total = total_.Get<Device, randrop::GroupedLoss>(1);
  Device::Reduce(1, groups, sum_terms, total, &this->loops_);
  const randrop::GroupedLoss found = Device::Read(total);
  this->CheckLabel(*bottom[1], found.bad_label);
  top[0]->mutable_cpu_data()[0] = found.loss;
}

template <typename Dtype, typename WriteTerm>
template <typename Device>
void OverlapLossLayer<Dtype, WriteTerm>::BackwardOver(
    const randrop::OverlapInput<Dtype>& overlap,
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!this->GoesDown(propagate_down)) {
    return;
  }
  const int groups = this->images_ * this->classes_;
  const randrop::OverlapTerm<Dtype>* terms =
      terms_.Get<Device, randrop::OverlapTerm<Dtype> >(groups);
  const Dtype scale = top[0]->cpu_diff()[0];
  Dtype* diff = Device::MutableDiff(bottom[0]);
  if (softmax_) {
    const randrop::WriteSoftmaxOverlapDiff<Dtype> write = {overlap, terms,
        scale, diff};
    Device::ForEach(this->images_, this->area_, write);
  } else {
    const randrop::WriteSigmoidOverlapDiff<Dtype> write = {overlap, terms,
        scale, diff};
    Device::ForEach(groups, this->area_, write);
  }
}

}  // namespace caffe

#endif  // CAFFE_OVERLAP_LOSS_LAYER_HPP_
