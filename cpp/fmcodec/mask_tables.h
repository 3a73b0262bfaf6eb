// SPDX-License-Identifier: Apache-2.0
// Standard tables for mask bytes (docs/format.md, section 8.1): the codes of eight independent flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "fmcodec/code_table.h"

namespace fmc {

inline constexpr size_t kMaskTables = 32;

struct MaskTable {
  CodeLengths lengths;
  CodeTree tree;
  uint64_t bits_per_2_48_bytes;  // expected, if the flags are as the table supposes

  uint64_t bits_of_bytes(uint64_t count) const;
};

const MaskTable& mask_table(size_t index);
// The table whose share of ones is nearest to ones / total.
const MaskTable& nearest_mask_table(uint64_t ones, uint64_t total);
// The number of the standard table with these lengths, if there is one.
std::optional<size_t> mask_table_index(const CodeLengths& lengths);

}  // namespace fmc
