// SPDX-License-Identifier: Apache-2.0
// Checksums made right.
#include <algorithm>

#include "fmcodec/crc32c.h"
#include "fmcodec/frame.h"
#include "targets.h"

namespace fmc::fuzz {
namespace {

constexpr size_t kSpecSizeAt = 36, kIndexCountAt = 40;

void store_le(uint32_t value, uint8_t* at) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
}

}  // namespace

void repair_checksums(std::vector<uint8_t>& frame) {
  if (frame.size() < kHeaderBytes) return;
  const uint64_t index = kHeaderBytes + uint64_t{load_le<uint32_t>(&frame[kSpecSizeAt])};
  const uint64_t check = index + kIndexEntryBytes * uint64_t{load_le<uint32_t>(&frame[kIndexCountAt])};
  if (check + kCheckBytes > frame.size()) return;
  uint64_t at = check + kCheckBytes;
  for (uint64_t entry = index; entry < check; entry += kIndexEntryBytes) {
    const uint64_t size = std::min<uint64_t>(load_le<uint32_t>(&frame[entry]), frame.size() - at);
    store_le(size == 0 ? 0 : crc32c(Bytes(frame).subspan(at, size)), &frame[entry + 4]);
    at += size;
  }
  store_le(crc32c(Bytes(frame).first(check)), &frame[check]);
}

}  // namespace fmc::fuzz
