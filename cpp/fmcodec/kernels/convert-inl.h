// SPDX-License-Identifier: Apache-2.0
// Loads the five dtypes as float vectors and stores them back, with rounding defined by integer arithmetic.

// Re-included once per target by foreach_target.h, hence no #pragma once.
#if defined(FMC_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_CONVERT_INL_H_
#undef FMC_CONVERT_INL_H_
#else
#define FMC_CONVERT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::ScalableTag<int32_t>;
using U32 = hn::ScalableTag<uint32_t>;
using U8 = hn::ScalableTag<uint8_t>;
using VF = hn::Vec<F32>;
using VI = hn::Vec<I32>;
using VU = hn::Vec<U32>;

// Stores the low byte of each lane.
HWY_INLINE void store_low_bytes(VU v, uint8_t* p) {
#if HWY_TARGET == HWY_AVX3_DL
  // Highway 1.0.3 permutes 32-bit lanes where it means bytes (google/highway#1276); drop this when 1.0.5 is required.
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v.raw));
#else
  const hn::Rebind<uint8_t, U32> d8;
  hn::StoreU(hn::TruncateTo(d8, v), d8, p);
#endif
}

// One struct per dtype: the element type, load (exact), store_float (from level * step) in the rounding of section 3.
struct Float32 {
  using T = float;
  static HWY_INLINE VF load(const T* p) { return hn::LoadU(F32(), p); }
  static HWY_INLINE void store(VF v, T* p) { hn::StoreU(v, F32(), p); }
};

struct Float16 {
  using T = uint16_t;
  static HWY_INLINE VF load(const T* p) {
    const VU half = hn::PromoteTo(U32(), hn::LoadU(hn::Rebind<uint16_t, U32>(), p));
    const VU sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(U32(), 0x8000u)));
    const VU exponent = hn::And(half, hn::Set(U32(), 0x7C00u));
    const VU mantissa = hn::And(half, hn::Set(U32(), 0x03FFu));
    const VU rebias = hn::Set(U32(), (127u - 15u) << 23);
    const VU normal = hn::Add(hn::ShiftLeft<13>(hn::Or(exponent, mantissa)), rebias);
    const VU special = hn::Or(hn::ShiftLeft<13>(mantissa), hn::Set(U32(), 0x7F800000u));
    // A subnormal is its mantissa in units of 2^-24; going through an integer avoids binary32 subnormals, which a
    // caller may have switched off.
    const VF small =
        hn::Mul(hn::ConvertTo(F32(), hn::BitCast(I32(), mantissa)), hn::Set(F32(), 5.9604644775390625e-08f));
    VU bits = hn::IfThenElse(hn::Eq(exponent, hn::Set(U32(), 0x7C00u)), special, normal);
    bits = hn::IfThenElse(hn::Eq(exponent, hn::Zero(U32())), hn::BitCast(U32(), small), bits);
    return hn::BitCast(F32(), hn::Or(bits, sign));
  }
  static HWY_INLINE void store(VF v, T* p) {
    const VU bits = hn::BitCast(U32(), v);
    const VU sign = hn::And(bits, hn::Set(U32(), 0x80000000u));
    const VU magnitude = hn::Xor(bits, sign);
    const VI signed_magnitude = hn::BitCast(I32(), magnitude);
    // Subnormal results: adding 0.5 puts the unit of binary16 subnormals, 2^-24, at the last place of the sum.
    const VU half = hn::Set(U32(), 0x3F000000u);
    const VU subnormal =
        hn::Sub(hn::BitCast(U32(), hn::Add(hn::BitCast(F32(), magnitude), hn::BitCast(F32(), half))), half);
    const VU odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(U32(), 1u));
    const VU rounded = hn::Add(hn::Add(magnitude, hn::Set(U32(), 0xFFFu - ((127u - 15u) << 23))), odd);
    const VU normal = hn::ShiftRight<13>(rounded);
    const auto is_small = hn::Lt(signed_magnitude, hn::Set(I32(), 0x38800000));  // below 2^-14
    const auto is_large = hn::Gt(signed_magnitude, hn::Set(I32(), 0x477FEFFF));  // rounds beyond 65504
    VU result = hn::IfThenElse(hn::RebindMask(U32(), is_small), subnormal, normal);
    result = hn::IfThenElse(hn::RebindMask(U32(), is_large), hn::Set(U32(), 0x7BFFu), result);
    result = hn::Or(result, hn::ShiftRight<16>(sign));
    hn::StoreU(hn::TruncateTo(hn::Rebind<uint16_t, U32>(), result), hn::Rebind<uint16_t, U32>(), p);
  }
};

struct Bfloat16 {
  using T = uint16_t;
  static HWY_INLINE VF load(const T* p) {
    return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(U32(), hn::LoadU(hn::Rebind<uint16_t, U32>(), p))));
  }
  static HWY_INLINE void store(VF v, T* p) {
    const VU bits = hn::BitCast(U32(), v);
    const VU sign = hn::And(bits, hn::Set(U32(), 0x80000000u));
    const VU odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(U32(), 1u));
    VU result = hn::ShiftRight<16>(hn::Add(hn::Add(hn::Xor(bits, sign), hn::Set(U32(), 0x7FFFu)), odd));
    result = hn::Min(result, hn::Set(U32(), 0x7F7Fu));  // the largest finite value instead of infinity
    result = hn::Or(result, hn::ShiftRight<16>(sign));
    hn::StoreU(hn::TruncateTo(hn::Rebind<uint16_t, U32>(), result), hn::Rebind<uint16_t, U32>(), p);
  }
};

template <typename Integer>
struct Int8Like {
  using T = Integer;
  static HWY_INLINE VF load(const T* p) {
    return hn::ConvertTo(F32(), hn::PromoteTo(I32(), hn::LoadU(hn::Rebind<T, I32>(), p)));
  }
  static HWY_INLINE void store(VF v, T* p) {
    const VF low = hn::Set(F32(), std::is_signed_v<T> ? -128.0f : 0.0f);
    const VF high = hn::Set(F32(), std::is_signed_v<T> ? 127.0f : 255.0f);
    const VI rounded = hn::NearestInt(hn::Min(hn::Max(v, low), high));
    hn::StoreU(hn::DemoteTo(hn::Rebind<T, I32>(), rounded), hn::Rebind<T, I32>(), p);
  }
};
using Int8 = Int8Like<int8_t>;
using Uint8 = Int8Like<uint8_t>;

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_CONVERT_INL_H_
