// SPDX-License-Identifier: Apache-2.0
// Canonical prefix codes (docs/format.md, section 7.1): optimal limited lengths, and the code tree.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fmc {

inline constexpr size_t kTokens = 256;
inline constexpr int kMaxCodeLength = 15;

using CodeLengths = std::array<uint8_t, kTokens>;      // by token; 0: not used
using TokenHistogram = std::array<uint64_t, kTokens>;  // counts by token

// Optimal lengths of at most `limit` (8..15) bits for the tokens that occur; all 0 if none does.
CodeLengths limited_code_lengths(const TokenHistogram& histogram, int limit);

// One used token of length 1, or Kraft's equality.
bool is_complete_code(const CodeLengths& lengths);

// A node of the tree over ranks, for the wavelet layout (section 7.2). Nodes are in preorder; the root is node 0.
struct CodeNode {
  enum class Kind : uint8_t { kLeaf, kPlanes, kSplit };
  Kind kind;
  uint8_t first_rank;  // of the tokens below the node
  uint8_t planes;      // kPlanes: number of bits left of each code
  uint8_t pivot_rank;  // kSplit: smallest rank of the right child
  uint16_t right;      // kSplit: index of the right child; the left one is the next node
};

struct CodeTree {
  std::vector<CodeNode> nodes;                 // empty: no token is used
  std::array<uint8_t, kTokens> rank_of_token;  // unused tokens: 0
  std::array<uint8_t, kTokens> token_of_rank;  // beyond the last rank: 0
};

// Precondition: is_complete_code(lengths), or no token is used.
CodeTree build_code_tree(const CodeLengths& lengths);

}  // namespace fmc
