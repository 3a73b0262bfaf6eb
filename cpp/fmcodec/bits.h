// SPDX-License-Identifier: Apache-2.0
// Reads and writes little-endian integers and bit fields, least significant bit first.
#pragma once

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
    pending_ |= static_cast<uint64_t>(value) << (size_bits_ & 7);
    const uint64_t end = size_bits_ + count;
    bytes_.resize((end + 7) / 8);
    for (uint64_t at = size_bits_ / 8; at < bytes_.size(); ++at) {
      bytes_[at] = static_cast<uint8_t>(pending_);
      if (at < end / 8) pending_ >>= 8;
    }
    size_bits_ = end;
  }
  uint64_t size_bits() const { return size_bits_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t pending_ = 0;  // bits of the last, unfinished byte
  uint64_t size_bits_ = 0;
};

// Sticky overrun: reads beyond the end give 0 and are reported by is_overrun(), so callers check once.
class BitReader {
 public:
  explicit BitReader(Bytes bytes) : bytes_(bytes) {}
  uint32_t read(unsigned count) {
    uint32_t value = 0;
    for (unsigned i = 0; i < count; ++i, ++position_) {
      if (position_ >= bytes_.size() * 8) {
        is_overrun_ = true;
        return 0;
      }
      value |= static_cast<uint32_t>(bytes_[position_ >> 3] >> (position_ & 7) & 1) << i;
    }
    return value;
  }
  bool is_overrun() const { return is_overrun_; }
  // Whether only padding is left: fewer than 8 bits, all 0.
  bool is_finished() const {
    return !is_overrun_ && (position_ + 7) / 8 == bytes_.size() &&
           ((position_ & 7) == 0 || bytes_.back() >> (position_ & 7) == 0);
  }

 private:
  Bytes bytes_;
  uint64_t position_ = 0;
  bool is_overrun_ = false;
};

}  // namespace fmc
