// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/lattice.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace fmc {

namespace {

const std::array<uint8_t, 256> kCodeOfMagnitude = [] {
  std::array<uint8_t, 256> codes;
  for (size_t magnitude = 0; magnitude < codes.size(); ++magnitude) {
    codes[magnitude] =
        static_cast<uint8_t>(std::min(63.0, std::floor(8 * std::log2(1.0 + static_cast<double>(magnitude)) + 0.5)));
  }
  return codes;
}();

}  // namespace

Lattice::Lattice(const KernelTable& kernels, int32_t token_minimum) : kernels_(kernels) {
  for (int32_t token = 0; token < 256; ++token) {
    const int32_t h = ((token - token_minimum) & 255) + token_minimum;
    code_of_token_[static_cast<size_t>(token)] = kCodeOfMagnitude[static_cast<size_t>(std::abs(h))];
  }
}

void Lattice::set_tile(size_t bands, size_t rows, size_t columns) {
  if (bands == bands_ && rows == rows_ && columns == columns_) return;
  bands_ = bands;
  rows_ = rows;
  columns_ = columns;
  for (size_t d = 0; d < kLevels; ++d) {
    set_level(d, bands, rows, columns);
    rows = (rows + 1) / 2;
    columns = (columns + 1) / 2;
    phase_counts_[kPhases - 2 - 2 * d] = levels_[d].diagonal;
    phase_counts_[kPhases - 1 - 2 * d] = levels_[d].straight;
  }
  phase_counts_[0] = levels_[kLevels - 1].even;
}

void Lattice::set_level(size_t index, size_t bands, size_t rows, size_t columns) {
  Level& level = levels_[index];
  // A band: a row of guards, the rows with a guard before each, a row of guards, and one more for the last corner.
  const size_t stride = columns + 1;
  level.band_stride = (rows + 2) * stride + 1;
  level.padded_count = bands * level.band_stride;
  level.count = bands * rows * columns;
  level.even_per_band = (rows + 1) / 2 * ((columns + 1) / 2);
  level.even = bands * level.even_per_band;
  level.diagonal = bands * (rows / 2) * (columns / 2);
  level.straight = level.count - level.even - level.diagonal;
  const auto s = static_cast<ptrdiff_t>(stride);
  level.diagonal_offsets = {-s - 1, -s + 1, s - 1, s + 1};
  level.straight_offsets = {-s, -1, 1, s};

  uint8_t* const kinds = level.kinds.reserve(level.count + kSlackBytes);
  uint8_t* const padded = level.padded_kinds.reserve(level.padded_count + kSlackBytes);
  std::memset(padded, kGuard, level.band_stride);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; ++column) {
      const Kind kind = row % 2 != column % 2 ? kStraight : row % 2 != 0 ? kDiagonal : kEven;
      kinds[row * columns + column] = kind;
      padded[(row + 1) * stride + 1 + column] = kind;
    }
  }
  for (size_t band = 1; band < bands; ++band) {
    std::memcpy(kinds + band * rows * columns, kinds, rows * columns);
    std::memcpy(padded + band * level.band_stride, padded, level.band_stride);
  }
}

void Lattice::order(const uint8_t* tokens, uint8_t* ordered, uint8_t* contexts) {
  // The tokens of each level, then all phases coarse to fine: a phase may overwrite what stands behind it.
  std::array<const uint8_t*, kLevels> level_tokens;
  for (size_t d = 0; d < kLevels; ++d) {
    Level& level = levels_[d];
    level_tokens[d] = tokens;
    uint8_t* const even = d + 1 < kLevels ? levels_[d + 1].tokens.reserve(level.even + kSlackBytes) : ordered;
    kernels_.select_kind(tokens, level.kinds.get(), kEven, level.count, even);
    tokens = even;
  }
  uint8_t* out = ordered + phase_counts_[0];
  for (size_t d = kLevels; d-- > 0;) {
    for (const Kind kind : {kDiagonal, kStraight})
      out += kernels_.select_kind(level_tokens[d], levels_[d].kinds.get(), kind, levels_[d].count, out);
  }
  walk([](const uint8_t*, size_t, uint8_t*) {}, ordered, contexts, nullptr);
}

void Lattice::restore(const ReadPhase& read, uint8_t* tokens) {
  const size_t count = levels_[0].count;
  walk(read, ordered_.reserve(count + kSlackBytes), contexts_.reserve(count + kSlackBytes), tokens);
}

// `tokens` is null if order() has put the tokens of each level in their place, else where those of the tile go.
void Lattice::walk(const ReadPhase& read, uint8_t* ordered, uint8_t* contexts, uint8_t* tokens) {
  std::memset(contexts, 0, phase_counts_[0]);
  read(contexts, phase_counts_[0], ordered);
  const uint8_t* even = ordered;  // the tokens of the coarser grid
  ordered += phase_counts_[0];
  contexts += phase_counts_[0];
  for (size_t d = kLevels; d-- > 0;) {
    Level& level = levels_[d];
    const size_t margin = level.band_stride + kSlackBytes;
    uint8_t* const codes = codes_.reserve(level.count + kSlackBytes);
    uint8_t* const means = means_.reserve(bands_ + kSlackBytes);
    uint8_t* const band_codes = band_codes_.reserve(level.padded_count + kSlackBytes);
    uint8_t* const grid = grid_.reserve(level.padded_count + 2 * margin) + margin;
    uint8_t* const grid_contexts = grid_contexts_.reserve(level.padded_count + kSlackBytes);
    const uint8_t* const padded_kinds = level.padded_kinds.get();

    kernels_.translate(even, level.even, code_of_token_.data(), codes);
    kernels_.mean_of_runs(codes, level.even_per_band, bands_, means);
    kernels_.repeat_each(means, level.band_stride, bands_, band_codes);
    kernels_.repeat_each(means, level.band_stride, bands_, grid);
    kernels_.place_kind(codes, padded_kinds, kEven, level.padded_count, grid);

    uint8_t* const diagonal = ordered;
    // Guard elements at both ends have neighbours beyond the grid. Nobody asks for their contexts, but they are
    // computed.
    std::memset(grid - margin, 0, margin);
    std::memset(grid + level.padded_count, 0, margin);
    kernels_.neighbour_contexts(grid, band_codes, level.padded_count, level.diagonal_offsets.data(), grid_contexts);
    kernels_.select_kind(grid_contexts, padded_kinds, kDiagonal, level.padded_count, contexts);
    read(contexts, level.diagonal, diagonal);
    kernels_.translate(diagonal, level.diagonal, code_of_token_.data(), codes);
    kernels_.place_kind(codes, padded_kinds, kDiagonal, level.padded_count, grid);
    ordered += level.diagonal;
    contexts += level.diagonal;

    uint8_t* const straight = ordered;
    kernels_.neighbour_contexts(grid, band_codes, level.padded_count, level.straight_offsets.data(), grid_contexts);
    kernels_.select_kind(grid_contexts, padded_kinds, kStraight, level.padded_count, contexts);
    read(contexts, level.straight, straight);
    ordered += level.straight;
    contexts += level.straight;

    if (tokens == nullptr) {
      even = level.tokens.get();
      continue;
    }
    uint8_t* const merged = d > 0 ? level.tokens.reserve(level.count + kSlackBytes) : tokens;
    kernels_.place_kind(even, level.kinds.get(), kEven, level.count, merged);
    kernels_.place_kind(diagonal, level.kinds.get(), kDiagonal, level.count, merged);
    kernels_.place_kind(straight, level.kinds.get(), kStraight, level.count, merged);
    even = merged;
  }
}

}  // namespace fmc
