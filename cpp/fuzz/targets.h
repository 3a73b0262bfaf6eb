// SPDX-License-Identifier: Apache-2.0
// What is fuzzed. Each target takes any bytes, and aborts if a promise is broken. It returns a digest of what it saw:
// frames, values and errors, which must be the same on every processor.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "fmcodec/bits.h"

namespace fmc::fuzz {

// The parser of header, spec section, tables and index: what it accepts lies within the frame.
uint32_t parse_target(Bytes bytes);
// Any bytes as a frame: every instruction set decodes the same values or reports the same error, and a frame in the
// other layout decodes to the same.
uint32_t decode_target(Bytes bytes);
// A frame with a valid head, made from pieces: class sections and blocks of any bytes, in every layout and model.
uint32_t coder_target(Bytes bytes);
// A spec and a tensor: every instruction set writes the same frame, of the size that was announced, and decodes it to
// the same values.
uint32_t round_trip_target(Bytes bytes);

struct Target {
  std::string_view name;
  uint32_t (*run)(Bytes);
  bool takes_frames;  // whose checksums a mutator should repair
};
inline constexpr std::array<Target, 4> kTargets{{{"parse", parse_target, true},
                                                 {"decode", decode_target, true},
                                                 {"coder", coder_target, false},
                                                 {"round_trip", round_trip_target, false}}};

// Makes all checksums of a frame right, as far as its header says where they are.
void repair_checksums(std::vector<uint8_t>& frame);

}  // namespace fmc::fuzz
