// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/code_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace fmc {
namespace {

// Calls visit(token, length) for each used token. Most tables use few of them, next to each other.
template <class Visit>
void for_each_used(const CodeLengths& lengths, const Visit& visit) {
  for (size_t begin = 0; begin < kTokens; begin += 8) {
    uint64_t eight;
    std::memcpy(&eight, &lengths[begin], 8);
    if (eight == 0) continue;
    for (size_t token = begin; token < begin + 8; ++token) {
      if (lengths[token] > 0) visit(token, lengths[token]);
    }
  }
}

// Puts the used tokens in the order of (length, token) and returns their number.
size_t rank_tokens(const CodeLengths& lengths, uint8_t* token_of_rank) {
  std::array<uint16_t, kMaxCodeLength + 2> first_rank{};  // of each length; at the end, their number
  for_each_used(lengths, [&](size_t, uint8_t length) { ++first_rank[length + 1u]; });
  for (size_t length = 1; length <= kMaxCodeLength; ++length)
    first_rank[length + 1] = static_cast<uint16_t>(first_rank[length + 1] + first_rank[length]);
  const size_t used = first_rank[kMaxCodeLength + 1];
  for_each_used(lengths, [&](size_t token, uint8_t length) {
    token_of_rank[first_rank[length]++] = static_cast<uint8_t>(token);
  });
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

// The tokens that occur with their weights, which one integer holds: weights are below 2^56.
struct LeafList {
  std::array<uint64_t, kTokens> items;
  size_t count = 0;

  void add(uint64_t weight, size_t token) { items[count++] = weight << 8 | token; }
  // By weight; equal ones stay in the order in which they were added. Byte by byte, from the lowest.
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

// Brings tokens into groups of nearly equal weights below 2^16, sixteen of each octave, the lightest group last; within
// a group they stay in their order.
LeafList grouped_by_weight(const LeafList& leaves) {
  constexpr size_t kKeys = 13 * 16;
  const auto rank_of = [](uint64_t weight) -> size_t {
    if (weight < 16) return kKeys - 1 - weight;
    const auto octave = static_cast<unsigned>(std::bit_width(weight)) - 1;
    return kKeys - 1 - ((octave - 3) * 16 + (weight >> (octave - 4) & 15));
  };
  std::array<uint16_t, kKeys + 1> begin{};
  for (size_t i = 0; i < leaves.count; ++i) ++begin[rank_of(leaves.weight(i)) + 1];
  for (size_t rank = 1; rank < kKeys; ++rank) begin[rank] = static_cast<uint16_t>(begin[rank] + begin[rank - 1]);
  LeafList grouped;
  grouped.count = leaves.count;
  for (size_t i = 0; i < leaves.count; ++i) grouped.items[begin[rank_of(leaves.weight(i))]++] = leaves.items[i];
  return grouped;
}

// The best division of tokens, the most frequent first, into groups of 2^m of equal length (section 10, step 6). The
// code space is taken in halves or in quarters: `whole_` is what the tokens from one on cost if all of the space is
// left to them, `rest_` if a quarter of it is taken.
class Grouping {
 public:
  explicit Grouping(const LeafList& leaves) : count_(leaves.count) {
    sums_[0] = 0;
    for (size_t i = 0; i < count_; ++i) sums_[i + 1] = sums_[i] + leaves.weight(i);
    for (size_t i = count_; i-- > 0;) {
      if (i % granule(i) == 0) {
        choose(i);
      } else {
        whole_[i] = rest_[i] = kImpossible;
      }
    }
  }

  // Returns false if a length is above the limit.
  bool assign(const LeafList& leaves, int limit, CodeLengths& lengths) const {
    int depth = 0;  // of the space that is left
    bool is_rest = false;
    size_t i = 0;
    for (;;) {
      const CostedChoice choice = (is_rest ? rest_ : whole_)[i];
      if (kind_of(choice) == kLast) break;
      const bool is_half = kind_of(choice) == kHalf;
      const int length = depth + (is_half ? 1 : 2) + static_cast<int>(log2_size_of(choice));
      if (length > limit) return false;
      for (const size_t end = i + (size_t{1} << log2_size_of(choice)); i < end; ++i)
        lengths[leaves.token(i)] = static_cast<uint8_t>(length);
      // Of three quarters, a half leaves a quarter, and a quarter leaves a half.
      if (is_rest || is_half) depth += is_rest && is_half ? 2 : 1;
      is_rest = !is_rest && !is_half;
    }
    const auto [short_count, long_bits] = last(i);
    for (const size_t first_long = i + short_count; i < count_; ++i)
      lengths[leaves.token(i)] = static_cast<uint8_t>(depth + long_bits - (i < first_long));
    return depth + long_bits <= limit;
  }

 private:
  enum Kind : uint64_t { kLast, kHalf, kQuarter };
  // A cost and, in the lowest byte, the choice: so the least of several is a choice, too, and of equal costs that of
  // the smallest group counts, a half before a quarter.
  using CostedChoice = uint64_t;
  static uint64_t cost_of(CostedChoice choice) { return choice & ~uint64_t{255}; }
  static Kind kind_of(CostedChoice choice) { return static_cast<Kind>(choice & 3); }
  static size_t log2_size_of(CostedChoice choice) { return choice >> 2 & 63; }
  // A split costs a sixteenth of a bit for each token that passes through it.
  static constexpr uint64_t kSplit = 256, kBit = 16 * kSplit;
  static constexpr uint64_t kImpossible = uint64_t{1} << 56;

  // Groups begin at multiples of it: far down the list they are large in any case.
  static size_t granule(size_t i) { return i < 32 ? 1 : i < 64 ? 2 : i < 128 ? 4 : 8; }

  // Of the last group, which begins at token i: how many tokens have the shorter of its two lengths, and the longer
  // one.
  struct Last {
    size_t short_count;
    int long_bits;
  };
  Last last(size_t i) const {
    const int long_bits = std::bit_width(count_ - i - 1);
    return {(size_t{1} << long_bits) - (count_ - i), long_bits};
  }

  void choose(size_t i) {
    const uint64_t all = sums_[count_] - sums_[i];
    const auto [short_count, long_bits] = last(i);
    const uint64_t last_bits = static_cast<uint64_t>(long_bits) * all - (sums_[i + short_count] - sums_[i]);
    CostedChoice whole = kBit * last_bits + (short_count > 0 ? kSplit * all : 0) + kLast;
    CostedChoice rest = kImpossible + kLast;
    constexpr uint64_t kOnce = kBit + kSplit, kTwice = 2 * kOnce;
    // The largest group first: the smallest one needs what was computed last.
    for (size_t m = std::min<size_t>(8, static_cast<size_t>(std::bit_width(count_ - i - 1))); m-- > 0;) {
      const size_t next = i + (size_t{1} << m);
      const uint64_t group = sums_[next] - sums_[i], left = all - group, inner = kBit * m * group + m * 4;
      const uint64_t behind = inner + cost_of(whole_[next]);
      whole = std::min(whole, behind + kOnce * all + kHalf);
      whole = std::min(whole, inner + kTwice * group + cost_of(rest_[next]) + kQuarter);
      rest = std::min(rest, behind + kOnce * group + kTwice * left + kHalf);
      rest = std::min(rest, behind + kTwice * group + kOnce * left + kQuarter);
    }
    whole_[i] = whole;
    rest_[i] = rest;
  }

  size_t count_;
  std::array<uint64_t, kTokens + 1> sums_;  // of the weights before a token
  std::array<CostedChoice, kTokens> whole_, rest_;
};

}  // namespace

CodeLengths grouped_code_lengths(const TokenHistogram& histogram, int limit) {
  uint64_t any_count = 0;
  for (const uint64_t count : histogram) any_count |= count;
  // Weights of 16 bits are precise enough.
  const int excess_bits = std::max(0, static_cast<int>(std::bit_width(any_count)) - 16);
  LeafList leaves;
  uint64_t total = 0;
  for (size_t token = 0; token < kTokens; ++token) {
    if (histogram[token] == 0) continue;
    const uint64_t weight = std::max<uint64_t>(histogram[token] >> excess_bits, 1);
    leaves.add(weight, token);
    total += weight;
  }
  // There is nothing to group; or codes are short for so many tokens, and rare ones would take too large a part of the
  // code space.
  if (leaves.count < 2 || leaves.count > size_t{1} << (limit - 4)) return limited_code_lengths(histogram, limit);
  leaves = grouped_by_weight(leaves);
  CodeLengths lengths{};
  // Rare tokens count as often as a code near the limit supposes, or more, until no code is longer.
  for (uint64_t least = (total >> (limit - 1)) + 1;; least *= 2) {
    for (size_t i = 0; i < leaves.count; ++i)
      leaves.items[i] = std::max(leaves.weight(i), least) << 8 | leaves.token(i);
    if (Grouping(leaves).assign(leaves, limit, lengths)) return lengths;
  }
}

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
  for_each_used(lengths, [&](size_t, uint8_t length) {
    sum += 1u << (kMaxCodeLength - length);
    any_length = length;
    ++used;
  });
  return used == 1 ? any_length == 1 : sum == 1u << kMaxCodeLength;
}

uint8_t first_token(const CodeLengths& lengths) {
  std::array<uint8_t, kTokens> token_of_rank;
  rank_tokens(lengths, token_of_rank.data());
  return token_of_rank[0];
}

CanonicalCode::CanonicalCode(const CodeLengths& lengths) : lengths_(lengths) {
  const size_t used = rank_tokens(lengths, order_.data());
  if (used == 1) lengths_[order_[0]] = 0;
  uint32_t next_code = 0;
  for (size_t rank = 0; rank < used; ++rank) {
    if (rank > 0) next_code <<= lengths_[order_[rank]] - lengths_[order_[rank - 1]];
    codes_[order_[rank]] = static_cast<uint16_t>(next_code++);
  }
}

uint32_t CanonicalCode::stream_code(size_t token) const {
  uint32_t reversed = 0;
  for (int bit = 0; bit < length(token); ++bit) reversed |= (code(token) >> bit & 1) << (length(token) - 1 - bit);
  return reversed;
}

CodeTree build_code_tree(const CodeLengths& lengths) {
  CodeTree tree{};
  const size_t used = rank_tokens(lengths, tree.token_of_rank.data());
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
