// SPDX-License-Identifier: Apache-2.0
// Takes numbers from the bytes of a fuzzer. When they run out, everything is 0.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fmcodec/bits.h"

namespace fmc::fuzz {

class Input {
 public:
  explicit Input(Bytes bytes) : bytes_(bytes) {}

  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const uint8_t value = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return value;
  }
  uint32_t word() {
    uint32_t value = 0;
    for (int shift = 0; shift < 32; shift += 8) value |= static_cast<uint32_t>(byte()) << shift;
    return value;
  }
  // From `low` to `high`, both included.
  uint32_t number(uint32_t low, uint32_t high) { return low + word() % (high - low + 1); }
  bool flag() { return (byte() & 1) != 0; }
  // As many of the next bytes as the next number says, or all that are left.
  Bytes piece() {
    const size_t wanted = number(0, 1023);
    const Bytes taken = bytes_.first(std::min(wanted, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  Bytes rest() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace fmc::fuzz
