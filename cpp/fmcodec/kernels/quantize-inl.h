// SPDX-License-Identifier: Apache-2.0
// Values to levels or tokens and back (docs/format.md, sections 3, 5, 6).

#if defined(FMC_QUANTIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_QUANTIZE_INL_H_
#undef FMC_QUANTIZE_INL_H_
#else
#define FMC_QUANTIZE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fmcodec/kernels/convert-inl.h"
#include "fmcodec/kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

// Calls step(in, out) for each full vector of `count` elements. The rest is done by a vector that overlaps the last
// full one, or on padded copies if there is none or if the work is in place and must not be done twice.
template <typename In, typename Out, class Step>
HWY_INLINE void for_each_vector(const In* in, size_t count, Out* out, const Step& step) {
  const size_t lanes = hn::Lanes(I32());
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) step(in + i, out + i);
  if (i == count) return;
  if (i > 0 && static_cast<const void*>(in) != static_cast<const void*>(out))
    return step(in + count - lanes, out + count - lanes);
  HWY_ALIGN In last_in[HWY_MAX_BYTES / 4] = {};
  HWY_ALIGN Out last_out[HWY_MAX_BYTES / 4];
  memcpy(last_in, in + i, (count - i) * sizeof(In));
  step(last_in, last_out);
  memcpy(out + i, last_out, (count - i) * sizeof(Out));
}

// Adding this rounds a number of magnitude up to 2^22 to the nearest integer, half to even: it leaves the last place of
// binary32 the value 1. The integer is then the bits less those of this number, and its low byte is the lowest byte.
constexpr float kRoundingShift = 12582912.0f;  // 1.5 * 2^23
constexpr int32_t kRoundingShiftBits = 0x4B400000;

// The bits of the nearest integers plus kRoundingShift.
HWY_INLINE VI shifted_integer(VF value) { return hn::BitCast(I32(), hn::Add(value, hn::Set(F32(), kRoundingShift))); }
HWY_INLINE VI integer_of(VI shifted) { return hn::Sub(shifted, hn::Set(I32(), kRoundingShiftBits)); }

// Values to levels, shifted. Instruction sets differ in what they make of NaN.
struct LevelRounder {
  VF inverse_step, lo, hi;

  explicit LevelRounder(const Quantizer& q)
      : inverse_step(hn::Set(F32(), q.inverse_step)),
        lo(hn::Set(F32(), static_cast<float>(q.lo))),
        hi(hn::Set(F32(), static_cast<float>(q.hi))) {}

  HWY_INLINE VI operator()(VF value) const {
    return shifted_integer(hn::Min(hn::Max(hn::Mul(value, inverse_step), lo), hi));
  }
};

// Whether no lane became NaN by adding values times 0: whether all of them were finite.
HWY_INLINE bool is_all_numbers(VF probe) { return hn::AllTrue(F32(), hn::Eq(probe, probe)); }

// Calls store(shifted level, out) for each vector. Returns whether all values are finite; NaN becomes level 0.
template <class Traits, typename Out, class Store>
HWY_INLINE bool round_values(const typename Traits::T* values, size_t count, const Quantizer& q, Out* out,
                             const Store& store) {
  const LevelRounder round(q);
  const VF zero = hn::Zero(F32());
  VF probe = zero;
  for_each_vector(values, count, out, [&](const typename Traits::T* in, Out* at) HWY_ATTR {
    const VF value = Traits::load(in);
    probe = hn::MulAdd(value, zero, probe);
    store(round(value), at);
  });
  if (is_all_numbers(probe)) return true;
  for_each_vector(values, count, out, [&](const typename Traits::T* in, Out* at) HWY_ATTR {
    const VF value = Traits::load(in);
    store(round(hn::IfThenElseZero(hn::Eq(value, value), value)), at);
  });
  return false;
}

template <class Traits>
HWY_ATTR bool quantize_to_levels(const typename Traits::T* values, size_t count, const Quantizer& q, int32_t* levels) {
  return round_values<Traits>(values, count, q, levels,
                              [](VI shifted, int32_t* out) HWY_ATTR { hn::StoreU(integer_of(shifted), I32(), out); });
}

template <class Traits>
HWY_ATTR bool quantize_to_tokens(const typename Traits::T* values, size_t count, const Quantizer& q, uint8_t* tokens) {
  return round_values<Traits>(values, count, q, tokens, [](VI shifted, uint8_t* out) HWY_ATTR {
    store_low_bytes(hn::BitCast(U32(), shifted), out);
  });
}

// Levels to values.
struct LevelScaler {
  VF step;
  VI lo, hi;

  explicit LevelScaler(const Quantizer& q)
      : step(hn::Set(F32(), q.step)), lo(hn::Set(I32(), q.lo)), hi(hn::Set(I32(), q.hi)) {}

  HWY_INLINE VF operator()(VI level) const {
    return hn::Mul(hn::ConvertTo(F32(), hn::Min(hn::Max(level, lo), hi)), step);
  }
};

template <class Traits>
HWY_ATTR void dequantize_levels(const int32_t* levels, size_t count, const Quantizer& q, typename Traits::T* values) {
  const LevelScaler scale(q);
  for_each_vector(levels, count, values, [&](const int32_t* in, typename Traits::T* out) HWY_ATTR {
    Traits::store(scale(hn::LoadU(I32(), in)), out);
  });
}

// The integer congruent to a token modulo 256 that is at least token_minimum.
HWY_INLINE VI symbol_of_token(const uint8_t* token, VI token_minimum) {
  const VI value = hn::PromoteTo(I32(), hn::LoadU(hn::Rebind<uint8_t, I32>(), token));
  return hn::Add(hn::And(hn::Sub(value, token_minimum), hn::Set(I32(), 255)), token_minimum);
}

template <class Traits>
HWY_ATTR void dequantize_tokens(const uint8_t* tokens, size_t count, const Quantizer& q, typename Traits::T* values) {
  const LevelScaler scale(q);
  const VI token_minimum = hn::Set(I32(), q.token_minimum);
  for_each_vector(tokens, count, values, [&](const uint8_t* in, typename Traits::T* out) HWY_ATTR {
    Traits::store(scale(symbol_of_token(in, token_minimum)), out);
  });
}

// s = sign(c) * floor((|c| + rounding) / step) is the integer nearest to c / step + sign(c) * offset, with an offset
// that leaves half of 1 / step to the next integer and a half. For integers below 2^21 the roundings of binary32 are
// less than that, whether the sum is fused with the product or not.
HWY_INLINE float inverse_of_step(int32_t step) { return 1.0f / static_cast<float>(step); }
HWY_INLINE float offset_of_rounding(int32_t step, int32_t rounding) {
  return (static_cast<float>(rounding) + 0.5f) / static_cast<float>(step) - 0.5f;
}
HWY_INLINE VF nearest_symbol(VI coefficient, VF inverse_step, VF offset) {
  const VF c = hn::ConvertTo(F32(), coefficient);
  return hn::MulAdd(c, inverse_step, hn::Xor(offset, hn::And(c, hn::SignBit(F32()))));
}

// Coefficients to symbols, shifted.
struct BandQuantizer {
  VF inverse_step, offset;

  BandQuantizer(int32_t step, int32_t rounding)
      : inverse_step(hn::Set(F32(), inverse_of_step(step))),
        offset(hn::Set(F32(), offset_of_rounding(step, rounding))) {}

  HWY_INLINE VI operator()(VI coefficient) const {
    return shifted_integer(nearest_symbol(coefficient, inverse_step, offset));
  }
};

HWY_ATTR void quantize_band(int32_t* coefficients, size_t count, int32_t step, int32_t rounding) {
  const BandQuantizer quantizer(step, rounding);
  for_each_vector(coefficients, count, coefficients, [&](const int32_t* in, int32_t* out) HWY_ATTR {
    hn::StoreU(integer_of(quantizer(hn::LoadU(I32(), in))), I32(), out);
  });
}

// c = clamp(s * step, -2^20, 2^20), of a product that does not overflow.
constexpr int32_t kCoefficientLimit = 1 << 20;
HWY_INLINE VI coefficient_of(VI symbol, VI step) {
  const VI least = hn::Set(I32(), -kCoefficientLimit), most = hn::Set(I32(), kCoefficientLimit);
  return hn::Min(hn::Max(hn::Mul(symbol, step), least), most);
}

// The symbol is clamped first so that the product cannot overflow.
HWY_ATTR void dequantize_band(int32_t* symbols, size_t count, int32_t step) {
  const VI most = hn::Set(I32(), kCoefficientLimit / step + 1);
  const VI least = hn::Set(I32(), -(kCoefficientLimit / step + 1));
  const VI step_vector = hn::Set(I32(), step);
  for_each_vector(symbols, count, symbols, [&](const int32_t* in, int32_t* out) HWY_ATTR {
    const VI s = hn::Min(hn::Max(hn::LoadU(I32(), in), least), most);
    hn::StoreU(coefficient_of(s, step_vector), I32(), out);
  });
}

HWY_ATTR void flag_nonzero(const int32_t* levels, size_t count, int32_t* flags) {
  const VI one = hn::Set(I32(), 1);
  for_each_vector(levels, count, flags, [&](const int32_t* in, int32_t* out) HWY_ATTR {
    hn::StoreU(hn::Min(hn::Abs(hn::LoadU(I32(), in)), one), I32(), out);
  });
}

HWY_ATTR void clear_unflagged(const int32_t* flags, size_t count, int32_t* levels) {
  const size_t lanes = hn::Lanes(I32());
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto is_zero = hn::Eq(hn::LoadU(I32(), flags + i), hn::Zero(I32()));
    hn::StoreU(hn::IfThenZeroElse(is_zero, hn::LoadU(I32(), levels + i)), I32(), levels + i);
  }
  for (; i < count; ++i) {
    if (flags[i] == 0) levels[i] = 0;
  }
}

HWY_INLINE void measure_one(int32_t symbol, SymbolRange* range) {
  range->minimum = HWY_MIN(range->minimum, symbol);
  range->maximum = HWY_MAX(range->maximum, symbol);
  range->magnitude += static_cast<uint32_t>(symbol < 0 ? -symbol : symbol);
}

// Measures the symbols that load(i) gives for the lanes from i on, one vector after the other; `count` is a multiple of
// the lanes.
template <class Load>
HWY_INLINE void measure_vectors(size_t count, SymbolRange* range, const Load& load) {
  const size_t lanes = hn::Lanes(I32());
  VI lowest = hn::Set(I32(), INT32_MAX);
  VI highest = hn::Set(I32(), INT32_MIN);
  HWY_ALIGN int32_t lane[HWY_MAX_BYTES / 4];
  // A lane of magnitudes (at most 2^21 each) holds 1024 of them without overflow.
  for (size_t start = 0; start < count; start += 1024 * lanes) {
    const size_t stop = HWY_MIN(count, start + 1024 * lanes);
    VI magnitude = hn::Zero(I32());
    for (size_t i = start; i < stop; i += lanes) {
      const VI symbol = load(i);
      lowest = hn::Min(lowest, symbol);
      highest = hn::Max(highest, symbol);
      magnitude = hn::Add(magnitude, hn::Abs(symbol));
    }
    hn::Store(magnitude, I32(), lane);
    for (size_t i = 0; i < lanes; ++i) range->magnitude += static_cast<uint32_t>(lane[i]);
  }
  hn::Store(lowest, I32(), lane);
  for (size_t i = 0; i < lanes; ++i) range->minimum = HWY_MIN(range->minimum, lane[i]);
  hn::Store(highest, I32(), lane);
  for (size_t i = 0; i < lanes; ++i) range->maximum = HWY_MAX(range->maximum, lane[i]);
}

HWY_ATTR void measure_symbols(const int32_t* symbols, size_t count, SymbolRange* range) {
  const size_t whole = count - count % hn::Lanes(I32());
  measure_vectors(whole, range, [&](size_t i) HWY_ATTR { return hn::LoadU(I32(), symbols + i); });
  for (size_t i = whole; i < count; ++i) measure_one(symbols[i], range);
}

HWY_ATTR void band_to_tokens(const int32_t* coefficients, size_t count, int32_t step, int32_t rounding, uint8_t* tokens,
                             SymbolRange* range) {
  const BandQuantizer quantizer(step, rounding);
  const size_t rest = count % hn::Lanes(I32()), whole = count - rest;
  measure_vectors(whole, range, [&](size_t i) HWY_ATTR {
    const VI shifted = quantizer(hn::LoadU(I32(), coefficients + i));
    store_low_bytes(hn::BitCast(U32(), shifted), tokens + i);
    return integer_of(shifted);
  });
  if (rest == 0) return;
  HWY_ALIGN int32_t last[HWY_MAX_BYTES / 4] = {};
  memcpy(last, coefficients + whole, rest * sizeof(int32_t));
  hn::Store(integer_of(quantizer(hn::Load(I32(), last))), I32(), last);
  for (size_t i = 0; i < rest; ++i) {
    measure_one(last[i], range);
    tokens[whole + i] = static_cast<uint8_t>(last[i]);
  }
}

// Highway 1.0.3 reduces 16-bit lanes, not bytes.
HWY_INLINE int32_t least_byte(hn::Vec<U8> v) {
#if HWY_TARGET == HWY_SCALAR
  return hn::GetLane(v);
#else
  const hn::Repartition<uint16_t, U8> d16;
  const auto pairs = hn::BitCast(d16, v);
  return hn::GetLane(hn::MinOfLanes(d16, hn::Min(hn::ShiftRight<8>(pairs), hn::And(pairs, hn::Set(d16, 255)))));
#endif
}

HWY_ATTR void measure_tokens(const uint8_t* tokens, size_t count, int32_t token_minimum, SymbolRange* range) {
  if (count == 0) return;
  const auto minimum = hn::Set(U8(), static_cast<uint8_t>(token_minimum));
  // A token above this stands for a negative symbol.
  const auto last_positive = hn::Set(U8(), static_cast<uint8_t>(255 + token_minimum));
  const hn::Repartition<uint64_t, U8> d64;
  auto sums = hn::Zero(d64);
  auto lowest = hn::Set(U8(), 255);  // of symbol - token_minimum
  auto highest = hn::Zero(U8());
  const auto add = [&](hn::Vec<U8> token) HWY_ATTR {
    const auto above = hn::Sub(token, minimum);
    lowest = hn::Min(lowest, above);
    highest = hn::Max(highest, above);
    const auto magnitude = hn::IfThenElse(hn::Gt(token, last_positive), hn::Sub(hn::Zero(U8()), token), token);
    sums = hn::Add(sums, hn::SumsOf8(magnitude));
  };
  const size_t lanes = hn::Lanes(U8());
  const size_t whole = count - count % lanes;
  for (size_t i = 0; i < whole; i += lanes) add(hn::LoadU(U8(), tokens + i));
  if (whole < count) {
    const auto valid = hn::FirstN(U8(), count - whole);
    const auto token = hn::IfThenElseZero(valid, hn::LoadU(U8(), tokens + whole));
    const auto above = hn::IfThenElseZero(valid, hn::Sub(token, minimum));
    lowest = hn::Min(lowest, hn::Or(above, hn::VecFromMask(U8(), hn::Not(valid))));
    highest = hn::Max(highest, above);
    const auto magnitude = hn::IfThenElse(hn::Gt(token, last_positive), hn::Sub(hn::Zero(U8()), token), token);
    sums = hn::Add(sums, hn::SumsOf8(magnitude));
  }
  range->magnitude += hn::GetLane(hn::SumOfLanes(d64, sums));
  range->minimum = HWY_MIN(range->minimum, least_byte(lowest) + token_minimum);
  range->maximum = HWY_MAX(range->maximum, 255 - least_byte(hn::Not(highest)) + token_minimum);
}

HWY_ATTR void symbols_to_tokens(const int32_t* symbols, size_t count, int32_t shift, uint8_t* tokens) {
  for_each_vector(symbols, count, tokens, [&](const int32_t* in, uint8_t* out) HWY_ATTR {
    store_low_bytes(hn::BitCast(U32(), hn::ShiftRightSame(hn::LoadU(I32(), in), shift)), out);
  });
}

HWY_ATTR void tokens_to_symbols(const uint8_t* tokens, size_t count, int32_t token_minimum, int32_t shift,
                                int32_t* symbols) {
  const VI minimum = hn::Set(I32(), token_minimum);
  for_each_vector(tokens, count, symbols, [&](const uint8_t* in, int32_t* out) HWY_ATTR {
    hn::StoreU(hn::ShiftLeftSame(symbol_of_token(in, minimum), shift), I32(), out);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_QUANTIZE_INL_H_
