// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/table_statistics.h"

#include <algorithm>

#include "fmcodec/block_transform.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/error.h"
#include "fmcodec/planar.h"

namespace fmc {
namespace {

// Weight of a symbol that was seen against one that was not.
constexpr uint64_t kSeenWeight = 256;

}  // namespace

TableStatistics::TableStatistics(Spec spec) : spec_(std::move(spec)) { spec_.tables.reset(); }

void TableStatistics::set_channels(uint64_t channels) {
  if (channels_ == 0) {
    channels_ = channels;
    bands_.resize(BandPlan(spec_, channels).kept_bands());
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
  Buffer<uint8_t> planes;
  Buffer<int32_t> symbols;
  std::vector<SymbolRange> ranges(bands_.size());
  for (uint64_t b = 0; b < tiling.block_count(); ++b) {
    const Tile tile = tiling.tile(b);
    std::fill(ranges.begin(), ranges.end(), SymbolRange{});
    int32_t* const block = symbols.reserve(bands_.size() * tile.positions());
    if (!transform.forward(gather(tensor, tile, planes), nullptr, block, ranges.data()) && !spec_.clamps_nonfinite) {
      throw Error(ErrorCode::kNonFinite, "the array holds NaN or infinity");
    }
    for (size_t band = 0; band < bands_.size(); ++band) {
      bands_[band].range.add(ranges[band]);
      count(bands_[band], block + band * tile.positions(), tile.positions());
    }
    positions_ += tile.positions();
  }
}

void TableStatistics::count(Band& band, const int32_t* symbols, size_t count) const {
  raise_shift(band, shift_for(band.range.minimum, band.range.maximum, spec_.token_minimum()));
  uint8_t mask = 0;
  for (size_t i = 0; i < count; ++i) {
    ++band.tokens[static_cast<uint8_t>(symbols[i] >> band.shift)];
    mask = static_cast<uint8_t>(mask | (symbols[i] != 0) << (i % 8));
    if (i % 8 == 7 || i + 1 == count) {
      ++band.masks[mask];
      mask = 0;
    }
  }
}

void TableStatistics::raise_shift(Band& band, int shift) const {
  if (shift <= band.shift) return;
  TokenHistogram folded{};
  for (size_t token = 0; token < kTokens; ++token) {
    const int32_t minimum = spec_.token_minimum();
    const int32_t h = ((static_cast<int32_t>(token) - minimum) & 255) + minimum;
    folded[static_cast<uint8_t>(h >> (shift - band.shift))] += band.tokens[token];
  }
  band.tokens = folded;
  band.shift = shift;
}

void TableStatistics::merge(const TableStatistics& other) {
  // Of what the stream does not hold, only the dead zone decides about symbols.
  if (write_spec_section(spec_) != write_spec_section(other.spec_) || spec_.dead_zone != other.spec_.dead_zone) {
    throw Error(ErrorCode::kArgument, "statistics of different specs cannot be merged");
  }
  if (other.channels_ == 0) return;
  set_channels(other.channels_);
  for (size_t b = 0; b < bands_.size(); ++b) {
    Band theirs = other.bands_[b];
    Band& ours = bands_[b];
    raise_shift(ours, theirs.shift);
    raise_shift(theirs, ours.shift);
    add(theirs.tokens, ours.tokens);
    add(theirs.masks, ours.masks);
    ours.range.add(theirs.range);
  }
  positions_ += other.positions_;
}

// Gives the symbols in and a quarter beyond the range of *all* bands a small count, so that they have a code: a channel
// that was quiet on the samples may wake up, and one symbol without a code makes its block raw.
void TableStatistics::extend(TokenStatistics& statistics, int32_t least, int32_t greatest) const {
  const int32_t minimum = spec_.token_minimum();
  const int32_t low = least >> statistics.shift, high = greatest >> statistics.shift;
  const int32_t margin = (high - low) / 4 + 1;
  for (uint64_t& count : statistics.counts) count *= kSeenWeight;
  for (int32_t h = std::max(low - margin, minimum); h <= std::min(high + margin, minimum + 255); ++h) {
    ++statistics.counts[static_cast<uint8_t>(h)];
  }
}

Tables TableStatistics::build() const {
  if (positions_ == 0) throw Error(ErrorCode::kArgument, "no values were seen: call update() first");
  std::vector<uint8_t> bucket_of_band(bands_.size());
  std::vector<TokenStatistics> buckets(kBuckets);
  for (size_t band = 0; band < bands_.size(); ++band) {
    const int b = bucket_of(bands_[band].range.magnitude, positions_);
    bucket_of_band[band] = static_cast<uint8_t>(b);
    buckets[b].shift = std::max(buckets[b].shift, bands_[band].shift);
  }
  for (size_t band = 0; band < bands_.size(); ++band) {
    TokenStatistics& bucket = buckets[bucket_of_band[band]];
    Band folded = bands_[band];
    raise_shift(folded, bucket.shift);
    bucket.add({bucket.shift, positions_, folded.range.minimum, folded.range.maximum, folded.tokens});
  }
  Classes chosen = choose_classes(buckets, bands_.size(), spec_.most_classes());
  std::vector<TokenStatistics>& classes = chosen.statistics;
  std::vector<TokenHistogram> masks(classes.size(), TokenHistogram{});
  int32_t least = 0, greatest = 0;
  for (const Band& band : bands_) {
    least = std::min(least, band.range.minimum);
    greatest = std::max(greatest, band.range.maximum);
  }
  Tables tables;
  for (size_t band = 0; band < bands_.size(); ++band) {
    tables.class_map.push_back(chosen.class_of_item[bucket_of_band[band]]);
    add(bands_[band].masks, masks[tables.class_map.back()]);
  }
  for (size_t k = 0; k < classes.size(); ++k) {
    extend(classes[k], least, greatest);
    for (uint64_t& count : masks[k]) count = count * kSeenWeight + 1;
    // Both histograms carry the weight, so the number of symbols must as well.
    classes[k].symbols = classes[k].counted();
    tables.classes.push_back(choose_mode(classes[k], &masks[k], spec_.code_choice(), spec_.token_minimum()).table);
  }
  return tables;
}

}  // namespace fmc
