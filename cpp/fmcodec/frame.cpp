// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/frame.h"

#include <algorithm>

#include "fmcodec/crc32c.h"
#include "fmcodec/error.h"

namespace fmc {
namespace {

constexpr uint8_t kMagic[4] = {0x66, 0x6D, 0x63, 0xA5};
constexpr uint8_t kIsNhwc = 1, kIsSpecExternal = 2;
constexpr uint64_t kMaxBlocksPerGroup = 64;
constexpr uint64_t kTargetGroupValues = 1 << 20, kTargetBlockValues = 1 << 18, kTargetBlockPositions = 64;

void check(bool holds, ErrorCode code, const std::string& message, size_t offset) {
  if (!holds) throw Error(code, message, static_cast<int64_t>(offset));
}

// Product of the extents, or false if it is 2^62 or more.
bool has_valid_size(const TensorShape& shape) {
  unsigned __int128 product = 1;
  for (const uint64_t extent : {shape.images, shape.channels, shape.rows, shape.columns}) {
    if (extent == 0) return true;
    product *= extent;  // four 32-bit factors
  }
  return product < uint64_t{1} << 62;
}

Tiling parse_tiling(Bytes bytes) {
  Tiling tiling;
  tiling.shape = {load_le<uint32_t>(&bytes[12]), load_le<uint32_t>(&bytes[16]), load_le<uint32_t>(&bytes[20]),
                  load_le<uint32_t>(&bytes[24])};
  tiling.blocks_per_group = load_le<uint16_t>(&bytes[10]);
  tiling.tile_rows = load_le<uint32_t>(&bytes[28]);
  tiling.tile_columns = load_le<uint32_t>(&bytes[32]);
  check(tiling.blocks_per_group >= 1, ErrorCode::kCorrupt, "blocks_per_group is 0", 10);
  check(has_valid_size(tiling.shape) && tiling.shape.channels <= kMaxChannels, ErrorCode::kCorrupt,
        "the shape is too large", 12);
  const auto is_extent = [](uint32_t tile, uint64_t extent) {
    return tile >= 1 && tile <= std::max<uint64_t>(extent, 1);
  };
  check(is_extent(tiling.tile_rows, tiling.shape.rows), ErrorCode::kCorrupt, "tile_height is out of range", 28);
  check(is_extent(tiling.tile_columns, tiling.shape.columns), ErrorCode::kCorrupt, "tile_width is out of range", 32);
  return tiling;
}

Spec resolve_spec(const Frame& frame, Bytes section, const Spec* external) {
  const uint64_t channels = frame.tiling.shape.channels;
  if (!frame.has_external_spec) {
    Spec spec = parse_spec_section(section, channels, kHeaderBytes);
    validate_spec(spec, frame.dtype, channels, ErrorCode::kCorrupt);
    return spec;
  }
  check(section.size() == kExternalSpecBytes, ErrorCode::kCorrupt, "external spec section must be 8 bytes",
        kHeaderBytes);
  check(external != nullptr, ErrorCode::kSpecMismatch,
        "the frame refers to an external spec: pass spec=", kHeaderBytes);
  const std::vector<uint8_t> expected = write_spec_section(*external);
  check(load_le<uint32_t>(&section[0]) == expected.size() && load_le<uint32_t>(&section[4]) == crc32c(expected),
        ErrorCode::kSpecMismatch, "the frame was written with another spec than the one given", kHeaderBytes);
  validate_spec(*external, frame.dtype, channels, ErrorCode::kSpecMismatch);
  return *external;
}

}  // namespace

Tile Tiling::tile(uint64_t block) const {
  const uint64_t per_image = tiles_per_image();
  const uint64_t in_image = block % per_image;
  Tile tile{block / per_image, in_image / tiles_per_row() * tile_rows, in_image % tiles_per_row() * tile_columns, 0, 0};
  tile.rows = std::min<uint64_t>(tile_rows, rows() - tile.row);
  tile.columns = std::min<uint64_t>(tile_columns, columns() - tile.column);
  return tile;
}

Tiling choose_tiling(const Spec& spec, const TensorShape& shape) {
  Tiling tiling{shape, spec.spatial_size};
  const uint64_t channels = std::max<uint64_t>(shape.channels, 1) * spec.cell_values();
  const uint64_t rows = std::max<uint64_t>(tiling.rows(), 1), columns = std::max<uint64_t>(tiling.columns(), 1);
  if (spec.block_rows > 0) {
    const auto cells = [&](uint64_t values) { return (values + spec.spatial_size - 1) / spec.spatial_size; };
    tiling.tile_rows = static_cast<uint32_t>(std::min(cells(spec.block_rows), rows));
    tiling.tile_columns = static_cast<uint32_t>(std::min(cells(spec.block_columns), columns));
  } else {
    const uint64_t positions = std::max(kTargetBlockPositions, kTargetBlockValues / channels);
    tiling.tile_columns = static_cast<uint32_t>(std::min(columns, positions));
    if (columns <= positions) {
      // Tiles of nearly the same height, of about so many rows.
      const uint64_t target_rows = positions / columns;
      const uint64_t tiles = std::max<uint64_t>(1, (2 * rows + target_rows) / (2 * target_rows));
      tiling.tile_rows = static_cast<uint32_t>((rows + tiles - 1) / tiles);
    }
  }
  const uint64_t block_values = uint64_t{tiling.tile_rows} * tiling.tile_columns * channels;
  tiling.blocks_per_group = static_cast<uint16_t>(
      std::clamp<uint64_t>(kTargetGroupValues / std::max<uint64_t>(block_values, 1), 1, kMaxBlocksPerGroup));
  return tiling;
}

uint64_t frame_head_bytes(const Spec& spec, bool has_external_spec, uint64_t part_count) {
  return kHeaderBytes + (has_external_spec ? kExternalSpecBytes : write_spec_section(spec).size()) +
         part_count * kIndexEntryBytes + kCheckBytes;
}

std::vector<uint8_t> write_frame_head(const FrameHeader& header, const Spec& spec, const std::vector<Part>& parts,
                                      uint64_t payload_size_bytes) {
  std::vector<uint8_t> section = write_spec_section(spec);
  if (header.has_external_spec) {
    std::vector<uint8_t> reference;
    append_le<uint32_t>(reference, static_cast<uint32_t>(section.size()));
    append_le<uint32_t>(reference, crc32c(section));
    section = reference;
  }
  const TensorShape& shape = header.tiling.shape;
  std::vector<uint8_t> out;
  out.reserve(kHeaderBytes + section.size() + parts.size() * kIndexEntryBytes + kCheckBytes);
  for (const uint8_t byte : kMagic) out.push_back(byte);
  append_le<uint16_t>(out, kStreamVersion);
  out.push_back(static_cast<uint8_t>((header.layout == Layout::kNhwc ? kIsNhwc : 0) |
                                     (header.has_external_spec ? kIsSpecExternal : 0)));
  out.push_back(static_cast<uint8_t>(header.dtype));
  out.push_back(static_cast<uint8_t>(header.rank));
  out.push_back(0);
  append_le<uint16_t>(out, header.tiling.blocks_per_group);
  for (const uint64_t extent : {shape.images, shape.channels, shape.rows, shape.columns})
    append_le<uint32_t>(out, static_cast<uint32_t>(extent));
  append_le<uint32_t>(out, header.tiling.tile_rows);
  append_le<uint32_t>(out, header.tiling.tile_columns);
  append_le<uint32_t>(out, static_cast<uint32_t>(section.size()));
  append_le<uint32_t>(out, static_cast<uint32_t>(parts.size()));
  append_le<uint64_t>(out, payload_size_bytes);
  out.insert(out.end(), section.begin(), section.end());
  for (const Part& part : parts) {
    append_le<uint32_t>(out, part.size_bytes);
    append_le<uint32_t>(out, part.crc);
  }
  append_le<uint32_t>(out, crc32c(out));
  return out;
}

Frame parse_frame(Bytes bytes, const Spec* external_spec) {
  // The magic and the version come first, so that a foreign or newer file is called what it is even if it is short.
  check(bytes.size() >= 6, ErrorCode::kTruncated, "the frame ends inside its header", bytes.size());
  check(std::equal(std::begin(kMagic), std::end(kMagic), bytes.begin()), ErrorCode::kCorrupt,
        "this is not an fmcodec frame", 0);
  const uint16_t version = load_le<uint16_t>(&bytes[4]);
  check(version == kStreamVersion, ErrorCode::kVersion,
        "stream version " + std::to_string(version) + " is not supported, this build reads version " +
            std::to_string(kStreamVersion),
        4);
  check(bytes.size() >= kHeaderBytes, ErrorCode::kTruncated, "the frame ends inside its header", bytes.size());

  Frame frame{};
  const uint8_t flags = bytes[6];
  check((flags & ~(kIsNhwc | kIsSpecExternal)) == 0, ErrorCode::kCorrupt, "reserved flags are set", 6);
  frame.layout = flags & kIsNhwc ? Layout::kNhwc : Layout::kNchw;
  frame.has_external_spec = flags & kIsSpecExternal;
  check(bytes[7] >= 1 && bytes[7] <= static_cast<uint8_t>(Dtype::kUint8), ErrorCode::kCorrupt, "unknown dtype", 7);
  frame.dtype = static_cast<Dtype>(bytes[7]);
  frame.rank = bytes[8];
  check(frame.rank == 3 || frame.rank == 4, ErrorCode::kCorrupt, "rank must be 3 or 4", 8);
  check(bytes[9] == 0, ErrorCode::kCorrupt, "reserved byte is not 0", 9);
  frame.tiling = parse_tiling(bytes);
  check(frame.rank == 4 || frame.tiling.shape.images == 1, ErrorCode::kCorrupt, "N must be 1 for rank 3", 12);

  frame.spec_size_bytes = load_le<uint32_t>(&bytes[36]);
  const uint64_t index_count = load_le<uint32_t>(&bytes[40]);
  frame.index_size_bytes = index_count * kIndexEntryBytes;
  const uint64_t payload_size = load_le<uint64_t>(&bytes[44]);
  const uint64_t head_size = kHeaderBytes + frame.spec_size_bytes + frame.index_size_bytes + kCheckBytes;
  check(bytes.size() >= head_size, ErrorCode::kTruncated, "the frame ends inside its spec or index", bytes.size());
  const size_t check_at = static_cast<size_t>(head_size - kCheckBytes);
  check(load_le<uint32_t>(&bytes[check_at]) == crc32c(bytes.first(check_at)), ErrorCode::kChecksum,
        "the CRC-32C of the header does not match", check_at);

  frame.spec = resolve_spec(frame, bytes.subspan(kHeaderBytes, frame.spec_size_bytes), external_spec);
  frame.tiling.cell = frame.spec.spatial_size;
  check(frame.tiling.tile_rows <= std::max<uint64_t>(frame.tiling.rows(), 1), ErrorCode::kCorrupt,
        "tile_height is out of range", 28);
  check(frame.tiling.tile_columns <= std::max<uint64_t>(frame.tiling.columns(), 1), ErrorCode::kCorrupt,
        "tile_width is out of range", 32);
  const uint64_t sections = frame.spec.tables ? 0 : frame.tiling.group_count();
  const uint64_t blocks = frame.tiling.block_count();
  check(index_count == sections + blocks, ErrorCode::kCorrupt, "index_count does not match the shape", 40);
  check(bytes.size() - head_size >= payload_size, ErrorCode::kTruncated, "the frame ends inside its payload",
        bytes.size());
  check(bytes.size() - head_size == payload_size, ErrorCode::kCorrupt, "bytes are left over after the payload",
        static_cast<size_t>(head_size + payload_size));

  size_t entry_at = kHeaderBytes + frame.spec_size_bytes;
  uint64_t offset = head_size;
  const auto next_part = [&] {
    const Part part{offset, load_le<uint32_t>(&bytes[entry_at]), load_le<uint32_t>(&bytes[entry_at + 4])};
    check(part.size_bytes <= bytes.size() - offset, ErrorCode::kCorrupt, "the index does not match the payload size",
          entry_at);
    offset += part.size_bytes;
    entry_at += kIndexEntryBytes;
    return part;
  };
  for (uint64_t block = 0; block < blocks; ++block) {
    if (sections > 0 && block % frame.tiling.blocks_per_group == 0) frame.class_sections.push_back(next_part());
    frame.blocks.push_back(next_part());
  }
  check(offset == bytes.size(), ErrorCode::kCorrupt, "the index does not match the payload size", 44);
  return frame;
}

Bytes checked_part(Bytes frame, const Part& part) {
  const Bytes bytes = frame.subspan(part.offset, part.size_bytes);
  const uint32_t crc = bytes.empty() ? 0 : crc32c(bytes);
  check(crc == part.crc, ErrorCode::kChecksum, "the CRC-32C of a block or class section does not match", part.offset);
  return bytes;
}

}  // namespace fmc
