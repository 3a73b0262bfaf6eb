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

#include "fmcodec/kernels/convert-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

// Orthonormal Walsh-Hadamard transform in sequency order, forwards and, because M is symmetric,
// backwards.
template <size_t kSize>
HWY_ATTR void hadamard_rows(int32_t factor, int32_t* rows, size_t stride, size_t count) {
  const VI half = hn::Set(I32(), 1 << 11), scale = hn::Set(I32(), factor);
  for (size_t i = 0; i < count; i += hn::Lanes(I32())) {
    VI x[kSize];
    for (size_t n = 0; n < kSize; ++n) x[n] = hn::LoadU(I32(), rows + n * stride + i);
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
      const VI scaled = hn::Add(hn::Mul(x[natural], scale), half);
      hn::StoreU(hn::ShiftRight<12>(scaled), I32(), rows + k * stride + i);
    }
  }
}

HWY_ATTR void hadamard(size_t size, int32_t factor, int32_t* rows, size_t stride, size_t count) {
  switch (size) {
    case 2: return hadamard_rows<2>(factor, rows, stride, count);
    case 4: return hadamard_rows<4>(factor, rows, stride, count);
    case 8: return hadamard_rows<8>(factor, rows, stride, count);
    case 16: return hadamard_rows<16>(factor, rows, stride, count);
    case 32: return hadamard_rows<32>(factor, rows, stride, count);
    default: return;  // size 1: the identity
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_HADAMARD_INL_H_
