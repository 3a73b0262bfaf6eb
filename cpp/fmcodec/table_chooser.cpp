// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/table_chooser.h"

#include <algorithm>
#include <cstring>

#include "fmcodec/rans.h"

namespace fmc {
namespace {

// Counts with two tables, so that runs of equal tokens do not wait for the store of the previous count.
struct TokenCounter {
  static constexpr size_t kTables = 2;
  uint32_t partial[kTables][kTokens] = {};

  void count(const uint8_t* tokens, size_t count) {
    size_t i = 0;
    for (; i + kTables <= count; i += kTables) {
      for (size_t t = 0; t < kTables; ++t) ++partial[t][tokens[i + t]];
    }
    for (; i < count; ++i) ++partial[0][tokens[i]];
  }
  TokenHistogram total() const {
    TokenHistogram histogram;
    for (size_t token = 0; token < kTokens; ++token) histogram[token] = uint64_t{partial[0][token]} + partial[1][token];
    return histogram;
  }
};

// What an effort looks at (section 10).
struct Diligence {
  uint64_t sample_run;         // positions counted of each kSamplePeriod of a band in a block
  uint32_t sample_stride;      // one of so many bands is looked at
  uint64_t least_own_symbols;  // smaller classes get a standard mask table without a look at their masks
};
constexpr uint64_t kSamplePeriod = 256;
constexpr std::array<Diligence, 3> kDiligence{{{64, 4, 65536}, {64, 1, 65536}, {kSamplePeriod, 1, 0}}};

const Diligence& diligence(int effort) { return kDiligence[static_cast<size_t>(effort) - 1]; }

}  // namespace

Tables TableChooser::choose() {
  const std::vector<bool> is_predicted = choose_predicted();
  const BandItems items = count_items(is_predicted);
  if (spec_.effort < kExactEffort) return choose_band_tables(items, spec_.most_classes()).tables;
  std::vector<CostedTables> candidates;
  candidates.push_back(choose_band_tables(items, kMaxClasses));
  candidates.push_back(choose_band_tables(items, kFewClasses));
  if (std::find(is_predicted.begin(), is_predicted.end(), true) != is_predicted.end())
    candidates.push_back(choose_band_tables(count_items(std::vector<bool>(symbols_.bands())), kMaxClasses));
  if (!symbols_.is_wide()) candidates.push_back(choose_neighbour_tables());
  return std::min_element(candidates.begin(), candidates.end(),
                          [](const CostedTables& a, const CostedTables& b) { return a.bits < b.bits; })
      ->tables;
}

// Section 10, steps 4 to 6.
CostedTables TableChooser::choose_band_tables(const BandItems& items, size_t most_classes) {
  Classes chosen = choose_classes(items.statistics, symbols_.bands(), {most_classes, spec_.effort == kExactEffort});
  Tables tables;
  for (const uint8_t item : items.item_of_band) tables.class_map.push_back(chosen.class_of_item[item]);
  return choose_modes(std::move(tables), chosen.statistics);
}

// Section 10, step 9.
CostedTables TableChooser::choose_neighbour_tables() {
  order_.prepare();
  const uint64_t total = symbols_.count();
  const auto [tokens, contexts] = order_.all();
  // Two tables, so that runs of equal tokens do not wait for the store of the previous count.
  std::vector<std::array<uint32_t, kTokens>> even(kContexts), odd(kContexts);
  uint64_t i = 0;
  for (; i + 2 <= total; i += 2) {
    ++even[contexts[i]][tokens[i]];
    ++odd[contexts[i + 1]][tokens[i + 1]];
  }
  if (i < total) ++even[contexts[i]][tokens[i]];
  std::vector<TokenStatistics> items(kContexts);
  for (size_t c = 0; c < kContexts; ++c) {
    for (size_t token = 0; token < kTokens; ++token) items[c].counts[token] = uint64_t{even[c][token]} + odd[c][token];
    items[c].symbols = items[c].counted();
  }
  CostedTables costed = choose_weights(choose_classes(items, kContexts, {kMaxClasses, true}), token_minimum_);
  for (const Block& block : symbols_.blocks()) costed.bits += 32 * rans_lanes(symbols_.count(block));
  return costed;
}

// Section 10, steps 5 and 6.
CostedTables TableChooser::choose_modes(Tables tables, std::vector<TokenStatistics>& classes) {
  const bool is_exact = spec_.effort == kExactEffort;
  if (is_exact) classes_.assign(tables.class_map, kMaxClasses);
  CostedTables costed{std::move(tables), symbols_.bands() * class_bits(classes.size())};
  for (size_t k = 0; k < classes.size(); ++k) {
    TokenStatistics& statistics = classes[k];
    smooth(statistics);
    if (may_be_masked(statistics) && statistics.symbols >= diligence(spec_.effort).least_own_symbols)
      is_exact ? count_masks(k, statistics) : use_sampled_masks(statistics);
    const CostedClass chosen = choose_mode(statistics, spec_.code_choice(), token_minimum_);
    costed.tables.classes.push_back(chosen.table);
    costed.bits += chosen.bits;
  }
  return costed;
}

// The masks of all streams of a class.
void TableChooser::count_masks(size_t class_index, TokenStatistics& statistics) {
  TokenCounter counter;
  for (const Block& block : symbols_.blocks()) {
    const size_t mask_bytes = (classes_.bands(class_index).size() * block.tile.positions() + 7) / 8;
    BitCursor cursor{mask_.reserve(mask_bytes + kSlackBytes), 0};
    if (statistics.shift > 0) {
      for (const uint32_t band : classes_.bands(class_index)) {
        const size_t positions = block.tile.positions();
        kernels_.pack_symbols(symbols_.symbols(block, band), positions, &cursor,
                              nonzero_symbols_.reserve(positions + kSlackBytes / sizeof(int32_t)));
      }
    } else {
      for_each_band(symbols_, block, classes_.bands(class_index), statistics.is_predicted, 0,
                    [&](const uint8_t* tokens, size_t count) { kernels_.write_mask(tokens, count, &cursor); });
    }
    counter.count(cursor.bytes, mask_bytes);
    statistics.mask_bytes += mask_bytes;
  }
  statistics.masks = counter.total();
}

// Section 10, step 2.
std::vector<bool> TableChooser::choose_predicted() {
  const Diligence& look = diligence(spec_.effort);
  std::vector<bool> is_predicted(symbols_.bands());
  if (symbols_.is_wide()) return is_predicted;
  const auto add_sample = [&](size_t band, PredictionSample& sample) {
    for (const Block& block : symbols_.blocks()) {
      kernels_.sample_prediction(symbols_.tokens(block, band, 0), block.tile.columns, block.tile.positions(),
                                 look.sample_run, kSamplePeriod, token_minimum_, &sample);
    }
  };
  if (spec_.pools_bands()) {
    PredictionSample sample;
    for (size_t band = 0; band < is_predicted.size(); band += look.sample_stride) add_sample(band, sample);
    is_predicted.assign(is_predicted.size(), pays_prediction(sample, token_minimum_ < 0));
  } else if (symbols_.positions() >= kLeastPredictedSymbols) {
    for (size_t band = 0; band < is_predicted.size(); ++band) {
      PredictionSample sample;
      add_sample(band, sample);
      is_predicted[band] = pays_prediction(sample, token_minimum_ < 0);
    }
  }
  return is_predicted;
}

// The bucket of each band (section 10, step 3), and the extents of the buckets.
TableChooser::BandBuckets TableChooser::choose_buckets(const std::vector<bool>& is_predicted) {
  BandBuckets chosen;
  chosen.bucket_of_band.resize(is_predicted.size());
  if (spec_.pools_bands() && !symbols_.is_wide()) {
    SymbolRange& range = chosen.ranges[is_predicted[0] ? kBuckets : 0];
    for (const Block& block : symbols_.blocks()) range.add(block.range);
    if (!is_predicted[0]) return chosen;
    // Residuals are not looked at: this is how far they can reach. Those of first rows are the symbols themselves.
    const int32_t extent = range.maximum - range.minimum;
    range.minimum = std::min(-extent, range.minimum);
    range.maximum = std::max(extent, range.maximum);
    constexpr int32_t kResidualMaximum = kResidualMinimum + 255;
    if (range.minimum < kResidualMinimum || range.maximum > kResidualMaximum)
      range = {kResidualMinimum, kResidualMaximum, range.magnitude};
    std::fill(chosen.bucket_of_band.begin(), chosen.bucket_of_band.end(), static_cast<uint8_t>(kBuckets));
    return chosen;
  }
  const uint64_t positions = symbols_.positions();
  for (size_t band = 0; band < is_predicted.size(); ++band) {
    SymbolRange range = symbols_.range(band);
    if (is_predicted[band]) {
      range = {};
      for (const Block& block : symbols_.blocks())
        kernels_.measure_tokens(symbols_.residuals(block, band), block.tile.positions(), kResidualMinimum, &range);
    }
    const int bucket = spec_.pools_bands() ? shift_for(range.minimum, range.maximum, token_minimum_)
                                           : bucket_of(range.magnitude, positions);
    chosen.bucket_of_band[band] = static_cast<uint8_t>(bucket + (is_predicted[band] ? kBuckets : 0));
    chosen.ranges[chosen.bucket_of_band[band]].add(range);
  }
  return chosen;
}

// Section 10, step 3.
TableChooser::BandItems TableChooser::count_items(const std::vector<bool>& is_predicted) {
  const auto [bucket_of_band, ranges] = choose_buckets(is_predicted);
  const uint64_t positions = symbols_.positions();
  BandLists buckets;
  buckets.assign(bucket_of_band, kAllBuckets);
  BandItems counted;
  counted.statistics.reserve(static_cast<size_t>(std::count_if(
      ranges.begin(), ranges.end(), [](const SymbolRange& range) { return range.minimum <= range.maximum; })));
  std::array<uint8_t, kAllBuckets> item_of_bucket{};
  for (size_t bucket = 0; bucket < kAllBuckets; ++bucket) {
    const std::span<const uint32_t> bands = buckets.bands(bucket);
    if (bands.empty()) continue;
    item_of_bucket[bucket] = static_cast<uint8_t>(counted.statistics.size());
    TokenStatistics& item = counted.statistics.emplace_back();
    item.is_predicted = bucket >= kBuckets;
    item.symbols = bands.size() * positions;
    item.minimum = ranges[bucket].minimum;
    item.maximum = ranges[bucket].maximum;
    if (!item.is_predicted) item.shift = shift_for(item.minimum, item.maximum, token_minimum_);
    TokenCounter values, masks;
    for (const Block& block : symbols_.blocks()) {
      const Sample sample = item.shift > 0 ? wide_sample(block, bands, item) : this->sample(block, bands, item);
      // Most maps are mostly zeros: these are not counted one by one.
      values.count(sample.nonzero, sample.nonzero_count);
      item.zeros += sample.count - sample.nonzero_count;
      if (spec_.effort < kExactEffort) masks.count(sample.mask, sample.count / 8);
    }
    item.counts = values.total();
    item.counts[0] += item.zeros;
    item.masks = masks.total();
  }
  for (const uint8_t bucket : bucket_of_band) counted.item_of_band.push_back(item_of_bucket[bucket]);
  return counted;
}

// Brings together what an effort looks at of some bands of a block; returns its number.
template <class T, class RowOf>
size_t TableChooser::gather(const Block& block, std::span<const uint32_t> bands, const RowOf& row_of,
                            Buffer<T>& gathered) {
  const Diligence& look = diligence(spec_.effort);
  const size_t positions = block.tile.positions(), run = look.sample_run;
  const size_t runs = (positions + kSamplePeriod - 1) / kSamplePeriod;
  T* const sample = gathered.reserve(bands.size() * runs * run + kSlackBytes);
  size_t count = 0;
  for (size_t i = 0; i < bands.size(); i += look.sample_stride) {
    const T* const row = row_of(bands[i]);
    for (size_t p = 0; p < positions; p += kSamplePeriod) {
      const size_t length = std::min(run, positions - p);
      std::copy_n(row + p, length, sample + count);
      count += length;
    }
  }
  return count;
}

TableChooser::Sample TableChooser::sample(const Block& block, std::span<const uint32_t> bands,
                                          const TokenStatistics& item) {
  const auto tokens_of = [&](uint32_t band) {
    return band_tokens(symbols_, block, band, item.is_predicted, item.shift);
  };
  const size_t count = gather(block, bands, tokens_of, sample_);
  uint8_t* const nonzero = nonzero_.reserve(count + kSlackBytes);
  const size_t nonzero_count = kernels_.compact_nonzero(sample_.get(), count, nonzero);
  BitCursor cursor{mask_.reserve(count / 8 + kSlackBytes), 0};
  if (spec_.effort < kExactEffort) kernels_.write_mask(sample_.get(), count, &cursor);
  return {count, nonzero_count, nonzero, cursor.bytes};
}

// With a shift, tokens do not tell which symbols are 0.
TableChooser::Sample TableChooser::wide_sample(const Block& block, std::span<const uint32_t> bands,
                                               const TokenStatistics& item) {
  const auto symbols_of = [&](uint32_t band) { return symbols_.symbols(block, band); };
  const size_t count = gather(block, bands, symbols_of, symbol_sample_);
  int32_t* const nonzero_symbols = nonzero_symbols_.reserve(count + kSlackBytes / sizeof(int32_t));
  BitCursor cursor{mask_.reserve(count / 8 + kSlackBytes), 0};
  const size_t nonzero_count = kernels_.pack_symbols(symbol_sample_.get(), count, &cursor, nonzero_symbols);
  uint8_t* const nonzero = nonzero_.reserve(count + kSlackBytes);
  kernels_.symbols_to_tokens(nonzero_symbols, nonzero_count, item.shift, nonzero);
  return {count, nonzero_count, nonzero, cursor.bytes};
}

}  // namespace fmc
