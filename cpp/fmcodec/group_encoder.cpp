// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/group_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "fmcodec/block_kind.h"
#include "fmcodec/crc32c.h"
#include "fmcodec/error.h"

namespace fmc {
namespace {

// Most bytes that are written, behind the head, before a coded block turns out to be longer than a raw one: at most 15
// bits for a token, 15 / 8 for its part of the mask, 13 low bits.
uint64_t attempt_bound(uint64_t symbols) { return 4 * symbols + 256 + kSlackBytes; }

// Bits of a symbol of a raw block.
int raw_width(const SymbolRange& range) { return std::bit_width(static_cast<uint32_t>(range.maximum - range.minimum)); }

}  // namespace

GroupEncoder::GroupEncoder(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, const TensorView& tensor,
                           const Tiling& tiling)
    : kernels_(kernels),
      spec_(spec),
      token_minimum_(spec.token_minimum()),
      symbols_(kernels, spec, plan, tensor, tiling),
      order_(kernels, token_minimum_, symbols_),
      chooser_(kernels, spec, symbols_, order_),
      stream_writer_(kernels) {
  if (spec.tables) use_tables(*spec.tables);
}

EncodedGroup GroupEncoder::encode(uint64_t group, std::span<uint8_t> place) {
  symbols_.load(group);
  order_.reset();
  EncodedGroup encoded;
  const Tables adaptive = spec_.tables ? Tables{} : chooser_.choose();
  const Tables& tables = spec_.tables ? *spec_.tables : adaptive;
  const std::vector<uint8_t> class_section =
      spec_.tables ? std::vector<uint8_t>{} : write_class_section(tables, token_minimum_);
  uint64_t bound = class_section.size();
  const uint64_t padding = static_cast<uint64_t>(spec_.block_word_bits()) / 8 - 1;  // that raw blocks do not have
  uint64_t largest_attempt = 0;
  for (const Block& block : symbols_.blocks()) {
    bound += raw_size_bytes(block) + padding;
    // A head with patches is no longer than a raw block.
    const uint64_t head_bound = spec_.tables ? raw_size_bytes(block) : 0;
    largest_attempt = std::max(largest_attempt, head_bound + attempt_bound(symbols_.count(block)));
  }
  encoded.bytes.reserve(bound + largest_attempt, place);
  if (!spec_.tables) {
    encoded.bytes.append(class_section);
    add_part(encoded, 0);
    use_tables(tables);
  }
  if (tables.model == ClassModel::kNeighbours && !spec_.tables) order_.prepare();
  for (const Block& block : symbols_.blocks()) {
    const size_t begin = encoded.bytes.size();
    if (block.range.magnitude > 0 && !write_coded(block, tables, encoded.bytes)) write_raw(block, encoded.bytes);
    add_part(encoded, begin);
  }
  return encoded;
}

void GroupEncoder::add_part(EncodedGroup& group, size_t begin) const {
  const Bytes bytes = group.bytes.bytes().subspan(begin);
  if (bytes.size() > UINT32_MAX)
    throw Error(ErrorCode::kArgument, "a block is above 4 GiB: choose a smaller block_shape");
  group.parts.push_back({begin, static_cast<uint32_t>(bytes.size()), bytes.empty() ? 0 : crc32c(bytes)});
}

void GroupEncoder::use_tables(const Tables& tables) {
  if (tables.model == ClassModel::kBands) {
    classes_.assign(tables.class_map, kMaxClasses);
    codes_ = build_codes(tables, spec_.code_layout);
    return;
  }
  class_of_context_ = tables.class_of_context();
  for (size_t token = 0; token < kTokens; ++token) {
    has_weight_[token] = std::all_of(tables.classes.begin(), tables.classes.end(),
                                     [&](const TableClass& table) { return table.weights[token] > 0; });
  }
  rans_writer_.emplace(kernels_, tables);
}

// The symbol of a token at shift 0.
int32_t GroupEncoder::symbol_of(uint8_t token) const { return ((token - token_minimum_) & 255) + token_minimum_; }

// The symbols of the bands of a class with low bits, and in the places of patches others that have a code: 0 if the
// class is masked, else the first token with the low bits of the symbol.
const int32_t* GroupEncoder::gather_symbols(const Block& block, size_t class_index, const TableClass& table,
                                            uint64_t first_place) {
  const uint64_t positions = block.tile.positions();
  const std::span<const uint32_t> bands = classes_.bands(class_index);
  const uint64_t count = bands.size() * positions;
  int32_t* const gathered = class_symbols_.reserve(count);
  for (size_t i = 0; i < bands.size(); ++i)
    std::copy_n(symbols_.symbols(block, bands[i]), positions, gathered + i * positions);
  const int32_t low_bits = (1 << table.shift) - 1;
  for (const Patch& patch : patches_) {
    if (patch.place < first_place || patch.place >= first_place + count) continue;
    int32_t& symbol = gathered[patch.place - first_place];
    symbol =
        table.mode == ClassMode::kMasked ? 0 : first_token(table.value_lengths) << table.shift | (symbol & low_bits);
  }
  return gathered;
}

// Whether a class has a code for everything: all symbols from the smallest to the largest of the block or, if it is
// predicted, all differences of two; and all masks.
bool GroupEncoder::covers(const Block& block, const TableClass& table) const {
  const auto [minimum, maximum, magnitude] = block.range;
  if (table.mode == ClassMode::kZero || shift_for(minimum, maximum, token_minimum_) > table.shift) return false;
  const bool is_masked = table.mode == ClassMode::kMasked;
  const int32_t first = table.is_predicted ? std::min(minimum, minimum - maximum) : minimum >> table.shift;
  const int32_t last = table.is_predicted ? std::max(maximum, maximum - minimum) : maximum >> table.shift;
  for (int32_t h = first; h <= last; ++h) {
    const bool is_never_coded = is_masked && h == 0 && table.shift == 0;
    if (table.value_lengths[static_cast<uint8_t>(h)] == 0 && !is_never_coded) return false;
  }
  return !is_masked || std::find(table.mask_lengths.begin(), table.mask_lengths.end(), 0) == table.mask_lengths.end();
}

// Adds the symbols of a class for which static tables have no code to the patches. Returns false if the stream cannot
// be written all the same: a mask has no code, or rows cannot be subtracted.
bool GroupEncoder::find_patches(const Block& block, size_t class_index, const TableClass& table, uint64_t first_place) {
  const std::span<const uint32_t> bands = classes_.bands(class_index);
  if (bands.empty()) return true;
  if (covers(block, table)) return true;  // calibrated tables nearly always do, and need no look at the tokens
  if (table.is_predicted && symbols_.is_wide()) {
    // Residuals are of tokens.
    SymbolRange range;
    for (const uint32_t band : bands)
      kernels_.measure_symbols(symbols_.symbols(block, band), block.tile.positions(), &range);
    if (shift_for(range.minimum, range.maximum, token_minimum_) > 0) return false;
  }
  std::array<bool, kTokens> has_code;
  for (size_t token = 0; token < kTokens; ++token) has_code[token] = table.value_lengths[token] > 0;
  if (table.mode != ClassMode::kPlain && table.shift == 0) has_code[0] = true;
  const bool is_masked = table.mode == ClassMode::kMasked;
  const size_t mask_bytes = (bands.size() * block.tile.positions() + 7) / 8;
  BitCursor cursor{mask_.reserve(mask_bytes + kSlackBytes), 0};
  uint64_t place = first_place;
  size_t next_patch = patches_.size();
  size_t band = 0;
  for_each_band(symbols_, block, bands, table.is_predicted, table.shift, [&](const uint8_t* tokens, size_t count) {
    const bool is_wide = symbols_.is_wide() && !table.is_predicted;
    const int32_t* const symbols = is_wide ? symbols_.symbols(block, bands[band]) : nullptr;
    const bool is_zero = table.mode == ClassMode::kZero && symbols == nullptr &&
                         kernels_.compact_nonzero(tokens, count, nonzero_.reserve(count + kSlackBytes)) == 0;
    for (size_t i = 0; i < count && !is_zero; ++i) {
      const bool fits = symbols == nullptr || shift_for(symbols[i], symbols[i], token_minimum_) <= table.shift;
      if (fits && has_code[tokens[i]]) continue;
      const int32_t number = symbols != nullptr ? symbols[i] : table.is_predicted ? tokens[i] : symbol_of(tokens[i]);
      if (number == 0 && is_masked) continue;  // with low bits, whose token others have, too
      patches_.push_back({static_cast<uint32_t>(place + i), number});
    }
    if (is_masked && table.shift == 0)
      kernels_.write_mask(without_patches(tokens, place, count, 0, &next_patch), count, &cursor);
    place += count;
    ++band;
  });
  if (!is_masked) return true;
  if (table.shift > 0) {
    const size_t count = place - first_place;
    int32_t* const nonzero = nonzero_symbols_.reserve(count + kSlackBytes / sizeof(int32_t));
    kernels_.pack_symbols(gather_symbols(block, class_index, table, first_place), count, &cursor, nonzero);
  }
  return std::all_of(cursor.bytes, cursor.bytes + mask_bytes,
                     [&](uint8_t mask) { return table.mask_lengths[mask] > 0; });
}

// The tokens of a run, with the substitute in the places of patches from `next_patch` on.
const uint8_t* GroupEncoder::without_patches(const uint8_t* tokens, uint64_t first_place, size_t count,
                                             uint8_t substitute, size_t* next_patch) {
  if (*next_patch == patches_.size() || patches_[*next_patch].place >= first_place + count) return tokens;
  uint8_t* const substituted = substituted_.reserve(count + kSlackBytes);
  std::memcpy(substituted, tokens, count);
  for (; *next_patch < patches_.size() && patches_[*next_patch].place < first_place + count; ++*next_patch)
    substituted[patches_[*next_patch].place - first_place] = substitute;
  return substituted;
}

// The kind of a coded block, and its patches if there are any.
std::vector<uint8_t> GroupEncoder::head() const {
  if (patches_.empty()) return {static_cast<uint8_t>(BlockKind::kCoded)};
  std::vector<uint8_t> head{static_cast<uint8_t>(BlockKind::kPatched)};
  append_le<uint32_t>(head, static_cast<uint32_t>(patches_.size()));
  for (const Patch& patch : patches_) append_le<uint32_t>(head, patch.place);
  for (const Patch& patch : patches_) append_le<uint32_t>(head, static_cast<uint32_t>(patch.number));
  return head;
}

// Returns false, and writes nothing, if the block cannot be coded or would be longer than raw.
bool GroupEncoder::write_coded(const Block& block, const Tables& tables, ByteBuffer& out) {
  patches_.clear();
  if (tables.model == ClassModel::kNeighbours) return write_neighbours(block, out);
  const uint64_t positions = block.tile.positions();
  if (spec_.tables) {
    uint64_t place = 0;
    for (size_t k = 0; k < codes_.size(); ++k) {
      if (!find_patches(block, k, tables.classes[k], place)) return false;
      place += classes_.bands(k).size() * positions;
    }
    if (!can_patch(block)) return false;
  }
  const std::vector<uint8_t> head = this->head();
  std::copy(head.begin(), head.end(), out.end());
  BitCursor cursor{out.end(), 8 * head.size()};
  uint64_t place = 0;
  size_t next_patch = 0;
  for (size_t k = 0; k < codes_.size(); ++k) {
    const TableClass& table = tables.classes[k];
    const size_t count = classes_.bands(k).size() * positions;
    if (table.shift > 0) {
      stream_writer_.write_symbols(codes_[k], gather_symbols(block, k, table, place), count, &cursor);
    } else if (table.mode != ClassMode::kZero) {
      const uint8_t substitute = table.mode == ClassMode::kPlain ? first_token(table.value_lengths) : 0;
      uint64_t run_place = place;
      stream_writer_.begin(codes_[k], count);
      for_each_band(symbols_, block, classes_.bands(k), table.is_predicted, 0, [&](const uint8_t* tokens, size_t run) {
        stream_writer_.add(without_patches(tokens, run_place, run, substitute, &next_patch), run);
        run_place += run;
      });
      stream_writer_.end(&cursor);
    }
    place += count;
    while (next_patch < patches_.size() && patches_[next_patch].place < place) ++next_patch;
  }
  // Decided without the padding to words, so that the kind of a block does not depend on the layout.
  if ((cursor.position_bits + 7) / 8 > raw_size_bytes(block)) return false;
  pad_to_words(8 * head.size(), spec_.block_word_bits(), &cursor);
  out.advance(cursor.position_bits / 8);
  return true;
}

// Whether patches can be written and take less room than a raw block.
bool GroupEncoder::can_patch(const Block& block) const {
  if (patches_.empty()) return true;
  const bool has_places = symbols_.count(block) <= uint64_t{1} << 32;
  return has_places && patch_head_bytes(patches_.size()) <= raw_size_bytes(block);
}

// Whether static tables of contexts have a weight for everything from the smallest to the largest symbol of a block.
bool GroupEncoder::has_weights(const Block& block) const {
  const auto [minimum, maximum, magnitude] = block.range;
  if (symbols_.is_wide() || shift_for(minimum, maximum, token_minimum_) > 0) return false;
  for (int32_t symbol = minimum; symbol <= maximum; ++symbol) {
    if (!has_weight_[static_cast<uint8_t>(symbol)]) return false;
  }
  return true;
}

// Makes patches of the symbols that static tables of contexts have no weight for, and returns all tokens with 0 in
// their place.
const uint8_t* GroupEncoder::patch_tokens(const Block& block) {
  const size_t positions = block.tile.positions();
  uint8_t* const substituted = substituted_.reserve(symbols_.count(block) + kSlackBytes);
  for (size_t band = 0; band < symbols_.bands(); ++band) {
    const size_t first = band * positions;
    const int32_t* const symbols = symbols_.is_wide() ? symbols_.symbols(block, band) : nullptr;
    std::memcpy(substituted + first, symbols_.tokens(block, band, 0), positions);
    for (size_t i = 0; i < positions; ++i) {
      uint8_t& token = substituted[first + i];
      const int32_t symbol = symbols != nullptr ? symbols[i] : symbol_of(token);
      if (has_weight_[token] && shift_for(symbol, symbol, token_minimum_) == 0) continue;
      patches_.push_back({static_cast<uint32_t>(first + i), symbol});
      token = 0;
    }
  }
  return substituted;
}

// The same with contexts from neighbours. rANS writes backwards: the phases from the last to the first.
bool GroupEncoder::write_neighbours(const Block& block, ByteBuffer& out) {
  const size_t count = symbols_.count(block);
  OrderedTokens ordered;
  if (spec_.tables) {
    // Calibrated tables nearly always cover a block, whose tokens then need no look.
    const uint8_t* const tokens = has_weights(block) ? symbols_.tokens(block) : patch_tokens(block);
    if (!can_patch(block) || (!patches_.empty() && !has_weight_[0])) return false;
    ordered = order_.order(block, tokens);
  } else {
    ordered = order_.of_block(block);
  }
  uint8_t* const classes = class_of_token_.reserve(count + kSlackBytes);
  kernels_.translate(ordered.contexts, count, class_of_context_.data(), classes);
  const auto& phase_counts = order_.phase_counts(block);
  rans_writer_->begin(count);
  size_t end = count;
  for (size_t phase = Lattice::kPhases; phase-- > 0;) {
    const size_t phase_count = phase_counts[phase];
    end -= phase_count;
    rans_writer_->write(ordered.tokens + end, classes + end, phase_count);
  }
  const std::span<const uint8_t> coded = rans_writer_->end();
  const std::vector<uint8_t> head = this->head();
  if (head.size() + coded.size() > raw_size_bytes(block)) return false;
  out.append(head);
  out.append(coded);
  return true;
}

uint64_t GroupEncoder::raw_size_bytes(const Block& block) const {
  const int width = raw_width(block.range);
  return kRawHeadBytes + (symbols_.count(block) * static_cast<uint64_t>(width) + 7) / 8;
}

void GroupEncoder::write_raw(const Block& block, ByteBuffer& out) {
  const size_t count = symbols_.count(block);
  int32_t* const symbols = symbols_.copy_symbols(block);
  for (size_t i = 0; i < count; ++i) symbols[i] -= block.range.minimum;
  const int width = raw_width(block.range);
  std::vector<uint8_t> head{static_cast<uint8_t>(BlockKind::kRaw)};
  append_le<uint32_t>(head, static_cast<uint32_t>(block.range.minimum));
  head.push_back(static_cast<uint8_t>(width));
  out.append(head);
  BitCursor cursor{bits_.reserve(attempt_bound(count)), 0};
  for (int plane = width; plane-- > 0;)
    kernels_.write_symbol_plane(symbols, count, static_cast<uint32_t>(plane), &cursor);
  out.append({cursor.bytes, static_cast<size_t>((cursor.position_bits + 7) / 8)});
}

}  // namespace fmc
