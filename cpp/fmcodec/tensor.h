// SPDX-License-Identifier: Apache-2.0
// Tensors as the core sees them: memory of others, with a shape and strides.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "fmcodec/kernels/kernels.h"

namespace fmc {

enum class Layout : uint8_t { kNchw = 0, kNhwc = 1 };

inline size_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kFloat32: return 4;
    case Dtype::kFloat16:
    case Dtype::kBfloat16: return 2;
    default: return 1;
  }
}

struct TensorShape {
  uint64_t images = 1, channels = 0, rows = 0, columns = 0;

  uint64_t positions() const { return rows * columns; }
  uint64_t values() const { return images * channels * rows * columns; }
};

// Strides count elements, not bytes, and may be negative. `Value` is void or const void.
template <typename Value>
struct BasicTensorView {
  Value* data;
  Dtype dtype;
  TensorShape shape;
  int64_t image_stride, channel_stride, row_stride, column_stride;

  Value* at(uint64_t image, uint64_t channel, uint64_t row, uint64_t column) const {
    const int64_t offset = static_cast<int64_t>(image) * image_stride + static_cast<int64_t>(channel) * channel_stride +
                           static_cast<int64_t>(row) * row_stride + static_cast<int64_t>(column) * column_stride;
    using Byte = std::conditional_t<std::is_const_v<Value>, const uint8_t, uint8_t>;
    return reinterpret_cast<Byte*>(data) + offset * static_cast<int64_t>(size_of(dtype));
  }
};
using TensorView = BasicTensorView<const void>;
using MutableTensorView = BasicTensorView<void>;

// The part of a tensor to decode: origin and extent along each axis.
struct Region {
  uint64_t image = 0, channel = 0, row = 0, column = 0;
  TensorShape extent;
};

}  // namespace fmc
