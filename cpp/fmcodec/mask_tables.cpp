// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/mask_tables.h"

#include <array>
#include <bit>

namespace fmc {
namespace {

constexpr int kMaskCodeLength = 12;

// Of 64 flags, how many are 1.
constexpr uint64_t ones_of_64(size_t index) { return index < 4 ? index + 1 : 2 * index - 2; }

MaskTable make_table(size_t index) {
  TokenHistogram weights;
  for (size_t mask = 0; mask < kTokens; ++mask) {
    weights[mask] = 1;
    for (int flag = 0; flag < 8; ++flag) weights[mask] *= mask >> flag & 1 ? ones_of_64(index) : 64 - ones_of_64(index);
  }
  MaskTable table{grouped_code_lengths(weights, kMaskCodeLength), {}, 0};
  table.tree = build_code_tree(table.lengths);
  for (size_t mask = 0; mask < kTokens; ++mask) table.bits_per_2_48_bytes += weights[mask] * table.lengths[mask];
  return table;
}

const std::array<MaskTable, kMaskTables>& tables() {
  static const std::array<MaskTable, kMaskTables> kTables = [] {
    std::array<MaskTable, kMaskTables> made;
    for (size_t i = 0; i < kMaskTables; ++i) made[i] = make_table(i);
    return made;
  }();
  return kTables;
}

}  // namespace

uint64_t MaskTable::bits_of_bytes(uint64_t count) const {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(bits_per_2_48_bytes) * count >> 48);
}

const MaskTable& mask_table(size_t index) { return tables()[index]; }

const MaskTable& nearest_mask_table(uint64_t ones, uint64_t total) {
  // Twice the position between two tables decides; ties go to the lower one.
  size_t index = 0;
  while (index + 1 < kMaskTables &&
         128 * static_cast<unsigned __int128>(ones) >
             static_cast<unsigned __int128>(ones_of_64(index) + ones_of_64(index + 1)) * total)
    ++index;
  return tables()[index];
}

std::optional<size_t> mask_table_index(const CodeLengths& lengths) {
  for (size_t i = 0; i < kMaskTables; ++i) {
    if (tables()[i].lengths == lengths) return i;
  }
  return std::nullopt;
}

}  // namespace fmc
