// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/relayout.h"

#include <algorithm>

#include "fmcodec/block_decoder.h"
#include "fmcodec/crc32c.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/parallel.h"

namespace fmc {
namespace {

struct ConvertedGroup {
  std::vector<uint8_t> bytes;
  std::vector<Part> parts;  // as in the frame; offsets count from `bytes`
};

// Each thread has its own.
class GroupConverter {
 public:
  GroupConverter(const KernelTable& kernels, Bytes bytes, const Frame& frame, const BandPlan& plan, const Spec& spec)
      : bytes_(bytes), frame_(frame), spec_(spec), decoder_(kernels, bytes, frame, plan), writer_(kernels) {}

  ConvertedGroup convert(uint64_t group) {
    ConvertedGroup converted;
    const Tables& tables = decoder_.tables(group);
    if (tables.model == ClassModel::kBands) codes_ = build_codes(tables, spec_.code_layout);
    if (!frame_.spec.tables) add_part(checked_part(bytes_, frame_.class_sections[group]), converted);
    const uint64_t begin = group * frame_.tiling.blocks_per_group;
    const uint64_t end = std::min(begin + frame_.tiling.blocks_per_group, frame_.tiling.block_count());
    for (uint64_t block = begin; block < end; ++block) add_part(convert_block(block), converted);
    return converted;
  }

 private:
  // Valid until the next call.
  Bytes convert_block(uint64_t index) {
    const Bytes block = bytes_.subspan(frame_.blocks[index].offset, frame_.blocks[index].size_bytes);
    const Bytes head = decoder_.head(index);
    if (head.empty()) return block;
    // Both layouts have the same number of bits, so no more than the padding is added.
    BitCursor cursor{bits_.reserve(block.size() + 2 * kSlackBytes), 8 * head.size()};
    std::copy(head.begin(), head.end(), cursor.bytes);
    decoder_.read_streams(index, [&](size_t k, const uint8_t* tokens, const int32_t* symbols, size_t count) {
      if (codes_[k].shift > 0) return writer_.write_symbols(codes_[k], symbols, count, &cursor);
      writer_.begin(codes_[k], count);
      writer_.add(tokens, count);
      writer_.end(&cursor);
    });
    pad_to_words(8 * head.size(), spec_.block_word_bits(), &cursor);
    return {cursor.bytes, static_cast<size_t>(cursor.position_bits / 8)};
  }

  static void add_part(Bytes part, ConvertedGroup& group) {
    group.parts.push_back({group.bytes.size(), static_cast<uint32_t>(part.size()), part.empty() ? 0 : crc32c(part)});
    group.bytes.insert(group.bytes.end(), part.begin(), part.end());
  }

  const Bytes bytes_;
  const Frame& frame_;
  const Spec& spec_;
  BlockDecoder decoder_;
  ClassStreamWriter writer_;
  std::vector<ClassCode> codes_;
  Buffer<uint8_t> bits_;
};

}  // namespace

std::vector<uint8_t> relayout(Bytes bytes, const Frame& frame, CodeLayout layout, int word_bits, size_t threads,
                              const Poll& poll) {
  Spec spec = frame.spec;
  spec.code_layout = layout;
  spec.word_bits = word_bits;
  const uint64_t channels = frame.tiling.shape.channels;
  validate_spec(spec, frame.dtype, channels, ErrorCode::kArgument);
  const BandPlan plan(frame.spec, channels);
  const KernelTable& kernel_table = kernels();
  std::vector<ConvertedGroup> groups(frame.tiling.group_count());
  for_each_index(groups.size(), threads, poll, [&] {
    return [&, converter = GroupConverter(kernel_table, bytes, frame, plan, spec)](size_t g) mutable {
      groups[g] = converter.convert(g);
    };
  });

  std::vector<Part> parts;
  uint64_t payload_size = 0;
  for (const ConvertedGroup& group : groups) {
    parts.insert(parts.end(), group.parts.begin(), group.parts.end());
    payload_size += group.bytes.size();
  }
  std::vector<uint8_t> out = write_frame_head(
      {frame.dtype, frame.layout, frame.rank, frame.has_external_spec, frame.tiling}, spec, parts, payload_size);
  out.reserve(out.size() + payload_size);
  for (const ConvertedGroup& group : groups) out.insert(out.end(), group.bytes.begin(), group.bytes.end());
  return out;
}

}  // namespace fmc
