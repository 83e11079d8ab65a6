#ifndef CAFFE_ONEDNN_CONV_LAYER_HPP_
#define CAFFE_ONEDNN_CONV_LAYER_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/layers/conv_layer.hpp"
#include "caffe/layers/deconv_layer.hpp"
#include "caffe/randrop/engine/convolution.hpp"

namespace caffe {

/**
 * @brief Convolution or deconvolution through oneDNN on the CPU: Base with its
 *        own Forward_cpu and Backward_cpu.
 *
 * Base handles what oneDNN cannot: double precision, more than three spatial
 * axes, or a channel axis other than 1.
 */
template <typename Dtype, typename Base, typename Primitives>
class OnednnBaseConvolutionLayer : public Base {
 public:
  explicit OnednnBaseConvolutionLayer(const LayerParameter& param)
      : Base(param) {}

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

 private:
  bool Prepare(const Blob<Dtype>& bottom, const Blob<Dtype>& top);

  randrop::onednn::Convolver<Primitives> convolver_;
};

template <typename Dtype>
class OnednnConvolutionLayer : public OnednnBaseConvolutionLayer<Dtype,
    ConvolutionLayer<Dtype>, randrop::onednn::ConvolutionPrimitives> {
 public:
  explicit OnednnConvolutionLayer(const LayerParameter& param)
      : OnednnBaseConvolutionLayer<Dtype, ConvolutionLayer<Dtype>,
        randrop::onednn::ConvolutionPrimitives>(param) {}
};

template <typename Dtype>
class OnednnDeconvolutionLayer : public OnednnBaseConvolutionLayer<Dtype,
    DeconvolutionLayer<Dtype>, randrop::onednn::DeconvolutionPrimitives> {
 public:
  explicit OnednnDeconvolutionLayer(const LayerParameter& param)
      : OnednnBaseConvolutionLayer<Dtype, DeconvolutionLayer<Dtype>,
        randrop::onednn::DeconvolutionPrimitives>(param) {}
};

}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_ONEDNN_CONV_LAYER_HPP_
