// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/code_table.h"

#include <algorithm>

namespace fmc {
namespace {

// Ranks [begin, end) share their first `depth` code bits.
uint16_t add_node(CodeTree& tree, const std::vector<uint8_t>& length, const std::vector<uint16_t>& code, size_t begin, size_t end,
                  int depth) {
  const auto index = static_cast<uint16_t>(tree.nodes.size());
  CodeNode node{CodeNode::Kind::kLeaf, static_cast<uint8_t>(begin), 0, 0, 0};
  if (end - begin == 1) {
    tree.nodes.push_back(node);
  } else if (length[begin] == length[end - 1]) {
    node.kind = CodeNode::Kind::kPlanes;
    node.planes = static_cast<uint8_t>(length[begin] - depth);
    tree.nodes.push_back(node);
  } else {
    size_t pivot = begin;
    while (!(code[pivot] >> (kMaxCodeLength - 1 - depth) & 1)) ++pivot;
    node.kind = CodeNode::Kind::kSplit;
    node.pivot_rank = static_cast<uint8_t>(pivot);
    tree.nodes.push_back(node);
    add_node(tree, length, code, begin, pivot, depth + 1);
    tree.nodes[index].right = add_node(tree, length, code, pivot, end, depth + 1);
  }
  return index;
}

}  // namespace

CodeLengths limited_code_lengths(const TokenHistogram& histogram, int limit) {
  struct Leaf {
    uint64_t weight;
    uint16_t token;
  };
  std::array<Leaf, kTokens> leaves;
  size_t count = 0;
  for (size_t token = 0; token < kTokens; ++token) {
    if (histogram[token] > 0) leaves[count++] = {histogram[token], static_cast<uint16_t>(token)};
  }
  CodeLengths lengths{};
  if (count == 0) return lengths;
  if (count == 1) {
    lengths[leaves[0].token] = 1;
    return lengths;
  }
  std::sort(leaves.begin(), leaves.begin() + count,
            [](const Leaf& a, const Leaf& b) { return a.weight != b.weight ? a.weight < b.weight : a.token < b.token; });

  // Package-merge (Larmore and Hirschberg, 1990). List 0 is the leaves; list d is the leaves merged with pairs of list d - 1.
  // is_leaf[d][i] says which of both item i is; leaves come first among equals.
  static constexpr size_t kMaxItems = 2 * kTokens;
  std::array<std::array<bool, kMaxItems>, kMaxCodeLength> is_leaf;
  std::array<uint64_t, kMaxItems> previous, current;
  size_t previous_count = count;
  for (size_t i = 0; i < count; ++i) {
    previous[i] = leaves[i].weight;
    is_leaf[0][i] = true;
  }
  for (int d = 1; d < limit; ++d) {
    const size_t packages = previous_count / 2;
    size_t leaf = 0, package = 0, items = 0;
    while (leaf < count || package < packages) {
      const uint64_t package_weight = package < packages ? previous[2 * package] + previous[2 * package + 1] : 0;
      const bool takes_leaf = leaf < count && (package == packages || leaves[leaf].weight <= package_weight);
      is_leaf[d][items] = takes_leaf;
      current[items++] = takes_leaf ? leaves[leaf++].weight : (++package, package_weight);
    }
    previous = current;
    previous_count = items;
  }
  // The first 2 n - 2 items of the last list, unpacked: each time a leaf is met, its code grows by one bit.
  size_t taken = 2 * count - 2;
  for (int d = limit - 1; d >= 0 && taken > 0; --d) {
    size_t taken_leaves = 0;
    for (size_t i = 0; i < taken; ++i) taken_leaves += is_leaf[d][i];
    for (size_t i = 0; i < taken_leaves; ++i) ++lengths[leaves[i].token];
    taken = 2 * (taken - taken_leaves);
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

CodeTree build_code_tree(const CodeLengths& lengths) {
  CodeTree tree{};
  std::vector<uint8_t> tokens;
  for (uint8_t length = 1; length <= kMaxCodeLength; ++length) {
    for (size_t token = 0; token < kTokens; ++token) {
      if (lengths[token] == length) tokens.push_back(static_cast<uint8_t>(token));
    }
  }
  if (tokens.empty()) return tree;
  std::vector<uint8_t> length(tokens.size());
  std::vector<uint16_t> code(tokens.size());  // left-aligned to kMaxCodeLength bits
  uint32_t next_code = 0;
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    const uint8_t token = tokens[rank];
    tree.rank_of_token[token] = static_cast<uint8_t>(rank);
    tree.token_of_rank[rank] = token;
    length[rank] = lengths[token];
    code[rank] = static_cast<uint16_t>(next_code);
    next_code += 1u << (kMaxCodeLength - length[rank]);
  }
  add_node(tree, length, code, 0, tokens.size(), 0);
  return tree;
}

}  // namespace fmc
