// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/table_statistics.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>

#include "fmcodec/block_transform.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/error.h"
#include "fmcodec/lattice.h"
#include "fmcodec/planar.h"
#include "fmcodec/rans.h"

namespace fmc {
namespace {

// Weight of a symbol that was seen against one that was not.
constexpr uint64_t kSeenWeight = 256;

// Counts the tokens of blocks by their context.
class ContextCounter {
 public:
  ContextCounter(const KernelTable& kernels, int32_t token_minimum) : lattice_(kernels, token_minimum) {}

  void count(const Tile& tile, size_t bands, const uint8_t* tokens, std::vector<TokenHistogram>& histograms) {
    const size_t count = bands * tile.positions();
    uint8_t* const ordered = ordered_.reserve(count + kSlackBytes);
    uint8_t* const contexts = contexts_.reserve(count + kSlackBytes);
    lattice_.set_tile(bands, tile.rows, tile.columns);
    lattice_.order(tokens, ordered, contexts);
    for (size_t i = 0; i < count; ++i) ++histograms[contexts[i]][ordered[i]];
  }

 private:
  Lattice lattice_;
  Buffer<uint8_t> ordered_, contexts_;
};

}  // namespace

template <typename Symbol>
void TableStatistics::Counts::count(const Symbol* symbols, size_t count) {
  uint8_t mask = 0;
  for (size_t i = 0; i < count; ++i) {
    ++tokens[static_cast<uint8_t>(symbols[i] >> shift)];
    zeros += symbols[i] == 0;
    mask = static_cast<uint8_t>(mask | (symbols[i] != 0) << (i % 8));
    if (i % 8 == 7 || i + 1 == count) {
      ++masks[mask];
      mask = 0;
    }
  }
}

TableStatistics::TableStatistics(Spec spec) : spec_(std::move(spec)) {
  spec_.tables.reset();
  if (spec_.effort == kExactEffort) contexts_.resize(kContexts);
}

void TableStatistics::set_channels(uint64_t channels) {
  if (channels_ == 0) {
    channels_ = channels;
    bands_.resize(BandPlan(spec_, channels).bands());
  }
  if (channels != channels_) {
    throw Error(ErrorCode::kArgument,
                "statistics of " + std::to_string(channels_) + " channels cannot take " + std::to_string(channels));
  }
}

void TableStatistics::update(const TensorView& tensor) {
  validate_spec(spec_, tensor.dtype, tensor.shape.channels, ErrorCode::kArgument);
  if (tensor.shape.values() == 0) return;
  set_channels(tensor.shape.channels);
  const Tiling tiling = choose_tiling(spec_, tensor.shape);
  const BandPlan plan(spec_, channels_);
  BlockTransform transform(kernels(), spec_, plan, tensor.dtype);
  const KernelTable& kernel_table = kernels();
  const int32_t token_minimum = spec_.token_minimum();
  ContextCounter context_counter(kernel_table, token_minimum);
  Buffer<uint8_t> planes, tokens, residuals;
  Buffer<int32_t> symbols;
  std::vector<SymbolRange> ranges(bands_.size());
  for (uint64_t b = 0; b < tiling.block_count(); ++b) {
    const Tile tile = tiling.tile(b);
    const uint64_t positions = tile.positions();
    std::fill(ranges.begin(), ranges.end(), SymbolRange{});
    int32_t* const block = symbols.reserve(bands_.size() * positions);
    if (!transform.forward(gather(tensor, tile, tiling, planes), nullptr, block, {ranges.data(), true}) &&
        !spec_.clamps_nonfinite) {
      throw Error(ErrorCode::kNonFinite, "the array holds NaN or infinity");
    }
    uint8_t* const block_tokens = tokens.reserve(bands_.size() * positions + kSlackBytes);
    uint8_t* const band_residuals = residuals.reserve(positions + kSlackBytes);
    for (size_t k = 0; k < bands_.size(); ++k) {
      Band& band = bands_[k];
      const int32_t* const band_symbols = block + k * positions;
      uint8_t* const band_tokens = block_tokens + k * positions;
      band.symbols.range.add(ranges[k]);
      band.symbols.raise_shift(shift_for(band.symbols.range.minimum, band.symbols.range.maximum, token_minimum),
                               token_minimum);
      band.symbols.count(band_symbols, positions);
      if (band.symbols.shift > 0) continue;
      kernel_table.symbols_to_tokens(band_symbols, positions, 0, band_tokens);
      kernel_table.sample_prediction(band_tokens, tile.columns, positions, positions, positions, token_minimum,
                                     &band.sample);
      kernel_table.subtract_above(band_tokens, tile.columns, positions, band_residuals);
      kernel_table.measure_tokens(band_residuals, positions, kResidualMinimum, &band.residuals.range);
      band.residuals.count(band_residuals, positions);
    }
    positions_ += positions;
    if (contexts_.empty() || is_wide()) continue;
    context_counter.count(tile, bands_.size(), block_tokens, contexts_);
    state_bits_ += 32 * rans_lanes(bands_.size() * positions);
  }
}

bool TableStatistics::is_wide() const {
  return std::any_of(bands_.begin(), bands_.end(), [](const Band& band) { return band.symbols.shift > 0; });
}

void TableStatistics::Counts::raise_shift(int to, int32_t token_minimum) {
  if (to <= shift) return;
  TokenHistogram folded{};
  for (size_t token = 0; token < kTokens; ++token) {
    const int32_t h = ((static_cast<int32_t>(token) - token_minimum) & 255) + token_minimum;
    folded[static_cast<uint8_t>(h >> (to - shift))] += tokens[token];
  }
  tokens = folded;
  shift = to;
}

void TableStatistics::Counts::add(const Counts& other, int32_t token_minimum) {
  Counts theirs = other;
  raise_shift(theirs.shift, token_minimum);
  theirs.raise_shift(shift, token_minimum);
  fmc::add(theirs.tokens, tokens);
  zeros += theirs.zeros;
  fmc::add(theirs.masks, masks);
  range.add(theirs.range);
}

void TableStatistics::merge(const TableStatistics& other) {
  // Of what the stream does not hold, the dead zone decides about symbols, and the effort about what is counted.
  if (write_spec_section(spec_) != write_spec_section(other.spec_) || spec_.dead_zone != other.spec_.dead_zone ||
      spec_.effort != other.spec_.effort) {
    throw Error(ErrorCode::kArgument, "statistics of different specs cannot be merged");
  }
  if (other.channels_ == 0) return;
  set_channels(other.channels_);
  for (size_t b = 0; b < bands_.size(); ++b) {
    bands_[b].symbols.add(other.bands_[b].symbols, spec_.token_minimum());
    bands_[b].residuals.add(other.bands_[b].residuals, kResidualMinimum);
    bands_[b].sample.add(other.bands_[b].sample);
  }
  for (size_t c = 0; c < contexts_.size(); ++c) fmc::add(other.contexts_[c], contexts_[c]);
  state_bits_ += other.state_bits_;
  positions_ += other.positions_;
}

// Gives the symbols in and a quarter beyond the range of *all* bands a small count, so that they have a code: a channel
// that was quiet on the samples may wake up, and a symbol without a code needs a patch.
void TableStatistics::extend(TokenStatistics& statistics, const SymbolRange& range) const {
  const int32_t minimum = statistics.is_predicted ? kResidualMinimum : spec_.token_minimum();
  const int32_t low = range.minimum >> statistics.shift, high = range.maximum >> statistics.shift;
  const int32_t margin = (high - low) / 4 + 1;
  statistics.spread(kSeenWeight, std::max(low - margin, minimum), std::min(high + margin, minimum + 255));
}

// As the encoder does without static tables (section 10, step 2), from all symbols.
std::vector<bool> TableStatistics::choose_predicted() const {
  std::vector<bool> is_predicted(bands_.size());
  if (is_wide()) return is_predicted;
  for (size_t band = 0; band < bands_.size(); ++band)
    is_predicted[band] = pays_prediction(bands_[band].sample, spec_.token_minimum() < 0);
  return is_predicted;
}

std::vector<uint64_t> TableStatistics::magnitudes() const {
  std::vector<uint64_t> magnitudes;
  magnitudes.reserve(bands_.size());
  for (const Band& band : bands_) magnitudes.push_back(band.symbols.range.magnitude);
  return magnitudes;
}

Tables TableStatistics::build() const {
  if (positions_ == 0) throw Error(ErrorCode::kArgument, "no values were seen: call update() first");
  const CostedTables of_bands = build_of_bands();
  if (contexts_.empty() || is_wide()) return of_bands.tables;
  const CostedTables of_contexts = build_of_contexts();
  return of_contexts.bits < of_bands.bits ? of_contexts.tables : of_bands.tables;
}

// As the encoder does without static tables (section 10, step 9).
CostedTables TableStatistics::build_of_contexts() const {
  std::vector<TokenStatistics> items(kContexts);
  SymbolRange range{0, 0, 0};
  for (const Band& band : bands_) range.add(band.symbols.range);
  for (size_t c = 0; c < kContexts; ++c) {
    items[c].counts = contexts_[c];
    items[c].symbols = items[c].counted();
  }
  Classes chosen = choose_classes(items, kContexts, {kMaxClasses, true});
  for (TokenStatistics& statistics : chosen.statistics) extend(statistics, range);
  CostedTables costed = choose_weights(chosen, spec_.token_minimum());
  costed.bits += kSeenWeight * state_bits_;
  return costed;
}

CostedTables TableStatistics::build_of_bands() const {
  const std::vector<bool> is_predicted = choose_predicted();
  const auto counts_of = [&](size_t band) -> const Counts& {
    return is_predicted[band] ? bands_[band].residuals : bands_[band].symbols;
  };
  std::vector<uint8_t> item_of_band(bands_.size());
  std::vector<TokenStatistics> items(2 * kBuckets);
  std::array<SymbolRange, 2> ranges{SymbolRange{0, 0, 0}, SymbolRange{0, 0, 0}};  // of true tokens, of residuals
  for (size_t band = 0; band < bands_.size(); ++band) {
    const Counts& counts = counts_of(band);
    const size_t item =
        static_cast<size_t>(bucket_of(counts.range.magnitude, positions_)) + (is_predicted[band] ? kBuckets : 0);
    item_of_band[band] = static_cast<uint8_t>(item);
    items[item].shift = std::max(items[item].shift, counts.shift);
    ranges[is_predicted[band]].add(counts.range);
  }
  for (size_t band = 0; band < bands_.size(); ++band) {
    TokenStatistics& item = items[item_of_band[band]];
    Counts folded = counts_of(band);
    folded.raise_shift(item.shift, spec_.token_minimum());
    item.add({is_predicted[band], item.shift, positions_, folded.range.minimum, folded.range.maximum, folded.tokens,
              folded.zeros, 0, folded.masks});
  }
  Classes chosen = choose_classes(items, bands_.size(), {spec_.most_classes(), true});
  CostedTables costed;
  Tables& tables = costed.tables;
  for (const uint8_t item : item_of_band) tables.class_map.push_back(chosen.class_of_item[item]);
  for (TokenStatistics& statistics : chosen.statistics) {
    extend(statistics, ranges[statistics.is_predicted]);
    for (uint64_t& count : statistics.masks) count = count * kSeenWeight + 1;
    // Both histograms carry the weight, so the number of symbols must as well.
    statistics.symbols = statistics.counted();
    statistics.mask_bytes = std::accumulate(statistics.masks.begin(), statistics.masks.end(), uint64_t{0});
    const CostedClass c = choose_mode(statistics, spec_.code_choice(), spec_.token_minimum());
    tables.classes.push_back(c.table);
    costed.bits += c.bits;
  }
  return costed;
}

}  // namespace fmc
