// SPDX-License-Identifier: Apache-2.0
// Interlaced order and contexts from neighbours (docs/format.md, section 7.4).
//
// The tokens of a tile are coded in phases, coarse to fine: first those of a sparse grid, then on each finer grid those
// between four diagonal neighbours, then those between four straight ones. All neighbours of a token belong to earlier
// phases, so a phase is one piece of vector work, in the encoder and in the decoder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "fmcodec/buffer.h"
#include "fmcodec/kernels/kernels.h"

namespace fmc {

class Lattice {
 public:
  static constexpr size_t kLevels = 3;
  static constexpr size_t kPhases = 1 + 2 * kLevels;

  Lattice(const KernelTable& kernels, int32_t token_minimum);

  // Prepares for tiles of this shape; cheap if it is that of the last call.
  void set_tile(size_t bands, size_t rows, size_t columns);
  // Tokens of each phase. The phases stand one behind the other in `ordered` and `contexts`.
  const std::array<size_t, kPhases>& phase_counts() const { return phase_counts_; }

  // Brings the tokens (bands by rows by columns) into the order of the phases, each with its context.
  // All buffers have kSlackBytes of room.
  void order(const uint8_t* tokens, uint8_t* ordered, uint8_t* contexts);

  // The inverse. Calls `read(contexts, count, ordered)` for each phase, which must fill in the ordered tokens.
  using ReadPhase = std::function<void(const uint8_t* contexts, size_t count, uint8_t* ordered)>;
  void restore(const ReadPhase& read, uint8_t* tokens);

 private:
  enum Kind : uint8_t { kEven, kDiagonal, kStraight, kGuard };

  // The grid of all positions whose row and column are multiples of 2^level. Its codes are laid out with guard elements
  // around each band, which stand for the neighbours outside the tile.
  struct Level {
    size_t count = 0, even = 0, diagonal = 0, straight = 0;  // tokens of all bands
    size_t even_per_band = 0;
    size_t band_stride = 0, padded_count = 0;
    std::array<ptrdiff_t, 4> diagonal_offsets{}, straight_offsets{};
    Buffer<uint8_t> kinds, padded_kinds;
    Buffer<uint8_t> tokens;  // of this level, band by band, row by row
  };

  void set_level(size_t level, size_t bands, size_t rows, size_t columns);
  void walk(const ReadPhase& read, uint8_t* ordered, uint8_t* contexts, uint8_t* tokens);

  const KernelTable& kernels_;
  std::array<uint8_t, 256> code_of_token_;
  size_t bands_ = 0, rows_ = 0, columns_ = 0;
  std::array<Level, kLevels> levels_;
  std::array<size_t, kPhases> phase_counts_{};
  Buffer<uint8_t> codes_, means_, band_codes_, grid_, grid_contexts_, ordered_, contexts_;
};

}  // namespace fmc
