// SPDX-License-Identifier: Apache-2.0
// Reads and writes little-endian integers and bit fields, least significant bit first.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace fmc {

using Bytes = std::span<const uint8_t>;

template <typename T>
T load_le(const uint8_t* at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | static_cast<T>(at[i]) << (8 * i));
  return value;
}

template <typename T>
void append_le(std::vector<uint8_t>& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

inline uint32_t float_bits(float value) { return std::bit_cast<uint32_t>(value); }
inline float float_of_bits(uint32_t bits) { return std::bit_cast<float>(bits); }

// Small fields of tables; the payload is written by kernels.
class BitWriter {
 public:
  // Precondition: value < 2^count, count <= 32.
  void write(uint32_t value, unsigned count) {
    pending_ |= static_cast<uint64_t>(value) << pending_bits_;
    pending_bits_ += count;
    for (; pending_bits_ >= 8; pending_bits_ -= 8, pending_ >>= 8) bytes_.push_back(static_cast<uint8_t>(pending_));
  }
  // The bytes so far, the last one padded with zeros.
  std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> padded = bytes_;
    if (pending_bits_ > 0) padded.push_back(static_cast<uint8_t>(pending_));
    return padded;
  }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t pending_ = 0;  // fewer than 8 bits
  unsigned pending_bits_ = 0;
};

// Sticky overrun: bits beyond the end are 0, and reading them is reported by is_overrun(), so callers check once.
class BitReader {
 public:
  explicit BitReader(Bytes bytes) : bytes_(bytes) {}
  // Precondition: count <= 32.
  uint32_t read(unsigned count) {
    const uint32_t value = static_cast<uint32_t>(peek() & ((uint64_t{1} << count) - 1));
    position_ += count;
    return value;
  }
  // Reads ones up to the first zero, which is read too, or up to `most` (at most 32) of them.
  unsigned read_ones(unsigned most) {
    const unsigned ones = std::min<unsigned>(most, static_cast<unsigned>(std::countr_one(peek())));
    position_ += ones + (ones < most);
    return ones;
  }
  // At least kPeekBits bits from the position on.
  static constexpr unsigned kPeekBits = 57;
  uint64_t peek() const {
    const uint64_t at = position_ / 8;
    if (at + 8 <= bytes_.size()) return load_le<uint64_t>(&bytes_[at]) >> (position_ & 7);
    uint64_t word = 0;
    for (uint64_t i = at; i < bytes_.size(); ++i) word |= static_cast<uint64_t>(bytes_[i]) << (8 * (i - at));
    return word >> (position_ & 7);
  }
  void skip(unsigned count) { position_ += count; }
  bool is_overrun() const { return position_ > bytes_.size() * 8; }
  // Whether only padding is left: fewer than 8 bits, all 0.
  bool is_finished() const {
    return !is_overrun() && (position_ + 7) / 8 == bytes_.size() &&
           ((position_ & 7) == 0 || bytes_.back() >> (position_ & 7) == 0);
  }

 private:
  Bytes bytes_;
  uint64_t position_ = 0;
};

}  // namespace fmc
