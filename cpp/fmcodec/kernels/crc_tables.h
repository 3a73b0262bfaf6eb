// SPDX-License-Identifier: Apache-2.0
// Constants of CRC-32C. Polynomials over GF(2) are reflected: the lowest bit stands for the highest power.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fmc {

inline constexpr uint32_t kCrcPolynomial = 0x82F63B78u;

constexpr uint32_t times_x(uint32_t crc) { return crc >> 1 ^ (crc & 1 ? kCrcPolynomial : 0); }

// kCrcTables[k][b]: the CRC register after byte b and k zero bytes.
inline constexpr auto kCrcTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int i = 0; i < 8; ++i) crc = times_x(crc);
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 255];
  }
  return tables;
}();

// x^power modulo the polynomial, as a factor of a carry-less multiplication by 64 bits.
constexpr uint64_t crc_factor(size_t power) {
  uint32_t remainder = 0x80000000u;
  for (size_t i = 0; i < power; ++i) remainder = times_x(remainder);
  return uint64_t{remainder} << 32;
}

}  // namespace fmc
