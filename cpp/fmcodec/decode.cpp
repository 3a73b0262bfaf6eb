// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/decode.h"

#include <numeric>
#include <string>
#include <vector>

#include "fmcodec/block_decoder.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/error.h"
#include "fmcodec/parallel.h"
#include "fmcodec/planar.h"

namespace fmc {
namespace {

// Whether cells hold some of `count` values from `begin` on.
bool overlaps(const CellAxis& axis, uint64_t first_cell, uint64_t cells, uint64_t begin, uint64_t count) {
  return axis.begin(first_cell) < begin + count && begin < axis.begin(first_cell + cells);
}

std::vector<uint64_t> blocks_in(const Tiling& tiling, const Region& region) {
  std::vector<uint64_t> blocks;
  const uint64_t per_image = tiling.tiles_per_image();
  for (uint64_t image = region.image; image < region.image + region.extent.images; ++image) {
    for (uint64_t block = image * per_image; block < (image + 1) * per_image; ++block) {
      const Tile tile = tiling.tile(block);
      if (overlaps(tiling.row_axis(), tile.row, tile.rows, region.row, region.extent.rows) &&
          overlaps(tiling.column_axis(), tile.column, tile.columns, region.column, region.extent.columns)) {
        blocks.push_back(block);
      }
    }
  }
  return blocks;
}

bool contains(const Region& region, const Tile& tile, uint64_t channels) {
  return region.extent.channels == channels && tile.row >= region.row &&
         tile.row + tile.rows <= region.row + region.extent.rows && tile.column >= region.column &&
         tile.column + tile.columns <= region.column + region.extent.columns;
}

// Where the shares of the threads begin among `blocks`, and the end of the last one. A share is the blocks of a group,
// whose tables are then read once, or, where that would leave threads idle, one block.
std::vector<size_t> share(const std::vector<uint64_t>& blocks, uint64_t blocks_per_group, size_t threads) {
  std::vector<size_t> begins;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i == 0 || blocks[i] / blocks_per_group != blocks[i - 1] / blocks_per_group) begins.push_back(i);
  }
  if (threads > 1 && begins.size() < 4 * threads) {
    begins.resize(blocks.size());
    std::iota(begins.begin(), begins.end(), size_t{0});
  }
  begins.push_back(blocks.size());
  return begins;
}

}  // namespace

void decode(Bytes bytes, const Frame& frame, const Region& region, const MutableTensorView& out,
            uint64_t max_block_bytes, size_t threads, const Poll& poll) {
  if (region.extent.values() == 0) return;
  const Tiling& tiling = frame.tiling;
  const unsigned __int128 block_bytes = static_cast<unsigned __int128>(tiling.tile_rows) * tiling.tile_columns *
                                        tiling.cell * tiling.cell * tiling.shape.channels * size_of(frame.dtype);
  if (block_bytes > max_block_bytes) {
    throw Error(ErrorCode::kLimit, "a block of the frame has more than " + std::to_string(max_block_bytes) + " bytes");
  }
  const BandPlan plan(frame.spec, frame.tiling.shape.channels);
  const KernelTable& kernel_table = kernels();
  const std::vector<uint64_t> blocks = blocks_in(frame.tiling, region);
  const std::vector<size_t> shares = share(blocks, tiling.blocks_per_group, threads);
  for_each_index(shares.size() - 1, threads, poll, [&] {
    return [&, decoder = BlockDecoder(kernel_table, bytes, frame, plan),
            scratch = Buffer<uint8_t>()](size_t s) mutable {
      for (size_t i = shares[s]; i < shares[s + 1]; ++i) {
        const Tile tile = tiling.tile(blocks[i]);
        if (tiling.cell == 1 && contains(region, tile, plan.channels()) && is_planar(out, tile)) {
          void* const origin = out.at(tile.image - region.image, 0, tile.row - region.row, tile.column - region.column);
          decoder.decode(blocks[i], {origin, out.channel_stride, tile.positions()});
          continue;
        }
        const uint64_t plane_count = plan.channels() * frame.spec.cell_values();
        void* const planes = scratch.reserve(plane_count * tile.positions() * size_of(frame.dtype));
        const auto stride = static_cast<int64_t>(tile.positions());
        const PlanarBlock<void> block{planes, stride, tile.positions(), cell_extents(tiling, tile)};
        decoder.decode(blocks[i], block);
        scatter(block, tile, tiling, region, out);
      }
    };
  });
}

}  // namespace fmc
