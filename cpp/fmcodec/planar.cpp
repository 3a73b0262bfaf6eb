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

// Cells of a tile whose value `offset` along an axis lies within begin..end.
struct CellRange {
  uint64_t first, count;
};
CellRange cells_within(uint64_t tile_begin, uint64_t tile_count, uint32_t cell, uint64_t offset, uint64_t begin,
                       uint64_t end) {
  const auto cells_before = [&](uint64_t value) {  // first cell whose value is not before `value`
    const uint64_t index = value > offset ? (value - offset + cell - 1) / cell : 0;
    return std::clamp(index, tile_begin, tile_begin + tile_count) - tile_begin;
  };
  const uint64_t first = cells_before(begin);
  return {first, cells_before(end) - first};
}

// Planes of one place of the cells: those within the image, then what repeats its last row and column.
void gather_place(const TensorView& tensor, const Tile& tile, uint32_t cell, uint64_t i, uint64_t j, uint8_t* planes,
                  CopyStrides plane_strides) {
  const TensorShape& shape = tensor.shape;
  const uint64_t rows = cells_within(tile.row, tile.rows, cell, i, 0, shape.rows).count;
  const uint64_t columns = cells_within(tile.column, tile.columns, cell, j, 0, shape.columns).count;
  const CopyStrides strides{tensor.channel_stride, tensor.row_stride * cell, tensor.column_stride * cell};
  const auto copy = [&](uint64_t row, uint64_t column, uint64_t to_row, uint64_t to_column, uint64_t row_count,
                        uint64_t column_count) {
    if (row_count == 0 || column_count == 0) return;
    const uint64_t element = to_row * tile.columns + to_column;
    copy_elements(tensor.dtype, tensor.at(tile.image, 0, row, column), strides,
                  planes + element * size_of(tensor.dtype), plane_strides, shape.channels, row_count, column_count);
  };
  const uint64_t first_row = tile.row * cell + i, first_column = tile.column * cell + j;
  copy(first_row, first_column, 0, 0, rows, columns);
  copy(shape.rows - 1, first_column, rows, 0, tile.rows - rows, columns);
  copy(first_row, shape.columns - 1, 0, columns, rows, tile.columns - columns);
  copy(shape.rows - 1, shape.columns - 1, rows, columns, tile.rows - rows, tile.columns - columns);
}

}  // namespace

PlanarBlock<const void> gather(const TensorView& tensor, const Tile& tile, uint32_t cell, Buffer<uint8_t>& scratch) {
  if (cell == 1 && is_planar(tensor, tile))
    return {tensor.at(tile.image, 0, tile.row, tile.column), tensor.channel_stride, tile.positions()};
  const uint64_t places = uint64_t{cell} * cell, positions = tile.positions();
  const size_t value_bytes = size_of(tensor.dtype);
  uint8_t* const planes = scratch.reserve(tensor.shape.channels * places * positions * value_bytes);
  const CopyStrides plane_strides{static_cast<int64_t>(places * positions), static_cast<int64_t>(tile.columns), 1};
  for (uint64_t place = 0; place < places; ++place)
    gather_place(tensor, tile, cell, place / cell, place % cell, planes + place * positions * value_bytes,
                 plane_strides);
  return {planes, static_cast<int64_t>(positions), positions};
}

void scatter(const PlanarBlock<const void>& block, const Tile& tile, uint32_t cell, const Region& region,
             const MutableTensorView& out) {
  const uint64_t places = uint64_t{cell} * cell;
  for (uint64_t place = 0; place < places; ++place) {
    const uint64_t i = place / cell, j = place % cell;
    const CellRange rows = cells_within(tile.row, tile.rows, cell, i, region.row, region.row + region.extent.rows);
    const CellRange columns =
        cells_within(tile.column, tile.columns, cell, j, region.column, region.column + region.extent.columns);
    if (rows.count == 0 || columns.count == 0) continue;
    const uint64_t plane = region.channel * places + place;
    const uint64_t element =
        plane * static_cast<uint64_t>(block.channel_stride) + rows.first * tile.columns + columns.first;
    const void* const from = static_cast<const uint8_t*>(block.values) + element * size_of(out.dtype);
    void* const to = out.at(tile.image - region.image, 0, (tile.row + rows.first) * cell + i - region.row,
                            (tile.column + columns.first) * cell + j - region.column);
    copy_elements(out.dtype, from,
                  {block.channel_stride * static_cast<int64_t>(places), static_cast<int64_t>(tile.columns), 1}, to,
                  {out.channel_stride, out.row_stride * cell, out.column_stride * cell}, region.extent.channels,
                  rows.count, columns.count);
  }
}

}  // namespace fmc
