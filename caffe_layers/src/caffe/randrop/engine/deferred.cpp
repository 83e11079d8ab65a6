#ifdef USE_ONEDNN

#include "caffe/randrop/engine/deferred.hpp"

namespace caffe {
namespace randrop {
namespace onednn {

const shared_ptr<OtherData>& Deferred::Settled() {
  if (!done_) {
    Compute();
    done_ = true;
  }
  return buffer;
}

void DeferredNorm::Write(bool relu, float slope, float* y) const {
  AfterNorm after = {NULL, NULL, relu, slope};
  if (!scale.empty()) {
    after.scale = &scale[0];
    after.offset = &offset[0];
  }
  NormaliseChannels(Rows(), Values(x->memory), &mean[0],
      &factor[0], after, y);
}

void DeferredNorm::Compute() { Write(false, 0, Values(buffer->memory)); }

void DeferredNorm::WriteRelu(float slope, float* y) const {
  Write(true, slope, y);
}

NormDiff DeferredDiff::Diff() const {
  const NormDiff diff = {Values(buffer->memory), Values(y->memory), slope,
      scale.empty() ? NULL : &scale[0]};
  return diff;
}

void DeferredDiff::Compute() {
  WriteNormDiff(Rows(), Diff(), Values(buffer->memory));
}

bool MayDefer(const Blob<float>& blob, Part part, const Layout& layout) {
  return layout != Plain(DimsOf(blob.shape())) &&
      !(part == DATA ? blob.data() : blob.diff())->plain_wanted();
}

void Defer(const shared_ptr<Deferred>& deferred, Part part, Blob<float>* blob) {
  (part == DATA ? blob->data() : blob->diff())->set_other_layout(deferred,
      true);
}

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
