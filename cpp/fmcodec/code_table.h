// SPDX-License-Identifier: Apache-2.0
// Canonical prefix codes (docs/format.md, section 7.1): limited lengths, and the code tree.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fmcodec/kernels/kernels.h"

namespace fmc {

inline constexpr size_t kTokens = 256;
inline constexpr int kMaxCodeLength = 15;

using CodeLengths = std::array<uint8_t, kTokens>;      // by token; 0: not used
using TokenHistogram = std::array<uint64_t, kTokens>;  // counts by token

inline void add(const TokenHistogram& from, TokenHistogram& into) {
  for (size_t token = 0; token < kTokens; ++token) into[token] += from[token];
}

// Huffman lengths, adjusted to at most `limit` (8..15) bits, for the tokens that occur; all 0 if none does.
CodeLengths limited_code_lengths(const TokenHistogram& histogram, int limit);

// The same in groups of 2^m tokens of one length, each group with a half or a quarter of the code space (section 10,
// step 6): most subtrees are complete, so that the wavelet layout has fewer split nodes, for up to 0.6 % more bits.
CodeLengths grouped_code_lengths(const TokenHistogram& histogram, int limit);

// How code lengths are made from counts.
struct CodeChoice {
  int max_length;
  bool is_grouped;

  CodeLengths lengths(const TokenHistogram& counts) const {
    return is_grouped ? grouped_code_lengths(counts, max_length) : limited_code_lengths(counts, max_length);
  }
};

// One used token of length 1, or Kraft's equality.
bool is_complete_code(const CodeLengths& lengths);

// The token of rank 0. At least one must be used.
uint8_t first_token(const CodeLengths& lengths);

// Codes token by token.
class CanonicalCode {
 public:
  // Precondition: is_complete_code(lengths).
  explicit CanonicalCode(const CodeLengths& lengths);
  int length(size_t token) const { return lengths_[token]; }
  uint32_t code(size_t token) const { return codes_[token]; }
  // The code in the order of a stream: its first bit is the least significant.
  uint32_t stream_code(size_t token) const;
  // The token whose bits `next_bit` returns one by one.
  template <class NextBit>
  uint8_t read(const NextBit& next_bit) const {
    uint32_t code = 0;
    int length = 0;
    for (size_t rank = 0;; ++rank) {
      for (; length < lengths_[order_[rank]]; ++length) code = code << 1 | next_bit();
      if (codes_[order_[rank]] == code) return order_[rank];
    }
  }

 private:
  CodeLengths lengths_;  // 0 for the only token of a code
  std::array<uint16_t, kTokens> codes_{};
  std::array<uint8_t, kTokens> order_{};  // tokens by rank
};

// Finds codes in the order of a stream, those of up to `kIndexBits` bits in one step.
template <int kIndexBits>
class CodeIndex {
 public:
  // Precondition: is_complete_code(lengths).
  explicit CodeIndex(const CodeLengths& lengths) : code_(lengths) {
    index_.fill({0, kIsLonger});
    for (size_t token = 0; token < kTokens; ++token) {
      const int length = code_.length(token);
      if (lengths[token] == 0 || length > kIndexBits) continue;
      for (size_t bits = code_.stream_code(token); bits < index_.size(); bits += size_t{1} << length)
        index_[bits] = {static_cast<uint8_t>(token), static_cast<uint8_t>(length)};
    }
  }
  const CanonicalCode& code() const { return code_; }

  struct Found {
    uint8_t token;
    uint8_t length;
  };
  // The token whose code the bits begin with; at least kMaxCodeLength of them must be there, the others are not looked
  // at.
  Found find(uint64_t bits) const {
    const Found found = index_[bits % index_.size()];
    return found.length == kIsLonger ? find_long(bits) : found;
  }

 private:
  static constexpr uint8_t kIsLonger = 255;
  Found find_long(uint64_t bits) const {
    const uint8_t token = code_.read([&] {
      const uint32_t bit = bits & 1;
      bits >>= 1;
      return bit;
    });
    return {token, static_cast<uint8_t>(code_.length(token))};
  }

  CanonicalCode code_;
  std::array<Found, size_t{1} << kIndexBits> index_;
};

// The tree over ranks, for the wavelet layout (section 7.2).
struct CodeTree {
  std::vector<CodeNode> nodes;                               // in preorder, the root first; empty: no token is used
  std::array<uint8_t, kTokens> rank_of_token;                // unused tokens: 0
  std::array<uint8_t, kTokens + kSlackBytes> token_of_rank;  // beyond the last rank: 0
};

// Precondition: is_complete_code(lengths), or no token is used.
CodeTree build_code_tree(const CodeLengths& lengths);

}  // namespace fmc
