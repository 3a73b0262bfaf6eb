// SPDX-License-Identifier: Apache-2.0
// Any bytes as the head of a frame.
#include "fmcodec/crc32c.h"
#include "outcome.h"
#include "targets.h"

namespace fmc::fuzz {

uint32_t parse_target(Bytes bytes) {
  try {
    const Frame frame = parse_frame(bytes, nullptr);
    uint64_t at = bytes.size();
    // Parts stand one after the other, up to the end of the frame.
    for (size_t b = frame.blocks.size(); b-- > 0;) {
      const Part& block = frame.blocks[b];
      require(block.offset + block.size_bytes == at, "a block is not where the next part begins");
      at = block.offset;
      if (frame.class_sections.empty() || b % frame.tiling.blocks_per_group != 0) continue;
      const Part& section = frame.class_sections[b / frame.tiling.blocks_per_group];
      require(section.offset + section.size_bytes == at, "a class section is not where its first block begins");
      at = section.offset;
    }
    require(at >= kHeaderBytes + kCheckBytes, "the payload begins in the header");
    // Tables may be written in more than one way; fmcodec's own way is read as the same spec.
    const std::vector<uint8_t> section = write_spec_section(frame.spec);
    const Spec again = parse_spec_section(section, frame.tiling.shape.channels, 0);
    require(write_spec_section(again) == section, "a spec section is not read as it was written");
    return crc32c(section);
  } catch (const Error& error) {
    require(error.code() != ErrorCode::kArgument, "bytes are not the caller's arguments");
    require(error.offset_bytes() <= static_cast<int64_t>(bytes.size()), "an error is behind the frame");
    return Outcome{error.code(), error.offset_bytes(), {}}.digest();
  }
}

}  // namespace fmc::fuzz
