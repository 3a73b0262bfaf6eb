// SPDX-License-Identifier: Apache-2.0
// The Walsh-Hadamard transform (docs/format.md, section 4.1).

#if defined(FMC_HADAMARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_HADAMARD_INL_H_
#undef FMC_HADAMARD_INL_H_
#else
#define FMC_HADAMARD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "fmcodec/kernels/dct-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

// Orthonormal Walsh-Hadamard transform in sequency order, forwards and, because M is symmetric,
// backwards; `factor` is the magnitude of all entries.
struct HadamardRows {
  template <size_t kSize>
  static HWY_INLINE void run(const int32_t* factor, VI* x, VI* y) {
    for (size_t distance = 1; distance < kSize; distance *= 2) {
      for (size_t n = 0; n < kSize; ++n) {
        if (n & distance) continue;
        const VI sum = hn::Add(x[n], x[n + distance]);
        x[n + distance] = hn::Sub(x[n], x[n + distance]);
        x[n] = sum;
      }
    }
    for (size_t k = 0; k < kSize; ++k) {
      size_t natural = 0;  // the digits of the Gray code of k in reverse
      for (size_t bit = 1, mirrored = kSize / 2; bit < kSize; bit *= 2, mirrored /= 2)
        natural |= ((k ^ (k >> 1)) & bit) != 0 ? mirrored : 0;
      y[k] = hn::Mul(x[natural], hn::Set(I32(), *factor));
    }
  }
};

HWY_ATTR void hadamard(size_t size, int32_t factor, int32_t* rows, size_t stride, size_t count) {
  transform<HadamardRows>(&factor, size, rows, stride, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_HADAMARD_INL_H_
