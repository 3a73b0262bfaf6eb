// SPDX-License-Identifier: Apache-2.0
// Working memory that is not cleared and only ever grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace fmc {

// A piece of memory from the thread's scratch cache: pages that were used before are not faulted in again, which would
// take longer than coding a small tensor.
class ScratchMemory {
 public:
  ScratchMemory() = default;
  ScratchMemory(ScratchMemory&& other) noexcept;
  ScratchMemory& operator=(ScratchMemory&& other) noexcept;
  ~ScratchMemory();

  // At least `size_bytes`, aligned for any type. What was there is lost if it has to grow.
  void* reserve(size_t size_bytes);
  void* get() const { return bytes_; }

 private:
  void release();

  void* bytes_ = nullptr;
  size_t size_bytes_ = 0;
};

template <typename T>
class Buffer {
 public:
  // At least `count` elements. What was in the buffer is lost if it has to grow.
  T* reserve(size_t count) { return static_cast<T*>(memory_.reserve(count * sizeof(T))); }
  // The elements of the last reserve().
  T* get() const { return static_cast<T*>(memory_.get()); }

 private:
  ScratchMemory memory_;
};

// Bytes that are appended, within a bound that is known first.
class ByteBuffer {
 public:
  // The bytes go to `place` if it is as large as the bound, else to memory of the buffer.
  void reserve(size_t bound, std::span<uint8_t> place = {}) {
    begin_ = place.size() >= bound && !place.empty() ? place.data() : memory_.reserve(bound);
  }
  // Where the next bytes go, for a caller that writes them itself, up to the bound, and says then how many they are.
  uint8_t* end() { return begin_ + size_; }
  void advance(size_t count) { size_ += count; }
  // Precondition: all appended bytes together stay within the bound.
  void append(std::span<const uint8_t> bytes) {
    if (!bytes.empty()) std::memcpy(end(), bytes.data(), bytes.size());
    advance(bytes.size());
  }
  // Copies the bytes to where they are not yet, which count as those of the buffer from then on, and gives its own
  // memory back.
  void move_to(uint8_t* place) {
    if (begin_ == place) return;
    if (size_ > 0) std::memcpy(place, begin_, size_);
    begin_ = place;
    memory_ = {};
  }
  std::span<const uint8_t> bytes() const { return {begin_, size_}; }
  size_t size() const { return size_; }

 private:
  Buffer<uint8_t> memory_;
  uint8_t* begin_ = nullptr;
  size_t size_ = 0;
};

}  // namespace fmc
