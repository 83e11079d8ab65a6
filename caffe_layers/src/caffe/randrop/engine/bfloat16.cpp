#ifdef USE_ONEDNN

#include "caffe/randrop/engine/bfloat16.hpp"

#include "caffe/common.hpp"
#include "caffe/randrop/engine/cpu_engine.hpp"

namespace caffe {
namespace randrop {
namespace onednn {

namespace {

bool ProcessorMultiplies() {
  const int has = static_cast<int>(dnnl::get_effective_cpu_isa());
  const int needs = static_cast<int>(dnnl::cpu_isa::avx512_core_bf16);
  if ((has & needs) == needs) {
    return true;
  }
  LOG(WARNING) << "--bf16 and RANDROP_ENGINE=ONEDNN_BF16 have no effect: this "
      << "processor has no instructions for bfloat16.";
  return false;
}

}  // namespace

bool InBfloat16() {
  static const bool wanted = Bfloat16Wanted() && ProcessorMultiplies();
  return wanted;
}

dnnl::memory Scratch(Slot slot, const Layout& layout) {
  static thread_local dnnl::memory buffers[kSlots];
  dnnl::memory& buffer = buffers[slot];
  const size_t size = layout.get_size();
  if (!buffer || buffer.get_desc().get_size() < size) {
    buffer = dnnl::memory();  // before the larger one
    buffer = dnnl::memory(Layout(Dims(1, size), Type::u8,
        dnnl::memory::format_tag::a), Engine());
  }
  return dnnl::memory(layout, Engine(), buffer.get_data_handle());
}

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
