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
  // Our loops take channels last in multiples of 16, and fewer gain little.
  // With strides, oneDNN 2.6 leaves gradients of elements that meet the border
  // alone as it finds them, errs on several threads and, in 3-D, writes outside
  // of its memory.
  rounds_ = InBfloat16() && axes == 2 && shape.group == 1 &&
      *std::max_element(shape.stride.begin(), shape.stride.end()) == 1 &&
      shape.bottom[1] % 16 == 0 && shape.top[1] % 16 == 0 &&
      CanDescribe(true) && !IsSlow(forward_) && !IsSlow(backward_data_) &&
      !IsSlow(backward_weights_);
  possible_ = rounds_ || CanDescribe(false);
  return possible_;
}

template <typename Primitives>
bool Convolver<Primitives>::CanDescribe(bool rounds) {
  try {
    Describe(rounds);
  } catch (const dnnl::error& error) {
    LOG(INFO) << "oneDNN does not support this convolution"
        << (rounds ? " in bfloat16: " : ": ") << error.what();
    return false;
  }
  return true;
}

template <typename Primitives>
void Convolver<Primitives>::Describe(bool rounds) {
  const Dims bottom_dims = DimsOf(shape_.bottom), top_dims = DimsOf(shape_.top);
  const Dims weight_dims = WeightDims(shape_, Primitives::kTurned);
  const Type type = rounds ? Type::bf16 : Type::f32;
  const Layout bottom = AnyLayout(bottom_dims, type);
  const Layout top = AnyLayout(top_dims, type);
  const Layout weights = AnyLayout(weight_dims, type);
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
        weights, bias, AnyLayout(top_dims), stride, dilation, pad, pad);
    ChannelRows rows;
    top_is_rows_ = RowsOf(forward_.dst_desc(), shape_.top, &rows);
    if (!shape_.has_bias || (apart && BiasApart())) {
      break;
    }
  }
  // Both keep the layouts of the forward pass, unless they are slow in them.
  // What is rounded is copied for each of them.
  for (bool as_forward : {true, false}) {
    const bool same = as_forward && !rounds;
    const Layout from = same ? Layout(forward_.src_desc()) : bottom;
    const Layout to = same ? Layout(forward_.dst_desc()) : top;
    if (as_forward || IsSlow(backward_data_)) {
      backward_data_ = DescribeBackward<BackwardDataPrimitive>(forward_,
          Primitives::Algorithm(), rounds ? AnyLayout(bottom_dims) : from,
          weights, to, stride, dilation, pad, pad);
    }
    if (as_forward || IsSlow(backward_weights_)) {
      backward_weights_ = DescribeBackward<BackwardWeightsPrimitive>(forward_,
          Primitives::Algorithm(), from, AnyLayout(weight_dims), bias, to,
          stride, dilation, pad, pad);
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
    plain = Layout(dims, Type::f32, strides);
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
dnnl::memory Convolver<Primitives>::Input(const Blob<float>& blob, Part part,
    const Layout& layout, Slot slot) const {
  if (!rounds_) {
    return ReadAs(blob, part, layout);
  }
  const dnnl::memory rounded = Scratch(slot, layout);
  Reorder(Read(blob, part), rounded);
  return rounded;
}

template <typename Primitives>
void Convolver<Primitives>::Forward(const Blob<float>& bottom,
    const Blob<float>& weights, const Blob<float>* bias, Blob<float>* top) {
  Output out(top, DATA, forward_.dst_desc());
  Arguments arguments;
  arguments[DNNL_ARG_SRC] = Input(bottom, DATA, forward_.src_desc(), SOURCE);
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
void Convolver<Primitives>::Backward(const Blob<float>& bottom,
    const Blob<float>& top, const Blob<float>& weights, Blob<float>* learnt,
    Blob<float>* bias, Blob<float>* bottom_diff) {
  dnnl::memory diff;
  if (learnt || bias) {
    diff = Input(top, DIFF, backward_weights_.diff_dst_desc(), SOURCE_DIFF);
    BackwardWeights(bottom, top, diff, learnt, bias);
  }
  if (bottom_diff) {
    const Layout layout = backward_data_.diff_dst_desc();
    // Only the scratch memory is certain to be as it was.
    if (!rounds_ || !diff || diff.get_desc() != layout) {
      diff = Input(top, DIFF, layout, SOURCE_DIFF);
    }
    BackwardData(diff, weights, bottom_diff);
  }
}

template <typename Primitives>
void Convolver<Primitives>::BackwardData(const dnnl::memory& top_diff,
    const Blob<float>& weights, Blob<float>* bottom) {
  Output out(bottom, DIFF, backward_data_.diff_src_desc());
  Arguments arguments;
  arguments[DNNL_ARG_DIFF_DST] = top_diff;
  arguments[DNNL_ARG_WEIGHTS] =
      WeightsAs(weights, backward_data_.weights_desc());
  arguments[DNNL_ARG_DIFF_SRC] = out.memory();
  Execute(BackwardDataPrimitive(backward_data_), arguments);
  out.Done();
}

template <typename Primitives>
void Convolver<Primitives>::BackwardWeights(const Blob<float>& bottom,
    const Blob<float>& top, const dnnl::memory& top_diff, Blob<float>* weights,
    Blob<float>* bias) {
  const Layout layout = backward_weights_.diff_weights_desc();
  if (!weights_diff_ || weights_diff_.get_desc() != layout) {
    weights_diff_ = dnnl::memory(layout, Engine());
    plain_diff_ = dnnl::memory(PlainWeights(), Engine());
  }
  Arguments arguments;
  arguments[DNNL_ARG_SRC] =
      Input(bottom, DATA, backward_weights_.src_desc(), SOURCE);
  arguments[DNNL_ARG_DIFF_DST] = top_diff;
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
