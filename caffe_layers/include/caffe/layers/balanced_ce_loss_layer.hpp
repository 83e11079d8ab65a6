#ifndef CAFFE_BALANCED_CE_LOSS_LAYER_HPP_
#define CAFFE_BALANCED_CE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/syncedmem.hpp"

#include "caffe/layers/pixel_loss_layer.hpp"
#include "caffe/randrop/losses/balance.hpp"

namespace caffe {

/**
 * @brief Base of the losses that select elements and take their sigmoid
 *        cross-entropy, weighted by their counts in a group. The derived
 *        class's forward pass fills selection_ and the sums of the groups; this
 *        class does the rest.
 *
 * A group is one channel of one image, one image or the batch: a run of
 * neighbouring elements.
 *
 * @param top output Blob vector (length 1 or 2)
 *   -# @f$ (1) @f$, 0 axes: the loss
 *   -# @f$ (N \times C \times ...) @f$ optional: 1 takes part, 0 left out,
 *      -1 ignored
 */
template <typename Dtype>
class BalancedCELossLayer : public PixelLossLayer<Dtype> {
 public:
  explicit BalancedCELossLayer(const LayerParameter& param)
      : PixelLossLayer<Dtype>(param), seen_groups_(0), starved_groups_(0) {}
  virtual ~BalancedCELossLayer();
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline int ExactNumTopBlobs() const { return -1; }
  virtual inline int MinTopBlobs() const { return 1; }
  virtual inline int MaxTopBlobs() const { return 2; }

 protected:
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  /// @brief The choice of groups.
  virtual SigmoidRandomDropCELossParameter_Balance Balance() const = 0;
  /// @brief The weights of a group's elements.
  virtual randrop::BalanceRule Rule() const = 0;
  /// @brief Advice for groups with positives but no kept negative.
  virtual const char* StarvedRemedy() const { return ""; }

  template <typename Device>
  unsigned char* Selection() {
    return static_cast<unsigned char*>(Device::Memory(selection_.get()));
  }
  /// @brief Room for the sums of the groups.
  template <typename Device>
  randrop::GroupSums* GroupSumsOn() {
    return sums_.Get<Device, randrop::GroupSums>(groups_);
  }

  /// @brief Ends a forward pass: computes weights, checks labels, normalises,
  ///        writes the tops.
  template <typename Device>
  void EndForward(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
    const randrop::GroupSums* sums = GroupSumsOn<Device>();
    const randrop::WriteGroupWeights<Dtype> weigh = {sums, Rule(),
        Device::MutableData(&weights_)};
    Device::ForEach(groups_, weigh);
    const randrop::SumGroups add = {sums, Rule()};
    randrop::BatchSums* total = total_.Get<Device, randrop::BatchSums>(1);
    Device::Reduce(1, groups_, add, total, &this->loops_);
    if (top.size() > 1) {
      const randrop::WriteMask<Dtype> write = {Selection<Device>(),
          Device::MutableData(top[1])};
      Device::ForEach(top[1]->count(), write);
    }
    Finish(Device::Read(total), *bottom[1], top[0]);
  }

  template <typename Device>
  void BackwardOn(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
    if (!this->GoesDown(propagate_down)) {
      return;
    }
    const randrop::WriteBalancedDiff<Dtype> write = {Device::Data(*bottom[0]),
        Selection<Device>(), Device::Data(weights_),
        this->DiffScale(*top[0]), group_size_,
        Device::MutableDiff(bottom[0])};
    Device::ForEach(groups_, group_size_, write);
  }

  int groups_;
  int group_size_;

 private:
  void Finish(const randrop::BatchSums& total, const Blob<Dtype>& label,
      Blob<Dtype>* loss);
  /// @brief Counts groups with positives but no kept negative; warns once.
  void CountStarved(int starved);

  /// One Role byte for each logit.
  shared_ptr<SyncedMemory> selection_;
  /// (groups x 2): the weights of positives and of kept negatives.
  Blob<Dtype> weights_;
  randrop::ScratchMemory sums_, total_;
  uint64_t seen_groups_;
  uint64_t starved_groups_;
};

}  // namespace caffe

#endif  // CAFFE_BALANCED_CE_LOSS_LAYER_HPP_
