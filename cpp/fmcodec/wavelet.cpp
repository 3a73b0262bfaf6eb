// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/wavelet.h"

#include <cstring>

#include "fmcodec/error.h"

namespace fmc {
namespace {

// Room for one right side per level of the tree, each with slack.
size_t scratch_size(size_t count) { return kMaxCodeLength * (count + kSlackBytes); }

struct Writer {
  const KernelTable& kernels;
  const CodeTree& tree;
  BitCursor* out;

  void write(size_t index, uint8_t* ranks, size_t count, uint8_t* scratch) const {
    const CodeNode& node = tree.nodes[index];
    if (count == 0 || node.kind == CodeNode::Kind::kLeaf) return;
    if (node.kind == CodeNode::Kind::kPlanes) {
      for (uint32_t plane = node.planes; plane-- > 0;) kernels.write_plane(ranks, count, node.first_rank, plane, out);
      return;
    }
    const size_t ones = kernels.split(ranks, count, node.pivot_rank, out, scratch);
    uint8_t* const after_right = scratch + ones + kSlackBytes;
    write(index + 1, ranks, count - ones, after_right);
    write(node.right, scratch, ones, after_right);
  }
};

struct Reader {
  const KernelTable& kernels;
  const CodeTree& tree;
  BitSource* in;

  void read(size_t index, size_t count, uint8_t* ranks, uint8_t* scratch) const {
    const CodeNode& node = tree.nodes[index];
    if (count == 0) return;
    switch (node.kind) {
      case CodeNode::Kind::kLeaf: std::memset(ranks, node.first_rank, count); return;
      case CodeNode::Kind::kPlanes:
        kernels.read_planes(in->bytes, in->take(static_cast<uint64_t>(node.planes) * count), count, node.planes,
                            node.first_rank, ranks);
        return;
      case CodeNode::Kind::kSplit: {
        const uint64_t bits = in->take(count);
        const size_t ones = kernels.count_ones(in->bytes, bits, count);
        // The left side is read into the tail of the output, where merge() stays behind it. Leaves are not read at all.
        uint8_t* const left = is_leaf(index + 1) ? nullptr : ranks + ones;
        uint8_t* const right = is_leaf(node.right) ? nullptr : scratch;
        if (left != nullptr) read(index + 1, count - ones, left, scratch);
        if (right != nullptr) read(node.right, ones, right, scratch + ones + kSlackBytes);
        kernels.merge(in->bytes, bits, count, left, tree.nodes[index + 1].first_rank, right,
                      tree.nodes[node.right].first_rank, ranks);
        return;
      }
    }
  }
  bool is_leaf(size_t index) const { return tree.nodes[index].kind == CodeNode::Kind::kLeaf; }
};

}  // namespace

void write_ranks(const KernelTable& kernels, const CodeTree& tree, uint8_t* ranks, size_t count,
                 Buffer<uint8_t>& scratch, BitCursor* out) {
  if (count > 0) Writer{kernels, tree, out}.write(0, ranks, count, scratch.reserve(scratch_size(count)));
}

uint64_t BitSource::take(uint64_t count) {
  if (count > size_bits - position_bits)
    throw Error(ErrorCode::kCorrupt, "a block ends before its symbols", offset_bytes);
  const uint64_t begin = position_bits;
  position_bits += count;
  return begin;
}

bool BitSource::is_finished() const {
  const uint64_t left = size_bits - position_bits;
  return left < 8 && (left == 0 || bytes[position_bits >> 3] >> (position_bits & 7) == 0);
}

void read_tokens(const KernelTable& kernels, const CodeTree& tree, size_t count, Buffer<uint8_t>& scratch,
                 BitSource* in, uint8_t* tokens) {
  if (count == 0) return;
  Reader{kernels, tree, in}.read(0, count, tokens, scratch.reserve(scratch_size(count)));
  kernels.translate(tokens, count, tree.token_of_rank.data(), tokens);
}

}  // namespace fmc
