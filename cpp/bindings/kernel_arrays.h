// SPDX-License-Identifier: Apache-2.0
// Arrays as kernels want them, for tests and benchmarks of single kernels.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "fmcodec/code_table.h"
#include "fmcodec/kernels/kernels.h"

namespace fmc {

using Tokens = pybind11::array_t<uint8_t, pybind11::array::c_style | pybind11::array::forcecast>;
using Integers = pybind11::array_t<int32_t, pybind11::array::c_style | pybind11::array::forcecast>;

// A copy that kernels may read and write kSlackBytes behind. What is there is not 0, so that nobody counts on it.
template <class Bytes>
std::vector<uint8_t> padded_copy(const Bytes* bytes, size_t size) {
  std::vector<uint8_t> padded(bytes, bytes + size);
  padded.resize(size + kSlackBytes, 0xA5);
  return padded;
}
inline std::vector<uint8_t> with_slack(const Tokens& tokens) { return padded_copy(tokens.data(), tokens.size()); }
inline std::vector<uint8_t> with_slack(const pybind11::bytes& bits) {
  const std::string_view view(bits);
  return padded_copy(view.data(), view.size());
}

// By 0 columns, or in runs or periods of 0, kernels would not come to an end.
inline void check_not_zero(size_t extent) {
  if (extent == 0) throw std::invalid_argument("columns, runs and periods must not be 0");
}

inline const uint8_t* entries_of(const Tokens& table) {
  if (table.size() != static_cast<pybind11::ssize_t>(kTokens))
    throw std::invalid_argument("a table must have 256 entries");
  return table.data();
}

}  // namespace fmc
