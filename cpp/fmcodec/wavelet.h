// SPDX-License-Identifier: Apache-2.0
// Token streams in the wavelet layout (docs/format.md, section 7.2): walks the code tree, node by node.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fmcodec/buffer.h"
#include "fmcodec/code_table.h"
#include "fmcodec/kernels/kernels.h"

namespace fmc {

// Writes `count` ranks (translated tokens). The ranks are overwritten; they need kSlackBytes of room behind them.
void write_ranks(const KernelTable& kernels, const CodeTree& tree, uint8_t* ranks, size_t count,
                 Buffer<uint8_t>& scratch, BitCursor* out);

// A bit stream of limited length; kSlackBytes behind its end are readable.
struct BitSource {
  const uint8_t* bytes;
  uint64_t position_bits;
  uint64_t size_bits;
  int64_t offset_bytes;  // of the block in the frame, for errors

  // Moves past `count` bits and returns where they begin; throws Error(kCorrupt) if the stream has fewer.
  uint64_t take(uint64_t count);
  // Whether only padding to words is left: fewer than `word_bits` (at most 64) bits, all 0.
  bool is_finished(int word_bits) const;
  [[noreturn]] void fail_early_end() const;
};

// Reads `count` tokens; `tokens` needs kSlackBytes of room.
void read_tokens(const KernelTable& kernels, const CodeTree& tree, size_t count, Buffer<uint8_t>& scratch,
                 BitSource* in, uint8_t* tokens);

}  // namespace fmc
