// SPDX-License-Identifier: Apache-2.0
// Prediction from the row above (docs/format.md, section 6.1): differences, sums, and what they would save.

#if defined(FMC_PREDICTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_PREDICTION_INL_H_
#undef FMC_PREDICTION_INL_H_
#else
#define FMC_PREDICTION_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fmcodec/kernels/convert-inl.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/kernels/magnitude_bits.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

HWY_ATTR void subtract_above(const uint8_t* tokens, size_t columns, size_t count, uint8_t* residuals) {
  const size_t first_row = HWY_MIN(columns, count);
  memcpy(residuals, tokens, first_row);
  const size_t lanes = hn::Lanes(U8());
  for (size_t i = first_row; i < count; i += lanes) {
    hn::StoreU(hn::Sub(hn::LoadU(U8(), tokens + i), hn::LoadU(U8(), tokens + i - columns)), U8(), residuals + i);
  }
}

// The sums of a strip of columns, as wide as the vector, from the top row down. Returns the column behind it.
template <class D>
HWY_INLINE size_t add_strips(D d, uint8_t* tokens, size_t columns, size_t count, size_t column) {
  for (; column + hn::Lanes(d) <= columns; column += hn::Lanes(d)) {
    auto sum = hn::LoadU(d, tokens + column);
    for (size_t i = column + columns; i < count; i += columns) {
      sum = hn::Add(sum, hn::LoadU(d, tokens + i));
      hn::StoreU(sum, d, tokens + i);
    }
  }
  return column;
}

HWY_ATTR void add_above(uint8_t* tokens, size_t columns, size_t count) {
  if (count <= columns) return;  // strips would begin behind the only row
  size_t column = 0;
#if HWY_TARGET != HWY_SCALAR
  column = add_strips(U8(), tokens, columns, count, column);
  column = add_strips(hn::CappedTag<uint8_t, 32>(), tokens, columns, count, column);
  column = add_strips(hn::FixedTag<uint8_t, 16>(), tokens, columns, count, column);
  column = add_strips(hn::FixedTag<uint8_t, 8>(), tokens, columns, count, column);
  column = add_strips(hn::FixedTag<uint8_t, 4>(), tokens, columns, count, column);
#endif
  for (; column < columns; ++column) {
    for (size_t i = column + columns; i < count; i += columns)
      tokens[i] = static_cast<uint8_t>(tokens[i] + tokens[i - columns]);
  }
}

// Sums up what a run of tokens costs, as they are or less those above them.
class TokenMeter {
 public:
  explicit HWY_INLINE TokenMeter(int32_t token_minimum) : last_positive_(static_cast<uint8_t>(255 + token_minimum)) {}

#if HWY_TARGET == HWY_SCALAR
  HWY_INLINE void add(uint8_t token) {
    const auto magnitude = static_cast<uint8_t>(token > last_positive_ ? -token : token);
    nonzero_ += magnitude > 0;
    bits_ += magnitude < 16 ? kMagnitudeBits.low[magnitude] : kMagnitudeBits.high[magnitude >> 4];
  }
  HWY_INLINE void add_to(TokenCost* cost) const {
    cost->nonzero += nonzero_;
    cost->magnitude_bits += bits_;
  }

 private:
  uint64_t nonzero_ = 0, bits_ = 0;
#else
  using D64 = hn::Repartition<uint64_t, U8>;

  HWY_INLINE void add(hn::Vec<U8> token) {
    const auto is_negative = hn::Gt(token, hn::Set(U8(), last_positive_));
    const auto magnitude = hn::IfThenElse(is_negative, hn::Sub(hn::Zero(U8()), token), token);
    const auto low_nibble = hn::Set(U8(), 15);
    const hn::Repartition<uint16_t, U8> d16;
    const auto upper = hn::And(hn::BitCast(U8(), hn::ShiftRight<4>(hn::BitCast(d16, magnitude))), low_nibble);
    const auto small = hn::TableLookupBytes(hn::LoadDup128(U8(), kMagnitudeBits.low), hn::And(magnitude, low_nibble));
    const auto large = hn::TableLookupBytes(hn::LoadDup128(U8(), kMagnitudeBits.high), upper);
    const auto bits = hn::IfThenElse(hn::Eq(upper, hn::Zero(U8())), small, large);
    nonzero_ = hn::Add(nonzero_, hn::SumsOf8(hn::Min(magnitude, hn::Set(U8(), 1))));
    bits_ = hn::Add(bits_, hn::SumsOf8(bits));
  }
  HWY_INLINE void add_to(TokenCost* cost) const {
    cost->nonzero += hn::GetLane(hn::SumOfLanes(D64(), nonzero_));
    cost->magnitude_bits += hn::GetLane(hn::SumOfLanes(D64(), bits_));
  }

 private:
  hn::Vec<D64> nonzero_ = hn::Zero(D64()), bits_ = hn::Zero(D64());
#endif
  uint8_t last_positive_;
};

HWY_ATTR void sample_prediction(const uint8_t* tokens, size_t columns, size_t count, size_t run, size_t period,
                                int32_t token_minimum, PredictionSample* sample) {
  TokenMeter true_meter(token_minimum), residual_meter(-128);
  const size_t lanes = hn::Lanes(U8());
  for (size_t begin = columns; begin < count; begin += period) {
    const size_t end = HWY_MIN(begin + run, count);
    sample->symbols += end - begin;
    for (size_t i = begin; i < end; i += lanes) {
#if HWY_TARGET == HWY_SCALAR
      true_meter.add(tokens[i]);
      residual_meter.add(static_cast<uint8_t>(tokens[i] - tokens[i - columns]));
#else
      // Tokens beyond the run become 0, which costs nothing. Highway 1.0.3 narrows the count to a signed byte.
      const auto valid = hn::FirstN(U8(), HWY_MIN(end - i, lanes));
      const auto token = hn::IfThenElseZero(valid, hn::LoadU(U8(), tokens + i));
      const auto above = hn::IfThenElseZero(valid, hn::LoadU(U8(), tokens + i - columns));
      true_meter.add(token);
      residual_meter.add(hn::Sub(token, above));
#endif
    }
  }
  true_meter.add_to(&sample->tokens);
  residual_meter.add_to(&sample->residuals);
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_PREDICTION_INL_H_
