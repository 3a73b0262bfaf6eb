// SPDX-License-Identifier: Apache-2.0
// Frame to tensor.
#pragma once

#include <cstdint>

#include "fmcodec/frame.h"
#include "fmcodec/tensor.h"

namespace fmc {

// Decodes the part of the tensor in `region` to `out`, whose shape is that of the region. Reads only the blocks that
// overlap it. Throws Error; what was written to `out` by then is unspecified.
void decode(Bytes bytes, const Frame& frame, const Region& region, const MutableTensorView& out, size_t threads);

}  // namespace fmc
