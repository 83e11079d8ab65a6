#ifndef CAFFE_TOP_K_DICE_LOSS_LAYER_HPP_
#define CAFFE_TOP_K_DICE_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/soft_dice_loss_layer.hpp"

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

  virtual inline int ExactNumTopBlobs() const { return -1; }
  virtual inline int MinTopBlobs() const { return 1; }
  virtual inline int MaxTopBlobs() const { return 2; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual const char* OwnType() const { return "TopKDiceLoss"; }
  virtual bool IsTopK() const { return true; }

  template <typename Device>
  void WriteMaskOn(const vector<Blob<Dtype>*>& top) {
    if (top.size() > 1) {
      const randrop::WriteMask<Dtype> write = {
          this->template Selection<Device>(), Device::MutableData(top[1])};
      Device::ForEach(this->labels_, write);
    }
  }
};

}  // namespace caffe

#endif  // CAFFE_TOP_K_DICE_LOSS_LAYER_HPP_
