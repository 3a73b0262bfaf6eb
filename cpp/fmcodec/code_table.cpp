// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/code_table.h"

#include <algorithm>

namespace fmc {
namespace {

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

struct Leaf {
  uint64_t weight;
  uint8_t token;
};
struct LeafList {
  std::array<Leaf, kTokens> items;  // by ascending (weight, token)
  size_t count = 0;
};

// Huffman's algorithm with two queues: leaves, and packages in the order they were made; leaves come first among
// equals. Returns false, with `lengths` untouched, if a code would be longer than `limit`.
bool huffman_lengths(const LeafList& leaves, int limit, CodeLengths& lengths) {
  std::array<uint64_t, kTokens> weight;      // of packages
  std::array<uint16_t, 2 * kTokens> parent;  // of leaves 0..n-1, then of packages, as package numbers
  const size_t n = leaves.count;
  size_t leaf = 0, package = 0;
  for (size_t made = 0; made + 1 < n; ++made) {
    weight[made] = 0;
    for (int side = 0; side < 2; ++side) {
      const bool takes_leaf = leaf < n && (package == made || leaves.items[leaf].weight <= weight[package]);
      weight[made] += takes_leaf ? leaves.items[leaf].weight : weight[package];
      parent[takes_leaf ? leaf++ : n + package++] = static_cast<uint16_t>(made);
    }
  }
  std::array<uint8_t, kTokens> depth{};  // of packages; the last one, n - 2, is the root
  for (size_t p = n - 2; p-- > 0;) depth[p] = static_cast<uint8_t>(depth[parent[n + p]] + 1);
  if (depth[parent[0]] + 1 > limit) return false;  // no leaf is deeper than the lightest
  for (size_t i = 0; i < n; ++i) lengths[leaves.items[i].token] = static_cast<uint8_t>(depth[parent[i]] + 1);
  return true;
}

// Package-merge (Larmore and Hirschberg, 1990). List 0 is the leaves; list d is the leaves merged with pairs of list d
// - 1. is_leaf[d][i] says which of both item i is; leaves come first among equals.
void package_merge_lengths(const LeafList& leaves, int limit, CodeLengths& lengths) {
  static constexpr size_t kMaxItems = 2 * kTokens;
  const size_t count = leaves.count;
  std::array<std::array<bool, kMaxItems>, kMaxCodeLength> is_leaf;
  std::array<uint64_t, kMaxItems> previous, current;
  size_t previous_count = count;
  for (size_t i = 0; i < count; ++i) {
    previous[i] = leaves.items[i].weight;
    is_leaf[0][i] = true;
  }
  for (int d = 1; d < limit; ++d) {
    const size_t packages = previous_count / 2;
    size_t leaf = 0, package = 0, items = 0;
    while (leaf < count || package < packages) {
      const uint64_t package_weight = package < packages ? previous[2 * package] + previous[2 * package + 1] : 0;
      const bool takes_leaf = leaf < count && (package == packages || leaves.items[leaf].weight <= package_weight);
      is_leaf[d][items] = takes_leaf;
      current[items++] = takes_leaf ? leaves.items[leaf++].weight : (++package, package_weight);
    }
    std::copy_n(current.begin(), items, previous.begin());
    previous_count = items;
  }
  // The first 2 n - 2 items of the last list, unpacked: each time a leaf is met, its code grows by one bit.
  size_t taken = 2 * count - 2;
  for (int d = limit - 1; d >= 0 && taken > 0; --d) {
    size_t taken_leaves = 0;
    for (size_t i = 0; i < taken; ++i) taken_leaves += is_leaf[d][i];
    for (size_t i = 0; i < taken_leaves; ++i) ++lengths[leaves.items[i].token];
    taken = 2 * (taken - taken_leaves);
  }
}

}  // namespace

CodeLengths limited_code_lengths(const TokenHistogram& histogram, int limit) {
  LeafList leaves;
  for (size_t token = 0; token < kTokens; ++token) {
    if (histogram[token] > 0) leaves.items[leaves.count++] = {histogram[token], static_cast<uint8_t>(token)};
  }
  CodeLengths lengths{};
  if (leaves.count == 1) lengths[leaves.items[0].token] = 1;
  if (leaves.count < 2) return lengths;
  std::sort(
      leaves.items.begin(), leaves.items.begin() + static_cast<std::ptrdiff_t>(leaves.count),
      [](const Leaf& a, const Leaf& b) { return a.weight != b.weight ? a.weight < b.weight : a.token < b.token; });
  if (!huffman_lengths(leaves, limit, lengths)) package_merge_lengths(leaves, limit, lengths);
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

CodeTree build_code_tree(const CodeLengths& lengths) {
  CodeTree tree{};
  std::array<uint16_t, kMaxCodeLength + 2> first_rank{};  // of each length
  for (const uint8_t length : lengths) ++first_rank[length + 1];
  const size_t used = kTokens - first_rank[1];
  first_rank[1] = 0;
  for (size_t length = 1; length <= kMaxCodeLength; ++length)
    first_rank[length + 1] = static_cast<uint16_t>(first_rank[length + 1] + first_rank[length]);
  if (used == 0) return tree;
  RankedCode ranked;
  for (size_t token = 0; token < kTokens; ++token) {
    if (lengths[token] == 0) continue;
    const size_t rank = first_rank[lengths[token]]++;
    tree.rank_of_token[token] = static_cast<uint8_t>(rank);
    tree.token_of_rank[rank] = static_cast<uint8_t>(token);
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
