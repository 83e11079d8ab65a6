#ifndef CAFFE_SIGMOID_RANDOM_DROP_CE_LOSS_LAYER_HPP_
#define CAFFE_SIGMOID_RANDOM_DROP_CE_LOSS_LAYER_HPP_

#include <stdint.h>

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/balanced_ce_loss_layer.hpp"

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

  SigmoidRandomDropCELossParameter param_;
  uint64_t seed_;
  /// Number of the next forward pass, the high half of the Philox counter.
  uint64_t forward_;
};

}  // namespace caffe

#endif  // CAFFE_SIGMOID_RANDOM_DROP_CE_LOSS_LAYER_HPP_
