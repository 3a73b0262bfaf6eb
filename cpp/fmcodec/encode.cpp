// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/encode.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>
#include <utility>

#include "fmcodec/block_kind.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/error.h"
#include "fmcodec/group_encoder.h"
#include "fmcodec/parallel.h"

namespace fmc {

uint64_t EncodedFrame::size_bytes() const {
  uint64_t total = 0;
  for (const auto& piece : pieces) total += piece.size();
  return total;
}

void EncodedFrame::write_to(std::span<uint8_t> out) const {
  uint8_t* at = out.data();
  for (const auto& piece : pieces) {
    if (piece.size() > 0 && piece.bytes().data() != at) std::memcpy(at, piece.bytes().data(), piece.size());
    at += piece.size();
  }
}

namespace {

void check_shape(const TensorShape& shape) {
  if (std::max({shape.images, shape.rows, shape.columns}) > UINT32_MAX || shape.channels > kMaxChannels) {
    throw Error(ErrorCode::kArgument, "the array has more than 2^24 channels, or 2^32 or more along another axis");
  }
}

Tiling checked_tiling(const TensorShape& shape, Dtype dtype, const Spec& spec) {
  validate_spec(spec, dtype, shape.channels, ErrorCode::kArgument);
  check_shape(shape);
  return choose_tiling(spec, shape);
}

// Calls take(group, encoder) for each group, from several threads and in any order.
template <class Take>
void encode_groups(const TensorView& tensor, const Spec& spec, const Tiling& tiling, const EncodeOptions& options,
                   const Take& take) {
  const BandPlan plan(spec, tensor.shape.channels);
  const KernelTable& kernel_table = kernels();
  for_each_index(tiling.group_count(), options.threads, options.poll, [&] {
    return
        [&, encoder = GroupEncoder(kernel_table, spec, plan, tensor, tiling)](size_t g) mutable { take(g, encoder); };
  });
}

// Brings groups that threads finish in any order to their places, each as soon as all groups in front of it are coded.
class Placement {
 public:
  Placement(std::span<uint8_t> place, uint64_t head_bytes, std::vector<EncodedGroup>& groups)
      : place_(place), offset_(head_bytes), groups_(groups), is_coded_(groups.size()) {}

  // Where the next group goes, if there is but one thread; others know it when all groups in front are coded.
  std::span<uint8_t> rest() const { return place_.subspan(std::min<uint64_t>(offset_, place_.size())); }

  // Called once for each group, by the thread that coded it. Copying is left to whoever closes the gap in front of a
  // group, so that nobody waits.
  void add(size_t group) {
    size_t first, last;
    uint64_t offset;
    {
      const std::lock_guard lock(mutex_);
      is_coded_[group] = true;
      first = next_;
      offset = offset_;
      for (; next_ < groups_.size() && is_coded_[next_]; ++next_) offset_ += groups_[next_].bytes.size();
      last = next_;
    }
    for (size_t g = first; g < last; ++g) {
      const size_t size = groups_[g].bytes.size();
      if (offset + size <= place_.size()) groups_[g].bytes.move_to(place_.data() + offset);
      offset += size;
    }
  }

 private:
  std::span<uint8_t> place_;
  std::mutex mutex_;
  size_t next_ = 0;  // first group that has no place yet
  uint64_t offset_;  // of that group
  std::vector<EncodedGroup>& groups_;
  std::vector<bool> is_coded_;
};

}  // namespace

EncodedFrame encode(const TensorView& tensor, const Spec& spec, const EncodeOptions& options,
                    std::span<uint8_t> place) {
  const Tiling tiling = checked_tiling(tensor.shape, tensor.dtype, spec);
  std::vector<EncodedGroup> groups(tiling.group_count());
  const uint64_t part_count = tiling.block_count() + (spec.tables ? 0 : tiling.group_count());
  Placement placement(place, frame_head_bytes(spec, !options.embeds_spec, part_count), groups);
  encode_groups(tensor, spec, tiling, options, [&](size_t g, GroupEncoder& encoder) {
    groups[g] = encoder.encode(g, options.threads > 1 ? std::span<uint8_t>() : placement.rest());
    placement.add(g);
  });

  EncodedFrame frame;
  frame.pieces.emplace_back();  // the head, known last
  std::vector<Part> parts;
  uint64_t payload_size = 0;
  for (EncodedGroup& group : groups) {
    parts.insert(parts.end(), group.parts.begin(), group.parts.end());
    payload_size += group.bytes.size();
    frame.pieces.push_back(std::move(group.bytes));
  }
  const std::vector<uint8_t> head = write_frame_head(
      {tensor.dtype, options.layout, options.rank, !options.embeds_spec, tiling}, spec, parts, payload_size);
  frame.pieces[0].reserve(head.size());
  frame.pieces[0].append(head);
  return frame;
}

uint64_t encoded_size(const TensorView& tensor, const Spec& spec, const EncodeOptions& options) {
  const Tiling tiling = checked_tiling(tensor.shape, tensor.dtype, spec);
  std::atomic<uint64_t> size = frame_head_bytes(spec, !options.embeds_spec, 0);
  encode_groups(tensor, spec, tiling, options, [&](size_t g, GroupEncoder& encoder) {
    const EncodedGroup group = encoder.encode(g);
    size += group.bytes.size() + group.parts.size() * kIndexEntryBytes;
  });
  return size;
}

uint64_t encode_bound(const TensorShape& shape, Dtype dtype, const Spec& spec) {
  const Tiling tiling = checked_tiling(shape, dtype, spec);
  const uint64_t bands = BandPlan(spec, shape.channels).bands();
  const uint64_t blocks = tiling.block_count(), groups = spec.tables ? 0 : tiling.group_count();
  const auto width = static_cast<uint64_t>(raw_width_bound(spec));
  const uint64_t symbol_bits = shape.images * tiling.rows() * tiling.columns() * bands * width;
  return frame_head_bytes(spec, false, blocks + groups) + groups * class_section_bound(bands) +
         blocks * (kRawHeadBytes + static_cast<uint64_t>(spec.block_word_bits()) / 8) + symbol_bits / 8;
}

}  // namespace fmc
