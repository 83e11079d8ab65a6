#ifndef CAFFE_RANDROP_ENGINE_CONVOLUTION_HPP_
#define CAFFE_RANDROP_ENGINE_CONVOLUTION_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/randrop/engine/bfloat16.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {
namespace randrop {
namespace onednn {

/// @brief The shape of a convolution or, reversed, of a deconvolution.
struct ConvolutionShape {
  vector<int> bottom, top, weights;
  vector<int> stride, pad, dilation;
  int group;
  bool has_bias;

  bool operator==(const ConvolutionShape& other) const;
};

/**
 * @brief Convolution or deconvolution of blobs with 1 to 3 spatial axes.
 *
 * Primitives names oneDNN's types for one or the other.
 */
template <typename Primitives>
class Convolver {
 public:
  /// @brief Returns false if oneDNN has no such convolution.
  bool Prepare(const ConvolutionShape& shape);
  void Forward(const Blob<float>& bottom, const Blob<float>& weights,
      const Blob<float>* bias, Blob<float>* top);
  /// @brief Writes the bottom's diff, and adds to those of weights and bias;
  ///        NULL: not wanted.
  void Backward(const Blob<float>& bottom, const Blob<float>& top,
      const Blob<float>& weights, Blob<float>* learnt, Blob<float>* bias,
      Blob<float>* bottom_diff);

 private:
  typedef typename Primitives::Forward ForwardPrimitive;
  typedef typename Primitives::BackwardData BackwardDataPrimitive;
  typedef typename Primitives::BackwardWeights BackwardWeightsPrimitive;

  /// @brief Describes the primitives; returns false if oneDNN has none.
  /// @param rounds whether they multiply in bfloat16
  bool CanDescribe(bool rounds);
  void Describe(bool rounds);
  /// @brief Data or diff as a primitive reads them.
  dnnl::memory Input(const Blob<float>& blob, Part part, const Layout& layout,
      Slot slot) const;
  void BackwardData(const dnnl::memory& top_diff, const Blob<float>& weights,
      Blob<float>* bottom);
  void BackwardWeights(const Blob<float>& bottom, const Blob<float>& top,
      const dnnl::memory& top_diff, Blob<float>* weights, Blob<float>* bias);
  dnnl::memory WeightsAs(const Blob<float>& weights, const Layout& layout);
  Layout PlainWeights() const;
  bool BiasApart() const {
    return shape_.has_bias && !Primitives::kAddsBias && top_is_rows_;
  }

  ConvolutionShape shape_;
  bool prepared_ = false, possible_ = false;
  /// Whether data, diffs and weights are rounded to bfloat16.
  bool rounds_ = false;
  typename ForwardPrimitive::primitive_desc forward_;
  typename BackwardDataPrimitive::primitive_desc backward_data_;
  typename BackwardWeightsPrimitive::primitive_desc backward_weights_;
  dnnl::memory weights_, weights_diff_, plain_diff_, bias_diff_;
  /// Layout of the top's diff, if the bias is added separately.
  RowLayout row_layout_;
  /// Whether a bias can be added separately.
  bool top_is_rows_ = false;
};

struct ConvolutionPrimitives {
  typedef dnnl::convolution_forward Forward;
  typedef dnnl::convolution_backward_data BackwardData;
  typedef dnnl::convolution_backward_weights BackwardWeights;
  static const bool kTurned = false;
  static const bool kAddsBias = true;
  static dnnl::algorithm Algorithm() {
    return dnnl::algorithm::convolution_direct;
  }
};

struct DeconvolutionPrimitives {
  typedef dnnl::deconvolution_forward Forward;
  typedef dnnl::deconvolution_backward_data BackwardData;
  typedef dnnl::deconvolution_backward_weights BackwardWeights;
  /// Caffe stores deconvolution weights as (in, out / group, ...).
  static const bool kTurned = true;
  /// oneDNN's deconvolution spends more time on the bias than on the rest.
  static const bool kAddsBias = false;
  static dnnl::algorithm Algorithm() {
    return dnnl::algorithm::deconvolution_direct;
  }
};

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_RANDROP_ENGINE_CONVOLUTION_HPP_
