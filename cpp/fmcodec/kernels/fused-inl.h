// SPDX-License-Identifier: Apache-2.0
// Values of a group of channels straight to the tokens of its bands, and back: quantized, transformed and quantized
// again without leaving registers (docs/format.md, sections 3 to 6). The same numbers as one kernel after the other
// gives.

#if defined(FMC_FUSED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_FUSED_INL_H_
#undef FMC_FUSED_INL_H_
#else
#define FMC_FUSED_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "fmcodec/kernels/dct-inl.h"
#include "fmcodec/kernels/hadamard-inl.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/kernels/quantize-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

template <class Rows, size_t kSize>
HWY_ATTR bool fused_rows(const FusedForward& group, const int32_t* matrix, size_t count, uint8_t* tokens,
                         size_t stride) {
  const size_t lanes = hn::Lanes(F32());
  const LevelRounder round(group.quantizer);
  float inverse[kSize], offset[kSize];
  for (size_t k = 0; k < group.kept; ++k) {
    inverse[k] = inverse_of_step(group.steps[k]);
    offset[k] = offset_of_rounding(group.steps[k], group.roundings[k]);
  }
  VF probe = hn::Zero(F32()), largest = hn::Zero(F32());
  for (size_t begin = 0; begin < count; begin += lanes) {
    const size_t i = HWY_MIN(begin, count - lanes);  // the last vector overlaps the one before
    VI x[kSize], y[kSize];
    for (size_t n = 0; n < kSize; ++n) {
      const VF value = hn::LoadU(F32(), group.channels[n] + i);
      hwy::Prefetch(group.ahead[n] + i);
      probe = hn::MulAdd(value, hn::Zero(F32()), probe);
      x[n] = integer_of(round(value));
    }
    Rows::template run<kSize>(matrix, x, y);
    for (size_t k = 0; k < group.kept; ++k) {
      const VF symbol = nearest_symbol(rounded_sum(y[k]), hn::Set(F32(), inverse[k]), hn::Set(F32(), offset[k]));
      largest = hn::Max(largest, hn::Abs(symbol));
      store_low_bytes(hn::BitCast(U32(), shifted_integer(symbol)), tokens + k * stride + i);
    }
  }
  return is_all_numbers(probe) && hn::AllTrue(F32(), hn::Lt(largest, hn::Set(F32(), 127.5f)));
}

template <class Rows, size_t kSize>
HWY_ATTR bool fused_rows(const FusedInverse& group, const int32_t* matrix, size_t count) {
  const size_t lanes = hn::Lanes(F32());
  const hn::Rebind<int8_t, I32> d8;
  const LevelScaler scale(group.quantizer);
  for (size_t begin = 0; begin < count; begin += lanes) {
    const size_t i = HWY_MIN(begin, count - lanes);
    VI c[kSize], x[kSize];
    for (size_t k = 0; k < kSize; ++k) {
      if (k >= group.kept || group.tokens[k] == nullptr) {
        c[k] = hn::Zero(I32());
        continue;
      }
      const auto* token = reinterpret_cast<const int8_t*>(group.tokens[k] + i);
      c[k] = coefficient_of(hn::PromoteTo(I32(), hn::LoadU(d8, token)), hn::Set(I32(), group.steps[k]));
    }
    Rows::template run<kSize>(matrix, c, x);
    for (size_t n = 0; n < kSize; ++n) {
      hn::StoreU(scale(rounded_sum(x[n])), F32(), group.channels[n] + i);
    }
  }
  return true;
}

template <class Rows, class Group, class... Out>
HWY_ATTR bool fused(const Group& group, const int32_t* matrix, size_t size, size_t count, Out... out) {
  if (count < hn::Lanes(F32())) return false;
  switch (size) {
    case 4: return fused_rows<Rows, 4>(group, matrix, count, out...);
    case 8: return fused_rows<Rows, 8>(group, matrix, count, out...);
    case 16: return fused_rows<Rows, 16>(group, matrix, count, out...);
    default: return false;
  }
}

HWY_ATTR bool dct_to_tokens(const FusedForward& group, const int32_t* matrix, size_t size, size_t count,
                            uint8_t* tokens, size_t stride) {
  return fused<ForwardRows>(group, matrix, size, count, tokens, stride);
}

HWY_ATTR bool hadamard_to_tokens(const FusedForward& group, int32_t factor, size_t size, size_t count, uint8_t* tokens,
                                 size_t stride) {
  return fused<HadamardRows>(group, &factor, size, count, tokens, stride);
}

HWY_ATTR bool dct_from_tokens(const FusedInverse& group, const int32_t* matrix, size_t size, size_t count) {
  return fused<InverseRows>(group, matrix, size, count);
}

HWY_ATTR bool hadamard_from_tokens(const FusedInverse& group, int32_t factor, size_t size, size_t count) {
  return fused<HadamardRows>(group, &factor, size, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_FUSED_INL_H_
