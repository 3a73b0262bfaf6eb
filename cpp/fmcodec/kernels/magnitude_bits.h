// SPDX-License-Identifier: Apache-2.0
// Roughly what a magnitude costs, log2(1 + magnitude) in eighths of a bit, by two tables that a byte shuffle can hold
// (docs/format.md, section 10, step 2).
#pragma once

#include <cstdint>

namespace fmc {

struct MagnitudeBits {
  alignas(16) uint8_t low[16];   // by magnitude
  alignas(16) uint8_t high[16];  // by magnitude / 16, for magnitudes from 16 on
};

inline constexpr MagnitudeBits kMagnitudeBits = {
    {0, 8, 13, 16, 19, 21, 22, 24, 25, 27, 28, 29, 30, 30, 31, 32},
    {0, 37, 43, 47, 50, 52, 54, 55, 57, 58, 59, 60, 61, 62, 63, 64},
};

}  // namespace fmc
