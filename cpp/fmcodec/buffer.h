// SPDX-License-Identifier: Apache-2.0
// Working memory that is not cleared and only ever grows.
#pragma once

#include <cstddef>
#include <memory>

namespace fmc {

template <typename T>
class Buffer {
 public:
  // At least `count` elements. What was in the buffer is lost if it has to grow.
  T* reserve(size_t count) {
    if (count > capacity_) {
      elements_.reset();
      elements_ = std::make_unique_for_overwrite<T[]>(count);
      capacity_ = count;
    }
    return elements_.get();
  }
  // The elements of the last reserve().
  T* get() { return elements_.get(); }

 private:
  std::unique_ptr<T[]> elements_;
  size_t capacity_ = 0;
};

}  // namespace fmc
