// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli), docs/format.md section 2.3.
#pragma once

#include <cstdint>

#include "fmcodec/bits.h"

namespace fmc {

uint32_t crc32c(Bytes bytes);

}  // namespace fmc
