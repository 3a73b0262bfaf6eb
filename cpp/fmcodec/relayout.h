// SPDX-License-Identifier: Apache-2.0
// Frame to frame: the same tokens in the other layout of the Huffman codes.
#pragma once

#include <cstdint>
#include <vector>

#include "fmcodec/frame.h"
#include "fmcodec/parallel.h"

namespace fmc {

// The frame that encoding with this layout gives: only class streams are rewritten, all else is copied. `word_bits` is
// that of the result if its layout is serial. Throws Error.
std::vector<uint8_t> relayout(Bytes bytes, const Frame& frame, CodeLayout layout, int word_bits, size_t threads,
                              const Poll& poll = {});

}  // namespace fmc
