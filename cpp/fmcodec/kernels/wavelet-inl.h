// SPDX-License-Identifier: Apache-2.0
// Node by node bit streams (docs/format.md, section 7.2): splitting a node is a comparison and two byte compressions;
// merging is two byte expansions; a complete subtree is bit planes.

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
#include "fmcodec/kernels/words-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

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

HWY_ATTR size_t pack_symbols(const int32_t* symbols, size_t count, BitCursor* mask, int32_t* nonzero) {
  int32_t* const begin = nonzero;
  BitAppender appender(mask);
  for (size_t i = 0; i < count; i += 64) {
    const size_t in_word = HWY_MIN(count - i, size_t{64});
    const size_t lanes = hn::Lanes(I32());
    uint64_t word = 0;
    size_t k = 0;
    for (; k + lanes <= in_word; k += lanes) {
      const VI v = hn::LoadU(I32(), symbols + i + k);
      const auto is_nonzero = hn::Ne(v, hn::Zero(I32()));
      const uint64_t bits = word_of_mask(is_nonzero);
      hn::StoreU(hn::Compress(v, is_nonzero), I32(), nonzero);
      nonzero += __builtin_popcountll(bits);
      word |= bits << k;
    }
    for (; k < in_word; ++k) {
      if (symbols[i + k] == 0) continue;
      *nonzero++ = symbols[i + k];
      word |= uint64_t{1} << k;
    }
    appender.append(word, in_word);
  }
  appender.finish();
  return nonzero - begin;
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

template <bool kLeftIsFill>
HWY_ATTR void merge_sides(const uint8_t* bits, uint64_t position, size_t count, const uint8_t* left, uint8_t left_fill,
                          const uint8_t* right, uint8_t* merged) {
  const WordReader reader(bits, position);
  for (size_t i = 0; i < count; i += 64) merge_word<kLeftIsFill>(reader.word(i), left, left_fill, right, merged + i);
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
      memset(tokens, token_of_rank[node.first_rank], count);
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
    // Only the left child can be a leaf: its codes are not longer, and with a leaf beside it this node would be planes.
    const CodeNode& left_node = nodes[index + 1];
    const bool left_is_leaf = left_node.kind == CodeNode::Kind::kLeaf;
    const size_t ones = count_ones(bits, begin, count);
    uint8_t* const left = scratch;
    uint8_t* const right = left + (left_is_leaf ? 0 : count - ones + kSlackBytes);
    uint8_t* const below = right + ones + kSlackBytes;
    if (!left_is_leaf && !read(index + 1, count - ones, left, below)) return false;
    if (!read(node.right, ones, right, below)) return false;
    if (left_is_leaf) {
      merge_sides<true>(bits, begin, count, nullptr, token_of_rank[left_node.first_rank], right, tokens);
    } else {
      merge_sides<false>(bits, begin, count, left, 0, right, tokens);
    }
    return true;
  }

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
  merge_sides<true>(mask, 0, count, nullptr, 0, nonzero, tokens);
}

HWY_ATTR void expand_symbols(const uint8_t* mask, const int32_t* nonzero, size_t count, int32_t* symbols) {
  const size_t lanes = hn::Lanes(I32());
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const uint64_t bits = load_u64(mask + i / 8) >> (i % 8) & low_bits(lanes);
    hn::StoreU(expand_symbols(bits, nonzero), I32(), symbols + i);
    nonzero += __builtin_popcountll(bits);
  }
  for (; i < count; ++i) symbols[i] = mask[i / 8] >> (i % 8) & 1 ? *nonzero++ : 0;
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
