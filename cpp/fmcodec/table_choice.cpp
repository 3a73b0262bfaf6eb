// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/table_choice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace fmc {
namespace {

constexpr uint64_t kOneBit = 1 << 16;  // unit of log2_q16

// round(65536 * log2(1 + j / 4096)).
const std::array<uint32_t, 4096> kLog2Fraction = [] {
  std::array<uint32_t, 4096> fraction;
  for (size_t j = 0; j < fraction.size(); ++j) {
    fraction[j] = static_cast<uint32_t>(std::floor(65536.0 * std::log2(1.0 + static_cast<double>(j) / 4096.0) + 0.5));
  }
  return fraction;
}();

// L(n) of section 10: log2(n) in units of 2^-16, for n >= 1.
uint64_t log2_q16(uint64_t n) {
  const unsigned exponent = static_cast<unsigned>(std::bit_width(n)) - 1;
  const uint64_t mantissa = exponent <= 12 ? n << (12 - exponent) : n >> (exponent - 12);
  return (static_cast<uint64_t>(exponent) << 16) + kLog2Fraction[mantissa - 4096];
}

uint64_t coded_bits(const TokenHistogram& histogram, const CodeLengths& lengths) {
  const bool is_single = std::count_if(lengths.begin(), lengths.end(), [](uint8_t length) { return length > 0; }) == 1;
  uint64_t bits = 0;
  if (is_single) return bits;
  for (size_t token = 0; token < kTokens; ++token) bits += histogram[token] * lengths[token];
  return bits;
}

// Bits of all symbols, from those of the counted ones.
uint64_t scaled(uint64_t bits, uint64_t symbols, uint64_t counted) {
  if (counted == symbols || counted == 0) return bits;
  return static_cast<uint64_t>(static_cast<unsigned __int128>(bits) * symbols / counted);
}

// Section 10, step 4: ideal bits of a class and a guess of its tables, in units of 2^-16 bits. `counts` may leave out
// tokens that do not occur; its first entry is token 0.
uint64_t class_cost(const std::vector<uint64_t>& counts, uint64_t symbols) {
  const uint64_t counted = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  const uint64_t log2_counted = counted > 0 ? log2_q16(counted) : 0;
  uint64_t used = 0, cost = 0;
  for (const uint64_t count : counts) {
    if (count == 0) continue;
    cost += count * (log2_counted - log2_q16(count));
    ++used;
  }
  const bool has_mask = counts[0] > 0 && counts[0] * 8 >= counted;
  const uint64_t table_guess = used > 1 ? 24 + 2 * used + (has_mask ? 512 : 0) : 8;
  return scaled(cost, symbols, counted) + table_guess * kOneBit;
}

constexpr uint64_t kImpossible = std::numeric_limits<uint64_t>::max();
using CostMatrix = std::array<std::array<uint64_t, kBuckets + 1>, kBuckets + 1>;

// Entry [i][j]: cost of one class of the filled buckets i..j-1; impossible if their shifts differ.
CostMatrix run_costs(const std::vector<const Bucket*>& filled) {
  // Token 0 and those that occur: the rest of a histogram is not looked at again.
  std::vector<uint8_t> tokens{0};
  for (size_t token = 1; token < kTokens; ++token) {
    const auto occurs = [&](const Bucket* bucket) { return bucket->statistics.counts[token] > 0; };
    if (std::any_of(filled.begin(), filled.end(), occurs)) tokens.push_back(static_cast<uint8_t>(token));
  }
  CostMatrix cost;
  for (auto& row : cost) row.fill(kImpossible);
  std::vector<uint64_t> counts(tokens.size());
  for (size_t i = 0; i < filled.size(); ++i) {
    std::fill(counts.begin(), counts.end(), 0);
    uint64_t symbols = 0;
    for (size_t j = i; j < filled.size() && filled[j]->statistics.shift == filled[i]->statistics.shift; ++j) {
      const TokenStatistics& bucket = filled[j]->statistics;
      for (size_t t = 0; t < tokens.size(); ++t) counts[t] += bucket.counts[tokens[t]];
      symbols += bucket.symbols;
      cost[i][j + 1] = class_cost(counts, symbols);
    }
  }
  return cost;
}

}  // namespace

int bucket_of(uint64_t magnitude, uint64_t count) {
  if (magnitude == 0) return 0;
  const int64_t log2_mean = static_cast<int64_t>(log2_q16(magnitude)) - static_cast<int64_t>(log2_q16(count));
  return static_cast<int>(std::clamp<int64_t>(1 + ((log2_mean + (8 << 16)) >> 15), 1, kBuckets - 1));
}

int shift_for(int32_t minimum, int32_t maximum, int32_t token_minimum) {
  int shift = 0;
  while ((minimum >> shift) < token_minimum || (maximum >> shift) > token_minimum + 255) ++shift;
  return shift;
}

BucketClasses choose_classes(const std::array<Bucket, kBuckets>& buckets, uint64_t kept_bands) {
  std::vector<const Bucket*> filled;
  for (const Bucket& bucket : buckets) {
    if (bucket.bands > 0) filled.push_back(&bucket);
  }
  BucketClasses result;
  result.count = 1;
  if (filled.empty()) return result;
  const size_t n = filled.size();
  const CostMatrix cost = run_costs(filled);

  // best[k][j]: the filled buckets 0..j-1 in k classes, of which the last begins at first[k][j].
  CostMatrix best;
  std::array<std::array<size_t, kBuckets + 1>, kBuckets + 1> first{};
  for (auto& row : best) row.fill(kImpossible);
  best[0][0] = 0;
  uint64_t least = kImpossible;
  for (size_t k = 1; k <= n; ++k) {
    for (size_t j = k; j <= n; ++j) {
      for (size_t i = k - 1; i < j; ++i) {
        if (best[k - 1][i] == kImpossible || cost[i][j] == kImpossible) continue;
        const uint64_t total = best[k - 1][i] + cost[i][j];
        if (total < best[k][j]) {
          best[k][j] = total;
          first[k][j] = i;
        }
      }
    }
    if (best[k][n] == kImpossible) continue;
    const uint64_t total = best[k][n] + kept_bands * class_bits(k) * kOneBit;
    if (total < least) {
      least = total;
      result.count = k;
    }
  }
  for (size_t k = result.count, j = n; k > 0; j = first[k][j], --k) {
    for (size_t i = first[k][j]; i < j; ++i) {
      result.class_of_bucket[static_cast<size_t>(filled[i] - buckets.data())] = static_cast<uint8_t>(k - 1);
    }
  }
  return result;
}

void TokenStatistics::add(const TokenStatistics& other) {
  shift = other.shift;
  symbols += other.symbols;
  minimum = std::min(minimum, other.minimum);
  maximum = std::max(maximum, other.maximum);
  for (size_t token = 0; token < kTokens; ++token) counts[token] += other.counts[token];
}

uint64_t TokenStatistics::counted() const { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

void smooth(TokenStatistics& statistics) {
  constexpr uint64_t kCountedWeight = 64;
  if (statistics.counted() == statistics.symbols) return;
  for (uint64_t& count : statistics.counts) count *= kCountedWeight;
  for (int32_t h = statistics.minimum >> statistics.shift; h <= statistics.maximum >> statistics.shift; ++h)
    ++statistics.counts[static_cast<uint8_t>(h)];
}

bool may_be_masked(const TokenStatistics& statistics) {
  const uint64_t total = statistics.counted(), zeros = statistics.counts[0];
  return statistics.shift == 0 && zeros > 0 && zeros < total && zeros * 64 >= total;
}

TableClass choose_mode(const TokenStatistics& statistics, const TokenHistogram* masks, int max_code_length,
                       int32_t token_minimum) {
  const TokenHistogram& values = statistics.counts;
  TableClass plain;
  plain.shift = statistics.shift;
  const bool is_zero =
      plain.shift == 0 && std::all_of(values.begin() + 1, values.end(), [](uint64_t count) { return count == 0; });
  if (is_zero) return plain;
  plain.mode = ClassMode::kPlain;
  plain.value_lengths = limited_code_lengths(values, max_code_length);
  if (masks == nullptr) return plain;

  TableClass masked;
  masked.mode = ClassMode::kMasked;
  TokenHistogram nonzero = values;
  nonzero[0] = 0;
  masked.value_lengths = limited_code_lengths(nonzero, max_code_length);
  masked.mask_lengths = limited_code_lengths(*masks, max_code_length);
  const bool is_ascending = token_minimum == 0;
  const uint64_t total = statistics.counted();
  const uint64_t plain_bits = scaled(coded_bits(values, plain.value_lengths), statistics.symbols, total) +
                              table_size_bits(plain.value_lengths, is_ascending);
  const uint64_t masked_bits = scaled(coded_bits(nonzero, masked.value_lengths), statistics.symbols, total) +
                               table_size_bits(masked.value_lengths, is_ascending) +
                               coded_bits(*masks, masked.mask_lengths) + table_size_bits(masked.mask_lengths, true);
  return masked_bits < plain_bits ? masked : plain;
}

}  // namespace fmc
