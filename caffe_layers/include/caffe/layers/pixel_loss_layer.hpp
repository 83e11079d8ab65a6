#ifndef CAFFE_PIXEL_LOSS_LAYER_HPP_
#define CAFFE_PIXEL_LOSS_LAYER_HPP_

#include <cfloat>
#include <string>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#include "caffe/layers/loss_layer.hpp"
#include "caffe/randrop/loops/cpu.hpp"
#include "caffe/randrop/math/softmax.hpp"

namespace caffe {

/**
 * @brief Base of the pixel losses: the parameters in loss_param, the checks of
 *        shapes and labels, and the normalizer.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times ...) @f$ the logits @f$ x @f$, any number of
 *      spatial axes
 *   -# a sigmoid loss takes the same shape: labels 0, 1 or
 *      loss_param.ignore_label; a softmax loss @f$ (N \times 1 \times ...) @f$
 *      or @f$ (N \times ...) @f$: classes 0 to C - 1 or
 *      loss_param.ignore_label
 *
 * loss_param.normalization names the divisor of a sum over pixels, at least 1:
 * FULL all labels, VALID those not ignored, BATCH_SIZE N, NONE 1. The default
 * is that of Caffe's own losses: BATCH_SIZE for a sigmoid, VALID for a softmax.
 *
 * The loss is NaN if a logit is NaN or infinite, unless its pixel is ignored.
 * Exception: in a softmax, -infinity rules out a class other than the true one:
 * p = 0.
 */
template <typename Dtype>
class PixelLossLayer : public LossLayer<Dtype> {
 public:
  explicit PixelLossLayer(const LayerParameter& param)
      : LossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  /// @brief The name it was created under; some layers have several.
  virtual inline const char* type() const {
    return this->layer_param_.type().empty() ? OwnType() :
        this->layer_param_.type().c_str();
  }

 protected:
  /// @brief The name that the layer is registered under.
  virtual const char* OwnType() const = 0;
  /// @brief Whether it is a softmax loss: one label a pixel, not one a logit.
  virtual bool IsSoftmax() const { return false; }

  /// @brief Whether it defaults to a mean over pixels.
  virtual bool IsMean() const { return IsSoftmax(); }

  /// @brief Writes the loss: a sum over pixels divided by the normalizer;
  ///        `valid` is the number of labels that count for VALID.
  void WriteLoss(double sum, int valid, Blob<Dtype>* loss);
  /// @brief The factor for the gradient of that sum.
  Dtype DiffScale(const Blob<Dtype>& loss) const {
    return loss.cpu_diff()[0] / normalizer_;
  }
  /// @brief Aborts unless a parameter is at least `least` (above `bound`), at
  ///        most `most` and finite in single precision.
  void CheckRange(const char* name, double value, double least,
      double most = FLT_MAX) const;
  void CheckAbove(const char* name, double value, double bound,
      double most = FLT_MAX) const;
  /// @brief Warns that an option is given but has no effect, and says when.
  void WarnIfIdle(bool given, const char* name, const string& when) const;
  /// @brief Aborts if loss_param sets a normalization: for losses that are
  ///        means by definition.
  void RefuseNormalization() const;
  /// @brief Aborts unless index is -1: names the label there and its likely
  ///        cause.
  void CheckLabel(const Blob<Dtype>& label, int index) const;
  /// @brief Whether to backpropagate to the logits; aborts if asked to
  ///        backpropagate to the labels.
  bool GoesDown(const vector<bool>& propagate_down) const;
  /// @brief "Type layer 'name'", for messages.
  string Title() const;
  /// @brief The bottoms of a softmax loss.
  template <typename Device>
  randrop::LossInput<Dtype> Input(const vector<Blob<Dtype>*>& bottom) const {
    const randrop::LossInput<Dtype> input = {Device::Data(*bottom[0]),
        Device::Data(*bottom[1]), classes_, area_, has_ignore_label_,
        ignore_label_};
    return input;
  }

  bool has_ignore_label_;
  int ignore_label_;
  LossParameter_NormalizationMode normalization_;
  /// Shape of the logits (images x classes x area) and number of labels.
  int images_, classes_, area_, labels_;
  randrop::ScratchMemory loops_;

 private:
  /// @brief The divisor of the loss.
  Dtype Normalizer(int valid) const;
  void CheckSoftmaxLabel(const Blob<Dtype>& logits,
      const Blob<Dtype>& label) const;

  Dtype normalizer_;
};

/// @brief Declares Caffe's four functions in the class of a loss that writes
///        each pass once, as a template ForwardOn<Device> and
///        BackwardOn<Device> over randrop::OnCpu and OnGpu.
#define RANDROP_DECLARE_PASSES() \
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, \
      const vector<Blob<Dtype>*>& top); \
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, \
      const vector<Blob<Dtype>*>& top); \
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, \
      const vector<bool>& propagate_down, \
      const vector<Blob<Dtype>*>& bottom); \
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, \
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom)

#define RANDROP_DEFINE_PASSES(classname, unit, Device) \
  template <typename Dtype> \
  void classname<Dtype>::Forward_##unit(const vector<Blob<Dtype>*>& bottom, \
      const vector<Blob<Dtype>*>& top) { \
    this->template ForwardOn<Device>(bottom, top); \
  } \
  template <typename Dtype> \
  void classname<Dtype>::Backward_##unit(const vector<Blob<Dtype>*>& top, \
      const vector<bool>& propagate_down, \
      const vector<Blob<Dtype>*>& bottom) { \
    this->template BackwardOn<Device>(top, propagate_down, bottom); \
  }

/// @brief Define them, in the loss's .cpp (with Caffe's INSTANTIATE_CLASS) and
///        in its .cu.
#ifdef CPU_ONLY
#define RANDROP_STUB_GPU(classname) STUB_GPU(classname)
#else
#define RANDROP_STUB_GPU(classname)
#endif
#define RANDROP_INSTANTIATE_LOSS(classname) \
  RANDROP_DEFINE_PASSES(classname, cpu, randrop::OnCpu) \
  RANDROP_STUB_GPU(classname) \
  INSTANTIATE_CLASS(classname)
#define RANDROP_GPU_PASSES(classname) \
  RANDROP_DEFINE_PASSES(classname, gpu, randrop::OnGpu) \
  INSTANTIATE_LAYER_GPU_FUNCS(classname)

}  // namespace caffe

#endif  // CAFFE_PIXEL_LOSS_LAYER_HPP_
