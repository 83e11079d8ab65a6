#ifndef CAFFE_RANDROP_LOSSES_VISITS_HPP_
#define CAFFE_RANDROP_LOSSES_VISITS_HPP_

namespace caffe {
namespace randrop {

/**
 * How the loops visit what an operation works on. An operation is a struct with
 * its inputs and outputs; it names one of these as its Visits and has one body,
 * a template over Real: Dtype for a CPU or GPU loop over single elements, a
 * vector for those of simd/.
 *
 *   template <typename Dtype>
 *   struct WriteHingeDiff {
 *     typedef ByElement Visits;
 *     const Dtype* logits;
 *     Dtype* diff;
 *
 *     template <typename Real>
 *     RANDROP_HOST_DEVICE inline void At(int i) const {
 *       StoreAs(Where(LoadAs<Real>(logits + i) < 1, Real() - 1), diff + i);
 *     }
 *     RANDROP_HOST_DEVICE inline void operator()(int i) const { At<Dtype>(i); }
 *   };
 *
 * An operation that sums returns what it adds, a part of its Sums (sums.hpp).
 */

/// @brief At<Real>(i): elements from i on.
struct ByElement {};

/// @brief At<Real>(group, i): elements from i on, all of this group, of
///        GroupSize() elements.
struct ByGroup {};

/// @brief At<Real>(input, at): softmax pixels from at.j on, all of one image;
///        input is Input(), with a constant number of classes where possible.
struct ByPixel {};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOSSES_VISITS_HPP_
