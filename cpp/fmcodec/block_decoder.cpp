// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/block_decoder.h"

#include <cstring>

#include "fmcodec/block_kind.h"
#include "fmcodec/error.h"

namespace fmc {

BlockDecoder::BlockDecoder(const KernelTable& kernels, Bytes bytes, const Frame& frame, const BandPlan& plan)
    : kernels_(kernels), bytes_(bytes), frame_(frame), plan_(plan), transform_(kernels, frame.spec, plan, frame.dtype) {
  if (frame.spec.tables) prepare(*frame.spec.tables);
}

void BlockDecoder::decode(uint64_t index, const PlanarBlock<void>& out) {
  const Part& part = frame_.blocks[index];
  const Bytes block = checked_part(bytes_, part);
  block_offset_ = static_cast<int64_t>(part.offset);
  if (!frame_.spec.tables) load_tables(index / frame_.tiling.blocks_per_group);
  if (block.empty()) return read_zero(out);
  if (block[0] == static_cast<uint8_t>(BlockKind::kCoded)) {
    read_coded(block, out.positions);
  } else if (block[0] == static_cast<uint8_t>(BlockKind::kRaw)) {
    read_raw(block, out.positions);
  } else {
    fail("unknown kind of block");
  }
  const uint8_t* const tokens = tokens_.get();
  const int32_t* const symbols = symbols_.get();
  transform_.inverse(
      [&](uint64_t band) -> BandSource {
        if (is_raw_) return {nullptr, symbols + band * out.positions};
        const uint64_t first = slot_of_band_[band] * out.positions;
        const TableClass& table = tables_->classes[tables_->band_class[band]];
        if (table.mode == ClassMode::kZero) return {nullptr, nullptr};
        if (table.shift > 0) return {nullptr, symbols + first};
        return {tokens + first, nullptr};
      },
      out);
}

void BlockDecoder::load_tables(uint64_t group) {
  if (loaded_group_ == group) return;
  loaded_group_.reset();
  const Part& part = frame_.class_sections[group];
  adaptive_tables_ = parse_class_section(checked_part(bytes_, part), plan_.kept_bands(), frame_.spec.token_minimum(),
                                         static_cast<int64_t>(part.offset));
  prepare(adaptive_tables_);
  loaded_group_ = group;
}

void BlockDecoder::prepare(const Tables& tables) {
  tables_ = &tables;
  value_trees_.clear();
  mask_trees_.clear();
  for (const TableClass& c : tables.classes) {
    value_trees_.push_back(build_code_tree(c.value_lengths));
    mask_trees_.push_back(build_code_tree(c.mask_lengths));
  }
  class_bands_.assign(tables.classes.size(), 0);
  for (const uint8_t k : tables.band_class) ++class_bands_[k];
  std::vector<uint64_t> next(tables.classes.size(), 0);
  for (size_t k = 1; k < next.size(); ++k) next[k] = next[k - 1] + class_bands_[k - 1];
  slot_of_band_.resize(tables.band_class.size());
  for (size_t band = 0; band < slot_of_band_.size(); ++band) slot_of_band_[band] = next[tables.band_class[band]]++;
}

void BlockDecoder::read_zero(const PlanarBlock<void>& out) {
  transform_.inverse([](uint64_t) { return BandSource{nullptr, nullptr}; }, out);
}

void BlockDecoder::read_coded(Bytes block, uint64_t positions) {
  is_raw_ = false;
  BitSource in = padded(block.subspan(1));
  uint8_t* tokens = tokens_.reserve(plan_.kept_bands() * positions + kSlackBytes);
  int32_t* symbols = tables_->has_shift() ? symbols_.reserve(plan_.kept_bands() * positions) : nullptr;
  for (size_t k = 0; k < tables_->classes.size(); ++k) {
    const TableClass& table = tables_->classes[k];
    const size_t count = class_bands_[k] * positions;
    if (table.mode == ClassMode::kPlain) read_tokens(kernels_, value_trees_[k], count, tree_scratch_, &in, tokens);
    if (table.mode == ClassMode::kMasked) read_masked(k, count, &in, tokens);
    if (table.shift > 0) {
      kernels_.tokens_to_symbols(tokens, count, frame_.spec.token_minimum(), table.shift, symbols);
      for (int plane = table.shift; plane-- > 0;) {
        kernels_.add_symbol_plane(in.bytes, in.take(count), count, static_cast<uint32_t>(plane), symbols);
      }
    }
    tokens += count;
    if (symbols != nullptr) symbols += count;
  }
  if (!in.is_finished()) fail("bits are left over in a block");
}

void BlockDecoder::read_masked(size_t class_index, size_t count, BitSource* in, uint8_t* tokens) {
  if (count == 0) return;
  const size_t mask_bytes = (count + 7) / 8;
  uint8_t* const mask = mask_.reserve(mask_bytes + kSlackBytes);
  read_tokens(kernels_, mask_trees_[class_index], mask_bytes, tree_scratch_, in, mask);
  if (count % 8 != 0 && mask[mask_bytes - 1] >> (count % 8) != 0) fail("padding of a mask is not 0");
  const size_t ones = kernels_.count_ones(mask, 0, count);
  uint8_t* const nonzero = nonzero_.reserve(ones + kSlackBytes);
  read_tokens(kernels_, value_trees_[class_index], ones, tree_scratch_, in, nonzero);
  kernels_.merge(mask, 0, count, nullptr, 0, nonzero, 0, tokens);
}

void BlockDecoder::read_raw(Bytes block, uint64_t positions) {
  is_raw_ = true;
  if (block.size() < kRawHeadBytes) fail("a raw block is too short");
  const auto minimum = static_cast<int32_t>(load_le<uint32_t>(&block[1]));
  const int width = block[5];
  if (minimum < -kMaxRawMinimum || minimum > kMaxRawMinimum) fail("minimum of a raw block is out of range");
  if (width > raw_width_bound(frame_.spec)) fail("width of a raw block is out of range");
  const size_t count = plan_.kept_bands() * positions;
  BitSource in = padded(block.subspan(kRawHeadBytes));
  int32_t* const symbols = symbols_.reserve(count);
  std::fill_n(symbols, count, minimum);
  for (int plane = width; plane-- > 0;)
    kernels_.add_symbol_plane(in.bytes, in.take(count), count, static_cast<uint32_t>(plane), symbols);
  if (!in.is_finished()) fail("bits are left over in a block");
}

BitSource BlockDecoder::padded(Bytes bits) {
  uint8_t* const copy = bits_.reserve(bits.size() + kSlackBytes);
  if (!bits.empty()) std::memcpy(copy, bits.data(), bits.size());
  std::memset(copy + bits.size(), 0, kSlackBytes);
  return {copy, 0, bits.size() * 8, block_offset_};
}

void BlockDecoder::fail(const char* message) const { throw Error(ErrorCode::kCorrupt, message, block_offset_); }

}  // namespace fmc
