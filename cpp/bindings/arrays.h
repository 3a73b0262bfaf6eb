// SPDX-License-Identifier: Apache-2.0
// numpy arrays as tensor views. codec.py has checked dtype and number of axes.
#pragma once

#include <pybind11/numpy.h>

#include "fmcodec/tensor.h"

namespace fmc {

// The array's axes are (N,) C, H, W or (N,) H, W, C; a missing N is 1.
template <typename Value>
BasicTensorView<Value> tensor_view(Value* data, const pybind11::array& array, Dtype dtype, Layout layout) {
  const auto item = static_cast<int64_t>(array.itemsize());
  const int first = static_cast<int>(array.ndim()) - 3;
  const int channel = layout == Layout::kNchw ? first : first + 2, row = layout == Layout::kNchw ? first + 1 : first,
            column = row + 1;
  const auto extent = [&](int axis) { return static_cast<uint64_t>(array.shape(axis)); };
  const auto stride = [&](int axis) { return static_cast<int64_t>(array.strides(axis)) / item; };
  return {data,
          dtype,
          {first == 1 ? extent(0) : 1, extent(channel), extent(row), extent(column)},
          first == 1 ? stride(0) : 0,
          stride(channel),
          stride(row),
          stride(column)};
}

}  // namespace fmc
