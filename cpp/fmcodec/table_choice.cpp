// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/table_choice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "fmcodec/mask_tables.h"
#include "fmcodec/rans.h"

namespace fmc {
namespace {

constexpr uint64_t kOneBit = 1 << 16;  // unit of log2_q16
// What tables cost, roughly, before they are made.
constexpr uint64_t kTableGuessBits = 24, kEntryGuessBits = 4, kBinGuessBits = 16, kSmallTableGuessBits = 8;

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

// Counts of the tokens that occur in any item, or of bins of tokens.
using DenseCounts = std::vector<uint64_t>;

// What classes are compared by: every token, or 16 bins, two of each octave of magnitudes. Within a bin, a token is
// taken to have the same share in any class.
class ClassMeasure {
 public:
  explicit ClassMeasure(bool is_exact, const std::vector<TokenStatistics>& items) : is_exact_(is_exact) {
    for (size_t token = 0; is_exact && token < kTokens; ++token) {
      const auto occurs = [&](const TokenStatistics& item) { return item.counts[token] > 0; };
      if (std::any_of(items.begin(), items.end(), occurs)) tokens_.push_back(static_cast<uint8_t>(token));
    }
  }

  DenseCounts counts(const TokenStatistics& item) const {
    if (is_exact_) {
      DenseCounts counts(tokens_.size());
      for (size_t t = 0; t < tokens_.size(); ++t) counts[t] = item.counts[tokens_[t]];
      return counts;
    }
    DenseCounts counts(kBins);
    for (int32_t h = item.minimum >> item.shift; h <= item.maximum >> item.shift; ++h)
      counts[bin_of(static_cast<uint32_t>(std::abs(h)))] += item.counts[static_cast<uint8_t>(h)];
    return counts;
  }

  // Section 10, step 4: ideal bits of a class and a guess of its tables, in units of 2^-16 bits. `other` is added if
  // given.
  uint64_t cost(const DenseCounts& counts, const DenseCounts* other, uint64_t symbols) const {
    uint64_t counted = 0, weighted = 0, used = 0;
    for (size_t t = 0; t < counts.size(); ++t) {
      const uint64_t count = counts[t] + (other != nullptr ? (*other)[t] : 0);
      if (count == 0) continue;
      counted += count;
      weighted += count * log2_q16(count);
      ++used;
    }
    const uint64_t cost = counted > 0 ? counted * log2_q16(counted) - weighted : 0;
    const uint64_t entries = used * (is_exact_ ? kEntryGuessBits : kBinGuessBits);
    return scaled(cost, symbols, counted) + (used > 1 ? kTableGuessBits + entries : kSmallTableGuessBits) * kOneBit;
  }

 private:
  static constexpr size_t kBins = 16;
  static size_t bin_of(uint32_t magnitude) {
    if (magnitude < 4) return magnitude;
    const auto octave = static_cast<uint32_t>(std::bit_width(magnitude)) - 1;
    return 2 * octave + (magnitude >> (octave - 1) & 1);
  }

  bool is_exact_;
  std::vector<uint8_t> tokens_;
};

// A class while classes are joined.
struct Candidate {
  size_t first_item;
  bool is_predicted;
  int shift;
  uint64_t symbols;
  DenseCounts counts;
  uint64_t cost;
  int64_t increase;  // of the cost if the next one is joined to it
};

constexpr int64_t kImpossible = std::numeric_limits<int64_t>::max();

int64_t join_increase(const ClassMeasure& measure, const Candidate& a, const Candidate& b) {
  if (a.shift != b.shift || a.is_predicted != b.is_predicted) return kImpossible;
  return static_cast<int64_t>(measure.cost(a.counts, &b.counts, a.symbols + b.symbols)) -
         static_cast<int64_t>(a.cost + b.cost);
}

std::vector<Candidate> candidates_of(const ClassMeasure& measure, const std::vector<TokenStatistics>& items) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].symbols == 0) continue;
    Candidate c{i, items[i].is_predicted, items[i].shift, items[i].symbols, measure.counts(items[i]), 0, kImpossible};
    c.cost = measure.cost(c.counts, nullptr, c.symbols);
    candidates.push_back(std::move(c));
  }
  for (size_t c = 0; c + 1 < candidates.size(); ++c)
    candidates[c].increase = join_increase(measure, candidates[c], candidates[c + 1]);
  return candidates;
}

}  // namespace

int bucket_of(uint64_t magnitude, uint64_t count) {
  if (magnitude == 0) return 0;
  const int64_t log2_mean = static_cast<int64_t>(log2_q16(magnitude)) - static_cast<int64_t>(log2_q16(count));
  return static_cast<int>(std::clamp<int64_t>(1 + ((log2_mean + (8 << 16)) >> 15), 1, kBuckets - 1));
}

namespace {

// Section 10, step 2, in units of 2^-16 bits.
uint64_t prediction_cost(uint64_t symbols, const TokenCost& cost, bool is_signed) {
  const auto weighted = [](uint64_t count) { return count > 0 ? count * log2_q16(count) : 0; };
  const uint64_t zeros = symbols - cost.nonzero;
  return weighted(symbols) - weighted(cost.nonzero) - weighted(zeros) + cost.magnitude_bits * (kOneBit / 8) +
         (is_signed ? cost.nonzero * kOneBit : 0);
}

}  // namespace

bool pays_prediction(const PredictionSample& sample, bool is_signed) {
  return sample.symbols >= kLeastPredictedSymbols && 16 * prediction_cost(sample.symbols, sample.residuals, true) <
                                                         15 * prediction_cost(sample.symbols, sample.tokens, is_signed);
}

int shift_for(int32_t minimum, int32_t maximum, int32_t token_minimum) {
  int shift = 0;
  while ((minimum >> shift) < token_minimum || (maximum >> shift) > token_minimum + 255) ++shift;
  return shift;
}

Classes choose_classes(const std::vector<TokenStatistics>& items, uint64_t map_entries, const ClassChoice& choice) {
  const ClassMeasure measure(choice.is_exact, items);
  std::vector<Candidate> candidates = candidates_of(measure, items);
  uint64_t cost = 0;
  for (const Candidate& c : candidates) cost += c.cost;

  // Joins the cheapest pair again and again; the best of all states counts.
  std::vector<size_t> best_first{0};  // first item of each class
  uint64_t least = std::numeric_limits<uint64_t>::max();
  while (!candidates.empty()) {
    const uint64_t total = cost + map_entries * class_bits(candidates.size()) * kOneBit;
    // Classes of different shifts may leave more than that: then there are as few as can be.
    if (candidates.size() >= choice.most_classes || total < least) {
      least = total;
      best_first.clear();
      for (const Candidate& c : candidates) best_first.push_back(c.first_item);
    }
    const auto cheapest =
        std::min_element(candidates.begin(), candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.increase < b.increase; });
    if (cheapest->increase == kImpossible) break;
    const auto next = cheapest + 1;
    for (size_t t = 0; t < next->counts.size(); ++t) cheapest->counts[t] += next->counts[t];
    cheapest->symbols += next->symbols;
    cheapest->cost = static_cast<uint64_t>(static_cast<int64_t>(cheapest->cost + next->cost) + cheapest->increase);
    cost = static_cast<uint64_t>(static_cast<int64_t>(cost) + cheapest->increase);
    const auto after = candidates.erase(next);
    cheapest->increase = after == candidates.end() ? kImpossible : join_increase(measure, *cheapest, *after);
    if (cheapest != candidates.begin()) (cheapest - 1)->increase = join_increase(measure, *(cheapest - 1), *cheapest);
  }

  Classes classes;
  classes.statistics.resize(best_first.size());
  for (size_t i = 0, k = 0; i < items.size(); ++i) {
    while (k + 1 < best_first.size() && best_first[k + 1] <= i) ++k;
    classes.class_of_item.push_back(static_cast<uint8_t>(k));
    if (items[i].symbols > 0) classes.statistics[k].add(items[i]);
  }
  return classes;
}

void TokenStatistics::add(const TokenStatistics& other) {
  is_predicted = other.is_predicted;
  shift = other.shift;
  symbols += other.symbols;
  minimum = std::min(minimum, other.minimum);
  maximum = std::max(maximum, other.maximum);
  fmc::add(other.counts, counts);
  zeros += other.zeros;
  fmc::add(other.masks, masks);
}

uint64_t TokenStatistics::counted() const { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

void TokenStatistics::spread(uint64_t weight, int32_t low, int32_t high) {
  for (uint64_t& count : counts) count *= weight;
  for (int32_t h = low; h <= high; ++h) ++counts[static_cast<uint8_t>(h)];
  zeros = shift == 0 ? counts[0] : zeros * weight;
}

constexpr uint64_t kCountedWeight = 64;

void smooth(TokenStatistics& statistics) {
  if (statistics.counted() == statistics.symbols) return;
  statistics.spread(kCountedWeight, statistics.minimum >> statistics.shift, statistics.maximum >> statistics.shift);
}

void use_sampled_masks(TokenStatistics& statistics) {
  statistics.mask_bytes = (statistics.symbols + 7) / 8;
  for (uint64_t& count : statistics.masks) count = count * kCountedWeight + 1;
}

bool may_be_masked(const TokenStatistics& statistics) {
  const uint64_t total = statistics.counted(), zeros = statistics.zeros;
  return zeros > 0 && zeros < total && zeros * 64 >= total;
}

CostedClass choose_mode(const TokenStatistics& statistics, const CodeChoice& codes, int32_t token_minimum) {
  const TokenHistogram& values = statistics.counts;
  CostedClass plain;
  plain.table.shift = statistics.shift;
  const bool is_zero =
      statistics.shift == 0 && std::all_of(values.begin() + 1, values.end(), [](uint64_t count) { return count == 0; });
  if (is_zero) return plain;
  const bool is_ascending = has_ascending_table(token_minimum, statistics.is_predicted);
  const uint64_t total = statistics.counted();
  const auto value_bits = [&](const TokenHistogram& counts, const CodeLengths& lengths) {
    return scaled(coded_bits(counts, lengths), statistics.symbols, total) + table_size_bits(lengths, is_ascending);
  };
  // Where every other symbol is 0, a mask never costs more than the bit that a code spends on zeros.
  const uint64_t zeros = statistics.zeros;
  const bool is_masked = may_be_masked(statistics) && 2 * zeros >= total;
  if (!is_masked) {
    plain.table.mode = ClassMode::kPlain;
    plain.table.is_predicted = statistics.is_predicted;
    plain.table.value_lengths = codes.lengths(values);
    plain.bits =
        value_bits(values, plain.table.value_lengths) + static_cast<uint64_t>(statistics.shift) * statistics.symbols;
    if (!may_be_masked(statistics)) return plain;
  }

  CostedClass masked;
  masked.table.mode = ClassMode::kMasked;
  masked.table.is_predicted = statistics.is_predicted;
  masked.table.shift = statistics.shift;
  TokenHistogram nonzero = values;
  nonzero[0] -= zeros;
  masked.table.value_lengths = codes.lengths(nonzero);
  const MaskTable& standard = nearest_mask_table(total - zeros, total);
  masked.table.mask_lengths = standard.lengths;
  uint64_t mask_bits = standard.bits_of_bytes((statistics.symbols + 7) / 8) + mask_table_size_bits(standard.lengths);
  if (statistics.mask_bytes > 0) {
    const uint64_t counted = std::accumulate(statistics.masks.begin(), statistics.masks.end(), uint64_t{0});
    const auto bits_with = [&](const CodeLengths& lengths) {
      return scaled(coded_bits(statistics.masks, lengths), statistics.mask_bytes, counted) +
             mask_table_size_bits(lengths);
    };
    mask_bits = bits_with(standard.lengths);
    const CodeLengths own = codes.lengths(statistics.masks);
    const uint64_t own_bits = bits_with(own);
    if (own_bits < mask_bits) {
      masked.table.mask_lengths = own;
      mask_bits = own_bits;
    }
  }
  const uint64_t low_bits = static_cast<uint64_t>(statistics.shift) * scaled(total - zeros, statistics.symbols, total);
  masked.bits = value_bits(nonzero, masked.table.value_lengths) + low_bits + mask_bits;
  return is_masked || masked.bits < plain.bits ? masked : plain;
}

CostedTables choose_weights(const Classes& chosen, int32_t token_minimum) {
  CostedTables costed;
  costed.tables.model = ClassModel::kNeighbours;
  costed.tables.class_map = chosen.class_of_item;
  costed.bits = kContexts * class_bits(chosen.statistics.size());
  for (const TokenStatistics& statistics : chosen.statistics) {
    TableClass table;
    table.mode = ClassMode::kRans;
    table.weights = weights_of(statistics.counts);
    const Frequencies frequencies = frequencies_of(table.weights);
    uint64_t cost = 0;
    for (size_t token = 0; token < kTokens; ++token) {
      const uint64_t count = statistics.counts[token];
      if (count > 0) cost += count * (log2_q16(kRansTotal) - log2_q16(frequencies[token]));
    }
    costed.bits += cost / kOneBit + weight_table_size_bits(table.weights, token_minimum == 0);
    costed.tables.classes.push_back(table);
  }
  return costed;
}

}  // namespace fmc
