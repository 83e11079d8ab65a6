#ifndef CAFFE_RANDROP_ENGINE_ONEDNN_HPP_
#define CAFFE_RANDROP_ENGINE_ONEDNN_HPP_
#ifdef USE_ONEDNN

#include <dnnl.hpp>

#include <unordered_map>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/randrop/engine/channel_rows.hpp"
#include "caffe/syncedmem.hpp"

namespace caffe {
namespace randrop {

/**
 * @brief What our layers over oneDNN share: blobs as its memories, in Caffe's
 *        layout or in the blocked ones that its convolutions are fastest in.
 *
 * A blob that only such layers touch stays blocked from one to the next. As
 * soon as anyone else has asked a blob for its data, in C++ or in Python, they
 * write it in Caffe's layout, at the same address, from then on.
 */
namespace onednn {

typedef dnnl::memory::desc Layout;
typedef dnnl::memory::dims Dims;
typedef std::unordered_map<int, dnnl::memory> Arguments;

enum Part { DATA, DIFF };

/// @brief The blob, if its numbers are of the type that we have primitives for;
///        else NULL.
inline Blob<float>* AsFloat(Blob<float>* blob) { return blob; }
inline Blob<float>* AsFloat(Blob<double>* blob) { return NULL; }

const dnnl::engine& Engine();
void Execute(const dnnl::primitive& primitive, const Arguments& arguments);

Dims DimsOf(const vector<int>& shape);
/// @brief Caffe's layout: row-major.
Layout Plain(const Dims& dims);
/// @brief Whatever is fastest: for the description of a primitive.
Layout AnyLayout(const Dims& dims);
/// @brief A view of memory in Caffe's layout.
dnnl::memory View(const Layout& layout, const float* data);

inline float* Values(const dnnl::memory& memory) {
  return static_cast<float*>(memory.get_data_handle());
}
/// @brief Data of this layout and shape as rows; false if it cannot be.
bool RowsOf(const Layout& layout, const vector<int>& shape, ChannelRows* rows);
/// @brief The same of memory that is in such a layout, which it checks: rows
///        are always taken from the memory that is read or written by them.
ChannelRows RowsIn(const dnnl::memory& memory, const vector<int>& shape);
/// @brief The layout of rows with blocks of 1 (Caffe's), 8 or 16 channels.
Layout InBlocks(const vector<int>& shape, int block);

/// @brief A blob's data in another layout.
class OtherData : public SyncedMemory::OtherLayout {
 public:
  explicit OtherData(const Layout& layout);
  virtual ~OtherData();
  virtual void WritePlain(void* cpu_data);

  dnnl::memory memory;

 private:
  OtherData(const OtherData&);
  void operator=(const OtherData&);
};

/// @brief The buffer of a blob's data or diff for this layout, made if it has
///        none or if what is in it is kept by somebody.
shared_ptr<OtherData> BufferOf(const SyncedMemory* memory,
    const Layout& layout);

/// @brief The data or diff of a blob, in the layout that it is in.
dnnl::memory Read(const Blob<float>& blob, Part part);
/// @brief The same in this layout, which is kept beside the other.
dnnl::memory ReadAs(const Blob<float>& blob, Part part, const Layout& layout);

/// @brief The layout in which a layer reads data as rows: their own in its first
///        pass, if it is one for that. It stays: who else looks at the data may
///        change theirs, but not the order in which the layer adds them up.
class RowLayout {
 public:
  const Layout& For(const Blob<float>& blob, Part part);
  /// @brief The layout of a first pass that was done otherwise.
  void SetFirst(const vector<int>& shape, const Layout& layout);

 private:
  vector<int> shape_;
  Layout layout_;
};

/// @brief Data or diff of a blob, to be overwritten: memory() is in this layout
///        until Done() has put it where and how the blob's readers want it.
class Output {
 public:
  Output(Blob<float>* blob, Part part, const Layout& layout);
  const dnnl::memory& memory() const { return memory_; }
  void Done();

 private:
  SyncedMemory* target_;
  Dims dims_;
  bool plain_wanted_;
  dnnl::memory memory_;
};

/**
 * @brief Keeps the data of a blob for backward as they are now, whatever is
 *        written into the blob until then; without a copy where the blob can
 *        go on in another buffer.
 */
class Keeper {
 public:
  /// @brief The data that were kept, in this layout.
  /// @param overwritten the layer writes its output there, being in place
  dnnl::memory Keep(Blob<float>* blob, const Layout& layout, bool overwritten);
  /// @brief Whether something was kept of a blob of this shape.
  bool HasOf(const Blob<float>& blob) const;
  const dnnl::memory& memory() const { return kept_->memory; }
  const shared_ptr<OtherData>& data() const { return kept_; }

 private:
  shared_ptr<OtherData> kept_;
  /// Whether kept_ was the blob's own buffer, too, when it was kept.
  bool shared_ = false;
};

/// @brief The part of a blob from these offsets on.
dnnl::memory SliceOf(const Blob<float>& blob, Part part, const Dims& dims,
    const Dims& offsets);
/// @brief Writes the sum of blobs of one shape, each times its factor.
void Sum(const vector<Blob<float>*>& terms, Part part,
    const vector<float>& factors, Blob<float>* sum);
template <typename Dtype>
vector<Blob<float>*> Blobs(const vector<Blob<Dtype>*>& blobs) {
  vector<Blob<float>*> result;
  for (int i = 0; i < blobs.size(); ++i) {
    result.push_back(AsFloat(blobs[i]));
  }
  return result;
}
/// @brief Copies into the layout of the other.
void Reorder(const dnnl::memory& from, const dnnl::memory& to);

// oneDNN 3 did away with the operation descriptors of oneDNN 2.
template <typename Primitive, typename... Parameters>
typename Primitive::primitive_desc Describe(const Parameters&... parameters) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Primitive::primitive_desc(Engine(), parameters...);
#else
  return typename Primitive::primitive_desc(
      typename Primitive::desc(parameters...), Engine());
#endif
}

template <typename Primitive, typename Forward, typename... Parameters>
typename Primitive::primitive_desc DescribeBackward(const Forward& forward,
    const Parameters&... parameters) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Primitive::primitive_desc(Engine(), parameters..., forward);
#else
  return typename Primitive::primitive_desc(
      typename Primitive::desc(parameters...), Engine(), forward);
#endif
}

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_RANDROP_ENGINE_ONEDNN_HPP_
