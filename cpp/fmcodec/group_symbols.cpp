// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/group_symbols.h"

#include <algorithm>
#include <functional>

#include "fmcodec/error.h"
#include "fmcodec/table_choice.h"

namespace fmc {

GroupSymbols::GroupSymbols(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, const TensorView& tensor,
                           const Tiling& tiling)
    : kernels_(kernels),
      spec_(spec),
      plan_(plan),
      tensor_(tensor),
      tiling_(tiling),
      token_minimum_(spec.token_minimum()),
      transform_(kernels, spec, plan, tensor.dtype) {}

// Symbols are kept as tokens if all of them fit at shift 0, which is nearly always so.
void GroupSymbols::load(uint64_t group) {
  blocks_.clear();
  const uint64_t begin = group * tiling_.blocks_per_group;
  const uint64_t end = std::min(begin + tiling_.blocks_per_group, tiling_.block_count());
  uint64_t first_symbol = 0;
  for (uint64_t b = begin; b < end; ++b) {
    blocks_.push_back({tiling_.tile(b), first_symbol, {}, nullptr, 0});
    first_symbol += count(blocks_.back());
  }
  is_wide_ = spec_.tables && spec_.tables->has_shift();
  if (!transform_to(is_wide_)) {
    is_wide_ = true;
    transform_to(true);
  }
}

// Whether the values are tokens that need not be copied: nobody wants them in one piece, and kernels may read
// kSlackBytes behind them.
bool GroupSymbols::can_borrow(const PlanarBlock<const void>& planes) const {
  const bool may_use_contexts =
      spec_.tables ? spec_.tables->model == ClassModel::kNeighbours : spec_.effort == kExactEffort;
  if (may_use_contexts || !transform_.is_copy()) return false;
  const TensorShape& shape = tensor_.shape;
  const bool is_dense =
      tensor_.row_stride == static_cast<int64_t>(shape.columns) && tensor_.column_stride == 1 &&
      tensor_.channel_stride == static_cast<int64_t>(shape.positions()) &&
      (shape.images == 1 || tensor_.image_stride == static_cast<int64_t>(shape.channels * shape.positions()));
  if (!is_dense) return false;
  const auto* const begin = static_cast<const uint8_t*>(tensor_.data);
  const auto* const last_band = static_cast<const uint8_t*>(planes.values) + (bands() - 1) * shape.positions();
  return static_cast<uint64_t>(last_band - begin) + planes.positions + kSlackBytes <= shape.values();
}

// Returns false if tokens were asked for and a symbol does not fit.
bool GroupSymbols::transform_to(bool is_wide) {
  uint8_t* const tokens = is_wide ? nullptr : tokens_.reserve(count() + kSlackBytes);
  int32_t* const symbols = is_wide ? symbols_.reserve(count()) : nullptr;
  const bool by_band = is_wide || !spec_.pools_bands();
  ranges_.assign(by_band ? bands() : 1, {});
  std::vector<SymbolRange> block_ranges(ranges_.size());
  bool is_finite = true;
  for (Block& block : blocks_) {
    std::fill(block_ranges.begin(), block_ranges.end(), SymbolRange{});
    const auto planes = gather(tensor_, block.tile, tiling_, planes_);
    if (!is_wide && tiling_.cell == 1 && is_planar(tensor_, block.tile) && can_borrow(planes)) {
      block.tokens = static_cast<const uint8_t*>(planes.values);
      block.band_stride = static_cast<uint64_t>(planes.channel_stride);
      transform_.measure(planes, {block_ranges.data(), by_band});
    } else {
      block.tokens = is_wide ? nullptr : tokens + block.first_symbol;
      block.band_stride = block.tile.positions();
      is_finite &= transform_.forward(planes, is_wide ? nullptr : tokens + block.first_symbol,
                                      is_wide ? symbols + block.first_symbol : nullptr, {block_ranges.data(), by_band});
    }
    block.range = {};
    for (size_t band = 0; band < block_ranges.size(); ++band) {
      ranges_[band].add(block_ranges[band]);
      block.range.add(block_ranges[band]);
    }
    if (!is_wide && shift_for(block.range.minimum, block.range.maximum, token_minimum_) > 0) return false;
  }
  if (!is_finite && !spec_.clamps_nonfinite) {
    throw Error(ErrorCode::kNonFinite,
                "the array holds NaN or infinity; nonfinite='clamp' codes NaN as 0 and clamps infinities");
  }
  return true;
}

uint64_t GroupSymbols::positions() const {
  uint64_t positions = 0;
  for (const Block& block : blocks_) positions += block.tile.positions();
  return positions;
}

const uint8_t* GroupSymbols::tokens(const Block& block, uint64_t band, int shift) {
  const uint64_t positions = block.tile.positions();
  if (!is_wide_) return block.tokens + band * block.band_stride;
  uint8_t* const converted = converted_.reserve(positions + kSlackBytes);
  kernels_.symbols_to_tokens(symbols(block, band), positions, shift, converted);
  return converted;
}

const uint8_t* GroupSymbols::residuals(const Block& block, uint64_t band) {
  const uint64_t positions = block.tile.positions();
  uint8_t* const residuals = residuals_.reserve(positions + kSlackBytes);
  kernels_.subtract_above(tokens(block, band, 0), block.tile.columns, positions, residuals);
  return residuals;
}

int32_t* GroupSymbols::copy_symbols(const Block& block) {
  const size_t count = this->count(block);
  int32_t* const copied = copied_.reserve(count);
  const uint64_t positions = block.tile.positions();
  for (uint64_t band = 0; band < bands(); ++band) {
    if (is_wide_) {
      std::copy_n(symbols(block, band), positions, copied + band * positions);
    } else {
      kernels_.tokens_to_symbols(tokens(block, band, 0), positions, token_minimum_, 0, copied + band * positions);
    }
  }
  return copied;
}

}  // namespace fmc
