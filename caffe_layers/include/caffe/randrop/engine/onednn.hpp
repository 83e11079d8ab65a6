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
 * @brief Shared by our oneDNN layers: blobs as oneDNN memories, in Caffe's
 *        layout or in the blocked layouts that suit its convolutions best.
 *
 * A blob that only these layers touch stays blocked from one to the next. Once
 * anyone else has asked a blob for its data, in C++ or in Python, the layers
 * write it in Caffe's layout, at the same address, from then on.
 */
namespace onednn {

typedef dnnl::memory::desc Layout;
typedef dnnl::memory::dims Dims;
typedef dnnl::memory::data_type Type;
typedef std::unordered_map<int, dnnl::memory> Arguments;

enum Part { DATA, DIFF };

/// @brief The blob, if its type is the one that we have primitives for (float);
///        else NULL.
inline Blob<float>* AsFloat(Blob<float>* blob) { return blob; }
inline Blob<float>* AsFloat(Blob<double>* blob) { return NULL; }

const dnnl::engine& Engine();
void Execute(const dnnl::primitive& primitive, const Arguments& arguments);

Dims DimsOf(const vector<int>& shape);
/// @brief Caffe's layout: row-major.
Layout Plain(const Dims& dims);
/// @brief Lets oneDNN choose the fastest layout, in a primitive's description.
Layout AnyLayout(const Dims& dims, Type type = Type::f32);
/// @brief A view of memory in Caffe's layout.
dnnl::memory View(const Layout& layout, const float* data);

inline float* Values(const dnnl::memory& memory) {
  return static_cast<float*>(memory.get_data_handle());
}
/// @brief Describes data of this layout and shape as rows; false if impossible.
bool RowsOf(const Layout& layout, const vector<int>& shape, ChannelRows* rows);
/// @brief The same for memory, whose layout it checks: rows must always come
///        from the memory that is read or written through them.
ChannelRows RowsIn(const dnnl::memory& memory, const vector<int>& shape);
/// @brief The layout of rows with blocks of 1 (Caffe's), 8 or 16 channels.
Layout InBlocks(const vector<int>& shape, int block);
/// @brief The layout in which a pixel has its channels side by side.
Layout ChannelsLast(const vector<int>& shape);

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

/// @brief The buffer of a blob's data or diff for this layout; a new one if
///        there is none or if someone keeps its contents.
shared_ptr<OtherData> BufferOf(const SyncedMemory* memory,
    const Layout& layout);

/// @brief The data or diff of a blob, in its current layout.
dnnl::memory Read(const Blob<float>& blob, Part part);
/// @brief The same in this layout, which is kept beside the current one.
dnnl::memory ReadAs(const Blob<float>& blob, Part part, const Layout& layout);

/// @brief The layout in which a layer reads data as rows: the data's own layout
///        in the first pass, if it has rows. It then stays: other readers may
///        change the data's layout, but not the layer's order of summation.
class RowLayout {
 public:
  const Layout& For(const Blob<float>& blob, Part part);
  /// @brief Sets the layout if the first pass did not call For().
  void SetFirst(const vector<int>& shape, const Layout& layout);

 private:
  vector<int> shape_;
  Layout layout_;
};

/// @brief Data or diff of a blob, to be overwritten. memory() is in this
///        layout; Done() then puts it where and how the blob's readers want it.
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
 * @brief Keeps a blob's present data for backward, whatever is written into the
 *        blob until then. It makes no copy if the blob can continue in another
 *        buffer.
 */
class Keeper {
 public:
  /// @brief Keeps the data and returns them in this layout.
  /// @param overwritten the layer works in place and overwrites them
  dnnl::memory Keep(Blob<float>* blob, const Layout& layout, bool overwritten);
  /// @brief Whether data of a blob of this shape are kept.
  bool HasOf(const Blob<float>& blob) const;
  const dnnl::memory& memory() const { return kept_->memory; }
  const shared_ptr<OtherData>& data() const { return kept_; }

 private:
  shared_ptr<OtherData> kept_;
  /// Whether kept_ was also the blob's own buffer at that time.
  bool shared_ = false;
};

/// @brief The part of a blob that starts at these offsets.
dnnl::memory SliceOf(const Blob<float>& blob, Part part, const Dims& dims,
    const Dims& offsets);
/// @brief Writes the weighted sum of blobs of one shape.
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
/// @brief Copies, converting to the layout of `to`.
void Reorder(const dnnl::memory& from, const dnnl::memory& to);

// oneDNN 3 removed the operation descriptors of oneDNN 2.
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
