// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/class_stream.h"

#include <cstring>

#include "fmcodec/error.h"
#include "fmcodec/mask_tables.h"

namespace fmc {

std::vector<ClassCode> build_codes(const Tables& tables) {
  std::vector<ClassCode> codes;
  codes.reserve(tables.classes.size());
  for (const TableClass& table : tables.classes) codes.emplace_back(table);
  return codes;
}

ClassCode::ClassCode(const TableClass& table)
    : mode(table.mode), shift(table.shift), values(build_code_tree(table.value_lengths)) {
  if (mode != ClassMode::kMasked) return;
  const std::optional<size_t> standard = mask_table_index(table.mask_lengths);
  masks = standard ? mask_table(*standard).tree : build_code_tree(table.mask_lengths);
}

void count_masks(const KernelTable& kernels, const uint8_t* tokens, size_t count, Buffer<uint8_t>& scratch,
                 TokenHistogram& masks) {
  BitCursor cursor{scratch.reserve((count + 7) / 8 + kSlackBytes), 0};
  kernels.write_mask(tokens, count, &cursor);
  for (size_t i = 0; i < (count + 7) / 8; ++i) ++masks[cursor.bytes[i]];
}

void ClassStreamWriter::write(const ClassCode& code, const uint8_t* tokens, size_t count, BitCursor* out) {
  if (code.mode == ClassMode::kZero || count == 0) return;
  uint8_t* const ranks = ranks_.reserve(count + kSlackBytes);
  if (code.mode == ClassMode::kMasked) {
    const size_t mask_bytes = (count + 7) / 8;
    BitCursor mask{mask_.reserve(mask_bytes + kSlackBytes), 0};
    kernels_.write_mask(tokens, count, &mask);
    kernels_.translate(mask.bytes, mask_bytes, code.masks.rank_of_token.data(), ranks);
    write_ranks(kernels_, code.masks, ranks, mask_bytes, tree_scratch_, out);
    count = kernels_.compact_nonzero(tokens, count, ranks);
    tokens = ranks;
  }
  kernels_.translate(tokens, count, code.values.rank_of_token.data(), ranks);
  write_ranks(kernels_, code.values, ranks, count, tree_scratch_, out);
}

void ClassStreamReader::read(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens) {
  if (count == 0) return;
  if (code.mode == ClassMode::kZero) {
    std::memset(tokens, 0, count);
    return;
  }
  if (code.mode == ClassMode::kPlain) return read_tokens(kernels_, code.values, count, tree_scratch_, in, tokens);
  const size_t mask_bytes = (count + 7) / 8;
  uint8_t* const mask = mask_.reserve(mask_bytes + kSlackBytes);
  read_tokens(kernels_, code.masks, mask_bytes, tree_scratch_, in, mask);
  if (count % 8 != 0 && mask[mask_bytes - 1] >> (count % 8) != 0)
    throw Error(ErrorCode::kCorrupt, "padding of a mask is not 0", in->offset_bytes);
  const size_t ones = kernels_.count_ones(mask, 0, count);
  uint8_t* const nonzero = nonzero_.reserve(ones + kSlackBytes);
  read_tokens(kernels_, code.values, ones, tree_scratch_, in, nonzero);
  kernels_.expand_nonzero(mask, nonzero, count, tokens);
}

}  // namespace fmc
