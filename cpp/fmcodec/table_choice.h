// SPDX-License-Identifier: Apache-2.0
// What the encoder decides about tables: classes of bands, modes, code lengths (docs/format.md, section 10).
//
// All of it is integer arithmetic, so that the same input gives the same bytes on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "fmcodec/code_table.h"
#include "fmcodec/tables.h"

namespace fmc {

inline constexpr size_t kBuckets = 32;
inline constexpr int32_t kResidualMinimum = -128;  // residual tokens are read as signed bytes

// Half-octave of the mean magnitude (section 10, step 2).
int bucket_of(uint64_t magnitude, uint64_t count);

// Smallest shift that brings all symbols of the range into the token range.
int shift_for(int32_t minimum, int32_t maximum, int32_t token_minimum);

// Section 10, step 2: whether a band is to be predicted, which needs a sample of so many symbols. `is_signed` tells of
// its true tokens.
inline constexpr uint64_t kLeastPredictedSymbols = 128;
bool pays_prediction(const PredictionSample& sample, bool is_signed);

// Tokens of an item or class. `counts` and `masks` may cover a sample of the symbols.
struct TokenStatistics {
  bool is_predicted = false;
  int shift = 0;
  uint64_t symbols = 0;
  int32_t minimum = INT32_MAX, maximum = INT32_MIN;  // of the symbols
  TokenHistogram counts{};
  uint64_t zeros = 0;       // of the counted symbols; with a shift, others have token 0, too
  uint64_t mask_bytes = 0;  // of all streams; 0: masks are not looked at
  TokenHistogram masks{};

  void add(const TokenStatistics& other);
  // Multiplies the counts by a weight and adds 1 for each token from `low` to `high`, so that they have a code.
  void spread(uint64_t weight, int32_t low, int32_t high);
  uint64_t counted() const;
};

// Section 10, step 4: joins neighbouring items (buckets of bands, or contexts) into classes. Items without symbols get
// the class of the next lower one.
struct Classes {
  std::vector<uint8_t> class_of_item;
  std::vector<TokenStatistics> statistics;  // by class
};
struct ClassChoice {
  size_t most_classes;
  bool is_exact;  // classes are compared by all tokens, not by bins
};
Classes choose_classes(const std::vector<TokenStatistics>& items, uint64_t map_entries, const ClassChoice& choice);

// Section 10, step 5.
void smooth(TokenStatistics& statistics);

// Section 10, step 6: lets `masks`, counted in a sample, decide about the mask table.
void use_sampled_masks(TokenStatistics& statistics);

// Whether a class may be masked (section 10, step 6).
bool may_be_masked(const TokenStatistics& statistics);

// A class and the bits of its tables and all its symbols.
struct CostedClass {
  TableClass table;
  uint64_t bits = 0;
};

struct CostedTables {
  Tables tables;
  uint64_t bits = 0;  // of the class section and of all blocks
};

// Section 10, step 9: tables of contexts, coded by rANS, for classes of contexts. The bits are without those of states.
CostedTables choose_weights(const Classes& chosen, int32_t token_minimum);

// Section 10, step 6. If no masks were counted, only standard mask tables are tried.
CostedClass choose_mode(const TokenStatistics& statistics, const CodeChoice& codes, int32_t token_minimum);

}  // namespace fmc
