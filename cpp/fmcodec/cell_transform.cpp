// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/cell_transform.h"

#include <algorithm>

#include "fmcodec/dct_matrix.h"

namespace fmc {

// Extents of cells differ by at most 1. If they do, cells with the smaller one are transformed in a copy.
void CellTransform::transform(int32_t* row, size_t place_stride, const Lines& lines, size_t count, Dct dct) {
  const auto transform_all = [&](int32_t* numbers, int32_t extent) {
    for (size_t i = 0; i < size_; ++i)
      dct(dct_matrix(extent), extent, numbers + i * lines.line * place_stride, lines.number * place_stride, count);
  };
  const auto [smaller, larger] = std::minmax_element(lines.extents, lines.extents + count);
  if (*smaller == *larger) return transform_all(row, *larger);
  const size_t places = size_ * size_;
  int32_t* const copy = copy_.reserve(places * place_stride + kSlackBytes / sizeof(int32_t));
  std::copy_n(row, (places - 1) * place_stride + count, copy);
  transform_all(row, *larger);
  transform_all(copy, *smaller);
  for (size_t p = 0; p < places; ++p) {
    for (size_t c = 0; c < count; ++c) {
      if (lines.extents[c] == *smaller) row[p * place_stride + c] = copy[p * place_stride + c];
    }
  }
}

// First along the rows of cells, then along their columns.
void CellTransform::forward(int32_t* row, size_t place_stride, const CellExtents& extents, uint64_t first,
                            size_t count) {
  if (size_ == 1) return;
  const int32_t* const rows = extents.rows.data() + first;
  const int32_t* const columns = extents.columns.data() + first;
  transform(row, place_stride, {size_, 1, columns}, count, kernels_.forward_dct);
  transform(row, place_stride, {1, size_, rows}, count, kernels_.forward_dct);
  const int32_t least_rows = *std::min_element(rows, rows + count);
  const int32_t least_columns = *std::min_element(columns, columns + count);
  for (size_t place = 0; place < size_ * size_; ++place) {
    const auto k = static_cast<int32_t>(place / size_), l = static_cast<int32_t>(place % size_);
    if (k < least_rows && l < least_columns) continue;
    int32_t* const part = row + place * place_stride;
    for (size_t c = 0; c < count; ++c) part[c] = k < rows[c] && l < columns[c] ? part[c] : 0;
  }
}

void CellTransform::inverse(int32_t* row, size_t place_stride, const CellExtents& extents, uint64_t first,
                            size_t count) {
  if (size_ == 1) return;
  transform(row, place_stride, {1, size_, extents.rows.data() + first}, count, kernels_.inverse_dct);
  transform(row, place_stride, {size_, 1, extents.columns.data() + first}, count, kernels_.inverse_dct);
}

}  // namespace fmc
