// SPDX-License-Identifier: Apache-2.0
// The symbols of one group of blocks, as the encoder needs them again and again: as tokens, true or residual.
#pragma once

#include <cstdint>
#include <vector>

#include "fmcodec/block_transform.h"
#include "fmcodec/buffer.h"
#include "fmcodec/frame.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/planar.h"
#include "fmcodec/spec.h"

namespace fmc {

class GroupSymbols {
 public:
  struct Block {
    Tile tile;
    uint64_t first_symbol;  // among those of the group
    SymbolRange range;      // of all its symbols
    // Tokens, if symbols are not wide: in tokens_ or, if the values are the tokens, in the memory of the tensor.
    const uint8_t* tokens;
    uint64_t band_stride;
  };

  // All arguments must outlive the object.
  GroupSymbols(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, const TensorView& tensor,
               const Tiling& tiling);

  // Transforms the blocks of a group. Throws Error(kNonFinite).
  void load(uint64_t group);

  // Whether symbols are kept as 32-bit integers, because not all of them fit tokens at shift 0.
  bool is_wide() const { return is_wide_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  uint64_t bands() const { return plan_.bands(); }
  uint64_t positions() const;  // of all blocks
  uint64_t count(const Block& block) const { return bands() * block.tile.positions(); }
  uint64_t count() const { return bands() * positions(); }
  // Extent of the symbols of a band in the group. Precondition: is_wide(), or the effort does not pool bands.
  const SymbolRange& range(uint64_t band) const { return ranges_[band]; }

  // Tokens of a band of a block at a shift, with kSlackBytes of room behind them that may be read. Valid until the next
  // call.
  const uint8_t* tokens(const Block& block, uint64_t band, int shift);
  // Whether the tokens of the next band stand behind those of a band.
  bool is_contiguous(const Block& block) const { return !is_wide_ && block.band_stride == block.tile.positions(); }
  // Its residual tokens (section 6.1), in the same way. Precondition: its symbols fit tokens at shift 0.
  const uint8_t* residuals(const Block& block, uint64_t band);
  // All tokens of a block, band by band. Precondition: not is_wide(), and tokens are kept in one piece.
  const uint8_t* tokens(const Block& block) const { return block.tokens; }
  // Symbols of a band of a block. Precondition: is_wide().
  const int32_t* symbols(const Block& block, uint64_t band) const {
    return symbols_.get() + block.first_symbol + band * block.tile.positions();
  }
  // All symbols of a block, band by band; they belong to the caller until the next call.
  int32_t* copy_symbols(const Block& block);

 private:
  bool transform_to(bool is_wide);
  bool can_borrow(const PlanarBlock<const void>& planes) const;

  const KernelTable& kernels_;
  const Spec& spec_;
  const BandPlan& plan_;
  const TensorView& tensor_;
  const Tiling& tiling_;
  const int32_t token_minimum_;
  BlockTransform transform_;

  bool is_wide_ = false;
  std::vector<Block> blocks_;
  std::vector<SymbolRange> ranges_;  // by band
  Buffer<uint8_t> planes_, tokens_, converted_, residuals_;
  Buffer<int32_t> symbols_, copied_;
};

}  // namespace fmc
