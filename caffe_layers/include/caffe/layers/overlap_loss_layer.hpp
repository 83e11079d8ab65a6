#ifndef CAFFE_OVERLAP_LOSS_LAYER_HPP_
#define CAFFE_OVERLAP_LOSS_LAYER_HPP_

#include <algorithm>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/cells.hpp"
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
 * @param bottom input Blob vector (length 2 or 3)
 *   -# @f$ (N \times C \times ...) @f$ the logits
 *   -# SOFTMAX: @f$ (N \times 1 \times ...) @f$ or @f$ (N \times ...) @f$,
 *      classes 0 to C - 1 or loss_param.ignore_label; SIGMOID: the shape of the
 *      logits, 0, 1 or loss_param.ignore_label
 *   -# @f$ (N \times C \times ...) @f$ optional: the cell of each pixel in each
 *      class, a whole number from 0. The sums then run over the cells of a class
 *      of an image, whose loss is the mean over them; with batch, the loss of a
 *      class is the mean over its cells in all images.
 * @param top output Blob vector (length 1)
 *   -# @f$ (1) @f$, 0 axes: the loss
 */
template <typename Dtype, typename WriteTerm>
class OverlapLossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit OverlapLossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param), squared_(false), gamma_(0),
        cross_(false), term_(), most_(0) {}
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline int ExactNumBottomBlobs() const { return -1; }
  virtual inline int MinBottomBlobs() const { return 2; }
  virtual inline int MaxBottomBlobs() const { return 3; }
  virtual inline bool AllowForceBackward(const int bottom_index) const {
    return bottom_index == 0;
  }

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
        this->template Input<Device>(bottom), squared_, false, NULL, gamma_,
        cross_};
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

  /// Whether the sums are of squares, the exponent of the elements' weights,
  /// and whether there are sums of cross-entropies; for LayerSetUp.
  bool squared_;
  Dtype gamma_;
  bool cross_;
  /// The loss's LayerSetUp sets its own options here.
  WriteTerm term_;

 private:
  /// @brief Whether groups are split into cells, and the map of these.
  static bool IsByCell(const vector<Blob<Dtype>*>& bottom) {
    return bottom.size() > 2;
  }
  template <typename Device>
  randrop::CellMap<Dtype> Cells(const vector<Blob<Dtype>*>& bottom) const {
    const randrop::CellMap<Dtype> map = {Device::Data(*bottom[2]),
        softmax_ ? this->classes_ : 1, this->area_, most_};
    return map;
  }
  /// @brief Images of a softmax, channels of a sigmoid.
  int Segments() const {
    return softmax_ ? this->images_ : this->images_ * this->classes_;
  }
  /// @brief Checks the numbers of the cells, and finds how many there are.
  template <typename Device>
  void CountCells(const Blob<Dtype>& cells);
  template <typename Device>
  void Sum(const randrop::OverlapInput<Dtype>& overlap,
      const vector<Blob<Dtype>*>& bottom, randrop::OverlapSums* sums);

  bool softmax_, include_background_, batch_;
  int most_;  // cells of a group; 0: it is not split
  randrop::ScratchMemory sums_, tally_, terms_, total_, cells_;
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
  CHECK(bottom.size() < 3 || bottom[2]->shape() == bottom[0]->shape())
      << this->Title() << ": logits have shape " << bottom[0]->shape_string()
      << " and cells " << bottom[2]->shape_string()
      << "; the third bottom is the cell of each logit, N x C x spatial.";
}

template <typename Dtype, typename WriteTerm>
template <typename Device>
void OverlapLossLayer<Dtype, WriteTerm>::CountCells(const Blob<Dtype>& cells) {
  const randrop::CheckCells<Dtype> check = {Device::Data(cells), this->area_};
  randrop::CellNumbers* numbers = total_.Get<Device, randrop::CellNumbers>(1);
  Device::Reduce(1, cells.count(), check, numbers, &this->loops_);
  const randrop::CellNumbers found = Device::Read(numbers);
  most_ = found.largest + 1;
  if (found.bad >= 0) {
    LOG(FATAL) << this->Title() << ": cell " << cells.cpu_data()[found.bad]
        << " at n = " << found.bad / cells.count(1) << ", c = "
        << found.bad / this->area_ % this->classes_ << ", pixel "
        << found.bad % this->area_ << "; allowed: whole numbers from 0 to "
        << this->area_ - 1 << ". The cells of each channel are numbered from 0.";
  }
}

template <typename Dtype, typename WriteTerm>
template <typename Device>
void OverlapLossLayer<Dtype, WriteTerm>::Sum(
    const randrop::OverlapInput<Dtype>& overlap,
    const vector<Blob<Dtype>*>& bottom, randrop::OverlapSums* sums) {
  const randrop::SumSoftmaxOverlap<Dtype> of_softmax = {overlap};
  const randrop::SumSigmoidOverlap<Dtype> of_sigmoid = {overlap};
  if (IsByCell(bottom)) {
    const randrop::CellMap<Dtype> map = Cells<Device>(bottom);
    if (softmax_) {
      Device::ReduceClassCells(Segments(), this->area_, of_softmax, map, sums);
    } else {
      Device::ReduceCells(Segments(), this->area_, of_sigmoid, map, sums);
    }
  } else if (softmax_) {
    Device::ReduceClasses(this->images_, this->classes_, this->area_,
        of_softmax, sums, &this->loops_);
  } else {
    Device::Reduce(Segments(), this->area_, of_sigmoid, sums, &this->loops_);
  }
}

template <typename Dtype, typename WriteTerm>
template <typename Device>
void OverlapLossLayer<Dtype, WriteTerm>::ForwardOver(
    const randrop::OverlapInput<Dtype>& overlap,
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int groups = this->images_ * this->classes_;
  if (IsByCell(bottom)) {
    CountCells<Device>(*bottom[2]);
  }
  const int terms = groups * std::max(1, most_);
  randrop::OverlapSums* sums = sums_.Get<Device, randrop::OverlapSums>(terms);
  Sum<Device>(overlap, bottom, sums);
  int* cells = cells_.Get<Device, int>(groups);
  const randrop::ClassGroups of = {sums, this->images_, this->classes_,
      batch_, include_background_ ? 0 : 1, most_, cells};
  if (IsByCell(bottom)) {
    const randrop::CountCells count = {of, cells};
    Device::ForEach(groups, count);
  }
  const randrop::CountClassGroups count = {of};
  randrop::GroupTally* tally = tally_.Get<Device, randrop::GroupTally>(1);
  Device::Reduce(1, groups, count, tally, &this->loops_);
  WriteTerm write = term_;
  write.groups = of;
  write.tally = tally;
  write.terms = terms_.Get<Device, randrop::OverlapTerm<Dtype> >(terms);
  Device::ForEach(terms, write);
  const randrop::SumOverlapTerms<Dtype> sum_terms = {sums, write.terms};
  randrop::GroupedLoss* total = total_.Get<Device, randrop::GroupedLoss>(1);
  Device::Reduce(1, terms, sum_terms, total, &this->loops_);
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
  CHECK(propagate_down.size() < 3 || !propagate_down[2]) << this->Title()
      << ": a loss cannot backpropagate to its cells, but propagate_down is true"
      << " for bottom[2]; take the cells from a data layer.";
  if (!this->GoesDown(propagate_down)) {
    return;
  }
  const bool by_cell = IsByCell(bottom);
  const int count = this->images_ * this->classes_ * std::max(1, most_);
  const randrop::OverlapTerms<Dtype> terms = {
      terms_.Get<Device, randrop::OverlapTerm<Dtype> >(count),
      softmax_ ? this->classes_ : 1, std::max(1, most_),
      by_cell ? Device::Data(*bottom[2]) : NULL};
  const Dtype scale = top[0]->cpu_diff()[0];
  Dtype* diff = Device::MutableDiff(bottom[0]);
  const randrop::WriteSoftmaxOverlapDiff<Dtype> of_softmax = {overlap, terms,
      scale, diff};
  const randrop::WriteSigmoidOverlapDiff<Dtype> of_sigmoid = {overlap, terms,
      scale, diff};
  if (by_cell) {
    const randrop::CellMap<Dtype> map = Cells<Device>(bottom);
    if (softmax_) {
      Device::ForEachInCells(Segments(), this->area_, of_softmax, map);
    } else {
      Device::ForEachInCells(Segments(), this->area_, of_sigmoid, map);
    }
  } else if (softmax_) {
    Device::ForEach(Segments(), this->area_, of_softmax);
  } else {
    Device::ForEach(Segments(), this->area_, of_sigmoid);
  }
}

}  // namespace caffe

#endif  // CAFFE_OVERLAP_LOSS_LAYER_HPP_
