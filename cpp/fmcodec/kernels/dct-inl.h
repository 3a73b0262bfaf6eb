// SPDX-License-Identifier: Apache-2.0
// Integer DCT-II (docs/format.md, section 4): the exact matrix product, by even and odd halves.
//
// For an even number of inputs, the rows of M are symmetric (even k) or antisymmetric (odd k) in n, so half of the
// products can be shared; the even rows are those of half as many inputs, and may have the same property again. Integer
// sums do not depend on their order, so the result is that of the full product.

#if defined(FMC_DCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_DCT_INL_H_
#undef FMC_DCT_INL_H_
#else
#define FMC_DCT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "fmcodec/kernels/convert-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

constexpr int kDctShift = 12;

// The sum with 12 fractional bits as an integer (section 4).
HWY_INLINE VI rounded_sum(VI sum) {
  return hn::ShiftRight<kDctShift>(hn::Add(sum, hn::Set(I32(), 1 << (kDctShift - 1))));
}

// Rows 0, kRowStep, 2 * kRowStep, ... of the kSize-point matrix applied to kHalf folded inputs.
template <size_t kSize, size_t kCount, size_t kRowStep>
HWY_INLINE void forward_rows(const int32_t* HWY_RESTRICT matrix, const VI* HWY_RESTRICT x, VI* HWY_RESTRICT c) {
  if constexpr (kCount % 2 == 1) {
    for (size_t k = 0; k < kCount; ++k) {
      const int32_t* row = matrix + k * kRowStep * kSize;
      VI total = hn::Mul(x[0], hn::Set(I32(), row[0]));
      for (size_t n = 1; n < kCount; ++n) total = hn::Add(total, hn::Mul(x[n], hn::Set(I32(), row[n])));
      c[k * kRowStep] = total;
    }
  } else {
    constexpr size_t kHalf = kCount / 2;
    VI sum[kHalf], difference[kHalf];
    for (size_t n = 0; n < kHalf; ++n) {
      sum[n] = hn::Add(x[n], x[kCount - 1 - n]);
      difference[n] = hn::Sub(x[n], x[kCount - 1 - n]);
    }
    for (size_t k = 1; k < kCount; k += 2) {
      const int32_t* row = matrix + k * kRowStep * kSize;
      VI total = hn::Mul(difference[0], hn::Set(I32(), row[0]));
      for (size_t n = 1; n < kHalf; ++n) total = hn::Add(total, hn::Mul(difference[n], hn::Set(I32(), row[n])));
      c[k * kRowStep] = total;
    }
    forward_rows<kSize, kHalf, kRowStep * 2>(matrix, sum, c);
  }
}

template <size_t kSize, size_t kCount, size_t kRowStep>
HWY_INLINE void inverse_rows(const int32_t* HWY_RESTRICT matrix, const VI* HWY_RESTRICT c, VI* HWY_RESTRICT x) {
  if constexpr (kCount % 2 == 1) {
    for (size_t n = 0; n < kCount; ++n) {
      x[n] = hn::Mul(c[0], hn::Set(I32(), matrix[n]));
      for (size_t k = 1; k < kCount; ++k)
        x[n] = hn::Add(x[n], hn::Mul(c[k * kRowStep], hn::Set(I32(), matrix[k * kRowStep * kSize + n])));
    }
  } else {
    constexpr size_t kHalf = kCount / 2;
    VI even[kHalf];
    inverse_rows<kSize, kHalf, kRowStep * 2>(matrix, c, even);
    for (size_t n = 0; n < kHalf; ++n) {
      VI odd = hn::Mul(c[kRowStep], hn::Set(I32(), matrix[kRowStep * kSize + n]));
      for (size_t k = 3; k < kCount; k += 2) {
        odd = hn::Add(odd, hn::Mul(c[k * kRowStep], hn::Set(I32(), matrix[k * kRowStep * kSize + n])));
      }
      x[n] = hn::Add(even[n], odd);
      x[kCount - 1 - n] = hn::Sub(even[n], odd);
    }
  }
}

struct ForwardRows {
  template <size_t kSize>
  static HWY_INLINE void run(const int32_t* matrix, const VI* x, VI* y) {
    forward_rows<kSize, kSize, 1>(matrix, x, y);
  }
};
struct InverseRows {
  template <size_t kSize>
  static HWY_INLINE void run(const int32_t* matrix, const VI* x, VI* y) {
    inverse_rows<kSize, kSize, 1>(matrix, x, y);
  }
};

template <class Direction, size_t kSize>
HWY_ATTR void transform_rows(const int32_t* matrix, int32_t* rows, size_t stride, size_t count) {
  for (size_t i = 0; i < count; i += hn::Lanes(I32())) {
    VI x[kSize], y[kSize];
    for (size_t n = 0; n < kSize; ++n) x[n] = hn::LoadU(I32(), rows + n * stride + i);
    Direction::template run<kSize>(matrix, x, y);
    for (size_t k = 0; k < kSize; ++k) hn::StoreU(rounded_sum(y[k]), I32(), rows + k * stride + i);
  }
}

template <class Direction>
HWY_ATTR void transform(const int32_t* matrix, size_t size, int32_t* rows, size_t stride, size_t count) {
  switch (size) {
    case 2: return transform_rows<Direction, 2>(matrix, rows, stride, count);
    case 4: return transform_rows<Direction, 4>(matrix, rows, stride, count);
    case 8: return transform_rows<Direction, 8>(matrix, rows, stride, count);
    case 16: return transform_rows<Direction, 16>(matrix, rows, stride, count);
    case 32: return transform_rows<Direction, 32>(matrix, rows, stride, count);
    default: return;  // size 1: the identity
  }
}

template <class Direction>
HWY_ATTR void dct(const int32_t* matrix, size_t size, int32_t* rows, size_t stride, size_t count) {
  switch (size) {
    case 3: return transform_rows<Direction, 3>(matrix, rows, stride, count);
    case 5: return transform_rows<Direction, 5>(matrix, rows, stride, count);
    case 6: return transform_rows<Direction, 6>(matrix, rows, stride, count);
    case 7: return transform_rows<Direction, 7>(matrix, rows, stride, count);
    default: return transform<Direction>(matrix, size, rows, stride, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_DCT_INL_H_
