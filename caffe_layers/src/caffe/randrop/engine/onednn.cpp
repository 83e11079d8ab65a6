#ifdef USE_ONEDNN

#include "caffe/randrop/engine/onednn.hpp"

#include <mutex>
#include <vector>

#include "caffe/common.hpp"
#include "caffe/randrop/engine/deferred.hpp"

namespace caffe {
namespace randrop {
namespace onednn {

const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

void Execute(const dnnl::primitive& primitive, const Arguments& arguments) {
  // Caffe runs one net per thread.
  static thread_local dnnl::stream stream(Engine());
  primitive.execute(stream, arguments);
  stream.wait();
}

Dims DimsOf(const vector<int>& shape) {
  return Dims(shape.begin(), shape.end());
}

Layout Plain(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (int axis = static_cast<int>(dims.size()) - 2; axis >= 0; --axis) {
    strides[axis] = strides[axis + 1] * dims[axis + 1];
  }
  return Layout(dims, Type::f32, strides);
}

Layout AnyLayout(const Dims& dims, Type type) {
  return Layout(dims, type, dnnl::memory::format_tag::any);
}

dnnl::memory View(const Layout& layout, const float* data) {
  return dnnl::memory(layout, Engine(), const_cast<float*>(data));
}

Layout InBlocks(const vector<int>& shape, int block) {
  typedef dnnl::memory::format_tag Tag;
  if (block == 1) {
    return Plain(DimsOf(shape));
  }
  const Tag by_8[] = {Tag::aBc8b, Tag::aBcd8b, Tag::aBcde8b};
  const Tag by_16[] = {Tag::aBc16b, Tag::aBcd16b, Tag::aBcde16b};
  return Layout(DimsOf(shape), Type::f32,
      (block == 16 ? by_16 : by_8)[shape.size() - 3]);
}

Layout ChannelsLast(const vector<int>& shape) {
  typedef dnnl::memory::format_tag Tag;
  const Tag tags[] = {Tag::acb, Tag::acdb, Tag::acdeb};
  return Layout(DimsOf(shape), Type::f32, tags[shape.size() - 3]);
}

bool RowsOf(const Layout& layout, const vector<int>& shape, ChannelRows* rows) {
  rows->channels_last = false;
  rows->images = shape[0];
  rows->channels = shape[1];
  rows->area = 1;
  for (int axis = 2; axis < shape.size(); ++axis) {
    rows->area *= shape[axis];
  }
  const bool other_layouts = shape.size() >= 3 && shape.size() <= 5;
  const int blocks[] = {1, 16, 8};
  for (int i = 0; i < (other_layouts ? 3 : 1); ++i) {
    rows->block = blocks[i];
    if (layout == InBlocks(shape, rows->block)) {
      return true;
    }
  }
  rows->block = 16;
  rows->channels_last = other_layouts && rows->channels % rows->block == 0 &&
      layout == ChannelsLast(shape);
  return rows->channels_last;
}

ChannelRows RowsIn(const dnnl::memory& memory, const vector<int>& shape) {
  ChannelRows rows;
  CHECK(RowsOf(memory.get_desc(), shape, &rows))
      << "memory layout without channel rows";
  return rows;
}

void Reorder(const dnnl::memory& from, const dnnl::memory& to) {
  Arguments arguments;
  arguments[DNNL_ARG_FROM] = from;
  arguments[DNNL_ARG_TO] = to;
  Execute(dnnl::reorder(from, to), arguments);
}

namespace {

Dims DimsIn(const dnnl::memory& memory) {
#if DNNL_VERSION_MAJOR >= 3
  return memory.get_desc().get_dims();
#else
  return memory.get_desc().dims();
#endif
}

SyncedMemory* PartOf(const Blob<float>& blob, Part part) {
  return part == DATA ? blob.data().get() : blob.diff().get();
}

/// The other layout kept beside the blob's data, whether or not it is current.
OtherData* OtherOf(const SyncedMemory* memory) {
  return dynamic_cast<OtherData*>(memory->other_layout().get());
}

/// The same if it is current and has the blob's shape; else NULL.
OtherData* ValidOther(SyncedMemory* memory, const Dims& dims) {
  if (Deferred* deferred =
          dynamic_cast<Deferred*>(memory->other_layout().get())) {
    if (memory->other_layout_valid()) {
      const shared_ptr<OtherData> data = deferred->Settled();
      memory->set_other_layout(data, !memory->plain_valid());
    }
  }
  OtherData* other = OtherOf(memory);
  return other && memory->other_layout_valid() &&
      DimsIn(other->memory) == dims ? other : NULL;
}

}  // namespace

shared_ptr<OtherData> BufferOf(const SyncedMemory* memory,
    const Layout& layout) {
  shared_ptr<OtherData> other =
      boost::dynamic_pointer_cast<OtherData>(memory->other_layout());
  if (const Deferred* deferred =
          dynamic_cast<const Deferred*>(memory->other_layout().get())) {
    other = deferred->buffer;
  }
  // The blob (or its deferred data) and this function.
  const int users = 2;
  if (!other || other->memory.get_desc() != layout ||
      other.use_count() > users) {
    other.reset(new OtherData(layout));
  }
  return other;
}

namespace {

/// Buffers not in use: layers that keep theirs from pass to pass exchange them
/// for others of the same size, and the system would zero each new one.
class SpareBuffers {
 public:
  dnnl::memory Take(const Layout& layout) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = spare_.size(); i-- > 0;) {
      if (spare_[i].get_desc() == layout) {
        const dnnl::memory found = spare_[i];
        spare_.erase(spare_.begin() + i);
        return found;
      }
    }
    return dnnl::memory(layout, Engine());
  }
  void Give(const dnnl::memory& memory) {
    std::lock_guard<std::mutex> lock(mutex_);
    spare_.push_back(memory);
    if (spare_.size() > kMost) {
      spare_.erase(spare_.begin());
    }
  }

 private:
  static const size_t kMost = 8;
  std::mutex mutex_;
  std::vector<dnnl::memory> spare_;
};

/// Never destroyed, as nets may outlive it.
SpareBuffers* Spare() {
  static SpareBuffers* const spare = new SpareBuffers;
  return spare;
}

}  // namespace

OtherData::OtherData(const Layout& layout) : memory(Spare()->Take(layout)) {}

OtherData::~OtherData() { Spare()->Give(memory); }

void OtherData::WritePlain(void* cpu_data) {
  Reorder(memory, View(Plain(DimsIn(memory)), static_cast<float*>(cpu_data)));
}

dnnl::memory Read(const Blob<float>& blob, Part part) {
  const Dims dims = DimsOf(blob.shape());
  SyncedMemory* memory = PartOf(blob, part);
  const OtherData* other = ValidOther(memory, dims);
  return other ? other->memory : View(Plain(dims),
      static_cast<const float*>(memory->cpu_data()));
}

dnnl::memory ReadAs(const Blob<float>& blob, Part part, const Layout& layout) {
  const Dims dims = DimsOf(blob.shape());
  SyncedMemory* memory = PartOf(blob, part);
  const OtherData* other = ValidOther(memory, dims);
  if (other && other->memory.get_desc() == layout) {
    return other->memory;
  }
  if (layout == Plain(dims)) {
    return View(layout, static_cast<const float*>(memory->cpu_data()));
  }
  const dnnl::memory from = Read(blob, part);
  const bool newest = other && !memory->plain_valid();
  shared_ptr<OtherData> made = BufferOf(memory, layout);
  Reorder(from, made->memory);
  memory->set_other_layout(made, newest);
  return made->memory;
}

const Layout& RowLayout::For(const Blob<float>& blob, Part part) {
  if (shape_ != blob.shape()) {
    ChannelRows rows;
    const Layout own = Read(blob, part).get_desc();
    SetFirst(blob.shape(), RowsOf(own, blob.shape(), &rows) ? own :
        Plain(DimsOf(blob.shape())));
  }
  return layout_;
}

void RowLayout::SetFirst(const vector<int>& shape, const Layout& layout) {
  if (shape_ != shape) {
    shape_ = shape;
    layout_ = layout;
  }
}

Output::Output(Blob<float>* blob, Part part, const Layout& layout)
    : target_(PartOf(*blob, part)), dims_(DimsOf(blob->shape())),
      plain_wanted_(target_->plain_wanted()) {
  if (layout == Plain(dims_)) {
    memory_ = View(layout,
        static_cast<float*>(target_->overwrite_cpu_data()));
    return;
  }
  shared_ptr<OtherData> made = BufferOf(target_, layout);
  // Until Done(), in-place readers see the old data.
  if (made.get() != OtherOf(target_)) {
    target_->set_other_layout(made, true);
  }
  memory_ = made->memory;
}

void Output::Done() {
  if (memory_.get_desc() == Plain(dims_)) {
    return;
  }
  shared_ptr<SyncedMemory::OtherLayout> other = target_->other_layout();
  if (plain_wanted_) {
    other->WritePlain(target_->overwrite_cpu_data());
  }
  target_->set_other_layout(other, !plain_wanted_);
}

dnnl::memory Keeper::Keep(Blob<float>* blob, const Layout& layout,
    bool overwritten) {
  if (shared_) {
    kept_.reset();
    shared_ = false;
  }
  SyncedMemory* memory = blob->data().get();
  const dnnl::memory data = ReadAs(*blob, DATA, layout);
  const OtherData* other = ValidOther(memory, DimsOf(blob->shape()));
  const bool in_other = other && other->memory.get_desc() == layout;
  if (in_other && !overwritten) {
    // BufferOf leaves it alone as long as it is shared.
    kept_ = boost::dynamic_pointer_cast<OtherData>(memory->other_layout());
    shared_ = true;
    return kept_->memory;
  }
  if (!kept_ || kept_->memory.get_desc() != layout) {
    kept_.reset(new OtherData(layout));
  }
  if (in_other) {
    // Swaps them: the blob continues in the buffer kept so far.
    shared_ptr<OtherData> whole =
        boost::dynamic_pointer_cast<OtherData>(memory->other_layout());
    memory->set_other_layout(kept_, true);
    kept_ = whole;
  } else {
    Reorder(data, kept_->memory);
  }
  return kept_->memory;
}

bool Keeper::HasOf(const Blob<float>& blob) const {
  return kept_ && DimsIn(kept_->memory) == DimsOf(blob.shape());
}

dnnl::memory SliceOf(const Blob<float>& blob, Part part, const Dims& dims,
    const Dims& offsets) {
  dnnl::memory whole = Read(blob, part);
  // A blocked layout cannot be cut within a block.
  Layout slice = whole.get_desc().submemory_desc(dims, offsets, true);
  if (!slice) {
    whole = ReadAs(blob, part, Plain(DimsOf(blob.shape())));
    slice = whole.get_desc().submemory_desc(dims, offsets);
  }
  return dnnl::memory(slice, Engine(), whole.get_data_handle());
}

void Sum(const vector<Blob<float>*>& terms, Part part,
    const vector<float>& factors, Blob<float>* sum) {
  Arguments arguments;
  vector<Layout> layouts;
  for (int i = 0; i < terms.size(); ++i) {
    const dnnl::memory memory = Read(*terms[i], part);
    layouts.push_back(memory.get_desc());
    arguments[DNNL_ARG_MULTIPLE_SRC + i] = memory;
  }
  Output out(sum, part, layouts[0]);
  arguments[DNNL_ARG_DST] = out.memory();
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::sum::primitive_desc description(Engine(), layouts[0], factors,
      layouts);
#else
  const dnnl::sum::primitive_desc description(layouts[0], factors, layouts,
      Engine());
#endif
  Execute(dnnl::sum(description), arguments);
  out.Done();
}

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
