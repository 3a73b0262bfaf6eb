// SPDX-License-Identifier: Apache-2.0
// Working memory that is not cleared and only ever grows.
#pragma once

#include <cstddef>

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
  T* get() { return static_cast<T*>(memory_.get()); }

 private:
  ScratchMemory memory_;
};

}  // namespace fmc
