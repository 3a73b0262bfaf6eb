// SPDX-License-Identifier: Apache-2.0
// Shuffle indices, by 8 bits, for splitting and merging 8 tokens without byte compress and expand instructions.
#pragma once

#include <cstdint>

namespace fmc {

struct SplitShuffle {
  // First 8 entries: positions of the zero bits, then the rest; last 8: positions of the one bits, then the rest.
  alignas(16) uint8_t bytes[256][16] = {};
  constexpr SplitShuffle() {
    for (int bits = 0; bits < 256; ++bits) {
      int zeros = 0, ones = 0;
      for (int i = 0; i < 8; ++i) {
        if (bits >> i & 1) {
          bytes[bits][8 + ones++] = static_cast<uint8_t>(i);
        } else {
          bytes[bits][zeros++] = static_cast<uint8_t>(i);
        }
      }
    }
  }
};

struct MergeShuffle {
  // Entry i: where token i comes from; 0..7 count the zero bits before it, 8..15 the one bits.
  uint8_t bytes[256][8] = {};
  constexpr MergeShuffle() {
    for (int bits = 0; bits < 256; ++bits) {
      int zeros = 0, ones = 8;
      for (int i = 0; i < 8; ++i) bytes[bits][i] = static_cast<uint8_t>(bits >> i & 1 ? ones++ : zeros++);
    }
  }
};

inline constexpr SplitShuffle kSplitShuffle;
inline constexpr MergeShuffle kMergeShuffle;

}  // namespace fmc
