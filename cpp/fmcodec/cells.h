// SPDX-License-Identifier: Apache-2.0
// How the values along an axis of an image are shared among cells (docs/format.md, section 2.2).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace fmc {

// As few cells as possible of at most `size` values, all of about the same extent, larger ones first.
struct CellAxis {
  uint64_t values;
  uint32_t size;

  uint64_t cells() const { return (values + size - 1) / size; }
  // First value of a cell, or of the one that would come behind the last.
  uint64_t begin(uint64_t cell) const { return cell * (values / cells()) + std::min(cell, values % cells()); }
  uint64_t extent(uint64_t cell) const { return begin(cell + 1) - begin(cell); }
};

// Rows and columns of the cell at each position of a block.
struct CellExtents {
  std::vector<int32_t> rows, columns;
};

}  // namespace fmc
