// SPDX-License-Identifier: Apache-2.0
// What the encoder decides about tables: classes of bands, modes, code lengths (docs/format.md, section 10).
//
// All of it is integer arithmetic, so that the same input gives the same bytes on every machine.
#pragma once

#include <array>
#include <cstdint>

#include "fmcodec/code_table.h"
#include "fmcodec/tables.h"

namespace fmc {

inline constexpr size_t kBuckets = 32;

// Half-octave of the mean magnitude (section 10, step 2).
int bucket_of(uint64_t magnitude, uint64_t count);

// Smallest shift that brings all symbols of the range into the token range.
int shift_for(int32_t minimum, int32_t maximum, int32_t token_minimum);

// Tokens of a bucket or class. `counts` may cover a sample of the symbols.
struct TokenStatistics {
  int shift = 0;
  uint64_t symbols = 0;
  int32_t minimum = INT32_MAX, maximum = INT32_MIN;  // of the symbols
  TokenHistogram counts{};

  void add(const TokenStatistics& other);
  uint64_t counted() const;
};

// What is known about the bands of one bucket before classes are chosen.
struct Bucket {
  uint64_t bands = 0;
  TokenStatistics statistics;
};

// Section 10, step 4: the class of each bucket; empty buckets get the class of the next lower one.
struct BucketClasses {
  std::array<uint8_t, kBuckets> class_of_bucket{};
  size_t count = 0;
};
BucketClasses choose_classes(const std::array<Bucket, kBuckets>& buckets, uint64_t kept_bands);

// Section 10, step 5.
void smooth(TokenStatistics& statistics);

// Whether a class may be masked (section 10, step 6): only then its mask histogram is needed.
bool may_be_masked(const TokenStatistics& statistics);

// Section 10, step 6. `masks` is the histogram of mask bytes, or null if may_be_masked is false.
TableClass choose_mode(const TokenStatistics& statistics, const TokenHistogram* masks, int max_code_length,
                       int32_t token_minimum);

}  // namespace fmc
