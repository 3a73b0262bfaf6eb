// SPDX-License-Identifier: Apache-2.0
// Blocks of tensors with any strides, as planes: in place where the memory already is planar, else copied.
#pragma once

#include "fmcodec/block_transform.h"
#include "fmcodec/buffer.h"
#include "fmcodec/frame.h"
#include "fmcodec/tensor.h"

namespace fmc {

// Whether each channel of the tile is one run of elements in memory.
template <typename Value>
bool is_planar(const BasicTensorView<Value>& tensor, const Tile& tile) {
  const bool has_runs = tensor.column_stride == 1 || tile.columns == 1;
  return has_runs && (tile.rows == 1 || tensor.row_stride == static_cast<int64_t>(tile.columns)) &&
         (tile.columns > 1 || tile.rows == 1 || tensor.row_stride == 1);
}

// The extents of the cells of a tile; empty if they have one value each.
CellExtents cell_extents(const Tiling& tiling, const Tile& tile);

// The tile as planes; copied to `scratch` if it is not planar in memory. With cells of several values, channel n makes
// a plane for each place of a cell, row by row: planes n * cell * cell and on. Places that a cell does not have hold 0.
PlanarBlock<const void> gather(const TensorView& tensor, const Tile& tile, const Tiling& tiling,
                               Buffer<uint8_t>& scratch);

// Copies the part of a planar block that lies in `region` to `out`, whose origin is the origin of the region.
void scatter(const PlanarBlock<void>& block, const Tile& tile, const Tiling& tiling, const Region& region,
             const MutableTensorView& out);

}  // namespace fmc
