"""The few lines of Caffe's own files that the CPU engine needs changed.

Everything else of it is in new files. They go together: a tree in which one does not
find its place gets none of them, and keeps Caffe's own layers.
"""

from caffe_tools.mends import Mend

WHY = "oneDNN's layers on the CPU"

_LAYOUTS = """
  /// The data in the order of another library, which can put it into Caffe's.
  class OtherLayout {
   public:
    virtual ~OtherLayout() {}
    virtual void WritePlain(void* cpu_data) = 0;
  };
  /// The buffer that is kept for it, up to date or not; none at first.
  const shared_ptr<OtherLayout>& other_layout() const { return other_; }
  bool other_layout_valid() const {
    return other_state_ == OTHER_IS_NEWEST ||
        (other_state_ == OTHER_IS_COPY && !plain_held_);
  }
  /// Whether the data are up to date in Caffe's own order.
  bool plain_valid() const { return other_state_ != OTHER_IS_NEWEST; }
  /// Whether anyone has ever asked for them there: the pointer may still be held.
  bool plain_wanted() const { return plain_wanted_; }
  // Whoever has once asked for them to write (plain_held_) may write at any time
  // after: a copy in another order is not trusted from then on.
  void set_other_layout(const shared_ptr<OtherLayout>& other, bool newest);
  /// As mutable_cpu_data, of which nothing will be read, for the owner of the
  /// other layout.
  void* overwrite_cpu_data();
"""

HOOKS = (
    Mend(
        "cpu-engine-layouts",
        WHY,
        "include/caffe/syncedmem.hpp",
        (
            (
                r"^(  size_t size\(\) const \{ return size_; \}\n)",
                r"\1" + _LAYOUTS,
            ),
            (
                r"^(  bool own_gpu_data_;\n)",
                r"\1"
                "  enum { OTHER_IS_OLD, OTHER_IS_COPY, OTHER_IS_NEWEST }\n"
                "      other_state_;\n"
                "  shared_ptr<OtherLayout> other_;\n"
                "  bool plain_wanted_, plain_held_;\n"
                "  void own_layout();\n",
            ),
        ),
    ),
    Mend(
        "cpu-engine-memory",
        WHY,
        "src/caffe/syncedmem.cpp",
        (
            (
                r"own_gpu_data_\(false\) \{$",
                "own_gpu_data_(false),\n"
                "    other_state_(OTHER_IS_OLD), plain_wanted_(false),\n"
                "    plain_held_(false) {",
            ),
            (
                r"^inline void SyncedMemory::to_cpu\(\) \{\n  check_device\(\);\n",
                "void SyncedMemory::set_other_layout(\n"
                "    const shared_ptr<OtherLayout>& other, bool newest) {\n"
                "  other_ = other;\n"
                "  other_state_ = newest ? OTHER_IS_NEWEST : OTHER_IS_COPY;\n"
                "  if (newest) {\n"
                "    head_ = HEAD_AT_CPU;\n"
                "  }\n"
                "}\n\n"
                "void* SyncedMemory::overwrite_cpu_data() {\n"
                "  const bool wanted = plain_wanted_, held = plain_held_;\n"
                "  other_state_ = OTHER_IS_OLD;\n"
                "  void* data = mutable_cpu_data();\n"
                "  plain_wanted_ = wanted;\n"
                "  plain_held_ = held;\n"
                "  return data;\n"
                "}\n\n"
                "// Brings the data back into Caffe's own order.\n"
                "void SyncedMemory::own_layout() {\n"
                "  if (cpu_ptr_ == NULL && head_ == HEAD_AT_CPU) {\n"
                "    CaffeMallocHost(&cpu_ptr_, size_, &cpu_malloc_use_cuda_);\n"
                "    own_cpu_data_ = true;\n"
                "  }\n"
                "  if (other_state_ == OTHER_IS_NEWEST) {\n"
                "    other_->WritePlain(cpu_ptr_);\n"
                "    other_state_ = OTHER_IS_COPY;\n"
                "  }\n"
                "}\n\n"
                r"\g<0>"
                "  own_layout();\n"
                "  plain_wanted_ = true;\n",
            ),
            (
                r"^inline void SyncedMemory::to_gpu\(\) \{\n  check_device\(\);\n"
                r"#ifndef CPU_ONLY\n",
                r"\g<0>  own_layout();\n",
            ),
            (
                r"^(  to_cpu\(\);\n)(  head_ = HEAD_AT_CPU;\n)",
                r"\1  other_state_ = OTHER_IS_OLD;\n  plain_held_ = true;\n\2",
            ),
            (
                r"^(  to_gpu\(\);\n)(  head_ = HEAD_AT_GPU;\n)",
                r"\1  other_state_ = OTHER_IS_OLD;\n\2",
            ),
            (
                r"^(  (cpu|gpu)_ptr_ = data;\n)",
                r"\1  other_state_ = OTHER_IS_OLD;\n"
                r"  plain_wanted_ = plain_held_ = true;\n",
            ),
        ),
    ),
    Mend(
        "cpu-engine-factory",
        WHY,
        "include/caffe/layer_factory.hpp",
        (
            (
                r'^#include "caffe/proto/caffe\.pb\.h"\n',
                r'\g<0>#include "caffe/util/cpu_engine.hpp"' "\n",
            ),
            (
                r"^    return registry\[type\]\(param\);\n",
                "    if (Layer<Dtype>* layer = NewCpuEngineLayer<Dtype>(param)) {\n"
                "      return shared_ptr<Layer<Dtype> >(layer);\n"
                "    }\n"
                r"\g<0>",
            ),
        ),
    ),
    Mend(
        "cpu-engine-library",
        WHY,
        "cmake/Dependencies.cmake",
        (
            (
                r"^# ---\[ Google-glog\n",
                "# ---[ oneDNN: fast layers on the CPU\n"
                'option(USE_ONEDNN "Layers through oneDNN, where it is found" ON)\n'
                "if(USE_ONEDNN)\n"
                # Not by its package file, which may want OpenCL's headers, too.
                "  find_path(DNNL_INCLUDE_DIR dnnl.hpp)\n"
                "  find_library(DNNL_LIBRARY dnnl)\n"
                "  if(DNNL_INCLUDE_DIR AND DNNL_LIBRARY)\n"
                '    message(STATUS "Found oneDNN: ${DNNL_LIBRARY}")\n'
                "    list(APPEND Caffe_INCLUDE_DIRS PUBLIC ${DNNL_INCLUDE_DIR})\n"
                "    list(APPEND Caffe_LINKER_LIBS PUBLIC ${DNNL_LIBRARY})\n"
                "    list(APPEND Caffe_DEFINITIONS PUBLIC -DUSE_ONEDNN)\n"
                "  endif()\n"
                "endif()\n\n"
                r"\g<0>",
            ),
        ),
    ),
    Mend(
        "cpu-engine-tests",
        "Caffe's own tests of the layers that oneDNN does, run over those",
        "src/caffe/test/CMakeLists.txt",
        (
            (
                r"^# ---\[ Adding runtest\n",
                "# ---[ The same tests over the layers through oneDNN\n"
                "if(USE_ONEDNN AND DNNL_INCLUDE_DIR AND DNNL_LIBRARY)\n"
                "  set(engine_srcs test_caffe_main.cpp)\n"
                # Whichever name these layers; the others get them by the factory.
                '  set(names "BatchNorm|Concat|Convolution|Deconvolution|Eltwise")\n'
                '  set(names "${names}|Pooling|ReLU|Scale|Softmax|Split")\n'
                "  file(GLOB candidates test_*.cpp)\n"
                "  foreach(candidate ${candidates})\n"
                "    file(STRINGS ${candidate} found LIMIT_COUNT 1\n"
                '      REGEX "[^A-Za-z](${names})Layer<")\n'
                "    if(found)\n"
                "      list(APPEND engine_srcs ${candidate})\n"
                "    endif()\n"
                "  endforeach()\n"
                "  add_executable(test_engine.testbin EXCLUDE_FROM_ALL "
                "${engine_srcs})\n"
                "  target_compile_options(test_engine.testbin PRIVATE -include\n"
                "    ${PROJECT_SOURCE_DIR}/include/caffe/test/onednn_substitutes.hpp)\n"
                "  target_link_libraries(test_engine.testbin gtest ${Caffe_LINK})\n"
                "  caffe_default_properties(test_engine.testbin)\n"
                "  caffe_set_runtime_directory(test_engine.testbin "
                '"${PROJECT_BINARY_DIR}/test")\n'
                "endif()\n\n"
                r"\g<0>",
            ),
        ),
    ),
)
