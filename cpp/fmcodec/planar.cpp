// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/planar.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace fmc {
namespace {

// Strides of one side of a copy, in elements.
struct CopyStrides {
  int64_t channel, row, column;
};

// Copies channels x rows x columns elements, which are arrays of bytes: the caller's may be unaligned. Positions are
// taken 16 at a time, so that with interleaved channels both sides stay within few cache lines.
template <typename T>
void copy_box(const T* from, CopyStrides from_strides, T* to, CopyStrides to_strides, uint64_t channels, uint64_t rows,
              uint64_t columns) {
  constexpr uint64_t kRun = 16;
  const bool has_runs = from_strides.column == 1 && to_strides.column == 1;
  for (uint64_t row = 0; row < rows; ++row) {
    for (uint64_t begin = 0; begin < columns; begin += has_runs ? columns : kRun) {
      const uint64_t count = has_runs ? columns : std::min(kRun, columns - begin);
      const T* source =
          from + static_cast<int64_t>(row) * from_strides.row + static_cast<int64_t>(begin) * from_strides.column;
      T* target = to + static_cast<int64_t>(row) * to_strides.row + static_cast<int64_t>(begin) * to_strides.column;
      for (uint64_t channel = 0; channel < channels;
           ++channel, source += from_strides.channel, target += to_strides.channel) {
        if (has_runs) {
          std::memcpy(target, source, count * sizeof(T));
          continue;
        }
        for (uint64_t i = 0; i < count; ++i) {
          target[static_cast<int64_t>(i) * to_strides.column] = source[static_cast<int64_t>(i) * from_strides.column];
        }
      }
    }
  }
}

void copy_elements(Dtype dtype, const void* from, CopyStrides from_strides, void* to, CopyStrides to_strides,
                   uint64_t channels, uint64_t rows, uint64_t columns) {
  const auto copy = [&](auto element) {
    using T = decltype(element);
    copy_box(static_cast<const T*>(from), from_strides, static_cast<T*>(to), to_strides, channels, rows, columns);
  };
  switch (size_of(dtype)) {
    case 4: return copy(std::array<uint8_t, 4>{});
    case 2: return copy(std::array<uint8_t, 2>{});
    default: return copy(std::array<uint8_t, 1>{});
  }
}

}  // namespace

PlanarBlock<const void> gather(const TensorView& tensor, const Tile& tile, Buffer<uint8_t>& scratch) {
  const void* const origin = tensor.at(tile.image, 0, tile.row, tile.column);
  if (is_planar(tensor, tile)) return {origin, tensor.channel_stride, tile.positions()};
  const uint64_t channels = tensor.shape.channels;
  uint8_t* const planes = scratch.reserve(channels * tile.positions() * size_of(tensor.dtype));
  const CopyStrides plane_strides{static_cast<int64_t>(tile.positions()), static_cast<int64_t>(tile.columns), 1};
  copy_elements(tensor.dtype, origin, {tensor.channel_stride, tensor.row_stride, tensor.column_stride}, planes,
                plane_strides, channels, tile.rows, tile.columns);
  return {planes, plane_strides.channel, tile.positions()};
}

void scatter(const PlanarBlock<const void>& block, const Tile& tile, const Region& region,
             const MutableTensorView& out) {
  const uint64_t first_row = std::max(tile.row, region.row),
                 last_row = std::min(tile.row + tile.rows, region.row + region.extent.rows);
  const uint64_t first_column = std::max(tile.column, region.column);
  const uint64_t last_column = std::min(tile.column + tile.columns, region.column + region.extent.columns);
  const uint64_t first_element = region.channel * static_cast<uint64_t>(block.channel_stride) +
                                 (first_row - tile.row) * tile.columns + (first_column - tile.column);
  const void* const from = static_cast<const uint8_t*>(block.values) + first_element * size_of(out.dtype);
  void* const to = out.at(tile.image - region.image, 0, first_row - region.row, first_column - region.column);
  copy_elements(out.dtype, from, {block.channel_stride, static_cast<int64_t>(tile.columns), 1}, to,
                {out.channel_stride, out.row_stride, out.column_stride}, region.extent.channels, last_row - first_row,
                last_column - first_column);
}

}  // namespace fmc
