// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/class_stream.h"

#include <algorithm>
#include <array>
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
    : mode(table.mode), layout(layout), is_predicted(table.is_predicted), shift(table.shift) {
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

void ClassStreamWriter::begin(const ClassCode& code, size_t count) {
  code_ = &code;
  count_ = value_count_ = 0;
  if (code.mode == ClassMode::kZero) return;
  values_.reserve(count + kSlackBytes);
  if (code.mode == ClassMode::kMasked) mask_cursor_ = {mask_.reserve((count + 7) / 8 + kSlackBytes), 0};
}

void ClassStreamWriter::add(const uint8_t* tokens, size_t count) {
  static constexpr std::array<uint8_t, kTokens> kItself = [] {
    std::array<uint8_t, kTokens> table{};
    for (size_t token = 0; token < kTokens; ++token) table[token] = static_cast<uint8_t>(token);
    return table;
  }();
  count_ += count;
  uint8_t* const out = values_.get() + value_count_;
  const bool is_serial = code_->layout == CodeLayout::kSerial;
  if (code_->mode == ClassMode::kPlain) {
    value_count_ += count;
    if (is_serial) {
      std::memcpy(out, tokens, count);
    } else {
      kernels_.translate(tokens, count, code_->values.rank_of_token.data(), out);
    }
  } else if (code_->mode == ClassMode::kMasked) {
    const uint8_t* const table = is_serial ? kItself.data() : code_->values.rank_of_token.data();
    value_count_ += kernels_.pack_nonzero(tokens, count, table, &mask_cursor_, out);
  }
}

void ClassStreamWriter::end(BitCursor* out) { write(nullptr, out); }

// Tokens do not tell which symbols are 0, so the mask comes from the symbols.
void ClassStreamWriter::write_symbols(const ClassCode& code, const int32_t* symbols, size_t count, BitCursor* out) {
  begin(code, count);
  count_ = value_count_ = count;
  if (code.mode == ClassMode::kMasked) {
    int32_t* const nonzero = nonzero_.reserve(count + kSlackBytes / sizeof(int32_t));
    value_count_ = kernels_.pack_symbols(symbols, count, &mask_cursor_, nonzero);
    symbols = nonzero;
  }
  kernels_.symbols_to_tokens(symbols, value_count_, code.shift, values_.get());
  if (code.layout == CodeLayout::kWavelet)
    kernels_.translate(values_.get(), value_count_, code.values.rank_of_token.data(), values_.get());
  write(symbols, out);
}

// The mask and the values; `symbols`, those of the values, have the low bits, if there are any.
void ClassStreamWriter::write(const int32_t* symbols, BitCursor* out) {
  if (code_->mode == ClassMode::kZero || count_ == 0) return;
  const size_t mask_bytes = (count_ + 7) / 8;
  if (code_->layout == CodeLayout::kSerial) {
    if (code_->mode == ClassMode::kMasked) write_serial(*code_->serial_masks, mask_.get(), nullptr, 0, mask_bytes, out);
    return write_serial(*code_->serial_values, values_.get(), symbols, code_->shift, value_count_, out);
  }
  if (code_->mode == ClassMode::kMasked) {
    uint8_t* const ranks = mask_ranks_.reserve(mask_bytes + kSlackBytes);
    kernels_.translate(mask_.get(), mask_bytes, code_->masks.rank_of_token.data(), ranks);
    write_ranks(kernels_, code_->masks, ranks, mask_bytes, tree_scratch_, out);
  }
  write_ranks(kernels_, code_->values, values_.get(), value_count_, tree_scratch_, out);
  for (int plane = code_->shift; plane-- > 0;)
    kernels_.write_symbol_plane(symbols, value_count_, static_cast<uint32_t>(plane), out);
}

void ClassStreamReader::read(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens, int32_t* symbols) {
  if (count == 0) return;
  if (code.mode == ClassMode::kZero) {
    std::memset(tokens, 0, count);
    return;
  }
  if (code.mode == ClassMode::kPlain) return read_values(code, count, in, tokens, symbols);
  read_masked(code, count, in, tokens, symbols);
}

void ClassStreamReader::read_masked(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens,
                                    int32_t* symbols) {
  const size_t mask_bytes = (count + 7) / 8;
  uint8_t* const mask = mask_.reserve(mask_bytes + kSlackBytes);
  read_masks(code, mask_bytes, in, mask);
  if (count % 8 != 0 && mask[mask_bytes - 1] >> (count % 8) != 0)
    throw Error(ErrorCode::kCorrupt, "padding of a mask is not 0", in->offset_bytes);
  const size_t ones = kernels_.count_ones(mask, 0, count);
  uint8_t* const nonzero = nonzero_.reserve(ones + kSlackBytes);
  if (code.shift == 0) {
    read_values(code, ones, in, nonzero, nullptr);
    return kernels_.expand_nonzero(mask, nonzero, count, tokens);
  }
  int32_t* const nonzero_symbols = nonzero_symbols_.reserve(ones + kSlackBytes / sizeof(int32_t));
  read_values(code, ones, in, nonzero, nonzero_symbols);
  if (std::find(nonzero_symbols, nonzero_symbols + ones, 0) != nonzero_symbols + ones)
    throw Error(ErrorCode::kCorrupt, "a symbol behind a 1 of its mask is 0", in->offset_bytes);
  kernels_.expand_symbols(mask, nonzero_symbols, count, symbols);
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
