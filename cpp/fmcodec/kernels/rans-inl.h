// SPDX-License-Identifier: Apache-2.0
// Interleaved range asymmetric numeral systems (docs/format.md, section 7.5).
//
// Each lane is a state of its own, so the steps of different lanes overlap; words of all lanes stand in one stream.

#if defined(FMC_RANS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_RANS_INL_H_
#undef FMC_RANS_INL_H_
#else
#define FMC_RANS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fmcodec/kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

HWY_ATTR uint8_t* write_rans(const RansSymbol* symbols, const uint8_t* classes, const uint8_t* tokens, size_t count,
                             uint32_t* states, size_t lanes, uint8_t* words) {
  for (size_t i = count; i-- > 0;) {
    const RansSymbol& symbol = symbols[size_t{classes[i]} << 8 | tokens[i]];
    uint32_t x = states[i & (lanes - 1)];
    // Without a branch: whether a word is due cannot be predicted. It is written in any case.
    const auto word = static_cast<uint16_t>(x);
    memcpy(words - 2, &word, 2);
    const uint32_t is_due = x >> 19 >= symbol.frequency;
    words -= 2 * is_due;
    x >>= 16 * is_due;
    const auto quotient = static_cast<uint32_t>(uint64_t{x} * symbol.reciprocal >> symbol.shift);
    states[i & (lanes - 1)] = x + quotient * (kRansTotal - symbol.frequency) + symbol.begin;
  }
  return words;
}

HWY_INLINE uint32_t rans_step(uint32_t x, uint32_t slot, const uint8_t*& words) {
  x = (((slot >> 8) & 4095) + 1) * (x >> kRansBits) + (slot >> 20);
  uint16_t word;
  memcpy(&word, words, 2);
  const bool is_due = x < kRansLow;
  words += 2 * is_due;
  return is_due ? x << 16 | word : x;
}

HWY_ATTR const uint8_t* read_rans(const uint32_t* slots, const uint8_t* classes, size_t count, uint32_t* states,
                                  size_t lanes, const uint8_t* words, const uint8_t* end, uint8_t* tokens) {
  size_t i = 0;
#if HWY_TARGET == HWY_AVX3_DL
  if (lanes == 32) {
    __m512i x0 = _mm512_loadu_si512(states), x1 = _mm512_loadu_si512(states + 16);
    const __m512i low12 = _mm512_set1_epi32(4095), one = _mm512_set1_epi32(1), least = _mm512_set1_epi32(kRansLow);
    const auto step = [&](__m512i x, const uint8_t* at) HWY_ATTR {
      const __m512i k =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(classes + (at - tokens))));
      const __m512i index = _mm512_add_epi32(_mm512_slli_epi32(k, kRansBits), _mm512_and_si512(x, low12));
      const __m512i slot = _mm512_i32gather_epi32(index, slots, 4);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(const_cast<uint8_t*>(at)), _mm512_cvtepi32_epi8(slot));
      const __m512i f = _mm512_add_epi32(_mm512_and_si512(_mm512_srli_epi32(slot, 8), low12), one);
      x = _mm512_add_epi32(_mm512_mullo_epi32(f, _mm512_srli_epi32(x, kRansBits)), _mm512_srli_epi32(slot, 20));
      const __mmask16 needs_word = _mm512_cmplt_epu32_mask(x, least);
      const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
      const __m512i word = _mm512_maskz_expand_epi32(needs_word, next);
      words += 2 * __builtin_popcount(needs_word);
      return _mm512_mask_or_epi32(x, needs_word, _mm512_slli_epi32(x, 16), word);
    };
    for (; i + 32 <= count && words <= end; i += 32) {
      x0 = step(x0, tokens + i);
      x1 = step(x1, tokens + i + 16);
    }
    _mm512_storeu_si512(states, x0);
    _mm512_storeu_si512(states + 16, x1);
  }
#endif
  for (; i < count && words <= end; i += lanes) {
    const size_t in_step = HWY_MIN(lanes, count - i);
    for (size_t lane = 0; lane < in_step; ++lane) {
      const uint32_t slot = slots[size_t{classes[i + lane]} << kRansBits | (states[lane] & 4095)];
      tokens[i + lane] = static_cast<uint8_t>(slot);
      states[lane] = rans_step(states[lane], slot, words);
    }
  }
  return words <= end ? words : nullptr;
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_RANS_INL_H_
