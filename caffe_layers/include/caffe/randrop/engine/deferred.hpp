#ifndef CAFFE_RANDROP_ENGINE_DEFERRED_HPP_
#define CAFFE_RANDROP_ENGINE_DEFERRED_HPP_
#ifdef USE_ONEDNN

#include <vector>

#include "caffe/randrop/engine/channel_rows.hpp"
#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {
namespace randrop {
namespace onednn {

/**
 * @brief Data of a blob that are computed when somebody asks for them, so that
 *        what BatchNorm, Scale and ReLU do in place, one after the other, is one
 *        pass over memory forward and two backward.
 *
 * A layer hands its output on as a Deferred; the next, if it is one of those,
 * adds its own step or carries all of them out. Anyone else finds the numbers
 * that he would have found otherwise, bit for bit: reading carries out what is
 * due, and what it is computed from is held until then.
 */
class Deferred : public SyncedMemory::OtherLayout {
 public:
  explicit Deferred(const vector<int>& shape) : shape_(shape), done_(false) {}
  /// @brief The data, computed now if they were not.
  const shared_ptr<OtherData>& Settled();
  virtual void WritePlain(void* cpu_data) { Settled()->WritePlain(cpu_data); }
  bool due() const { return !done_; }
  const vector<int>& shape() const { return shape_; }

  /// Where the data go, in a layout of rows.
  shared_ptr<OtherData> buffer;

 protected:
  virtual void Compute() = 0;
  ChannelRows Rows() const { return RowsIn(buffer->memory, shape_); }

 private:
  const vector<int> shape_;
  bool done_;
};

/// @brief A batch normalisation of x, and a Scale of its output.
class DeferredNorm : public Deferred {
 public:
  explicit DeferredNorm(const vector<int>& shape) : Deferred(shape) {}
  /// @brief With a ReLU on top.
  void WriteRelu(float slope, float* y) const;

  shared_ptr<OtherData> x;
  vector<float> mean, factor;
  vector<float> scale, offset;  // none: no Scale

 protected:
  virtual void Compute();

 private:
  void Write(bool relu, float slope, float* y) const;
};

/// @brief The diff below a ReLU, and below a Scale; dy is in the buffer.
class DeferredDiff : public Deferred {
 public:
  explicit DeferredDiff(const vector<int>& shape) : Deferred(shape), slope(0) {}
  NormDiff Diff() const;

  shared_ptr<OtherData> y;
  float slope;
  vector<float> scale;  // none: no Scale
  /// Where a Scale has added them up: of this x, and these.
  shared_ptr<OtherData> summed_x;
  NormSums sums;

 protected:
  virtual void Compute();
};

/// @brief Whether a blob that is to be written in this layout may be deferred:
///        not if others than our layers read it.
bool MayDefer(const Blob<float>& blob, Part part, const Layout& layout);
/// @brief Puts it, with its buffer, into the blob.
void Defer(const shared_ptr<Deferred>& deferred, Part part, Blob<float>* blob);
/// @brief What is due in the blob, if it is of type T; or NULL.
template <typename T>
shared_ptr<T> DueIn(const Blob<float>& blob, Part part) {
  const SyncedMemory& memory =
      part == DATA ? *blob.data() : *blob.diff();
  shared_ptr<T> due;
  if (memory.other_layout_valid() && !memory.plain_valid()) {
    due = boost::dynamic_pointer_cast<T>(memory.other_layout());
    if (due && (!due->due() || due->shape() != blob.shape())) {
      due.reset();
    }
  }
  return due;
}

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_RANDROP_ENGINE_DEFERRED_HPP_
