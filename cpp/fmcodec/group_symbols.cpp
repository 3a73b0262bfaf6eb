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
    blocks_.push_back({tiling_.tile(b), first_symbol, {}, nullptr});
    first_symbol += count(blocks_.back());
  }
  is_wide_ = spec_.tables && spec_.tables->has_shift();
  if (!transform_to(is_wide_)) {
    is_wide_ = true;
    transform_to(true);
  }
}

// Whether kernels may read kSlackBytes behind a block of bytes in the caller's memory.
bool GroupSymbols::is_readable_behind(const PlanarBlock<const void>& planes) const {
  const TensorShape& shape = tensor_.shape;
  const bool is_dense = tensor_.row_stride == static_cast<int64_t>(shape.columns) && tensor_.column_stride == 1 &&
                        tensor_.channel_stride == static_cast<int64_t>(shape.positions()) &&
                        (shape.images == 1 ||
                         tensor_.image_stride == static_cast<int64_t>(shape.channels * shape.positions()));
  const auto* const begin = static_cast<const uint8_t*>(planes.values);
  const auto* const tensor_begin = static_cast<const uint8_t*>(tensor_.data);
  const std::less_equal<const uint8_t*> is_not_behind;
  return is_dense && is_not_behind(tensor_begin, begin) &&
         is_not_behind(begin + bands() * planes.positions + kSlackBytes, tensor_begin + shape.values());
}

// Returns false if tokens were asked for and a symbol does not fit.
bool GroupSymbols::transform_to(bool is_wide) {
  uint8_t* const tokens = is_wide ? nullptr : tokens_.reserve(count() + kSlackBytes);
  int32_t* const symbols = is_wide ? symbols_.reserve(count()) : nullptr;
  ranges_.assign(bands(), {});
  std::vector<SymbolRange> block_ranges(bands());
  bool is_finite = true;
  for (Block& block : blocks_) {
    std::fill(block_ranges.begin(), block_ranges.end(), SymbolRange{});
    const auto planes = gather(tensor_, block.tile, planes_);
    if (!is_wide && transform_.is_copy(planes) && is_readable_behind(planes)) {
      block.tokens = static_cast<const uint8_t*>(planes.values);
      transform_.measure(block.tokens, planes.positions, block_ranges.data());
    } else {
      block.tokens = tokens + block.first_symbol;
      is_finite &= transform_.forward(planes, is_wide ? nullptr : tokens + block.first_symbol,
                                      is_wide ? symbols + block.first_symbol : nullptr, block_ranges.data());
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
  if (!is_wide_) return tokens(block) + band * positions;
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
  if (is_wide_) {
    std::copy_n(symbols(block, 0), count, copied);
  } else {
    kernels_.tokens_to_symbols(tokens(block), count, token_minimum_, 0, copied);
  }
  return copied;
}

}  // namespace fmc
