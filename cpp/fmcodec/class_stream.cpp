// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/class_stream.h"

#include <cstring>

#include "fmcodec/error.h"
#include "fmcodec/mask_tables.h"

namespace fmc {

std::vector<ClassCode> build_codes(const Tables& tables, CodeLayout layout) {
  std::vector<ClassCode> codes;
  codes.reserve(tables.classes.size());
  for (const TableClass& table : tables.classes) codes.emplace_back(table, layout);
  return codes;
}

ClassCode::ClassCode(const TableClass& table, CodeLayout layout)
    : mode(table.mode), layout(layout), shift(table.shift) {
  if (layout == CodeLayout::kSerial) {
    if (mode != ClassMode::kZero) serial_values = std::make_unique<SerialCode>(table.value_lengths);
    if (mode == ClassMode::kMasked) serial_masks = std::make_unique<SerialCode>(table.mask_lengths);
    return;
  }
  values = build_code_tree(table.value_lengths);
  if (mode != ClassMode::kMasked) return;
  const std::optional<size_t> standard = mask_table_index(table.mask_lengths);
  masks = standard ? mask_table(*standard).tree : build_code_tree(table.mask_lengths);
}

void ClassStreamWriter::write(const ClassCode& code, const uint8_t* tokens, const int32_t* symbols, size_t count,
                              BitCursor* out) {
  if (code.mode == ClassMode::kZero || count == 0) return;
  if (code.mode == ClassMode::kPlain) return write_values(code, tokens, symbols, count, out);
  const size_t mask_bytes = (count + 7) / 8;
  BitCursor mask{mask_.reserve(mask_bytes + kSlackBytes), 0};
  kernels_.write_mask(tokens, count, &mask);
  write_masks(code, mask.bytes, mask_bytes, out);
  uint8_t* const nonzero = ranks_.reserve(count + kSlackBytes);
  count = kernels_.compact_nonzero(tokens, count, nonzero);
  write_values(code, nonzero, nullptr, count, out);
}

void ClassStreamWriter::write_masks(const ClassCode& code, const uint8_t* masks, size_t count, BitCursor* out) {
  if (code.layout == CodeLayout::kSerial) return write_serial(*code.serial_masks, masks, nullptr, 0, count, out);
  uint8_t* const ranks = ranks_.reserve(count + kSlackBytes);
  kernels_.translate(masks, count, code.masks.rank_of_token.data(), ranks);
  write_ranks(kernels_, code.masks, ranks, count, tree_scratch_, out);
}

// `tokens` may be the buffer of the ranks.
void ClassStreamWriter::write_values(const ClassCode& code, const uint8_t* tokens, const int32_t* symbols, size_t count,
                                     BitCursor* out) {
  if (code.layout == CodeLayout::kSerial)
    return write_serial(*code.serial_values, tokens, symbols, code.shift, count, out);
  uint8_t* const ranks = ranks_.reserve(count + kSlackBytes);
  kernels_.translate(tokens, count, code.values.rank_of_token.data(), ranks);
  write_ranks(kernels_, code.values, ranks, count, tree_scratch_, out);
  for (int plane = code.shift; plane-- > 0;)
    kernels_.write_symbol_plane(symbols, count, static_cast<uint32_t>(plane), out);
}

void ClassStreamReader::read(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens, int32_t* symbols) {
  if (count == 0) return;
  if (code.mode == ClassMode::kZero) {
    std::memset(tokens, 0, count);
    return;
  }
  if (code.mode == ClassMode::kPlain) return read_values(code, count, in, tokens, symbols);
  const size_t mask_bytes = (count + 7) / 8;
  uint8_t* const mask = mask_.reserve(mask_bytes + kSlackBytes);
  read_masks(code, mask_bytes, in, mask);
  if (count % 8 != 0 && mask[mask_bytes - 1] >> (count % 8) != 0)
    throw Error(ErrorCode::kCorrupt, "padding of a mask is not 0", in->offset_bytes);
  const size_t ones = kernels_.count_ones(mask, 0, count);
  uint8_t* const nonzero = nonzero_.reserve(ones + kSlackBytes);
  read_values(code, ones, in, nonzero, nullptr);
  kernels_.expand_nonzero(mask, nonzero, count, tokens);
}

void ClassStreamReader::read_masks(const ClassCode& code, size_t count, BitSource* in, uint8_t* masks) {
  if (code.layout == CodeLayout::kSerial) return read_serial(*code.serial_masks, 0, count, in, masks, nullptr);
  read_tokens(kernels_, code.masks, count, tree_scratch_, in, masks);
}

void ClassStreamReader::read_values(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens,
                                    int32_t* symbols) {
  if (code.layout == CodeLayout::kSerial) {
    int32_t* const low_bits = code.shift > 0 ? low_bits_.reserve(count) : nullptr;
    read_serial(*code.serial_values, code.shift, count, in, tokens, low_bits);
    if (code.shift == 0) return;
    kernels_.tokens_to_symbols(tokens, count, token_minimum_, code.shift, symbols);
    for (size_t i = 0; i < count; ++i) symbols[i] += low_bits[i];
    return;
  }
  read_tokens(kernels_, code.values, count, tree_scratch_, in, tokens);
  if (code.shift == 0) return;
  kernels_.tokens_to_symbols(tokens, count, token_minimum_, code.shift, symbols);
  for (int plane = code.shift; plane-- > 0;)
    kernels_.add_symbol_plane(in->bytes, in->take(count), count, static_cast<uint32_t>(plane), symbols);
}

}  // namespace fmc
