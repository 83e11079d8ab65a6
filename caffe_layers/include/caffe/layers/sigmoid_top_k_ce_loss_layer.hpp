#ifndef CAFFE_SIGMOID_TOP_K_CE_LOSS_LAYER_HPP_
#define CAFFE_SIGMOID_TOP_K_CE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/balanced_ce_loss_layer.hpp"
#include "caffe/randrop/losses/top_k.hpp"

namespace caffe {

/**
 * @brief Sigmoid cross-entropy of the hardest pixels only.
 *
 * randrop_topk_param.selection says which. EXACT (the default) and BIN take the
 * @f$ N_+ @f$ positives of each group and its hardest negatives, those with the
 * largest logits, negatives_per_positive (20) for each positive. EXACT takes
 * exactly that many, ties broken by index; BIN takes whole bins of @f$ p @f$ of
 * width 0.2 until there are at least that many. With @f$ K @f$ negatives,
 * @f[ E = \frac{1}{Z} \left( \frac{w K}{K + N_+} \sum_{t = 1} -\log p +
 *     \frac{N_+}{K + N_+} \sum_{taken} -\log(1 - p) \right) @f]
 * with positive_weight @f$ w @f$ (Guo et al., Neurocomputing 2020,
 * doi:10.1016/j.neucom.2018.10.103). A group without positives contributes
 * nothing. PERCENT averages the k_percent (10) of the batch's elements with the
 * highest cross-entropy (Pohlen et al., CVPR 2017). The gradient treats the
 * selection as constant.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits @f$ x @f$
 *   -# the same shape: labels @f$ t @f$, 0, 1 or loss_param.ignore_label
 * @param top output Blob vector (length 1 or 2)
 *   -# @f$ (1) @f$, 0 axes: the loss
 *   -# @f$ (N \times C \times ...) @f$ optional: 1 takes part, 0 left out,
 *      -1 ignored
 */
template <typename Dtype>
class SigmoidTopKCELossLayer : public BalancedCELossLayer<Dtype> {
 public:
  explicit SigmoidTopKCELossLayer(const LayerParameter& param)
      : BalancedCELossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual const char* OwnType() const { return "SigmoidTopKCELoss"; }
  virtual SigmoidRandomDropCELossParameter_Balance Balance() const;
  virtual randrop::BalanceRule Rule() const;
  virtual bool IsMean() const { return IsShare(); }
  bool IsShare() const {
    return param_.selection() == RandropTopKParameter_Selection_PERCENT;
  }

  template <typename Device>
  void ForwardOn(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  RandropTopKParameter param_;
  randrop::ScratchMemory candidates_, wanted_;
};

template <typename Dtype>
template <typename Device>
void SigmoidTopKCELossLayer<Dtype>::ForwardOn(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  typedef typename randrop::OrderedKey<Dtype>::Type Key;
  const int groups = this->groups_, size = this->group_size_;
  const Dtype* logits = Device::Data(*bottom[0]);
  unsigned char* selection = this->template Selection<Device>();
  randrop::CandidateSums* candidates =
      candidates_.Get<Device, randrop::CandidateSums>(groups);
  int* wanted = wanted_.Get<Device, int>(groups);

  const bool bins = param_.selection() == RandropTopKParameter_Selection_BIN;
  const randrop::ClassifyLabels<Dtype> classify = {bins ? logits : NULL,
      Device::Data(*bottom[1]), this->has_ignore_label_, this->ignore_label_,
      selection};
  Device::Reduce(groups, size, classify, candidates, &this->loops_);
  if (IsShare()) {
    const randrop::WantShare want = {candidates, param_.k_percent(), wanted};
    Device::ForEach(groups, want);
    const randrop::HardestElements<Dtype> hardest = {logits, selection};
    Device::template Select<Key>(groups, size, hardest, wanted,
        &this->loops_);
  } else {
    const randrop::WantNegatives want = {
        candidates, param_.negatives_per_positive(), bins, wanted};
    Device::ForEach(groups, want);
    if (bins) {
      const randrop::KeepBins<Dtype> keep = {logits, wanted, size, selection};
      Device::ForEach(groups, size, keep);
    } else {
      const randrop::HardestNegatives<Dtype> hardest = {logits, selection};
      Device::template Select<Key>(groups, size, hardest, wanted,
          &this->loops_);
    }
  }
  const randrop::SumSelected<Dtype> sum = {logits, selection};
  Device::Reduce(groups, size, sum, this->template GroupSumsOn<Device>(),
      &this->loops_);
  this->template EndForward<Device>(bottom, top);
}

}  // namespace caffe

#endif  // CAFFE_SIGMOID_TOP_K_CE_LOSS_LAYER_HPP_
