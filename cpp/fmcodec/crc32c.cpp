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
// The instruction takes three cycles but can start every cycle, so three stripes are summed side by side. CRCs are
// linear: the CRC of two pieces is that of the first moved over the length of the second, exclusive-or that of the
// second.
constexpr size_t kStripeBytes = 1024;

// kMove[k][b]: CRC register with byte k equal to b, moved over kStripeBytes zero bytes.
const std::array<std::array<uint32_t, 256>, 4>& move_tables() {
  static const auto kMove = [] {
    std::array<std::array<uint32_t, 256>, 4> move;
    const std::array<uint8_t, kStripeBytes> zeros{};
    for (uint32_t k = 0; k < 4; ++k) {
      for (uint32_t b = 0; b < 256; ++b) move[k][b] = crc_by_tables(b << (8 * k), zeros.data(), zeros.size());
    }
    return move;
  }();
  return kMove;
}

__attribute__((target("sse4.2"))) uint32_t crc_by_instruction(uint32_t crc, const uint8_t* at, size_t count) {
  uint64_t wide = crc;
  if (count >= 3 * kStripeBytes) {
    const auto& table = move_tables();
    const auto move = [&](uint64_t c) {
      return table[0][c & 255] ^ table[1][c >> 8 & 255] ^ table[2][c >> 16 & 255] ^ table[3][c >> 24 & 255];
    };
    for (; count >= 3 * kStripeBytes; at += 3 * kStripeBytes, count -= 3 * kStripeBytes) {
      uint64_t second = 0, third = 0;
      for (size_t i = 0; i < kStripeBytes; i += 8) {
        uint64_t words[3];
        for (size_t stripe = 0; stripe < 3; ++stripe) memcpy(&words[stripe], at + stripe * kStripeBytes + i, 8);
        wide = _mm_crc32_u64(wide, words[0]);
        second = _mm_crc32_u64(second, words[1]);
        third = _mm_crc32_u64(third, words[2]);
      }
      wide = move(move(wide) ^ second) ^ third;
    }
  }
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
