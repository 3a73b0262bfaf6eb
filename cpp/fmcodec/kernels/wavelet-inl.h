// SPDX-License-Identifier: Apache-2.0
// Node by node bit streams (docs/format.md, section 7.2): 64 tokens are one step.
//
// Splitting a node is a comparison and two byte compressions; merging is two byte expansions; a complete subtree is bit
// planes. AVX-512 VBMI2 has compress and expand for bytes; elsewhere 8 tokens at a time go through a shuffle whose
// indices are looked up by the 8 bits.

#if defined(FMC_WAVELET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_WAVELET_INL_H_
#undef FMC_WAVELET_INL_H_
#else
#define FMC_WAVELET_INL_H_
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

template <bool kLeftIsFill, bool kRightIsFill>
HWY_INLINE void merge_word(uint64_t word, const uint8_t*& left, uint8_t left_fill, const uint8_t*& right,
                           uint8_t right_fill, uint8_t* merged) {
  // Each side with zeros between, then put together: expanding one into the other would wait for it.
  const __m512i on_left =
      kLeftIsFill ? _mm512_maskz_set1_epi8(~word, static_cast<char>(left_fill)) : expand_word(~word, left);
  const __m512i on_right =
      kRightIsFill ? _mm512_maskz_set1_epi8(word, static_cast<char>(right_fill)) : expand_word(word, right);
  const size_t ones = __builtin_popcountll(word);
  left += 64 - ones;
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

template <bool kLeftIsFill, bool kRightIsFill>
HWY_INLINE void merge_word(uint64_t word, const uint8_t*& left, uint8_t left_fill, const uint8_t*& right,
                           uint8_t right_fill, uint8_t* merged) {
  for (size_t i = 0; i < 64; ++i) {
    if (word >> i & 1) {
      merged[i] = kRightIsFill ? right_fill : *right++;
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

template <bool kLeftIsFill, bool kRightIsFill>
HWY_INLINE void merge_word(uint64_t word, const uint8_t*& left, uint8_t left_fill, const uint8_t*& right,
                           uint8_t right_fill, uint8_t* merged) {
  for (size_t i = 0; i < 64; i += 8, word >>= 8) {
    const unsigned bits = word & 255;
    auto low = hn::Set(U8x8(), left_fill);
    auto high = hn::Set(U8x8(), right_fill);
    const unsigned ones = __builtin_popcountll(bits);
    if constexpr (!kLeftIsFill) {
      low = hn::LoadU(U8x8(), left);
      left += 8 - ones;
    }
    if constexpr (!kRightIsFill) {
      high = hn::LoadU(U8x8(), right);
      right += ones;
    }
    const auto order = hn::ZeroExtendVector(U8x16(), hn::LoadU(U8x8(), kMergeShuffle.bytes[bits]));
    const auto both = hn::TableLookupBytes(hn::Combine(U8x16(), high, low), order);
    hn::StoreU(hn::LowerHalf(U8x8(), both), U8x8(), merged + i);
  }
}

#endif

// Writes a code tree, node by node.
struct TreeWriter {
  const CodeNode* nodes;
  BitAppender* bits;

  HWY_ATTR void write(size_t index, uint8_t* ranks, size_t count, uint8_t* scratch) const {
    const CodeNode& node = nodes[index];
    if (count == 0 || node.kind == CodeNode::Kind::kLeaf) return;
    if (node.kind == CodeNode::Kind::kPlanes) {
      const auto base = hn::Set(U8(), node.first_rank);
      for (uint32_t plane = node.planes; plane-- > 0;) {
        const auto bit = hn::Set(U8(), static_cast<uint8_t>(1u << plane));
        append_where(ranks, count, *bits, [&](hn::Vec<U8> v) HWY_ATTR { return hn::TestBit(hn::Sub(v, base), bit); });
      }
      return;
    }
    const size_t ones = split(ranks, count, node.pivot_rank, scratch);
    uint8_t* const after_right = scratch + ones + kSlackBytes;
    write(index + 1, ranks, count - ones, after_right);
    write(node.right, scratch, ones, after_right);
  }

  // One bit per rank, 1 if it is at least `pivot`; those go to `right`, the others, in place, to the front of `ranks`.
  HWY_INLINE size_t split(uint8_t* ranks, size_t count, uint8_t pivot, uint8_t* right) const {
    const auto last_left = hn::Set(U8(), static_cast<uint8_t>(pivot - 1));
    const auto is_right = [&](hn::Vec<U8> v) HWY_ATTR { return hn::Gt(v, last_left); };
    const uint8_t* const right_begin = right;
    uint8_t* left = ranks;  // never ahead of the word being read
    for (size_t i = 0; i < count; i += 64) {
      const size_t in_word = HWY_MIN(count - i, size_t{64});
      const uint64_t valid = low_bits(in_word);
      const uint64_t word = word_where(ranks + i, is_right) & valid;
      split_word(ranks + i, word, ~word & valid, left, right);
      const size_t ones = __builtin_popcountll(word);
      right += ones;
      left += in_word - ones;
      bits->append(word, in_word);
    }
    return right - right_begin;
  }
};

HWY_ATTR void write_tree(const CodeNode* nodes, uint8_t* ranks, size_t count, uint8_t* scratch, BitCursor* bits) {
  BitAppender appender(bits);
  TreeWriter{nodes, &appender}.write(0, ranks, count, scratch);
  appender.finish();
}

// Copies the tokens for whose key the predicate holds; returns their number.
template <class Predicate>
HWY_INLINE size_t compress_where(const uint8_t* tokens, const uint8_t* keys, size_t count, const Predicate& predicate,
                                 uint8_t* out) {
  const uint8_t* const begin = out;
  for (size_t i = 0; i < count; i += 64) {
    const uint64_t word = word_where(keys + i, predicate) & low_bits(count - i);
    compress_word(tokens + i, word, out);
    out += __builtin_popcountll(word);
  }
  return out - begin;
}

HWY_ATTR size_t compact_nonzero(const uint8_t* tokens, size_t count, uint8_t* nonzero) {
  const auto is_nonzero = [&](hn::Vec<U8> v) HWY_ATTR { return hn::Ne(v, hn::Zero(U8())); };
  return compress_where(tokens, tokens, count, is_nonzero, nonzero);
}

HWY_ATTR void write_mask(const uint8_t* tokens, size_t count, BitCursor* bits) {
  BitAppender appender(bits);
  append_where(tokens, count, appender, [&](hn::Vec<U8> v) HWY_ATTR { return hn::Ne(v, hn::Zero(U8())); });
  appender.finish();
}

HWY_ATTR void write_symbol_plane(const int32_t* symbols, size_t count, uint32_t plane, BitCursor* bits) {
  BitAppender appender(bits);
  for (size_t i = 0; i < count; i += 64) {
    const size_t in_word = HWY_MIN(count - i, size_t{64});
    uint64_t word = 0;
    for (size_t k = 0; k < in_word; ++k) word |= static_cast<uint64_t>((symbols[i + k] >> plane) & 1) << k;
    appender.append(word, in_word);
  }
  appender.finish();
}

HWY_ATTR size_t count_ones(const uint8_t* bits, uint64_t position, size_t count) {
  // Up to the next byte, then whole words without shifts, then the rest.
  const size_t head = HWY_MIN(count, static_cast<size_t>(-position & 7));
  size_t ones = __builtin_popcountll(WordReader(bits, position).word(0) & low_bits(head));
  const uint8_t* at = bits + ((position + head) >> 3);
  size_t left = count - head;
#if HWY_TARGET == HWY_AVX3_DL
  __m512i sums = _mm512_setzero_si512();
  for (; left >= 512; left -= 512, at += 64) sums = _mm512_add_epi64(sums, _mm512_popcnt_epi64(_mm512_loadu_si512(at)));
  ones += static_cast<size_t>(_mm512_reduce_add_epi64(sums));
#endif
  for (; left >= 64; left -= 64, at += 8) ones += __builtin_popcountll(load_u64(at));
  return left == 0 ? ones : ones + __builtin_popcountll(load_u64(at) & low_bits(left));
}

template <bool kLeftIsFill, bool kRightIsFill>
HWY_ATTR void merge_sides(const uint8_t* bits, uint64_t position, size_t count, const uint8_t* left, uint8_t left_fill,
                          const uint8_t* right, uint8_t right_fill, uint8_t* merged) {
  const WordReader reader(bits, position);
  for (size_t i = 0; i < count; i += 64)
    merge_word<kLeftIsFill, kRightIsFill>(reader.word(i), left, left_fill, right, right_fill, merged + i);
}

// Looks up bytes below 2^kPlanes in a table of that size, which has kSlackBytes of room.
template <uint32_t kPlanes>
class ByteTable {
 public:
#if FMC_HAS_BYTE_COMPRESS
  explicit HWY_INLINE ByteTable(const uint8_t* table) {
    for (size_t k = 0; k < kParts; ++k) parts_[k] = _mm512_loadu_si512(table + 64 * k);
  }
  HWY_INLINE hn::Vec<U8> look_up(hn::Vec<U8> v) const {
    if constexpr (kPlanes <= 6) {
      return hn::Vec<U8>{_mm512_permutexvar_epi8(v.raw, parts_[0])};
    } else {
      const __m512i low = _mm512_permutex2var_epi8(parts_[0], v.raw, parts_[1]);
      if constexpr (kPlanes == 7) return hn::Vec<U8>{low};
      // Two permutations look up 7 bits each, the top bit chooses.
      const __m512i high = _mm512_permutex2var_epi8(parts_[kParts - 2], v.raw, parts_[kParts - 1]);
      return hn::Vec<U8>{_mm512_mask_mov_epi8(low, _mm512_movepi8_mask(v.raw), high)};
    }
  }

 private:
  static constexpr size_t kParts = kPlanes <= 6 ? 1 : size_t{1} << (kPlanes - 6);
  __m512i parts_[kParts];
#else
  explicit HWY_INLINE ByteTable(const uint8_t* table) : table_(table) {}
  HWY_INLINE hn::Vec<U8> look_up(hn::Vec<U8> v) const {
#if HWY_TARGET == HWY_SCALAR
    return hn::Set(U8(), table_[hn::GetLane(v)]);
#else
    // Sixteen entries at a time; the upper bits choose among the results.
    const auto low = hn::And(v, hn::Set(U8(), 15));
    auto found = hn::TableLookupBytes(hn::LoadDup128(U8(), table_), low);
    if constexpr (kPlanes > 4) {
      const auto upper = hn::AndNot(hn::Set(U8(), 15), v);
      for (size_t k = 16; k < size_t{1} << kPlanes; k += 16) {
        const auto other = hn::TableLookupBytes(hn::LoadDup128(U8(), table_ + k), low);
        found = hn::IfThenElse(hn::Eq(upper, hn::Set(U8(), static_cast<uint8_t>(k))), other, found);
      }
    }
    return found;
#endif
  }

 private:
  const uint8_t* table_;
#endif
};

// Reads a code tree, node by node.
struct TreeReader {
  const CodeNode* nodes;
  const uint8_t* token_of_rank;
  const uint8_t* bits;
  uint64_t size_bits;
  uint64_t position;

  // Returns false if the bits end too early.
  HWY_ATTR bool read(size_t index, size_t count, uint8_t* tokens, uint8_t* scratch) {
    if (count == 0) return true;
    const CodeNode& node = nodes[index];
    if (node.kind == CodeNode::Kind::kLeaf) {
      memset(tokens, fill(node), count);
      return true;
    }
    const uint64_t begin = position;
    const uint64_t bit_count =
        node.kind == CodeNode::Kind::kPlanes ? static_cast<uint64_t>(node.planes) * count : count;
    if (bit_count > size_bits - position) return false;
    position += bit_count;
    if (node.kind == CodeNode::Kind::kPlanes) {
      read_planes(begin, count, node.planes, token_of_rank + node.first_rank, tokens);
      return true;
    }
    const CodeNode& left_node = nodes[index + 1];
    const CodeNode& right_node = nodes[node.right];
    const bool left_is_leaf = left_node.kind == CodeNode::Kind::kLeaf;
    const bool right_is_leaf = right_node.kind == CodeNode::Kind::kLeaf;
    if (left_is_leaf && right_is_leaf) {
      merge_sides<true, true>(bits, begin, count, nullptr, fill(left_node), nullptr, fill(right_node), tokens);
      return true;
    }
    const size_t ones = count_ones(bits, begin, count);
    uint8_t* const left = scratch;
    uint8_t* const right = left + (left_is_leaf ? 0 : count - ones + kSlackBytes);
    uint8_t* const below = right + (right_is_leaf ? 0 : ones + kSlackBytes);
    if (!left_is_leaf && !read(index + 1, count - ones, left, below)) return false;
    if (!right_is_leaf && !read(node.right, ones, right, below)) return false;
    if (left_is_leaf) {
      merge_sides<true, false>(bits, begin, count, nullptr, fill(left_node), right, 0, tokens);
    } else if (right_is_leaf) {
      merge_sides<false, true>(bits, begin, count, left, 0, nullptr, fill(right_node), tokens);
    } else {
      merge_sides<false, false>(bits, begin, count, left, 0, right, 0, tokens);
    }
    return true;
  }

  HWY_INLINE uint8_t fill(const CodeNode& leaf) const { return token_of_rank[leaf.first_rank]; }

  HWY_INLINE void read_planes(uint64_t begin, size_t count, uint32_t planes, const uint8_t* table,
                              uint8_t* tokens) const {
    switch (planes) {
      case 1: return read_planes<1>(begin, count, table, tokens);
      case 2: return read_planes<2>(begin, count, table, tokens);
      case 3: return read_planes<3>(begin, count, table, tokens);
      case 4: return read_planes<4>(begin, count, table, tokens);
      case 5: return read_planes<5>(begin, count, table, tokens);
      case 6: return read_planes<6>(begin, count, table, tokens);
      case 7: return read_planes<7>(begin, count, table, tokens);
      default: return read_planes<8>(begin, count, table, tokens);
    }
  }

  // Numbers of kPlanes bits, most significant plane first, looked up in `table`.
  template <uint32_t kPlanes>
  HWY_ATTR void read_planes(uint64_t begin, size_t count, const uint8_t* table, uint8_t* tokens) const {
    const ByteTable<kPlanes> byte_table(table);
    const auto reader = [&](uint32_t p) HWY_ATTR {
      return WordReader(bits, begin + static_cast<uint64_t>(HWY_MIN(p, kPlanes - 1)) * count);
    };
    const WordReader readers[8] = {reader(0), reader(1), reader(2), reader(3),
                                   reader(4), reader(5), reader(6), reader(7)};
    for (size_t i = 0; i < count; i += 64) {
      uint64_t words[kPlanes];
      for (uint32_t p = 0; p < kPlanes; ++p) words[p] = readers[p].word(i);
      for (size_t k = 0; k < 64; k += hn::Lanes(U8())) {
        auto v = hn::Zero(U8());
        for (uint32_t p = 0; p < kPlanes; ++p) {
          const auto bit = hn::Set(U8(), static_cast<uint8_t>(1u << (kPlanes - 1 - p)));
          v = hn::Or(v, hn::IfThenElseZero(mask_of_word(words[p] >> k), bit));
        }
        hn::StoreU(byte_table.look_up(v), U8(), tokens + i + k);
      }
    }
  }
};

HWY_ATTR uint64_t read_tree(const CodeNode* nodes, const uint8_t* token_of_rank, const uint8_t* bits,
                            uint64_t position_bits, uint64_t size_bits, size_t count, uint8_t* scratch,
                            uint8_t* tokens) {
  TreeReader reader{nodes, token_of_rank, bits, size_bits, position_bits};
  return reader.read(0, count, tokens, scratch) ? reader.position : UINT64_MAX;
}

HWY_ATTR void expand_nonzero(const uint8_t* mask, const uint8_t* nonzero, size_t count, uint8_t* tokens) {
  merge_sides<true, false>(mask, 0, count, nullptr, 0, nonzero, 0, tokens);
}

HWY_ATTR void add_symbol_plane(const uint8_t* bits, uint64_t position, size_t count, uint32_t plane, int32_t* symbols) {
  const WordReader reader(bits, position);
  for (size_t i = 0; i < count; i += 64) {
    const uint64_t word = reader.word(i);
    const size_t in_word = HWY_MIN(count - i, size_t{64});
    for (size_t k = 0; k < in_word; ++k) symbols[i + k] += static_cast<int32_t>((word >> k) & 1) << plane;
  }
}

HWY_ATTR void translate(const uint8_t* tokens, size_t count, const uint8_t table[256], uint8_t* translated) {
  size_t i = 0;
#if FMC_HAS_BYTE_COMPRESS
  const ByteTable<8> byte_table(table);
  for (; i + 64 <= count; i += 64) hn::StoreU(byte_table.look_up(hn::LoadU(U8(), tokens + i)), U8(), translated + i);
  if (i < count) {
    const __mmask64 valid = low_bits(count - i);
    const auto found = byte_table.look_up(hn::Vec<U8>{_mm512_maskz_loadu_epi8(valid, tokens + i)});
    _mm512_mask_storeu_epi8(translated + i, valid, found.raw);
  }
#else
  for (; i < count; ++i) translated[i] = table[tokens[i]];
#endif
}

HWY_ATTR size_t pack_nonzero(const uint8_t* tokens, size_t count, const uint8_t table[256], BitCursor* mask,
                             uint8_t* nonzero) {
  uint8_t* const begin = nonzero;
  BitAppender appender(mask);
  const auto is_nonzero = [&](hn::Vec<U8> v) HWY_ATTR { return hn::Ne(v, hn::Zero(U8())); };
#if FMC_HAS_BYTE_COMPRESS
  const ByteTable<8> byte_table(table);
#endif
  for (size_t i = 0; i < count; i += 64) {
    const size_t in_word = HWY_MIN(count - i, size_t{64});
    const uint64_t word = word_where(tokens + i, is_nonzero) & low_bits(in_word);
    appender.append(word, in_word);
#if FMC_HAS_BYTE_COMPRESS
    const __m512i v = _mm512_maskz_compress_epi8(word, _mm512_loadu_si512(tokens + i));
    hn::StoreU(byte_table.look_up(hn::Vec<U8>{v}), U8(), nonzero);
#else
    compress_word(tokens + i, word, nonzero);
#endif
    nonzero += __builtin_popcountll(word);
  }
  appender.finish();
  const size_t packed = nonzero - begin;
#if !FMC_HAS_BYTE_COMPRESS
  translate(begin, packed, table, begin);
#endif
  return packed;
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_WAVELET_INL_H_
