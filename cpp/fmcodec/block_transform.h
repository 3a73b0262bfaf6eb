// SPDX-License-Identifier: Apache-2.0
// The numeric stages of one block: values -> levels -> coefficients -> symbols, and back (docs/format.md, sections 3 to
// 5).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "fmcodec/buffer.h"
#include "fmcodec/cell_transform.h"
#include "fmcodec/cells.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/spec.h"

namespace fmc {

// The values of a block, channel by channel, the positions of a channel next to each other. With cells of several
// values, each place of a cell has a plane of its own (planar.h).
template <typename Value>
struct PlanarBlock {
  Value* values;
  int64_t channel_stride;  // in elements
  uint64_t positions;
  CellExtents extents = {};  // empty without cells
};

// Where the decoder finds the symbols of a band: tokens with shift 0, or symbols. Both null: all are 0.
struct BandSource {
  const uint8_t* tokens;
  const int32_t* symbols;
};

// Where extents are added up: of each band, or of all of them in one.
struct RangeList {
  SymbolRange* ranges;
  bool by_band;
  SymbolRange* of(uint64_t band) const { return &ranges[by_band ? band : 0]; }
};

class BlockTransform {
 public:
  BlockTransform(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, Dtype dtype);

  // Writes the symbols of band b to [b * positions, ...) of `tokens` or, if that is null, of `symbols`, and adds
  // to their extents. Tokens of symbols outside the token range are meaningless. Returns whether all values are finite.
  bool forward(const PlanarBlock<const void>& block, uint8_t* tokens, int32_t* symbols, const RangeList& ranges);

  // Whether the values are the tokens, channel for channel.
  bool is_copy() const { return is_byte_identity_ && spec_.permutation.empty(); }
  // What forward() does beside copying if is_copy().
  void measure(const PlanarBlock<const void>& block, const RangeList& ranges) const;

  // `source(b)` gives the BandSource of band b.
  template <class Source>
  void inverse(const Source& source, const PlanarBlock<void>& block);

 private:
  // Values to tokens and back, where symbols are levels that fit tokens.
  bool tokens_from_values(const void* values, size_t count, uint8_t* tokens) const;
  void values_from_tokens(const uint8_t* tokens, size_t count, void* values) const;
  void translate(const std::array<uint8_t, 256>& table, const uint8_t* bytes, size_t count, uint8_t* translated) const;
  bool forward_direct(const PlanarBlock<const void>& block, uint8_t* tokens, const RangeList& ranges);
  void measure_run(const uint8_t* tokens, uint64_t first_band, uint64_t count, uint64_t positions,
                   const RangeList& ranges) const;
  uint64_t channel_of(uint64_t input) const { return spec_.permutation.empty() ? input : spec_.permutation[input]; }
  template <typename Value>
  auto channel(const PlanarBlock<Value>& block, uint64_t input, uint64_t position, uint64_t place = 0) const;
  bool is_contiguous_at(int64_t channel_stride, uint64_t positions) const {
    return spec_.permutation.empty() && channel_stride == static_cast<int64_t>(positions);
  }
  static uint64_t run_of_channels(uint64_t positions);
  template <class Source>
  uint64_t inverse_direct(const Source& source, const PlanarBlock<void>& block, uint64_t first_band);
  template <class Source>
  uint64_t gather_tokens(const Source& source, uint64_t first_band, uint64_t most, uint64_t positions);
  // Room for the rows of a strip of a group, one for each channel or coefficient. In a row, each place of a cell has at
  // most `positions` integers, `place_stride` apart.
  struct Strip {
    int32_t* rows;
    size_t stride;
    size_t place_stride;
    uint64_t positions;
  };
  Strip strip(const TransformGroup& group);
  // The channel transform or its inverse, of the first `count` integers of each row. Returns the rows of coefficients,
  // or of levels.
  int32_t* transform_group(const TransformGroup& group, const Strip& strip, size_t count, bool is_forward);
  int32_t* multiply_basis(const TransformGroup& group, const Strip& strip, size_t count, bool is_forward);
  // The integers of a row that the channel transform works on, all places of the cells.
  size_t row_count(const Strip& strip, size_t count) const {
    return places_ == 1 ? count : (places_ - 1) * strip.place_stride + count;
  }
  // Where the symbols of a block go: tokens, or symbols if that is null.
  struct SymbolSink {
    uint8_t* tokens;
    int32_t* symbols;
    uint64_t positions;
    const RangeList& ranges;
  };
  // A group in one pass, if its symbols are tokens. Return false if that cannot be.
  bool can_fuse(const TransformGroup& group) const;
  bool forward_fused(const TransformGroup& group, const PlanarBlock<const void>& block, uint8_t* tokens,
                     const RangeList& ranges) const;
  template <class Source>
  bool inverse_fused(const TransformGroup& group, const Source& source, const PlanarBlock<void>& block) const;
  bool inverse_fused(const TransformGroup& group, const std::array<const uint8_t*, kMaxFusedSize>& tokens,
                     const PlanarBlock<void>& block) const;
  void put_symbols(const int32_t* symbols, uint64_t band, uint64_t position, size_t count,
                   const SymbolSink& sink) const;
  // Copies the symbols of a band to `symbols`. Returns whether any may be other than 0.
  bool read_symbols(const BandSource& band, uint64_t position, size_t count, int32_t* symbols) const;
  uint64_t flag_band(uint64_t input, uint64_t place) const { return plan_.first_flag_band() + input * places_ + place; }

  const KernelTable& kernels_;
  const Spec& spec_;
  const BandPlan& plan_;
  Dtype dtype_;
  Quantizer quantizer_;
  bool is_direct_;   // symbols are levels
  uint64_t places_;  // values of a cell
  CellTransform cells_;
  // For values of 8 bits: the kernels' results for every value and every token.
  bool has_byte_tables_ = false;
  bool is_byte_identity_ = false;  // both tables are
  std::array<uint8_t, 256> token_of_value_, value_of_token_;
  Buffer<int32_t> rows_, product_, pairs_, flags_;
  Buffer<uint8_t> run_;
};

template <typename Value>
auto BlockTransform::channel(const PlanarBlock<Value>& block, uint64_t input, uint64_t position, uint64_t place) const {
  using Byte = std::conditional_t<std::is_const_v<Value>, const uint8_t, uint8_t>;
  const int64_t element =
      static_cast<int64_t>(channel_of(input) * places_ + place) * block.channel_stride + static_cast<int64_t>(position);
  return reinterpret_cast<Byte*>(block.values) + element * static_cast<int64_t>(size_of(dtype_));
}

// The identity: tokens straight to values. Returns the number of bands; 0 if the first one has no tokens.
template <class Source>
uint64_t BlockTransform::inverse_direct(const Source& source, const PlanarBlock<void>& block, uint64_t first_band) {
  const uint64_t positions = block.positions, bands = plan_.bands();
  const bool is_contiguous = is_contiguous_at(block.channel_stride, positions);
  const uint64_t least = is_contiguous && !is_byte_identity_ ? run_of_channels(positions) : 1;
  uint64_t done = first_band;
  BandSource band = source(done);
  while (band.symbols == nullptr) {
    // Bands whose tokens stand next to each other, and the first one behind them.
    const BandSource first = band;
    uint64_t count = 1;
    for (; done + count < bands; ++count) {
      band = source(done + count);
      if (!is_contiguous || first.tokens == nullptr || band.tokens != first.tokens + count * positions) break;
    }
    const uint64_t wanted = std::min(least, bands - done);
    if (count < wanted) {
      count = gather_tokens(source, done, wanted, positions);
      values_from_tokens(run_.get(), count * positions, channel(block, done, 0));
      if (done + count < bands) band = source(done + count);
    } else if (first.tokens != nullptr) {
      values_from_tokens(first.tokens, count * positions, channel(block, done, 0));
    } else {
      std::memset(channel(block, done, 0), 0, positions * size_of(dtype_));  // 0 in every dtype
    }
    done += count;
    if (done == bands) break;
  }
  return done - first_band;
}

// Brings the tokens of small bands together. Returns their number: fewer than `most` if one of them has no tokens.
template <class Source>
uint64_t BlockTransform::gather_tokens(const Source& source, uint64_t first_band, uint64_t most, uint64_t positions) {
  uint8_t* const run = run_.reserve(most * positions + kSlackBytes);
  uint64_t count = 0;
  for (; count < most; ++count) {
    const BandSource band = source(first_band + count);
    if (band.symbols != nullptr) break;
    if (band.tokens != nullptr) {
      std::memcpy(run + count * positions, band.tokens, positions);
    } else {
      std::memset(run + count * positions, 0, positions);
    }
  }
  return count;
}

template <class Source>
bool BlockTransform::inverse_fused(const TransformGroup& group, const Source& source,
                                   const PlanarBlock<void>& block) const {
  if (!can_fuse(group)) return false;
  std::array<const uint8_t*, kMaxFusedSize> tokens;
  for (uint32_t k = 0; k < group.kept; ++k) {
    const BandSource band = source(group.first_kept_band + k);
    if (band.symbols != nullptr) return false;
    tokens[k] = band.tokens;
  }
  return inverse_fused(group, tokens, block);
}

template <class Source>
void BlockTransform::inverse(const Source& source, const PlanarBlock<void>& block) {
  for (uint64_t g = 0; g < plan_.group_count(); ++g) {
    if (is_direct_) {
      const uint64_t done = inverse_direct(source, block, g);
      if (done > 0) {
        g += done - 1;
        continue;
      }
    }
    const TransformGroup group = plan_.group(g);
    if (inverse_fused(group, source, block)) continue;
    const Strip strip = this->strip(group);
    for (uint64_t position = 0; position < block.positions; position += strip.positions) {
      const size_t count = std::min(strip.positions, block.positions - position);
      // A basis has no rows for what is not kept.
      const uint32_t inputs = spec_.transform == Transform::kKlt ? group.kept : group.size;
      for (uint32_t k = 0; k < inputs; ++k) {
        int32_t* const row = strip.rows + k * strip.stride;
        if (k >= group.kept) {
          std::fill_n(row, row_count(strip, count), 0);
          continue;
        }
        for (uint64_t place = 0; place < places_; ++place) {
          int32_t* const part = row + place * strip.place_stride;
          if (read_symbols(source((group.first_kept_band + k) * places_ + place), position, count, part))
            kernels_.dequantize_band(part, count, plan_.step(group, k));
        }
        cells_.inverse(row, strip.place_stride, block.extents, position, count);
      }
      int32_t* const rows = transform_group(group, strip, row_count(strip, count), false);
      for (uint32_t n = 0; n < group.size; ++n) {
        for (uint64_t place = 0; place < places_; ++place) {
          int32_t* const levels = rows + n * strip.stride + place * strip.place_stride;
          if (spec_.exact_zeros) {
            int32_t* const flags = flags_.reserve(count + kSlackBytes / sizeof(int32_t));
            read_symbols(source(flag_band(group.first_input + n, place)), position, count, flags);
            kernels_.clear_unflagged(flags, count, levels);
          }
          kernels_.dequantize_levels(dtype_, levels, count, quantizer_,
                                     channel(block, group.first_input + n, position, place));
        }
      }
    }
  }
}

}  // namespace fmc
