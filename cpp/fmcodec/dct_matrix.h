// SPDX-License-Identifier: Apache-2.0
// The matrix M of the DCT (docs/format.md, section 4.1).
#pragma once

#include <cstdint>

namespace fmc {

// Of 1 to 32 numbers, row by row.
const int32_t* dct_matrix(uint32_t size);

}  // namespace fmc
