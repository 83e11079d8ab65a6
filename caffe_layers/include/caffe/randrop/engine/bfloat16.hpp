#ifndef CAFFE_RANDROP_ENGINE_BFLOAT16_HPP_
#define CAFFE_RANDROP_ENGINE_BFLOAT16_HPP_
#ifdef USE_ONEDNN

#include "caffe/randrop/engine/onednn.hpp"

namespace caffe {
namespace randrop {
namespace onednn {

/**
 * @brief Whether convolutions multiply in bfloat16: RANDROP_ENGINE asks for it,
 *        and the processor has instructions for it.
 *
 * Numbers are rounded to bfloat16 (8 bits of mantissa) before they are
 * multiplied, and the products are summed in float. Everything that is stored
 * stays float: data, diffs, weights. Recent processors multiply matrices of
 * bfloat16 several times as fast.
 */
bool InBfloat16();

/// @brief Memory of a thread, which one convolution after the other uses.
enum Slot { SOURCE, SOURCE_DIFF, kSlots };
dnnl::memory Scratch(Slot slot, const Layout& layout);

}  // namespace onednn
}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
#endif  // CAFFE_RANDROP_ENGINE_BFLOAT16_HPP_
