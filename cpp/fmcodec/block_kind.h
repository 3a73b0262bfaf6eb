// SPDX-License-Identifier: Apache-2.0
// The kinds of blocks (docs/format.md, section 9).
#pragma once

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
// large and has a sign; or one of a KLT.
inline int raw_width_bound(const Spec& spec) {
  if (spec.transform == Transform::kKlt) return 16;
  return spec.bits + (spec.transform == Transform::kIdentity ? 0 : 4);
}

}  // namespace fmc
