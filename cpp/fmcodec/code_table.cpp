// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/code_table.h"

#include <algorithm>

namespace fmc {
namespace {

// Puts the used tokens in the order of (length, token) and returns their number.
size_t rank_tokens(const CodeLengths& lengths, std::array<uint8_t, kTokens>& token_of_rank) {
  std::array<uint16_t, kMaxCodeLength + 2> first_rank{};  // of each length
  for (const uint8_t length : lengths) ++first_rank[length + 1];
  const size_t used = kTokens - first_rank[1];
  first_rank[1] = 0;
  for (size_t length = 1; length <= kMaxCodeLength; ++length)
    first_rank[length + 1] = static_cast<uint16_t>(first_rank[length + 1] + first_rank[length]);
  for (size_t token = 0; token < kTokens; ++token) {
    if (lengths[token] > 0) token_of_rank[first_rank[lengths[token]]++] = static_cast<uint8_t>(token);
  }
  return used;
}

struct RankedCode {
  std::array<uint8_t, kTokens> length;
  std::array<uint16_t, kTokens> code;  // left-aligned to kMaxCodeLength bits
};

// Ranks [begin, end) share their first `depth` code bits.
uint16_t add_node(CodeTree& tree, const RankedCode& ranked, size_t begin, size_t end, int depth) {
  const auto index = static_cast<uint16_t>(tree.nodes.size());
  CodeNode node{CodeNode::Kind::kLeaf, static_cast<uint8_t>(begin), 0, 0, 0};
  if (end - begin == 1) {
    tree.nodes.push_back(node);
  } else if (ranked.length[begin] == ranked.length[end - 1]) {
    node.kind = CodeNode::Kind::kPlanes;
    node.planes = static_cast<uint8_t>(ranked.length[begin] - depth);
    tree.nodes.push_back(node);
  } else {
    const auto has_one = [&](size_t rank) { return (ranked.code[rank] >> (kMaxCodeLength - 1 - depth) & 1) != 0; };
    size_t pivot = begin;
    while (!has_one(pivot)) ++pivot;
    node.kind = CodeNode::Kind::kSplit;
    node.pivot_rank = static_cast<uint8_t>(pivot);
    tree.nodes.push_back(node);
    add_node(tree, ranked, begin, pivot, depth + 1);
    tree.nodes[index].right = add_node(tree, ranked, pivot, end, depth + 1);
  }
  return index;
}

// The tokens that occur, by ascending (weight, token), which one integer holds: weights are below 2^56.
struct LeafList {
  std::array<uint64_t, kTokens> items;
  size_t count = 0;

  void add(uint64_t weight, size_t token) { items[count++] = weight << 8 | token; }
  // Byte by byte of the weights, from the lowest: tokens were added in ascending order, and the passes are stable.
  void sort() {
    uint64_t used_bits = 0;
    for (size_t i = 0; i < count; ++i) used_bits |= items[i];
    std::array<uint64_t, kTokens> other;
    for (int shift = 8; shift < 64 && used_bits >> shift > 0; shift += 8) {
      std::array<uint16_t, 257> begin{};
      for (size_t i = 0; i < count; ++i) ++begin[(items[i] >> shift & 255) + 1];
      for (size_t b = 1; b < 256; ++b) begin[b] = static_cast<uint16_t>(begin[b] + begin[b - 1]);
      for (size_t i = 0; i < count; ++i) other[begin[items[i] >> shift & 255]++] = items[i];
      std::copy_n(other.begin(), count, items.begin());
    }
  }
  uint64_t weight(size_t i) const { return items[i] >> 8; }
  size_t token(size_t i) const { return items[i] & 255; }
};

// Huffman's algorithm with two queues: leaves, and packages in the order they were made; leaves come first among
// equals. Returns the number of leaves of each depth, those deeper than `limit` counted at `limit`.
using LengthCounts = std::array<size_t, kMaxCodeLength + 1>;
LengthCounts huffman_length_counts(const LeafList& leaves, int limit) {
  std::array<uint64_t, kTokens> weight;      // of packages
  std::array<uint16_t, 2 * kTokens> parent;  // of leaves 0..n-1, then of packages, as package numbers
  const size_t n = leaves.count;
  size_t leaf = 0, package = 0;
  for (size_t made = 0; made + 1 < n; ++made) {
    weight[made] = 0;
    for (int side = 0; side < 2; ++side) {
      const bool takes_leaf = leaf < n && (package == made || leaves.weight(leaf) <= weight[package]);
      weight[made] += takes_leaf ? leaves.weight(leaf) : weight[package];
      parent[takes_leaf ? leaf++ : n + package++] = static_cast<uint16_t>(made);
    }
  }
  std::array<uint8_t, kTokens> depth{};  // of packages; the last one, n - 2, is the root
  for (size_t p = n - 2; p-- > 0;) depth[p] = static_cast<uint8_t>(depth[parent[n + p]] + 1);
  LengthCounts counts{};
  for (size_t i = 0; i < n; ++i) ++counts[static_cast<size_t>(std::min(depth[parent[i]] + 1, limit))];
  return counts;
}

// Makes Kraft's equality hold again after depths were cut to `limit`: the deepest leaf above the limit goes one bit
// down and takes a leaf at the limit as its sibling, which frees one unit (as deflate encoders do; compare ITU-T T.81,
// K.3).
void restore_kraft(LengthCounts& counts, int limit) {
  uint64_t sum = 0;  // in units of 2^-limit
  for (int length = 1; length <= limit; ++length) sum += static_cast<uint64_t>(counts[length]) << (limit - length);
  for (uint64_t excess = sum - (uint64_t{1} << limit); excess > 0; --excess) {
    int length = limit - 1;
    while (counts[length] == 0) --length;
    --counts[length];
    counts[length + 1] += 2;
    --counts[limit];
  }
}

}  // namespace

CodeLengths limited_code_lengths(const TokenHistogram& histogram, int limit) {
  LeafList leaves;
  for (size_t token = 0; token < kTokens; ++token) {
    if (histogram[token] > 0) leaves.add(histogram[token], token);
  }
  CodeLengths lengths{};
  if (leaves.count == 1) lengths[leaves.token(0)] = 1;
  if (leaves.count < 2) return lengths;
  leaves.sort();
  LengthCounts counts = huffman_length_counts(leaves, limit);
  restore_kraft(counts, limit);
  size_t leaf = 0;
  for (int length = limit; length > 0; --length) {
    for (size_t i = 0; i < counts[length]; ++i) lengths[leaves.token(leaf++)] = static_cast<uint8_t>(length);
  }
  return lengths;
}

bool is_complete_code(const CodeLengths& lengths) {
  uint32_t sum = 0;
  size_t used = 0;
  uint8_t any_length = 0;
  for (const uint8_t length : lengths) {
    if (length == 0) continue;
    sum += 1u << (kMaxCodeLength - length);
    any_length = length;
    ++used;
  }
  return used == 1 ? any_length == 1 : sum == 1u << kMaxCodeLength;
}

CanonicalCode::CanonicalCode(const CodeLengths& lengths) : lengths_(lengths) {
  const size_t used = rank_tokens(lengths, order_);
  if (used == 1) lengths_[order_[0]] = 0;
  uint32_t next_code = 0;
  for (size_t rank = 0; rank < used; ++rank) {
    if (rank > 0) next_code <<= lengths_[order_[rank]] - lengths_[order_[rank - 1]];
    codes_[order_[rank]] = static_cast<uint16_t>(next_code++);
  }
}

CodeTree build_code_tree(const CodeLengths& lengths) {
  CodeTree tree{};
  const size_t used = rank_tokens(lengths, tree.token_of_rank);
  if (used == 0) return tree;
  RankedCode ranked;
  for (size_t rank = 0; rank < used; ++rank) {
    const uint8_t token = tree.token_of_rank[rank];
    tree.rank_of_token[token] = static_cast<uint8_t>(rank);
    ranked.length[rank] = lengths[token];
  }
  uint32_t next_code = 0;
  for (size_t rank = 0; rank < used; ++rank) {
    ranked.code[rank] = static_cast<uint16_t>(next_code);
    next_code += 1u << (kMaxCodeLength - ranked.length[rank]);
  }
  tree.nodes.reserve(2 * kMaxCodeLength);
  add_node(tree, ranked, 0, used, 0);
  return tree;
}

}  // namespace fmc
