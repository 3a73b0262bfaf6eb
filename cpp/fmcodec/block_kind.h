// SPDX-License-Identifier: Apache-2.0
// The kinds of blocks (docs/format.md, section 9).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "fmcodec/spec.h"

namespace fmc {

// Stored in the format: the first byte of a block.
enum class BlockKind : uint8_t { kCoded = 0, kRaw = 1, kPatched = 2 };

inline constexpr size_t kRawHeadBytes = 6;  // kind, minimum, width

// In front of the class streams of a patched block: kind and count, then all places, then all numbers.
inline constexpr size_t kPatchCountBytes = 5, kPatchBytes = 8;
inline constexpr uint64_t patch_head_bytes(uint64_t patches) { return kPatchCountBytes + patches * kPatchBytes; }
inline constexpr int32_t kMaxRawMinimum = 1 << 20;

// Most bits of a symbol: a level; a coefficient of a DCT or Hadamard transform, which is at most sqrt(32) times as
// large and has a sign; or one of a KLT. A spatial transform makes it up to 8 times as large, and gives it a sign.
inline int raw_width_bound(const Spec& spec) {
  const int spatial = spec.spatial_size > 1 ? std::countr_zero(spec.spatial_size) + 1 : 0;
  if (spec.transform == Transform::kKlt) return 16 + spatial;
  return spec.bits + (spec.transform == Transform::kIdentity ? 0 : 4) + spatial;
}

}  // namespace fmc
