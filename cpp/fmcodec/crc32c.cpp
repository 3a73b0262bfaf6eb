// SPDX-License-Identifier: Apache-2.0
// CRC-32C by the processor's instruction where there is one, else eight bytes at a time by tables.
#include "fmcodec/crc32c.h"

#include <array>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace fmc {
namespace {

constexpr uint32_t kPolynomialReflected = 0x82F63B78u;

// tables[k][b]: the CRC of byte b followed by k zero bytes.
constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? kPolynomialReflected : 0);
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 255];
  }
  return tables;
}
constexpr auto kTables = make_tables();

uint32_t crc_by_tables(uint32_t crc, const uint8_t* at, size_t count) {
  for (; count >= 8; at += 8, count -= 8) {
    const uint32_t low = crc ^ load_le<uint32_t>(at);
    const uint32_t high = load_le<uint32_t>(at + 4);
    crc = kTables[7][low & 255] ^ kTables[6][low >> 8 & 255] ^ kTables[5][low >> 16 & 255] ^ kTables[4][low >> 24] ^
          kTables[3][high & 255] ^ kTables[2][high >> 8 & 255] ^ kTables[1][high >> 16 & 255] ^ kTables[0][high >> 24];
  }
  for (; count > 0; ++at, --count) crc = crc >> 8 ^ kTables[0][(crc ^ *at) & 255];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc_by_instruction(uint32_t crc, const uint8_t* at, size_t count) {
  uint64_t wide = crc;
  for (; count >= 8; at += 8, count -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; count > 0; ++at, --count) crc = _mm_crc32_u8(crc, *at);
  return crc;
}
#endif

}  // namespace

uint32_t crc32c(Bytes bytes) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ~crc_by_instruction(~0u, bytes.data(), bytes.size());
#endif
  return ~crc_by_tables(~0u, bytes.data(), bytes.size());
}

}  // namespace fmc
