// SPDX-License-Identifier: Apache-2.0
// Frames with a valid head around any class sections and blocks.
#include "any_spec.h"
#include "fmcodec/crc32c.h"
#include "outcome.h"
#include "targets.h"

namespace fmc::fuzz {

uint32_t coder_target(Bytes bytes) {
  Input input(bytes);
  const auto [dtype, shape, spec, layout] = any_tensor(input);
  try {
    validate_spec(spec, dtype, shape.channels, ErrorCode::kArgument);
  } catch (const Error&) {
    return 0;
  }
  const Tiling tiling = choose_tiling(spec, shape);
  if (tiling.block_count() > 64) return 0;
  std::vector<Part> parts;
  std::vector<uint8_t> payload;
  for (uint64_t block = 0; block < tiling.block_count(); ++block) {
    for (int piece = block % tiling.blocks_per_group == 0 ? 0 : 1; piece < 2; ++piece) {
      const Bytes part = input.piece();
      parts.push_back({payload.size(), static_cast<uint32_t>(part.size()), part.empty() ? 0 : crc32c(part)});
      payload.insert(payload.end(), part.begin(), part.end());
    }
  }
  std::vector<uint8_t> frame = write_frame_head({dtype, layout, 4, false, tiling}, spec, parts, payload.size());
  frame.insert(frame.end(), payload.begin(), payload.end());
  const Outcome outcome = decode_on_all_isas(frame, nullptr);
  require(!outcome.error || outcome.error == ErrorCode::kCorrupt || outcome.error == ErrorCode::kLimit,
          "a frame with a valid head can only be corrupt");
  if (!outcome.error) check_relayout(frame, nullptr, outcome);
  return outcome.digest();
}

}  // namespace fmc::fuzz
