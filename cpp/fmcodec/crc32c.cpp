// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/crc32c.h"

#include "fmcodec/dispatch.h"

namespace fmc {

uint32_t crc32c(Bytes bytes) { return ~kernels().advance_crc(~0u, bytes.data(), bytes.size()); }

}  // namespace fmc
