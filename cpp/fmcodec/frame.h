// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a frame stand (docs/format.md, section 2): header, index, tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "fmcodec/bits.h"
#include "fmcodec/cells.h"
#include "fmcodec/spec.h"
#include "fmcodec/tensor.h"

namespace fmc {

inline constexpr uint16_t kStreamVersion = 7;
inline constexpr size_t kHeaderBytes = 52;
inline constexpr size_t kIndexEntryBytes = 8;
inline constexpr size_t kCheckBytes = 4;
inline constexpr size_t kExternalSpecBytes = 8;
inline constexpr uint64_t kMaxChannels = uint64_t{1} << 24;  // bounds the class map, which may take no bits

// A rectangle of positions, which are cells, of one image.
struct Tile {
  uint64_t image, row, column;
  uint64_t rows, columns;
  uint64_t positions() const { return rows * columns; }
};

// How a tensor is cut into blocks and groups (section 2.2).
struct Tiling {
  TensorShape shape;
  uint32_t cell = 1;  // most rows and columns of values in a cell
  uint32_t tile_rows = 1, tile_columns = 1;
  uint16_t blocks_per_group = 1;

  CellAxis row_axis() const { return {shape.rows, cell}; }
  CellAxis column_axis() const { return {shape.columns, cell}; }
  uint64_t rows() const { return row_axis().cells(); }
  uint64_t columns() const { return column_axis().cells(); }
  uint64_t tiles_per_row() const { return (columns() + tile_columns - 1) / tile_columns; }
  uint64_t tiles_per_image() const { return (rows() + tile_rows - 1) / tile_rows * tiles_per_row(); }
  uint64_t block_count() const { return shape.values() == 0 ? 0 : shape.images * tiles_per_image(); }
  uint64_t group_count() const { return (block_count() + blocks_per_group - 1) / blocks_per_group; }
  Tile tile(uint64_t block) const;
};

// Section 10, step 1.
Tiling choose_tiling(const Spec& spec, const TensorShape& shape);

// A piece of the payload: a class section or a block. The offset counts from the start of the frame.
struct Part {
  uint64_t offset;
  uint32_t size_bytes;
  uint32_t crc;
};

struct Frame {
  Dtype dtype;
  Layout layout;
  int rank;
  bool has_external_spec;
  Tiling tiling;
  Spec spec;
  uint64_t spec_size_bytes;
  uint64_t index_size_bytes;
  std::vector<Part> class_sections;  // by group; empty with static tables
  std::vector<Part> blocks;
};

// What the encoder has to store besides the payload.
struct FrameHeader {
  Dtype dtype;
  Layout layout;
  int rank;
  bool has_external_spec;
  Tiling tiling;
};

// Header, spec section, index and check, ready to stand before the payload. `parts` are in payload order.
std::vector<uint8_t> write_frame_head(const FrameHeader& header, const Spec& spec, const std::vector<Part>& parts,
                                      uint64_t payload_size_bytes);

// The size of that.
uint64_t frame_head_bytes(const Spec& spec, bool has_external_spec, uint64_t part_count);

// Checks everything but the payload. `external_spec` may be null. Throws Error.
Frame parse_frame(Bytes bytes, const Spec* external_spec);

// The bytes of a part, after checking its CRC-32C. Throws Error(kChecksum).
Bytes checked_part(Bytes frame, const Part& part);

}  // namespace fmc
