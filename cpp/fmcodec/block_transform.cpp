// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/block_transform.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fmc {
namespace {

constexpr uint64_t kStripValues = 4096;  // integers of a strip: 16 KiB, half of the first-level cache

// M of section 4, row by row.
std::vector<int32_t> dct_matrix(uint32_t size) {
  std::vector<int32_t> matrix(size * size);
  for (uint32_t k = 0; k < size; ++k) {
    const double scale = 4096.0 * std::sqrt((k == 0 ? 1.0 : 2.0) / size);
    for (uint32_t n = 0; n < size; ++n) {
      matrix[k * size + n] = static_cast<int32_t>(std::lround(scale * std::cos(std::numbers::pi * ((2 * n + 1) * k) / (2.0 * size))));
    }
  }
  return matrix;
}

}  // namespace

BlockTransform::BlockTransform(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, Dtype dtype)
    : kernels_(kernels), spec_(spec), plan_(plan), dtype_(dtype), quantizer_(spec.quantizer()) {
  for (uint32_t log2_size = 1; 1u << log2_size <= spec.transform_size; ++log2_size) matrices_[log2_size] = dct_matrix(1u << log2_size);
}

int32_t* BlockTransform::rows(uint32_t size, uint64_t* strip_positions) {
  *strip_positions = kStripValues / size;
  return rows_.reserve(size * (*strip_positions + kSlackBytes / sizeof(int32_t)));
}

bool BlockTransform::forward(const PlanarBlock<const void>& block, uint8_t* tokens, int32_t* symbols, SymbolRange* ranges) {
  bool is_finite = true;
  if (tokens != nullptr && spec_.has_direct_tokens()) {
    for (uint64_t b = 0; b < plan_.kept_bands(); ++b) {
      uint8_t* const out = tokens + b * block.positions;
      is_finite &= kernels_.quantize_to_tokens(dtype_, channel(block, b, 0), block.positions, quantizer_, out);
      kernels_.measure_tokens(out, block.positions, quantizer_.token_minimum, &ranges[b]);
    }
    return is_finite;
  }
  for (uint64_t g = 0; g < plan_.group_count(); ++g) {
    const TransformGroup group = plan_.group(g);
    uint64_t strip;
    int32_t* const all_rows = rows(group.size, &strip);
    const size_t stride = strip + kSlackBytes / sizeof(int32_t);
    for (uint64_t position = 0; position < block.positions; position += strip) {
      const size_t count = std::min(strip, block.positions - position);
      for (uint32_t n = 0; n < group.size; ++n) {
        is_finite &= kernels_.quantize_to_levels(dtype_, channel(block, group.first_input + n, position), count, quantizer_, all_rows + n * stride);
      }
      if (group.size > 1) kernels_.forward_dct(matrices_[std::bit_width(group.size) - 1].data(), group.size, all_rows, stride, count);
      for (uint32_t k = 0; k < group.kept; ++k) {
        int32_t* const row = all_rows + k * stride;
        const int32_t step = plan_.step(group, k);
        if (step > 1) kernels_.quantize_band(row, count, step, static_cast<int32_t>(std::floor(step * (1.0 - spec_.dead_zone))));
        const uint64_t band = group.first_kept_band + k;
        kernels_.measure_symbols(row, count, &ranges[band]);
        if (tokens != nullptr) {
          kernels_.symbols_to_tokens(row, count, 0, tokens + band * block.positions + position);
        } else {
          std::copy_n(row, count, symbols + band * block.positions + position);
        }
      }
    }
  }
  return is_finite;
}

}  // namespace fmc
