// SPDX-License-Identifier: Apache-2.0
// Frame to tensor.
#pragma once

#include <cstdint>

#include "fmcodec/frame.h"
#include "fmcodec/parallel.h"
#include "fmcodec/tensor.h"

namespace fmc {

// Decodes the part of the tensor in `region` to `out`, whose shape is that of the region. Reads only the blocks that
// overlap it. A block is decoded as a whole: Error(kLimit) if its values have more than `max_block_bytes`, before
// memory is taken. Throws Error; what was written to `out` by then is unspecified.
void decode(Bytes bytes, const Frame& frame, const Region& region, const MutableTensorView& out,
            uint64_t max_block_bytes, size_t threads, const Poll& poll = {});

}  // namespace fmc
