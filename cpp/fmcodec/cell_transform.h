// SPDX-License-Identifier: Apache-2.0
// The spatial transform: a DCT over the rows and columns of cells (docs/format.md, section 4.4).
#pragma once

#include <cstddef>
#include <cstdint>

#include "fmcodec/buffer.h"
#include "fmcodec/cells.h"
#include "fmcodec/kernels/kernels.h"

namespace fmc {

// Works in place on `count` cells from number `first` of a block on: the numbers at each of the size * size places of a
// cell stand next to each other, those of the next place `place_stride` later. Vectors may write behind `count`.
class CellTransform {
 public:
  CellTransform(const KernelTable& kernels, uint32_t size) : kernels_(kernels), size_(size) {}

  // Coefficients that a cell does not have become 0.
  void forward(int32_t* row, size_t place_stride, const CellExtents& extents, uint64_t first, size_t count);
  void inverse(int32_t* row, size_t place_stride, const CellExtents& extents, uint64_t first, size_t count);

 private:
  // One direction: how many places apart lines are, and the numbers of a line; and how many each cell has.
  struct Lines {
    size_t line, number;
    const int32_t* extents;
  };
  using Dct = decltype(KernelTable::forward_dct);
  void transform(int32_t* row, size_t place_stride, const Lines& lines, size_t count, Dct dct);

  const KernelTable& kernels_;
  size_t size_;
  Buffer<int32_t> copy_;
};

}  // namespace fmc
