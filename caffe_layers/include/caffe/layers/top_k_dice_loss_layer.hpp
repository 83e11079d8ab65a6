#ifndef CAFFE_TOP_K_DICE_LOSS_LAYER_HPP_
#define CAFFE_TOP_K_DICE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/soft_dice_loss_layer.hpp"
#include "caffe/randrop/losses/cross_entropy.hpp"
#include "caffe/randrop/losses/top_k.hpp"

namespace caffe {

/**
 * @brief Soft Dice loss of the hardest pixels (Hosseini, BMVC 2024, paper 897):
 *        SoftDiceLossLayer with sums restricted to the k_percent (50) of
 *        randrop_dice_param.
 *
 * region ALL takes the pixels of an image with the highest cross-entropy
 * (SIGMOID: of each of its channels). FOREGROUND takes, for each class, those
 * of its own pixels in an image with the lowest probability, and all pixels of
 * other classes. Ties are broken by index; the number is rounded down, but at
 * least one. The gradient treats the selection as constant.
 *
 * @param bottom input Blob vector (length 2), as for SoftDiceLossLayer
 * @param top output Blob vector (length 1 or 2)
 *   -# @f$ (1) @f$, 0 axes: the loss
 *   -# the shape of the label, optional: 1 selected, 0 left out (FOREGROUND: of
 *      its own class's sums), -1 ignored
 */
template <typename Dtype>
class TopKDiceLossLayer : public SoftDiceLossLayer<Dtype> {
 public:
  explicit TopKDiceLossLayer(const LayerParameter& param)
      : SoftDiceLossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline int MaxBottomBlobs() const { return 2; }
  virtual inline int ExactNumTopBlobs() const { return -1; }
  virtual inline int MinTopBlobs() const { return 1; }
  virtual inline int MaxTopBlobs() const { return 2; }

 protected:
  RANDROP_DECLARE_PASSES();

  virtual const char* OwnType() const { return "TopKDiceLoss"; }
  virtual bool IsTopK() const { return true; }
  bool IsForeground() const {
    return this->param_.region() == RandropDiceParameter_Region_FOREGROUND;
  }

  /// @brief One Role byte for each label.
  template <typename Device>
  unsigned char* Selection() {
    return selection_.Get<Device, unsigned char>(this->labels_);
  }
  /// @brief The bottoms, restricted to the selection.
  template <typename Device>
  randrop::OverlapInput<Dtype> Selected(const vector<Blob<Dtype>*>& bottom) {
    randrop::OverlapInput<Dtype> selected =
        this->template Overlap<Device>(bottom);
    selected.foreground = IsForeground();
    selected.selection = Selection<Device>();
    return selected;
  }
  /// @brief A segment is an image (SIGMOID: channel).
  int Segments() const {
    return this->IsSoftmax() ? this->images_ : this->images_ * this->classes_;
  }
  /// @brief Runs op over the labels of the segments.
  template <typename Device, typename Operation>
  void ReduceLabels(const Operation& op, randrop::PixelSums* sums) {
    Device::Reduce(Segments(), this->area_, op, sums, &this->loops_);
  }
  template <typename Device>
  void SelectHardest(const vector<Blob<Dtype>*>& bottom);

  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    SelectHardest<Device>(bottom);
    this->template ForwardOver<Device>(Selected<Device>(bottom), bottom, top);
    if (top.size() > 1) {
      const randrop::WriteMask<Dtype> write = {Selection<Device>(),
          Device::MutableData(top[1])};
      Device::ForEach(this->labels_, write);
    }
  }
  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    this->template BackwardOver<Device>(Selected<Device>(bottom), top,
        propagate_down, bottom);
  }

  randrop::ScratchMemory selection_, cross_entropy_, pixel_sums_, wanted_;
};

template <typename Dtype>
template <typename Device>
void TopKDiceLossLayer<Dtype>::SelectHardest(
    const vector<Blob<Dtype>*>& bottom) {
  typedef typename randrop::OrderedKey<Dtype>::Type Key;
  const randrop::LossInput<Dtype> input = this->template Input<Device>(bottom);
  Dtype* ce = cross_entropy_.Get<Device, Dtype>(this->labels_);
  randrop::PixelSums* sums =
      pixel_sums_.Get<Device, randrop::PixelSums>(Segments());
  if (this->IsSoftmax()) {
    const randrop::SoftmaxCrossEntropy<Dtype> compute = {input, ce,
        Selection<Device>()};
    ReduceLabels<Device>(compute, sums);
  } else {
    const randrop::SigmoidCrossEntropy<Dtype> compute = {input, ce,
        Selection<Device>()};
    ReduceLabels<Device>(compute, sums);
  }
  int* wanted = wanted_.Get<Device, int>(Segments());
  const randrop::WantShareOfPixels want = {sums, this->param_.k_percent(),
      wanted};
  const randrop::HardestPixels<Dtype> hardest = {ce, Selection<Device>()};
  if (!IsForeground()) {
    Device::ForEach(Segments(), want);
    Device::template Select<Key>(Segments(), this->area_, hardest, wanted,
        &this->loops_);
    return;
  }
  for (int own = this->IsSoftmax() ? 0 : 1;
       own < (this->IsSoftmax() ? this->classes_ : 2); ++own) {
    const randrop::CountClass<Dtype> count = {
        Selection<Device>(), input.label, own};
    ReduceLabels<Device>(count, sums);
    Device::ForEach(Segments(), want);
    const randrop::HardestOfClass<Dtype> of_class = {hardest, input.label, own};
    Device::template Select<Key>(Segments(), this->area_, of_class, wanted,
        &this->loops_);
  }
}

}  // namespace caffe

#endif  // CAFFE_TOP_K_DICE_LOSS_LAYER_HPP_
