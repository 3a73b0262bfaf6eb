// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/dct_matrix.h"

#include <array>
#include <cmath>
#include <numbers>
#include <vector>

namespace fmc {
namespace {

constexpr uint32_t kMaxSize = 32;

std::vector<int32_t> make_matrix(uint32_t size) {
  std::vector<int32_t> matrix(size * size);
  for (uint32_t k = 0; k < size; ++k) {
    const double scale = 4096.0 * std::sqrt((k == 0 ? 1.0 : 2.0) / size);
    for (uint32_t n = 0; n < size; ++n) {
      matrix[k * size + n] =
          static_cast<int32_t>(std::lround(scale * std::cos(std::numbers::pi * ((2 * n + 1) * k) / (2.0 * size))));
    }
  }
  return matrix;
}

}  // namespace

const int32_t* dct_matrix(uint32_t size) {
  static const std::array<std::vector<int32_t>, kMaxSize + 1> kMatrices = [] {
    std::array<std::vector<int32_t>, kMaxSize + 1> matrices;
    for (uint32_t n = 1; n <= kMaxSize; ++n) matrices[n] = make_matrix(n);
    return matrices;
  }();
  return kMatrices[size].data();
}

}  // namespace fmc
