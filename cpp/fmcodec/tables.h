// SPDX-License-Identifier: Apache-2.0
// Classes of bands and their code tables, and how they are stored (docs/format.md, section 8).
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "fmcodec/bits.h"
#include "fmcodec/code_table.h"
#include "fmcodec/kernels/kernels.h"

namespace fmc {

inline constexpr size_t kMaxClasses = 32;
inline constexpr int kMaxShift = 13;

// What decides about the class of a symbol. Stored in the format. All classes of kNeighbours, and only they, are kRans.
enum class ClassModel : uint8_t { kBands = 0, kNeighbours = 1 };

// Stored in the format.
enum class ClassMode : uint8_t { kZero = 0, kPlain = 1, kMasked = 2, kRans = 3 };

// How the tokens of a stream stand in the bits. Stored in the format, as the coder.
enum class CodeLayout : uint8_t { kWavelet = 1, kSerial = 2 };

// By token; 0: not used. What the stream holds of frequencies: of a weight only the three highest bits count.
using Weights = std::array<uint16_t, kTokens>;

struct TableClass {
  ClassMode mode = ClassMode::kZero;
  bool is_predicted = false;  // tokens are residuals to the row above
  int shift = 0;
  CodeLengths value_lengths{};
  CodeLengths mask_lengths{};
  Weights weights{};  // kRans
};

struct Tables {
  ClassModel model = ClassModel::kBands;
  std::vector<uint8_t> class_map;  // by band or, with kNeighbours, by context
  std::vector<TableClass> classes;

  bool has_shift() const;
  // The map of kNeighbours, for looking up bytes.
  std::array<uint8_t, 256> class_of_context() const;
};

// Whether the entries of a value table stand in the order 0, 1, 2, ... rather than 0, -1, 1, ...
inline bool has_ascending_table(int32_t token_minimum, bool is_predicted) {
  return token_minimum == 0 && !is_predicted;
}

// Section 8. parse throws Error(kCorrupt); offsets count from `base_offset`.
std::vector<uint8_t> write_class_section(const Tables& tables, int32_t token_minimum);
Tables parse_class_section(Bytes section, uint64_t bands, int32_t token_minimum, int64_t base_offset);

// Most bytes a class section can have.
uint64_t class_section_bound(uint64_t bands);

// Bits of an entry of the class map.
inline unsigned class_bits(size_t class_count) { return static_cast<unsigned>(std::bit_width(class_count - 1)); }

// Bits of a value table in a class section, and of a mask table. At least one token must be used.
uint64_t table_size_bits(const CodeLengths& lengths, bool is_ascending);
uint64_t mask_table_size_bits(const CodeLengths& lengths);
uint64_t weight_table_size_bits(const Weights& weights, bool is_ascending);

}  // namespace fmc
