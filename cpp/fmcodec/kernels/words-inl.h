// SPDX-License-Identifier: Apache-2.0
// 64 tokens as one step: bit words in a stream, masks of tokens as words, tokens split and merged by a word.
//
// AVX-512 VBMI2 has compress and expand for bytes; elsewhere 8 tokens at a time go through a shuffle whose indices are
// looked up by the 8 bits.

#if defined(FMC_WORDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_WORDS_INL_H_
#undef FMC_WORDS_INL_H_
#else
#define FMC_WORDS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fmcodec/kernels/convert-inl.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/kernels/shuffle_tables.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

// Highway 1.0.3 has no byte Expand, and its byte Compress stores to memory, which some processors do slowly.
#undef FMC_HAS_BYTE_COMPRESS
#if HWY_TARGET == HWY_AVX3_DL
#define FMC_HAS_BYTE_COMPRESS 1
#else
#define FMC_HAS_BYTE_COMPRESS 0
#endif

HWY_INLINE uint64_t load_u64(const uint8_t* p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}
HWY_INLINE void store_u64(uint64_t word, uint8_t* p) { memcpy(p, &word, 8); }

HWY_INLINE uint64_t low_bits(size_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// Reads words of 64 bits from any bit position; needs 16 readable bytes.
class WordReader {
 public:
  HWY_INLINE WordReader(const uint8_t* bytes, uint64_t position_bits)
      : at_(bytes + (position_bits >> 3)), shift_(position_bits & 7) {}
  // The word that begins `offset_bits` further on, a multiple of 64.
  HWY_INLINE uint64_t word(size_t offset_bits) const {
    const uint8_t* const at = at_ + offset_bits / 8;
    // Shifting by 63 - shift and then by 1 avoids the undefined shift by 64.
    return (load_u64(at) >> shift_) | ((load_u64(at + 8) << 1) << (63 - shift_));
  }

 private:
  const uint8_t* at_;
  unsigned shift_;
};

// Appends words of up to 64 bits; what is behind the last bit is overwritten.
class BitAppender {
 public:
  explicit HWY_INLINE BitAppender(BitCursor* cursor)
      : cursor_(cursor), at_(cursor->bytes + (cursor->position_bits >> 3)), held_(cursor->position_bits & 7) {
    pending_ = held_ == 0 ? 0 : *at_ & low_bits(held_);
  }
  // Bits at and above `count` (at most 64) must be 0.
  HWY_INLINE void append(uint64_t bits, size_t count) {
    store_u64((bits << held_) | pending_, at_);
    const size_t end = held_ + count;  // held_ is below 64
    if (end >= 64) {
      pending_ = (bits >> 1) >> (63 - held_);
      at_ += 8;
      held_ = end - 64;
    } else {
      pending_ |= bits << held_;
      held_ = end;
    }
  }
  HWY_INLINE void finish() {
    store_u64(pending_, at_);
    cursor_->position_bits = static_cast<uint64_t>(at_ - cursor_->bytes) * 8 + held_;
  }

 private:
  BitCursor* cursor_;
  uint8_t* at_;
  size_t held_;  // bits in pending_ that are not stored, or stored only to be overwritten
  uint64_t pending_;
};

// --- masks of 64 tokens as one word

#undef FMC_HAS_WORD_MASKS
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
#define FMC_HAS_WORD_MASKS 1
#else
#define FMC_HAS_WORD_MASKS 0
#endif

// On AVX2 and below the bits are moved by raw intrinsics: Highway 1.0.3 only has moves through memory, where the word
// waits for a narrower store.
HWY_INLINE uint64_t word_of_mask(hn::Mask<U8> mask) {
#if FMC_HAS_WORD_MASKS
  return static_cast<uint64_t>(mask.raw);
#elif HWY_TARGET == HWY_AVX2
  return static_cast<uint32_t>(_mm256_movemask_epi8(mask.raw));
#elif HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  return static_cast<uint32_t>(_mm_movemask_epi8(mask.raw));
#else
  uint8_t bytes[8 + HWY_MAX_BYTES / 8] = {};
  hn::StoreMaskBits(U8(), mask, bytes);
  return load_u64(bytes) & low_bits(hn::Lanes(U8()));
#endif
}

// The mask of the lowest bits of a word.
HWY_INLINE hn::Mask<U8> mask_of_word(uint64_t word) {
#if FMC_HAS_WORD_MASKS
  return hn::Mask<U8>{static_cast<__mmask64>(word)};
#elif HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  // Each lane gets its byte of the word, then its bit of the byte.
  alignas(32) static constexpr uint8_t kByte[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                                    2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
  const auto words = hn::BitCast(U8(), hn::Set(U32(), static_cast<uint32_t>(word)));
  const auto bytes = hn::TableLookupBytes(words, hn::Load(U8(), kByte));
  const auto bit = hn::BitCast(U8(), hn::Set(hn::Repartition<uint64_t, U8>(), 0x8040201008040201u));
  return hn::TestBit(bytes, bit);
#else
  HWY_ALIGN uint8_t bytes[8 + HWY_MAX_BYTES / 8] = {};
  store_u64(word, bytes);
  return hn::LoadMaskBits(U8(), bytes);
#endif
}

HWY_INLINE uint64_t word_of_mask(hn::Mask<I32> mask) {
#if FMC_HAS_WORD_MASKS
  return static_cast<uint64_t>(mask.raw);
#elif HWY_TARGET == HWY_AVX2
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(mask.raw)));
#elif HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  return static_cast<uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(mask.raw)));
#else
  uint8_t bytes[8 + HWY_MAX_BYTES / 8] = {};
  hn::StoreMaskBits(I32(), mask, bytes);
  return load_u64(bytes) & low_bits(hn::Lanes(I32()));
#endif
}

// 64 bits: predicate(vector at offset) for each token of a word.
template <class Predicate>
HWY_INLINE uint64_t word_where(const uint8_t* tokens, const Predicate& predicate) {
  uint64_t word = 0;
  for (size_t i = 0; i < 64; i += hn::Lanes(U8())) {
    word |= word_of_mask(predicate(hn::LoadU(U8(), tokens + i))) << i;
  }
  return word;
}

template <class Predicate>
HWY_INLINE void append_where(const uint8_t* tokens, size_t count, BitAppender& bits, const Predicate& predicate) {
  size_t i = 0;
  for (; i + 64 <= count; i += 64) bits.append(word_where(tokens + i, predicate), 64);
  if (i < count) bits.append(word_where(tokens + i, predicate) & low_bits(count - i), count - i);
}

// --- split and merge of 64 tokens

#if FMC_HAS_BYTE_COMPRESS

// Stores the tokens whose bit is 1; writes 64 bytes.
HWY_INLINE void compress_word(const uint8_t* tokens, uint64_t word, uint8_t* out) {
  const __m512i v = _mm512_loadu_si512(tokens);
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(word, v));
}
HWY_INLINE void split_word(const uint8_t* tokens, uint64_t ones, uint64_t zeros, uint8_t* left, uint8_t* right) {
  const __m512i v = _mm512_loadu_si512(tokens);
  _mm512_storeu_si512(right, _mm512_maskz_compress_epi8(ones, v));
  _mm512_storeu_si512(left, _mm512_maskz_compress_epi8(zeros, v));
}

// The bytes from `at` on, spread to the places whose bit is 1, zeros between. Loading is an instruction of its own:
// expanding from memory is slower on some processors.
HWY_INLINE __m512i expand_word(uint64_t word, const uint8_t* at) {
  __m512i v = _mm512_loadu_si512(at);
  asm("" : "+v"(v));
  return _mm512_maskz_expand_epi8(word, v);
}

template <bool kLeftIsFill>
HWY_INLINE void merge_word(uint64_t word, const uint8_t*& left, uint8_t left_fill, const uint8_t*& right,
                           uint8_t* merged) {
  // Each side with zeros between, then put together: expanding one into the other would wait for it.
  const __m512i on_left =
      kLeftIsFill ? _mm512_maskz_set1_epi8(~word, static_cast<char>(left_fill)) : expand_word(~word, left);
  const __m512i on_right = expand_word(word, right);
  const size_t ones = __builtin_popcountll(word);
  if constexpr (!kLeftIsFill) left += 64 - ones;
  right += ones;
  _mm512_storeu_si512(merged, _mm512_or_si512(on_left, on_right));
}

#elif HWY_TARGET == HWY_SCALAR

// One token at a time: what the other branches must equal.
HWY_INLINE void compress_word(const uint8_t* tokens, uint64_t word, uint8_t* out) {
  for (size_t i = 0; i < 64; ++i) {
    if (word >> i & 1) *out++ = tokens[i];
  }
}
HWY_INLINE void split_word(const uint8_t* tokens, uint64_t ones, uint64_t zeros, uint8_t* left, uint8_t* right) {
  compress_word(tokens, ones, right);
  compress_word(tokens, zeros, left);
}

template <bool kLeftIsFill>
HWY_INLINE void merge_word(uint64_t word, const uint8_t*& left, uint8_t left_fill, const uint8_t*& right,
                           uint8_t* merged) {
  for (size_t i = 0; i < 64; ++i) {
    if (word >> i & 1) {
      merged[i] = *right++;
    } else {
      merged[i] = kLeftIsFill ? left_fill : *left++;
    }
  }
}

#else  // 8 tokens at a time

using U8x16 = hn::FixedTag<uint8_t, 16>;
using U8x8 = hn::FixedTag<uint8_t, 8>;

HWY_INLINE void compress_word(const uint8_t* tokens, uint64_t word, uint8_t* out) {
  for (size_t i = 0; i < 64; i += 8, word >>= 8) {
    const unsigned bits = word & 255;
    const auto v = hn::ZeroExtendVector(U8x16(), hn::LoadU(U8x8(), tokens + i));
    const auto order = hn::LoadU(U8x16(), kSplitShuffle.bytes[bits]);
    hn::StoreU(hn::UpperHalf(U8x8(), hn::TableLookupBytes(v, order)), U8x8(), out);
    out += __builtin_popcountll(bits);
  }
}
HWY_INLINE void split_word(const uint8_t* tokens, uint64_t ones, uint64_t zeros, uint8_t* left, uint8_t* right) {
  for (size_t i = 0; i < 64; i += 8, ones >>= 8, zeros >>= 8) {
    const unsigned bits = ones & 255;
    const auto v = hn::ZeroExtendVector(U8x16(), hn::LoadU(U8x8(), tokens + i));
    const auto order = hn::LoadU(U8x16(), kSplitShuffle.bytes[bits]);
    const auto sides = hn::TableLookupBytes(v, order);
    hn::StoreU(hn::LowerHalf(U8x8(), sides), U8x8(), left);
    hn::StoreU(hn::UpperHalf(U8x8(), sides), U8x8(), right);
    left += __builtin_popcountll(zeros & 255);
    right += __builtin_popcountll(bits);
  }
}

template <bool kLeftIsFill>
HWY_INLINE void merge_word(uint64_t word, const uint8_t*& left, uint8_t left_fill, const uint8_t*& right,
                           uint8_t* merged) {
  for (size_t i = 0; i < 64; i += 8, word >>= 8) {
    const unsigned bits = word & 255;
    auto low = hn::Set(U8x8(), left_fill);
    const unsigned ones = __builtin_popcountll(bits);
    if constexpr (!kLeftIsFill) {
      low = hn::LoadU(U8x8(), left);
      left += 8 - ones;
    }
    const auto high = hn::LoadU(U8x8(), right);
    right += ones;
    const auto order = hn::ZeroExtendVector(U8x16(), hn::LoadU(U8x8(), kMergeShuffle.bytes[bits]));
    const auto both = hn::TableLookupBytes(hn::Combine(U8x16(), high, low), order);
    hn::StoreU(hn::LowerHalf(U8x8(), both), U8x8(), merged + i);
  }
}

#endif

// --- symbols of 32 bits

// The symbols from `at` on, spread to the lanes whose bit is 1, zeros between.
HWY_INLINE VI expand_symbols(uint64_t bits, const int32_t* at) {
#if FMC_HAS_WORD_MASKS
  return VI{_mm512_maskz_expand_epi32(static_cast<__mmask16>(bits), _mm512_loadu_si512(at))};
#elif HWY_TARGET == HWY_SCALAR
  return hn::Set(I32(), bits != 0 ? *at : 0);
#else
  // Where it is 1, an entry of the shuffle is 8 and the number of ones before it.
  const hn::Rebind<uint8_t, I32> bytes;
  const VI entries = hn::PromoteTo(I32(), hn::LoadU(bytes, kMergeShuffle.bytes[bits]));
  const VI order = hn::And(entries, hn::Set(I32(), 7));
  const VI spread = hn::TableLookupLanes(hn::LoadU(I32(), at), hn::IndicesFromVec(I32(), order));
  return hn::IfThenElseZero(hn::TestBit(entries, hn::Set(I32(), 8)), spread);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_WORDS_INL_H_
