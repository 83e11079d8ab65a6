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
 * @brief Blob data computed on demand, so that BatchNorm, Scale and ReLU in
 *        place, one after the other, take one pass over memory forward and two
 *        backward.
 *
 * A layer hands its output on as a Deferred. The next layer, if it is one of
 * these three, adds its own step or executes all of them. Any other reader
 * finds the same numbers as without deferral, bit for bit: reading executes the
 * pending steps, and their inputs are kept until then.
 */
class Deferred : public SyncedMemory::OtherLayout {
 public:
  explicit Deferred(const vector<int>& shape) : shape_(shape), done_(false) {}
  /// @brief The data, computed now if they are still pending.
  const shared_ptr<OtherData>& Settled();
  virtual void WritePlain(void* cpu_data) { Settled()->WritePlain(cpu_data); }
  bool due() const { return !done_; }
  const vector<int>& shape() const { return shape_; }

  /// Receives the data, in a layout of rows.
  shared_ptr<OtherData> buffer;

 protected:
  virtual void Compute() = 0;
  ChannelRows Rows() const { return RowsIn(buffer->memory, shape_); }

 private:
  const vector<int> shape_;
  bool done_;
};

/// @brief A batch normalisation of x, optionally followed by a Scale.
class DeferredNorm : public Deferred {
 public:
  explicit DeferredNorm(const vector<int>& shape) : Deferred(shape) {}
  /// @brief Writes the output with a ReLU on top.
  void WriteRelu(float slope, float* y) const;

  shared_ptr<OtherData> x;
  vector<float> mean, factor;
  vector<float> scale, offset;  // empty: no Scale

 protected:
  virtual void Compute();

 private:
  void Write(bool relu, float slope, float* y) const;
};

/// @brief The diff below a ReLU and a Scale; dy is in the buffer.
class DeferredDiff : public Deferred {
 public:
  explicit DeferredDiff(const vector<int>& shape) : Deferred(shape), slope(0) {}
  NormDiff Diff() const;

  shared_ptr<OtherData> y;
  float slope;
  vector<float> scale;  // empty: no Scale
  /// The sums, and the x that they belong to, if a Scale has computed them.
  shared_ptr<OtherData> summed_x;
  NormSums sums;

 protected:
  virtual void Compute();
};

/// @brief Whether a blob to be written in this layout may be deferred: only if
///        no one but our layers reads it.
bool MayDefer(const Blob<float>& blob, Part part, const Layout& layout);
/// @brief Puts deferred data, with their buffer, into the blob.
void Defer(const shared_ptr<Deferred>& deferred, Part part, Blob<float>* blob);
/// @brief The data pending in the blob, if they are of type T; else NULL.
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
