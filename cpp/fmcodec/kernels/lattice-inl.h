// SPDX-License-Identifier: Apache-2.0
// Contexts from neighbours, and the moves between a grid and its parts (docs/format.md, section 7.4).

#if defined(FMC_LATTICE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_LATTICE_INL_H_
#undef FMC_LATTICE_INL_H_
#else
#define FMC_LATTICE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fmcodec/kernels/kernels.h"
#include "fmcodec/kernels/wavelet-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

HWY_ATTR void neighbour_contexts(const uint8_t* codes, const uint8_t* band_codes, size_t count,
                                 const ptrdiff_t offsets[4], uint8_t* contexts) {
  const auto one = hn::Set(U8(), 1);
  const auto spread_step = hn::Set(U8(), kMeanBins);
  const auto narrow = hn::Set(U8(), kNarrowSpread);
  for (size_t i = 0; i < count; i += hn::Lanes(U8())) {
    const auto a = hn::LoadU(U8(), codes + i + offsets[0]), b = hn::LoadU(U8(), codes + i + offsets[1]);
    const auto c = hn::LoadU(U8(), codes + i + offsets[2]), d = hn::LoadU(U8(), codes + i + offsets[3]);
    const auto sum = hn::Add(hn::Add(a, b), hn::Add(c, d));  // codes are below 64
    const auto band = hn::LoadU(U8(), band_codes + i);
    const auto two_bands = hn::Add(band, band);
    const auto weighted = hn::AverageRound(sum, hn::AverageRound(sum, hn::Add(two_bands, two_bands)));
    const auto mean_bin = hn::ShiftRight<3>(weighted);
    const auto spread = hn::Sub(hn::Max(hn::Max(a, b), hn::Max(c, d)), hn::Min(hn::Min(a, b), hn::Min(c, d)));
    const auto if_any = hn::IfThenElseZero(hn::Gt(spread, hn::Zero(U8())), spread_step);
    const auto if_wide = hn::IfThenElseZero(hn::Gt(spread, narrow), spread_step);
    hn::StoreU(hn::Add(hn::Add(mean_bin, one), hn::Add(if_any, if_wide)), U8(), contexts + i);
  }
}

HWY_ATTR size_t select_kind(const uint8_t* values, const uint8_t* kinds, uint8_t kind, size_t count,
                            uint8_t* selected) {
  const auto wanted = hn::Set(U8(), kind);
  const auto is_wanted = [&](hn::Vec<U8> v) HWY_ATTR { return hn::Eq(v, wanted); };
  return compress_where(values, kinds, count, is_wanted, selected);
}

HWY_ATTR void place_kind(const uint8_t* selected, const uint8_t* kinds, uint8_t kind, size_t count, uint8_t* values) {
#if FMC_HAS_BYTE_COMPRESS
  const __m512i wanted = _mm512_set1_epi8(static_cast<char>(kind));
  for (size_t i = 0; i < count; i += 64) {
    const uint64_t word = _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(kinds + i), wanted) & low_bits(count - i);
    const __m512i v = _mm512_loadu_si512(values + i);
    _mm512_storeu_si512(values + i, _mm512_mask_expand_epi8(v, word, _mm512_loadu_si512(selected)));
    selected += __builtin_popcountll(word);
  }
#else
  for (size_t i = 0; i < count; ++i) {
    const bool is_wanted = kinds[i] == kind;
    values[i] = is_wanted ? *selected : values[i];
    selected += is_wanted;
  }
#endif
}

HWY_ATTR void mean_of_runs(const uint8_t* codes, size_t run, size_t count, uint8_t* means) {
  const hn::Repartition<uint64_t, U8> d64;
  const size_t lanes = hn::Lanes(U8());
  for (size_t r = 0; r < count; ++r, codes += run) {
    auto sums = hn::Zero(d64);
    size_t i = 0;
    for (; i + lanes <= run; i += lanes) sums = hn::Add(sums, hn::SumsOf8(hn::LoadU(U8(), codes + i)));
    if (i < run) {
      const auto valid = hn::FirstN(U8(), run - i);
      sums = hn::Add(sums, hn::SumsOf8(hn::IfThenElseZero(valid, hn::LoadU(U8(), codes + i))));
    }
    HWY_ALIGN uint64_t lane[HWY_MAX_BYTES / 8];
    hn::Store(sums, d64, lane);
    uint64_t sum = 0;
    for (size_t k = 0; k < hn::Lanes(d64); ++k) sum += lane[k];
    means[r] = static_cast<uint8_t>((2 * sum + run) / (2 * run));
  }
}

HWY_ATTR void repeat_each(const uint8_t* values, size_t run, size_t count, uint8_t* out) {
  for (size_t r = 0; r < count; ++r, out += run) {
    const auto v = hn::Set(U8(), values[r]);
    for (size_t i = 0; i < run; i += hn::Lanes(U8())) hn::StoreU(v, U8(), out + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_LATTICE_INL_H_
