// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/planar.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

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

// Calls function(T()) with an element of so many bytes, which may be unaligned.
template <class Function>
void with_element(Dtype dtype, const Function& function) {
  switch (size_of(dtype)) {
    case 4: return function(std::array<uint8_t, 4>{});
    case 2: return function(std::array<uint8_t, 2>{});
    default: return function(std::array<uint8_t, 1>{});
  }
}

void copy_elements(Dtype dtype, const void* from, CopyStrides from_strides, void* to, CopyStrides to_strides,
                   uint64_t channels, uint64_t rows, uint64_t columns) {
  with_element(dtype, [&](auto element) {
    using T = decltype(element);
    copy_box(static_cast<const T*>(from), from_strides, static_cast<T*>(to), to_strides, channels, rows, columns);
  });
}

constexpr int64_t kAbsent = INT64_MIN;

// Values of an image along an axis.
struct Range {
  uint64_t begin, count;
};

// Where the value at a place of each of some cells is among those of `range`, or kAbsent, in elements.
std::vector<int64_t> elements_along(const CellAxis& axis, uint64_t first_cell, uint64_t cells, uint64_t place,
                                    const Range& range, int64_t stride) {
  std::vector<int64_t> elements(cells, kAbsent);
  for (uint64_t c = 0; c < cells; ++c) {
    const uint64_t value = axis.begin(first_cell + c) + place;
    if (place < axis.extent(first_cell + c) && value >= range.begin && value - range.begin < range.count)
      elements[c] = static_cast<int64_t>(value - range.begin) * stride;
  }
  return elements;
}

// Where each value of a channel of a tile is, place by place, from the first of those in range on.
std::vector<int64_t> cell_elements(const Tiling& tiling, const Tile& tile, const Range& rows, const Range& columns,
                                   int64_t row_stride, int64_t column_stride) {
  std::vector<int64_t> elements;
  elements.reserve(uint64_t{tiling.cell} * tiling.cell * tile.positions());
  for (uint32_t i = 0; i < tiling.cell; ++i) {
    const auto along_rows = elements_along(tiling.row_axis(), tile.row, tile.rows, i, rows, row_stride);
    for (uint32_t j = 0; j < tiling.cell; ++j) {
      const auto along_columns =
          elements_along(tiling.column_axis(), tile.column, tile.columns, j, columns, column_stride);
      for (const int64_t row : along_rows) {
        for (const int64_t column : along_columns)
          elements.push_back(row == kAbsent || column == kAbsent ? kAbsent : row + column);
      }
    }
  }
  return elements;
}

}  // namespace

CellExtents cell_extents(const Tiling& tiling, const Tile& tile) {
  CellExtents extents;
  if (tiling.cell == 1) return extents;
  for (uint64_t row = tile.row; row < tile.row + tile.rows; ++row) {
    for (uint64_t column = tile.column; column < tile.column + tile.columns; ++column) {
      extents.rows.push_back(static_cast<int32_t>(tiling.row_axis().extent(row)));
      extents.columns.push_back(static_cast<int32_t>(tiling.column_axis().extent(column)));
    }
  }
  return extents;
}

PlanarBlock<const void> gather(const TensorView& tensor, const Tile& tile, const Tiling& tiling,
                               Buffer<uint8_t>& scratch) {
  const uint64_t positions = tile.positions(), places = uint64_t{tiling.cell} * tiling.cell;
  const auto stride = static_cast<int64_t>(positions);
  if (tiling.cell == 1 && is_planar(tensor, tile))
    return {tensor.at(tile.image, 0, tile.row, tile.column), tensor.channel_stride, positions};
  const TensorShape& shape = tensor.shape;
  uint8_t* const planes = scratch.reserve(shape.channels * places * positions * size_of(tensor.dtype));
  if (tiling.cell == 1) {
    copy_elements(tensor.dtype, tensor.at(tile.image, 0, tile.row, tile.column),
                  {tensor.channel_stride, tensor.row_stride, tensor.column_stride}, planes,
                  {stride, static_cast<int64_t>(tile.columns), 1}, shape.channels, tile.rows, tile.columns);
    return {planes, stride, positions};
  }
  const std::vector<int64_t> elements =
      cell_elements(tiling, tile, {0, shape.rows}, {0, shape.columns}, tensor.row_stride, tensor.column_stride);
  with_element(tensor.dtype, [&](auto element) {
    using T = decltype(element);
    T* to = reinterpret_cast<T*>(planes);
    for (uint64_t c = 0; c < shape.channels; ++c) {
      const T* const from = static_cast<const T*>(tensor.at(tile.image, c, 0, 0));
      for (const int64_t e : elements) *to++ = e == kAbsent ? T{} : from[e];
    }
  });
  return {planes, stride, positions, cell_extents(tiling, tile)};
}

void scatter(const PlanarBlock<void>& block, const Tile& tile, const Tiling& tiling, const Region& region,
             const MutableTensorView& out) {
  const Range rows{region.row, region.extent.rows}, columns{region.column, region.extent.columns};
  const uint64_t places = uint64_t{tiling.cell} * tiling.cell;
  const auto planes = static_cast<const uint8_t*>(block.values) +
                      region.channel * places * static_cast<uint64_t>(block.channel_stride) * size_of(out.dtype);
  if (tiling.cell == 1) {
    const uint64_t first_row = std::max(tile.row, rows.begin), first_column = std::max(tile.column, columns.begin);
    const uint64_t row_end = std::min(tile.row + tile.rows, rows.begin + rows.count);
    const uint64_t column_end = std::min(tile.column + tile.columns, columns.begin + columns.count);
    const uint64_t element = (first_row - tile.row) * tile.columns + (first_column - tile.column);
    copy_elements(out.dtype, planes + element * size_of(out.dtype),
                  {block.channel_stride, static_cast<int64_t>(tile.columns), 1},
                  out.at(tile.image - region.image, 0, first_row - rows.begin, first_column - columns.begin),
                  {out.channel_stride, out.row_stride, out.column_stride}, region.extent.channels, row_end - first_row,
                  column_end - first_column);
    return;
  }
  const std::vector<int64_t> elements = cell_elements(tiling, tile, rows, columns, out.row_stride, out.column_stride);
  with_element(out.dtype, [&](auto element) {
    using T = decltype(element);
    const T* from = reinterpret_cast<const T*>(planes);
    for (uint64_t c = 0; c < region.extent.channels; ++c) {
      T* const to = static_cast<T*>(out.at(tile.image - region.image, c, 0, 0));
      for (const int64_t e : elements) {
        if (e != kAbsent) to[e] = *from;
        ++from;
      }
    }
  });
}

}  // namespace fmc
