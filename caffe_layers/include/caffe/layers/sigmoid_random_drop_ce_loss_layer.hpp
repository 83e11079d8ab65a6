#ifndef CAFFE_SIGMOID_RANDOM_DROP_CE_LOSS_LAYER_HPP_
#define CAFFE_SIGMOID_RANDOM_DROP_CE_LOSS_LAYER_HPP_

#include <stdint.h>

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/balanced_ce_loss_layer.hpp"
#include "caffe/randrop/losses/random_drop.hpp"
#include "caffe/randrop/losses/top_k.hpp"

namespace caffe {

/**
 * @brief Class-balanced cross-entropy over the positives and a random sample of
 *        the negatives; easy negatives are dropped more often (Guo et al.,
 *        Random drop loss for tiny object segmentation, ICANN 2019,
 *        doi:10.1007/978-3-030-30508-6_18).
 *
 * With @f$ p = \sigma(x) @f$, a negative is dropped when @f$ u < d(p) @f$,
 * @f$ u \sim U[0, 1) @f$; randrop_loss_param.schedule_type chooses @f$ d @f$:
 * LINEAR @f$ 1 - p @f$, SQU @f$ (1 - p)^2 @f$, LOG (the default)
 * @f$ 1 + \log_{10}(1 - p) @f$, NONE 0. In each group (by default one channel
 * of one image, see randrop_loss_param.balance) with @f$ N_+ @f$ positives and
 * @f$ K @f$ kept negatives,
 * @f[ E = \frac{1}{Z} \left( \frac{K}{K + N_+} \sum_{t = 1} -\log p +
 *     \frac{N_+}{K + N_+} \sum_{kept} -\log(1 - p) \right) @f]
 * with the normalizer @f$ Z @f$ that loss_param names. The gradient treats the
 * selection and the weights as constants. A group without positives contributes
 * nothing, nor does one without kept negatives (this warning is shown only
 * once). In the TEST phase nothing is dropped unless drop_in_test is set.
 *
 * randrop_loss_param.keep names two controls, which keep as many of a group's
 * negatives, @f$ S = \sum_{t = 0} \min(1, 1 - d(p)) @f$ of @f$ N_- @f$ on
 * average: UNIFORM each with probability @f$ S / N_- @f$, HARDEST the
 * @f$ \lfloor S + 1/2 \rfloor @f$ with the largest logits.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits @f$ x @f$
 *   -# the same shape: labels @f$ t @f$, 0, 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1 or 2)
 *   -# @f$ (1) @f$, 0 axes: the loss
 *   -# @f$ (N \times C \times ...) @f$ optional: 1 positive or kept, 0 dropped,
 *      -1 ignored
 */
template <typename Dtype>
class SigmoidRandomDropCELossLayer : public BalancedCELossLayer<Dtype> {
 public:
  explicit SigmoidRandomDropCELossLayer(const LayerParameter& param)
      : BalancedCELossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual const char* OwnType() const { return "SigmoidRandomDropCELoss"; }
  virtual SigmoidRandomDropCELossParameter_Balance Balance() const {
    return param_.balance();
  }
  virtual randrop::BalanceRule Rule() const;
  virtual const char* StarvedRemedy() const;
  /// @brief The schedule in force: NONE if nothing is to be dropped.
  int Schedule() const;
  /// @brief Whether the hardest negatives are kept, and none by chance.
  bool KeepsHardest() const {
    return Schedule() != randrop::DropSchedule::NONE &&
        param_.keep() == SigmoidRandomDropCELossParameter_Keep_HARDEST;
  }
  /// @brief The random choice of this forward pass.
  template <typename Device>
  randrop::RandomDropPass<Dtype> Pass(const vector<Blob<Dtype>*>& bottom);
  /// @brief How many negatives the schedule would keep in each group.
  template <typename Device>
  randrop::PixelSums* Kept(const vector<Blob<Dtype>*>& bottom);
  /// @brief Keeps that many, the hardest, and adds them up.
  template <typename Device>
  void KeepHardest(const vector<Blob<Dtype>*>& bottom);

  SigmoidRandomDropCELossParameter param_;
  uint64_t seed_;
  /// Number of the next forward pass, the high half of the Philox counter.
  uint64_t forward_;
  /// Number of the first element's tile, a part of the counter's low half.
  uint64_t first_tile_;
  randrop::ScratchMemory kept_, drop_, wanted_;
};

template <typename Dtype>
template <typename Device>
randrop::RandomDropPass<Dtype> SigmoidRandomDropCELossLayer<Dtype>::Pass(
    const vector<Blob<Dtype>*>& bottom) {
  randrop::RandomDropPass<Dtype> pass = {Device::Data(*bottom[0]),
      Device::Data(*bottom[1]), this->template Selection<Device>(),
      this->has_ignore_label_, this->ignore_label_, Schedule(), seed_,
      forward_, first_tile_, NULL, this->group_size_};
  if (pass.schedule != randrop::DropSchedule::NONE &&
      param_.keep() == SigmoidRandomDropCELossParameter_Keep_UNIFORM) {
    Dtype* drop = drop_.Get<Device, Dtype>(this->groups_);
    const randrop::WriteUniformDrop<Dtype> write = {Kept<Device>(bottom), drop};
    Device::ForEach(this->groups_, write);
    pass.drop = drop;
    pass.schedule = randrop::DropSchedule::CONSTANT;
  }
  return pass;
}

template <typename Dtype>
template <typename Device>
randrop::PixelSums* SigmoidRandomDropCELossLayer<Dtype>::Kept(
    const vector<Blob<Dtype>*>& bottom) {
  const randrop::SumKept<Dtype> sum = {Device::Data(*bottom[0]),
      Device::Data(*bottom[1]), this->has_ignore_label_, this->ignore_label_,
      Schedule(), this->template Selection<Device>()};
  randrop::PixelSums* kept =
      kept_.Get<Device, randrop::PixelSums>(this->groups_);
  Device::Reduce(this->groups_, this->group_size_, sum, kept, &this->loops_);
  return kept;
}

template <typename Dtype>
template <typename Device>
void SigmoidRandomDropCELossLayer<Dtype>::KeepHardest(
    const vector<Blob<Dtype>*>& bottom) {
  typedef typename randrop::OrderedKey<Dtype>::Type Key;
  const int groups = this->groups_, size = this->group_size_;
  int* wanted = wanted_.Get<Device, int>(groups);
  const randrop::WantKept want = {Kept<Device>(bottom), wanted};
  Device::ForEach(groups, want);
  const Dtype* logits = Device::Data(*bottom[0]);
  unsigned char* selection = this->template Selection<Device>();
  const randrop::HardestNegatives<Dtype> hardest = {logits, selection};
  Device::template Select<Key>(groups, size, hardest, wanted, &this->loops_);
  const randrop::SumSelected<Dtype> sum = {logits, selection};
  Device::Reduce(groups, size, sum, this->template GroupSumsOn<Device>(),
      &this->loops_);
}

}  // namespace caffe

#endif  // CAFFE_SIGMOID_RANDOM_DROP_CE_LOSS_LAYER_HPP_
