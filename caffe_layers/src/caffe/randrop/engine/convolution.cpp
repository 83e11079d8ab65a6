#ifdef USE_ONEDNN

#include "caffe/randrop/engine/convolution.hpp"

#include <algorithm>
#include <string>

#include "caffe/util/math_functions.hpp"

namespace caffe {
namespace randrop {
namespace onednn {

bool ConvolutionShape::operator==(const ConvolutionShape& other) const {
  return bottom == other.bottom && top == other.top &&
      weights == other.weights && stride == other.stride && pad == other.pad &&
      dilation == other.dilation && group == other.group &&
      has_bias == other.has_bias;
}

namespace {

/// In oneDNN's order: (group, out / group, in / group, ...), without the group
/// if it is 1.
Dims WeightDims(const ConvolutionShape& shape, bool turned) {
  Dims dims = DimsOf(shape.weights);
  if (turned) {
    dims[0] = shape.weights[1];
    dims[1] = shape.weights[0] / shape.group;
  } else {
    dims[0] /= shape.group;
  }
  if (shape.group > 1) {
    dims.insert(dims.begin(), shape.group);
  }
  return dims;
}

/// Whether oneDNN has only its reference loops for this.
template <typename Description>
bool IsSlow(const Description& description) {
  return string(description.impl_info_str()).find("ref") != string::npos;
}

}  // namespace

template <typename Primitives>
bool Convolver<Primitives>::Prepare(const ConvolutionShape& shape) {
  if (prepared_ && shape == shape_) {
    return possible_;
  }
  shape_ = shape;
  prepared_ = true;
  possible_ = false;
  const int axes = shape.pad.size();
  if (axes < 1 || axes > 3 || shape.bottom.size() != axes + 2 ||
      *std::min_element(shape.bottom.begin(), shape.bottom.end()) < 1) {
    return false;
  }
  try {
    Describe();
    possible_ = true;
  } catch (const dnnl::error& error) {
    LOG(INFO) << "oneDNN does not support this convolution: " << error.what();
  }
  return possible_;
}

template <typename Primitives>
void Convolver<Primitives>::Describe() {
  const Layout bottom = AnyLayout(DimsOf(shape_.bottom));
  const Layout top = AnyLayout(DimsOf(shape_.top));
  const Layout weights = AnyLayout(WeightDims(shape_, Primitives::kTurned));
  const Dims stride = DimsOf(shape_.stride), pad = DimsOf(shape_.pad);
  Dims dilation = DimsOf(shape_.dilation);
  for (int i = 0; i < dilation.size(); ++i) {
    --dilation[i];
  }
  Layout bias;
  for (bool apart : {true, false}) {
    bias = shape_.has_bias && !apart ? Plain(Dims(1, shape_.top[1])) : Layout();
    forward_ = onednn::Describe<ForwardPrimitive>(
        dnnl::prop_kind::forward_training, Primitives::Algorithm(), bottom,
        weights, bias, top, stride, dilation, pad, pad);
    ChannelRows rows;
    top_is_rows_ = RowsOf(forward_.dst_desc(), shape_.top, &rows);
    if (!shape_.has_bias || (apart && BiasApart())) {
      break;
    }
  }
  // Both keep the layouts of the forward pass, unless they are slow in them.
  for (bool as_forward : {true, false}) {
    const Layout from = as_forward ? Layout(forward_.src_desc()) : bottom;
    const Layout to = as_forward ? Layout(forward_.dst_desc()) : top;
    if (as_forward || IsSlow(backward_data_)) {
      backward_data_ = DescribeBackward<BackwardDataPrimitive>(forward_,
          Primitives::Algorithm(), from, weights, to, stride, dilation, pad,
          pad);
    }
    if (as_forward || IsSlow(backward_weights_)) {
      backward_weights_ = DescribeBackward<BackwardWeightsPrimitive>(forward_,
          Primitives::Algorithm(), from, weights, bias, to, stride, dilation,
          pad, pad);
    }
  }
}

template <typename Primitives>
Layout Convolver<Primitives>::PlainWeights() const {
  const Dims dims = WeightDims(shape_, Primitives::kTurned);
  Layout plain = Plain(dims);
  if (Primitives::kTurned) {
    const int out = shape_.group > 1;
    Dims stored = dims;
    std::swap(stored[out], stored[out + 1]);
    Dims strides(dims.size(), 1);
    for (int axis = static_cast<int>(dims.size()) - 2; axis >= 0; --axis) {
      strides[axis] = strides[axis + 1] * stored[axis + 1];
    }
    std::swap(strides[out], strides[out + 1]);
    plain = Layout(dims, dnnl::memory::data_type::f32, strides);
  }
  return plain;
}

template <typename Primitives>
dnnl::memory Convolver<Primitives>::WeightsAs(const Blob<float>& weights,
    const Layout& layout) {
  const dnnl::memory plain = View(PlainWeights(), weights.cpu_data());
  if (layout == PlainWeights()) {
    return plain;
  }
  if (!weights_ || weights_.get_desc() != layout) {
    weights_ = dnnl::memory(layout, Engine());
  }
  Reorder(plain, weights_);
  return weights_;
}

template <typename Primitives>
void Convolver<Primitives>::Forward(const Blob<float>& bottom,
    const Blob<float>& weights, const Blob<float>* bias, Blob<float>* top) {
  Output out(top, DATA, forward_.dst_desc());
  Arguments arguments;
  arguments[DNNL_ARG_SRC] = ReadAs(bottom, DATA, forward_.src_desc());
  arguments[DNNL_ARG_WEIGHTS] = WeightsAs(weights, forward_.weights_desc());
  if (bias && !BiasApart()) {
    arguments[DNNL_ARG_BIAS] =
        View(Plain(Dims(1, shape_.top[1])), bias->cpu_data());
  }
  arguments[DNNL_ARG_DST] = out.memory();
  Execute(ForwardPrimitive(forward_), arguments);
  if (bias && BiasApart()) {
    ScaleChannels(RowsIn(out.memory(), shape_.top), Values(out.memory()), NULL,
        NULL, bias->cpu_data(), Values(out.memory()));
  }
  out.Done();
}

template <typename Primitives>
void Convolver<Primitives>::BackwardData(const Blob<float>& top,
    const Blob<float>& weights, Blob<float>* bottom) {
  Output out(bottom, DIFF, backward_data_.diff_src_desc());
  Arguments arguments;
  arguments[DNNL_ARG_DIFF_DST] =
      ReadAs(top, DIFF, backward_data_.diff_dst_desc());
  arguments[DNNL_ARG_WEIGHTS] =
      WeightsAs(weights, backward_data_.weights_desc());
  arguments[DNNL_ARG_DIFF_SRC] = out.memory();
  Execute(BackwardDataPrimitive(backward_data_), arguments);
  out.Done();
}

template <typename Primitives>
void Convolver<Primitives>::BackwardWeights(const Blob<float>& bottom,
    const Blob<float>& top, Blob<float>* weights, Blob<float>* bias) {
  const Layout layout = backward_weights_.diff_weights_desc();
  if (!weights_diff_ || weights_diff_.get_desc() != layout) {
    weights_diff_ = dnnl::memory(layout, Engine());
    plain_diff_ = dnnl::memory(PlainWeights(), Engine());
  }
  Arguments arguments;
  arguments[DNNL_ARG_SRC] = ReadAs(bottom, DATA, backward_weights_.src_desc());
  arguments[DNNL_ARG_DIFF_DST] =
      ReadAs(top, DIFF, backward_weights_.diff_dst_desc());
  arguments[DNNL_ARG_DIFF_WEIGHTS] = weights_diff_;
  if (shape_.has_bias && !BiasApart()) {
    if (!bias_diff_) {
      bias_diff_ = dnnl::memory(Plain(Dims(1, shape_.top[1])), Engine());
    }
    arguments[DNNL_ARG_DIFF_BIAS] = bias_diff_;
  }
  Execute(BackwardWeightsPrimitive(backward_weights_), arguments);
  // Caffe accumulates parameter diffs.
  if (weights) {
    Reorder(weights_diff_, plain_diff_);
    caffe_axpy<float>(weights->count(), 1,
        Values(plain_diff_),
        weights->mutable_cpu_diff());
  }
  if (bias && BiasApart()) {
    const dnnl::memory diff = ReadAs(top, DIFF, row_layout_.For(top, DIFF));
    SumChannels(RowsIn(diff, shape_.top), Values(diff), Values(diff), NULL,
        bias->mutable_cpu_diff());
  } else if (bias) {
    caffe_axpy<float>(bias->count(), 1, Values(bias_diff_),
        bias->mutable_cpu_diff());
  }
}

template class Convolver<ConvolutionPrimitives>;
template class Convolver<DeconvolutionPrimitives>;

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
