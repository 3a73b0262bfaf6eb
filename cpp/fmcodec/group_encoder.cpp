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

// Counts with four tables, so that runs of equal tokens do not wait for the store of the previous count.
struct TokenCounter {
  uint32_t partial[4][kTokens] = {};

  void count(const uint8_t* tokens, size_t count) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
      for (size_t t = 0; t < 4; ++t) ++partial[t][tokens[i + t]];
    }
    for (; i < count; ++i) ++partial[0][tokens[i]];
  }
  TokenHistogram total() const {
    TokenHistogram histogram;
    for (size_t token = 0; token < kTokens; ++token) {
      histogram[token] = uint64_t{partial[0][token]} + partial[1][token] + partial[2][token] + partial[3][token];
    }
    return histogram;
  }
};

TokenHistogram histogram_of(const uint8_t* tokens, size_t count) {
  TokenCounter counter;
  counter.count(tokens, count);
  return counter.total();
}

TokenHistogram mask_histogram(const KernelTable& kernels, const uint8_t* tokens, size_t count,
                              Buffer<uint8_t>& scratch) {
  BitCursor cursor{scratch.reserve((count + 7) / 8 + kSlackBytes), 0};
  kernels.write_mask(tokens, count, &cursor);
  return histogram_of(cursor.bytes, (count + 7) / 8);
}

// What an effort looks at (section 10).
struct Diligence {
  uint64_t sample_run;         // positions counted of each kSamplePeriod of a band in a block
  uint64_t least_own_symbols;  // smaller classes get a standard mask table without a look at their masks
};
constexpr uint64_t kSamplePeriod = 256;
constexpr std::array<Diligence, 3> kDiligence{{{16, UINT64_MAX}, {64, 65536}, {kSamplePeriod, 0}}};

const Diligence& diligence(int effort) { return kDiligence[static_cast<size_t>(effort) - 1]; }

// Bits of a symbol of a raw block.
int raw_width(const SymbolRange& range) { return std::bit_width(static_cast<uint32_t>(range.maximum - range.minimum)); }

}  // namespace

GroupEncoder::GroupEncoder(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, const TensorView& tensor,
                           const Tiling& tiling)
    : kernels_(kernels),
      spec_(spec),
      plan_(plan),
      tensor_(tensor),
      tiling_(tiling),
      token_minimum_(spec.token_minimum()),
      transform_(kernels, spec, plan, tensor.dtype),
      stream_writer_(kernels),
      lattice_(kernels, token_minimum_) {
  if (spec.tables) use_tables(*spec.tables);
}

EncodedGroup GroupEncoder::encode(uint64_t group) {
  transform_blocks(group);
  EncodedGroup encoded;
  const Tables adaptive = spec_.tables ? Tables{} : choose_tables();
  const Tables& tables = spec_.tables ? *spec_.tables : adaptive;
  const std::vector<uint8_t> class_section =
      spec_.tables ? std::vector<uint8_t>{} : write_class_section(tables, token_minimum_);
  uint64_t bound = class_section.size();
  const uint64_t padding = static_cast<uint64_t>(spec_.block_word_bits()) / 8 - 1;  // that raw blocks do not have
  for (const Block& block : blocks_) bound += raw_size_bytes(block) + padding;
  encoded.bytes.reserve(bound);
  if (!spec_.tables) {
    encoded.bytes.append(class_section);
    add_part(encoded, 0);
    use_tables(tables);
  }
  if (tables.model == ClassModel::kNeighbours && !is_wide_) order_blocks();
  for (const Block& block : blocks_) {
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

// Step 2. Symbols are kept as tokens if all of them fit at shift 0, which is nearly always so, else as 32-bit integers.
void GroupEncoder::transform_blocks(uint64_t group) {
  blocks_.clear();
  is_ordered_ = false;
  const uint64_t begin = group * tiling_.blocks_per_group;
  const uint64_t end = std::min(begin + tiling_.blocks_per_group, tiling_.block_count());
  uint64_t first_symbol = 0;
  for (uint64_t b = begin; b < end; ++b) {
    blocks_.push_back({tiling_.tile(b), first_symbol, {}});
    first_symbol += symbol_count(blocks_.back());
  }
  is_wide_ = spec_.tables && spec_.tables->has_shift();
  if (!transform_blocks_to(is_wide_)) {
    is_wide_ = true;
    transform_blocks_to(true);
  }
}

// Returns false if tokens were asked for and a symbol does not fit.
bool GroupEncoder::transform_blocks_to(bool is_wide) {
  const uint64_t total = symbol_count();
  uint8_t* const tokens = is_wide ? nullptr : tokens_.reserve(total + kSlackBytes);
  int32_t* const symbols = is_wide ? symbols_.reserve(total) : nullptr;
  ranges_.assign(plan_.kept_bands(), {});
  std::vector<SymbolRange> block_ranges(plan_.kept_bands());
  bool is_finite = true;
  for (Block& block : blocks_) {
    std::fill(block_ranges.begin(), block_ranges.end(), SymbolRange{});
    const auto planes = gather(tensor_, block.tile, planes_);
    is_finite &= transform_.forward(planes, is_wide ? nullptr : tokens + block.first_symbol,
                                    is_wide ? symbols + block.first_symbol : nullptr, block_ranges.data());
    block.range = {};
    for (size_t band = 0; band < block_ranges.size(); ++band) {
      ranges_[band].add(block_ranges[band]);
      block.range.add(block_ranges[band]);
    }
    if (!is_wide && shift_for(block.range.minimum, block.range.maximum, token_minimum_) > 0) return false;
  }
  if (!is_finite && !spec_.clamps_nonfinite) {
    throw Error(ErrorCode::kNonFinite,
                "the array holds NaN or infinity; nonfinite='clamp' codes NaN as 0 and clamps infinities");
  }
  return true;
}

// The tokens of all blocks in the order of the phases, with their contexts.
void GroupEncoder::order_blocks() {
  if (is_ordered_) return;
  const uint64_t total = symbol_count();
  uint8_t* const ordered = ordered_.reserve(total + kSlackBytes);
  uint8_t* const contexts = contexts_.reserve(total + kSlackBytes);
  for (const Block& block : blocks_) {
    lattice_.set_tile(plan_.kept_bands(), block.tile.rows, block.tile.columns);
    lattice_.order(tokens_.get() + block.first_symbol, ordered + block.first_symbol, contexts + block.first_symbol);
  }
  is_ordered_ = true;
}

Tables GroupEncoder::choose_tables() {
  const BandBuckets buckets = count_buckets();
  if (spec_.effort < kExactEffort) return choose_band_tables(buckets, spec_.most_classes()).tables;
  std::vector<CostedTables> candidates;
  candidates.push_back(choose_band_tables(buckets, kMaxClasses));
  candidates.push_back(choose_band_tables(buckets, kFewClasses));
  if (!is_wide_) candidates.push_back(choose_neighbour_tables());
  return std::min_element(candidates.begin(), candidates.end(),
                          [](const CostedTables& a, const CostedTables& b) { return a.bits < b.bits; })
      ->tables;
}

// Section 10, steps 4 to 6.
CostedTables GroupEncoder::choose_band_tables(const BandBuckets& buckets, size_t most_classes) {
  Classes chosen = choose_classes(buckets.statistics, plan_.kept_bands(), most_classes);
  Tables tables;
  for (const uint8_t bucket : buckets.bucket_of_band) tables.class_map.push_back(chosen.class_of_item[bucket]);
  return choose_modes(std::move(tables), chosen.statistics);
}

// Section 10, step 9.
CostedTables GroupEncoder::choose_neighbour_tables() {
  order_blocks();
  const uint64_t total = symbol_count();
  const uint8_t* const tokens = ordered_.get();
  const uint8_t* const contexts = contexts_.get();
  // Two tables, so that runs of equal tokens do not wait for the store of the previous count.
  std::vector<std::array<uint32_t, kTokens>> even(kContexts), odd(kContexts);
  uint64_t i = 0;
  for (; i + 2 <= total; i += 2) {
    ++even[contexts[i]][tokens[i]];
    ++odd[contexts[i + 1]][tokens[i + 1]];
  }
  if (i < total) ++even[contexts[i]][tokens[i]];
  std::vector<TokenStatistics> items(kContexts);
  for (size_t c = 0; c < kContexts; ++c) {
    for (size_t token = 0; token < kTokens; ++token) items[c].counts[token] = uint64_t{even[c][token]} + odd[c][token];
    items[c].symbols = items[c].counted();
  }
  Classes chosen = choose_classes(items, kContexts, kMaxClasses);
  CostedTables costed;
  costed.tables.model = ClassModel::kNeighbours;
  costed.tables.class_map = chosen.class_of_item;
  costed.bits = kContexts * class_bits(chosen.statistics.size());
  for (const TokenStatistics& statistics : chosen.statistics) {
    const CostedClass c = choose_weights(statistics.counts, token_minimum_);
    costed.tables.classes.push_back(c.table);
    costed.bits += c.bits;
  }
  for (const Block& block : blocks_) costed.bits += 32 * rans_lanes(symbol_count(block));
  return costed;
}

// Section 10, steps 5 and 6.
CostedTables GroupEncoder::choose_modes(Tables tables, std::vector<TokenStatistics>& classes) {
  for (TokenStatistics& statistics : classes) {
    smooth(statistics);
    tables.classes.push_back({ClassMode::kZero, statistics.shift, {}, {}});
  }
  std::vector<TokenHistogram> masks;
  const auto counts_masks = [&](const TokenStatistics& statistics) {
    return may_be_masked(statistics) && statistics.symbols >= diligence(spec_.effort).least_own_symbols;
  };
  if (std::any_of(classes.begin(), classes.end(), counts_masks)) {
    use_map(tables);
    masks.assign(classes.size(), TokenHistogram{});
    for (const Block& block : blocks_) {
      for_each_stream(block, [&](size_t k, const uint8_t* tokens, size_t count) {
        if (counts_masks(classes[k])) add(mask_histogram(kernels_, tokens, count, mask_), masks[k]);
      });
    }
  }
  CostedTables costed{std::move(tables), plan_.kept_bands() * class_bits(classes.size())};
  for (size_t k = 0; k < classes.size(); ++k) {
    const CostedClass chosen =
        choose_mode(classes[k], counts_masks(classes[k]) ? &masks[k] : nullptr, spec_.code_choice(), token_minimum_);
    costed.tables.classes[k] = chosen.table;
    costed.bits += chosen.bits;
  }
  return costed;
}

// Section 10, steps 2 and 3.
GroupEncoder::BandBuckets GroupEncoder::count_buckets() {
  uint64_t positions = 0;
  for (const Block& block : blocks_) positions += block.tile.positions();
  BandBuckets counted{std::vector<uint8_t>(ranges_.size()), std::vector<TokenStatistics>(kBuckets)};
  auto& [bucket_of_band, buckets] = counted;
  for (size_t band = 0; band < ranges_.size(); ++band) {
    const SymbolRange& range = ranges_[band];
    bucket_of_band[band] = static_cast<uint8_t>(bucket_of(range.magnitude, positions));
    TokenStatistics& bucket = buckets[bucket_of_band[band]];
    bucket.symbols += positions;
    bucket.minimum = std::min(bucket.minimum, range.minimum);
    bucket.maximum = std::max(bucket.maximum, range.maximum);
  }
  std::vector<size_t> filled;
  std::array<size_t, kBuckets> counter_of_bucket{};
  for (size_t b = 0; b < kBuckets; ++b) {
    if (buckets[b].symbols == 0) continue;
    buckets[b].shift = shift_for(buckets[b].minimum, buckets[b].maximum, token_minimum_);
    counter_of_bucket[b] = filled.size();
    filled.push_back(b);
  }
  const uint64_t sample_run = diligence(spec_.effort).sample_run;
  std::vector<TokenCounter> counters(filled.size());
  for (const Block& block : blocks_) {
    const uint64_t positions_in_tile = block.tile.positions();
    uint8_t* const nonzero = stream_.reserve(positions_in_tile + kSlackBytes);
    for (size_t band = 0; band < ranges_.size(); ++band) {
      const size_t b = bucket_of_band[band];
      TokenCounter& counter = counters[counter_of_bucket[b]];
      const uint8_t* const tokens = band_tokens(block, band, buckets[b].shift);
      // Most maps are mostly zeros: these are told by a comparison and not counted one by one.
      size_t sampled = 0, nonzero_count = 0;
      for (uint64_t p = 0; p < positions_in_tile; p += kSamplePeriod) {
        const size_t run = std::min(sample_run, positions_in_tile - p);
        nonzero_count += kernels_.compact_nonzero(tokens + p, run, nonzero + nonzero_count);
        sampled += run;
      }
      counter.count(nonzero, nonzero_count);
      counter.partial[0][0] += static_cast<uint32_t>(sampled - nonzero_count);
    }
  }
  for (size_t i = 0; i < filled.size(); ++i) buckets[filled[i]].counts = counters[i].total();
  return counted;
}

void GroupEncoder::use_tables(const Tables& tables) {
  if (tables.model == ClassModel::kBands) {
    use_map(tables);
    codes_ = build_codes(tables, spec_.code_layout);
    return;
  }
  class_of_context_ = tables.class_of_context();
  rans_writer_.emplace(kernels_, tables);
}

void GroupEncoder::use_map(const Tables& tables) {
  shifts_.clear();
  for (const TableClass& table : tables.classes) shifts_.push_back(table.shift);
  const size_t class_count = tables.classes.size();
  class_begin_.assign(class_count + 1, 0);
  for (const uint8_t k : tables.class_map) ++class_begin_[k + 1];
  for (size_t k = 0; k < class_count; ++k) class_begin_[k + 1] += class_begin_[k];
  std::vector<size_t> next(class_begin_.begin(), class_begin_.end() - 1);
  band_order_.resize(tables.class_map.size());
  for (size_t band = 0; band < tables.class_map.size(); ++band)
    band_order_[next[tables.class_map[band]]++] = static_cast<uint32_t>(band);
}

template <class Visit>
void GroupEncoder::for_each_stream(const Block& block, const Visit& visit) {
  for (size_t k = 0; k < shifts_.size(); ++k) {
    const size_t count = gather_class(block, k, shifts_[k]);
    if (count > 0) visit(k, stream_.get(), count);
  }
}

const uint8_t* GroupEncoder::band_tokens(const Block& block, uint64_t band, int shift) {
  const uint64_t positions = block.tile.positions();
  const uint64_t first = block.first_symbol + band * positions;
  if (!is_wide_) return tokens_.get() + first;
  uint8_t* const converted = converted_.reserve(positions + kSlackBytes);
  kernels_.symbols_to_tokens(symbols_.get() + first, positions, shift, converted);
  return converted;
}

// Brings the tokens of a class together in stream_ and returns their number.
size_t GroupEncoder::gather_class(const Block& block, size_t class_index, int shift) {
  const uint64_t positions = block.tile.positions();
  const size_t begin = class_begin_[class_index], end = class_begin_[class_index + 1];
  uint8_t* out = stream_.reserve(symbol_count(block) + kSlackBytes);
  for (size_t i = begin; i < end; ++i, out += positions) {
    const uint64_t first = block.first_symbol + band_order_[i] * positions;
    if (is_wide_) {
      kernels_.symbols_to_tokens(symbols_.get() + first, positions, shift, out);
    } else {
      std::memcpy(out, tokens_.get() + first, positions);
    }
  }
  return (end - begin) * positions;
}

// The same for symbols that have low bits, in class_symbols_.
const int32_t* GroupEncoder::gather_symbols(const Block& block, size_t class_index) {
  const uint64_t positions = block.tile.positions();
  const size_t begin = class_begin_[class_index], end = class_begin_[class_index + 1];
  int32_t* const gathered = class_symbols_.reserve((end - begin) * positions);
  for (size_t i = begin; i < end; ++i) {
    const int32_t* const symbols = symbols_.get() + block.first_symbol + band_order_[i] * positions;
    std::copy_n(symbols, positions, gathered + (i - begin) * positions);
  }
  return gathered;
}

// Whether a class has a code for everything: all symbols from the smallest to the largest of the block, and all masks.
bool GroupEncoder::covers(const Block& block, const TableClass& table) const {
  if (table.mode == ClassMode::kZero ||
      shift_for(block.range.minimum, block.range.maximum, token_minimum_) > table.shift) {
    return false;
  }
  const bool is_masked = table.mode == ClassMode::kMasked;
  for (int32_t h = block.range.minimum >> table.shift; h <= block.range.maximum >> table.shift; ++h) {
    if (table.value_lengths[static_cast<uint8_t>(h)] == 0 && !(is_masked && h == 0)) return false;
  }
  return !is_masked || std::find(table.mask_lengths.begin(), table.mask_lengths.end(), 0) == table.mask_lengths.end();
}

// Whether static tables can code a stream: all symbols fit the shift, and all tokens have a code.
bool GroupEncoder::fits(const Block& block, size_t class_index, const TableClass& table, const uint8_t* tokens,
                        size_t count) {
  if (covers(block, table)) return true;  // calibrated tables nearly always do, and need no look at the tokens
  if (is_wide_) {
    SymbolRange range;
    for (size_t i = class_begin_[class_index]; i < class_begin_[class_index + 1]; ++i) {
      kernels_.measure_symbols(symbols_.get() + block.first_symbol + band_order_[i] * block.tile.positions(),
                               block.tile.positions(), &range);
    }
    if (class_begin_[class_index] < class_begin_[class_index + 1] &&
        shift_for(range.minimum, range.maximum, token_minimum_) > table.shift)
      return false;
  }
  const TokenHistogram values = histogram_of(tokens, count);
  const auto has_codes = [](const TokenHistogram& histogram, const CodeLengths& lengths, size_t first_token) {
    for (size_t token = first_token; token < kTokens; ++token) {
      if (histogram[token] > 0 && lengths[token] == 0) return false;
    }
    return true;
  };
  if (table.mode == ClassMode::kZero) return values[0] == count;
  if (table.mode == ClassMode::kPlain) return has_codes(values, table.value_lengths, 0);
  const TokenHistogram masks = mask_histogram(kernels_, tokens, count, mask_);
  return has_codes(masks, table.mask_lengths, 0) && has_codes(values, table.value_lengths, 1);
}

// Returns false, and writes nothing, if the block cannot be coded or would be longer than raw.
bool GroupEncoder::write_coded(const Block& block, const Tables& tables, ByteBuffer& out) {
  if (tables.model == ClassModel::kNeighbours) return !is_wide_ && write_neighbours(block, tables, out);
  // At most 15 bits for a token, 15 / 8 for its part of the mask, 13 low bits: below 4 bytes per symbol.
  BitCursor cursor{bits_.reserve(4 * symbol_count(block) + 256 + kSlackBytes), 8};
  cursor.bytes[0] = static_cast<uint8_t>(BlockKind::kCoded);
  bool is_covered = true;
  for_each_stream(block, [&](size_t k, const uint8_t* tokens, size_t count) {
    is_covered = is_covered && (!spec_.tables || fits(block, k, tables.classes[k], tokens, count));
    if (!is_covered) return;
    const int32_t* const symbols = shifts_[k] > 0 ? gather_symbols(block, k) : nullptr;
    stream_writer_.write(codes_[k], tokens, symbols, count, &cursor);
  });
  // Decided without the padding to words, so that the kind of a block does not depend on the layout.
  if (!is_covered || (cursor.position_bits + 7) / 8 > raw_size_bytes(block)) return false;
  pad_to_words(8, spec_.block_word_bits(), &cursor);
  out.append({cursor.bytes, static_cast<size_t>(cursor.position_bits / 8)});
  return true;
}

// The same with contexts from neighbours. rANS writes backwards: the phases from the last to the first.
bool GroupEncoder::write_neighbours(const Block& block, const Tables& tables, ByteBuffer& out) {
  const size_t count = symbol_count(block);
  const uint8_t* const tokens = ordered_.get() + block.first_symbol;
  uint8_t* const classes = classes_.reserve(count + kSlackBytes);
  kernels_.translate(contexts_.get() + block.first_symbol, count, class_of_context_.data(), classes);
  if (spec_.tables) {
    for (size_t i = 0; i < count; ++i) {
      if (tables.classes[classes[i]].weights[tokens[i]] == 0) return false;
    }
  }
  lattice_.set_tile(plan_.kept_bands(), block.tile.rows, block.tile.columns);
  rans_writer_->begin(count);
  size_t end = count;
  for (size_t phase = Lattice::kPhases; phase-- > 0;) {
    const size_t phase_count = lattice_.phase_counts()[phase];
    end -= phase_count;
    rans_writer_->write(tokens + end, classes + end, phase_count);
  }
  const std::span<const uint8_t> coded = rans_writer_->end();
  if (1 + coded.size() > raw_size_bytes(block)) return false;
  const auto kind = static_cast<uint8_t>(BlockKind::kCoded);
  out.append({&kind, 1});
  out.append(coded);
  return true;
}

uint64_t GroupEncoder::raw_size_bytes(const Block& block) const {
  const int width = raw_width(block.range);
  return kRawHeadBytes + (symbol_count(block) * static_cast<uint64_t>(width) + 7) / 8;
}

void GroupEncoder::write_raw(const Block& block, ByteBuffer& out) {
  const size_t count = symbol_count(block);
  int32_t* const symbols = raw_symbols_.reserve(count);
  if (is_wide_) {
    std::copy_n(symbols_.get() + block.first_symbol, count, symbols);
  } else {
    kernels_.tokens_to_symbols(tokens_.get() + block.first_symbol, count, token_minimum_, 0, symbols);
  }
  for (size_t i = 0; i < count; ++i) symbols[i] -= block.range.minimum;
  const int width = raw_width(block.range);
  std::vector<uint8_t> head{static_cast<uint8_t>(BlockKind::kRaw)};
  append_le<uint32_t>(head, static_cast<uint32_t>(block.range.minimum));
  head.push_back(static_cast<uint8_t>(width));
  out.append(head);
  BitCursor cursor{bits_.reserve(4 * count + 256 + kSlackBytes), 0};
  for (int plane = width; plane-- > 0;)
    kernels_.write_symbol_plane(symbols, count, static_cast<uint32_t>(plane), &cursor);
  out.append({cursor.bytes, static_cast<size_t>((cursor.position_bits + 7) / 8)});
}

}  // namespace fmc
