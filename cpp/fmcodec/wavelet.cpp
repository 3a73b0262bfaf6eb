// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/wavelet.h"

#include <algorithm>

#include "fmcodec/error.h"

namespace fmc {

void write_ranks(const KernelTable& kernels, const CodeTree& tree, uint8_t* ranks, size_t count,
                 Buffer<uint8_t>& scratch, BitCursor* out) {
  if (count > 0) kernels.write_tree(tree.nodes.data(), ranks, count, scratch.reserve(tree_scratch_bytes(count)), out);
}

uint64_t BitSource::take(uint64_t count) {
  if (count > size_bits - position_bits) fail_early_end();
  const uint64_t begin = position_bits;
  position_bits += count;
  return begin;
}

bool BitSource::is_finished(int word_bits) const {
  if (size_bits - position_bits >= static_cast<uint64_t>(word_bits)) return false;
  const uint64_t next_byte = (position_bits + 7) / 8;
  return (position_bits % 8 == 0 || bytes[position_bits / 8] >> (position_bits % 8) == 0) &&
         std::all_of(bytes + next_byte, bytes + size_bits / 8, [](uint8_t byte) { return byte == 0; });
}

void BitSource::fail_early_end() const {
  throw Error(ErrorCode::kCorrupt, "a block ends before its symbols", offset_bytes);
}

void read_tokens(const KernelTable& kernels, const CodeTree& tree, size_t count, Buffer<uint8_t>& scratch,
                 BitSource* in, uint8_t* tokens) {
  if (count == 0) return;
  const uint64_t end = kernels.read_tree(tree.nodes.data(), tree.token_of_rank.data(), in->bytes, in->position_bits,
                                         in->size_bits, count, scratch.reserve(tree_scratch_bytes(count)), tokens);
  if (end == UINT64_MAX) in->fail_early_end();
  in->position_bits = end;
}

}  // namespace fmc
