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

// Counts with two tables, so that runs of equal tokens do not wait for the store of the previous count.
struct TokenCounter {
  static constexpr size_t kTables = 2;
  uint32_t partial[kTables][kTokens] = {};

  void count(const uint8_t* tokens, size_t count) {
    size_t i = 0;
    for (; i + kTables <= count; i += kTables) {
      for (size_t t = 0; t < kTables; ++t) ++partial[t][tokens[i + t]];
    }
    for (; i < count; ++i) ++partial[0][tokens[i]];
  }
  TokenHistogram total() const {
    TokenHistogram histogram;
    for (size_t token = 0; token < kTokens; ++token) histogram[token] = uint64_t{partial[0][token]} + partial[1][token];
    return histogram;
  }
};

// What an effort looks at (section 10).
struct Diligence {
  uint64_t sample_run;         // positions counted of each kSamplePeriod of a band in a block
  uint32_t sample_stride;      // one of so many bands is looked at
  uint64_t least_own_symbols;  // smaller classes get a standard mask table without a look at their masks
};
constexpr uint64_t kSamplePeriod = 256;
constexpr std::array<Diligence, 3> kDiligence{{{64, 4, 65536}, {64, 1, 65536}, {kSamplePeriod, 1, 0}}};

const Diligence& diligence(int effort) { return kDiligence[static_cast<size_t>(effort) - 1]; }

// Most bytes that are written before a coded block turns out to be longer than a raw one: at most 15 bits for a token,
// 15 / 8 for its part of the mask, 13 low bits.
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
      stream_writer_(kernels),
      lattice_(kernels, token_minimum_) {
  if (spec.tables) use_tables(*spec.tables);
}

EncodedGroup GroupEncoder::encode(uint64_t group, std::span<uint8_t> place) {
  symbols_.load(group);
  is_ordered_ = false;
  EncodedGroup encoded;
  const Tables adaptive = spec_.tables ? Tables{} : choose_tables();
  const Tables& tables = spec_.tables ? *spec_.tables : adaptive;
  const std::vector<uint8_t> class_section =
      spec_.tables ? std::vector<uint8_t>{} : write_class_section(tables, token_minimum_);
  uint64_t bound = class_section.size();
  const uint64_t padding = static_cast<uint64_t>(spec_.block_word_bits()) / 8 - 1;  // that raw blocks do not have
  uint64_t largest_attempt = 0;
  for (const Block& block : symbols_.blocks()) {
    bound += raw_size_bytes(block) + padding;
    largest_attempt = std::max(largest_attempt, attempt_bound(symbols_.count(block)));
  }
  encoded.bytes.reserve(bound + largest_attempt, place);
  if (!spec_.tables) {
    encoded.bytes.append(class_section);
    add_part(encoded, 0);
    use_tables(tables);
  }
  if (tables.model == ClassModel::kNeighbours && !symbols_.is_wide()) order_blocks();
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

// The tokens of all blocks in the order of the phases, with their contexts.
void GroupEncoder::order_blocks() {
  if (is_ordered_) return;
  const uint64_t total = symbols_.count();
  uint8_t* const ordered = ordered_.reserve(total + kSlackBytes);
  uint8_t* const contexts = contexts_.reserve(total + kSlackBytes);
  for (const Block& block : symbols_.blocks()) {
    lattice_.set_tile(symbols_.bands(), block.tile.rows, block.tile.columns);
    lattice_.order(symbols_.tokens(block), ordered + block.first_symbol, contexts + block.first_symbol);
  }
  is_ordered_ = true;
}

Tables GroupEncoder::choose_tables() {
  const std::vector<bool> is_predicted = choose_predicted();
  const BandItems items = count_items(is_predicted);
  if (spec_.effort < kExactEffort) return choose_band_tables(items, spec_.most_classes()).tables;
  std::vector<CostedTables> candidates;
  candidates.push_back(choose_band_tables(items, kMaxClasses));
  candidates.push_back(choose_band_tables(items, kFewClasses));
  if (std::find(is_predicted.begin(), is_predicted.end(), true) != is_predicted.end())
    candidates.push_back(choose_band_tables(count_items(std::vector<bool>(symbols_.bands())), kMaxClasses));
  if (!symbols_.is_wide()) candidates.push_back(choose_neighbour_tables());
  return std::min_element(candidates.begin(), candidates.end(),
                          [](const CostedTables& a, const CostedTables& b) { return a.bits < b.bits; })
      ->tables;
}

// Section 10, steps 4 to 6.
CostedTables GroupEncoder::choose_band_tables(const BandItems& items, size_t most_classes) {
  Classes chosen = choose_classes(items.statistics, symbols_.bands(), {most_classes, spec_.effort == kExactEffort});
  Tables tables;
  for (const uint8_t item : items.item_of_band) tables.class_map.push_back(chosen.class_of_item[item]);
  return choose_modes(std::move(tables), chosen.statistics);
}

// Section 10, step 9.
CostedTables GroupEncoder::choose_neighbour_tables() {
  order_blocks();
  const uint64_t total = symbols_.count();
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
  Classes chosen = choose_classes(items, kContexts, {kMaxClasses, true});
  CostedTables costed;
  costed.tables.model = ClassModel::kNeighbours;
  costed.tables.class_map = chosen.class_of_item;
  costed.bits = kContexts * class_bits(chosen.statistics.size());
  for (const TokenStatistics& statistics : chosen.statistics) {
    const CostedClass c = choose_weights(statistics.counts, token_minimum_);
    costed.tables.classes.push_back(c.table);
    costed.bits += c.bits;
  }
  for (const Block& block : symbols_.blocks()) costed.bits += 32 * rans_lanes(symbols_.count(block));
  return costed;
}

// Section 10, steps 5 and 6.
CostedTables GroupEncoder::choose_modes(Tables tables, std::vector<TokenStatistics>& classes) {
  const bool is_exact = spec_.effort == kExactEffort;
  if (is_exact) classes_.assign(tables.class_map, kMaxClasses);
  CostedTables costed{std::move(tables), symbols_.bands() * class_bits(classes.size())};
  for (size_t k = 0; k < classes.size(); ++k) {
    TokenStatistics& statistics = classes[k];
    smooth(statistics);
    if (may_be_masked(statistics) && statistics.symbols >= diligence(spec_.effort).least_own_symbols)
      is_exact ? count_masks(k, statistics) : use_sampled_masks(statistics);
    const CostedClass chosen = choose_mode(statistics, spec_.code_choice(), token_minimum_);
    costed.tables.classes.push_back(chosen.table);
    costed.bits += chosen.bits;
  }
  return costed;
}

// The masks of all streams of a class.
void GroupEncoder::count_masks(size_t class_index, TokenStatistics& statistics) {
  TokenCounter counter;
  const TableClass table{ClassMode::kMasked, statistics.is_predicted, 0, {}, {}, {}};
  for (const Block& block : symbols_.blocks()) {
    const size_t mask_bytes = (classes_.bands(class_index).size() * block.tile.positions() + 7) / 8;
    BitCursor cursor{mask_.reserve(mask_bytes + kSlackBytes), 0};
    for_each_band(block, class_index, table,
                  [&](const uint8_t* tokens, size_t count) { kernels_.write_mask(tokens, count, &cursor); });
    counter.count(cursor.bytes, mask_bytes);
    statistics.mask_bytes += mask_bytes;
  }
  statistics.masks = counter.total();
}

// Section 10, step 2.
std::vector<bool> GroupEncoder::choose_predicted() {
  const auto [sample_run, sample_stride, least_own_symbols] = diligence(spec_.effort);
  std::vector<bool> is_predicted(symbols_.bands());
  if (symbols_.is_wide()) return is_predicted;
  const auto add_sample = [&, run = sample_run](size_t band, PredictionSample& sample) {
    for (const Block& block : symbols_.blocks()) {
      kernels_.sample_prediction(symbols_.tokens(block, band, 0), block.tile.columns, block.tile.positions(), run,
                                 kSamplePeriod, token_minimum_, &sample);
    }
  };
  if (spec_.pools_bands()) {
    PredictionSample sample;
    for (size_t band = 0; band < is_predicted.size(); band += sample_stride) add_sample(band, sample);
    is_predicted.assign(is_predicted.size(), pays_prediction(sample, token_minimum_ < 0));
  } else if (symbols_.positions() >= kLeastPredictedSymbols) {
    for (size_t band = 0; band < is_predicted.size(); ++band) {
      PredictionSample sample;
      add_sample(band, sample);
      is_predicted[band] = pays_prediction(sample, token_minimum_ < 0);
    }
  }
  return is_predicted;
}

// The bucket of each band (section 10, step 3), and the extents of the buckets.
GroupEncoder::BandBuckets GroupEncoder::choose_buckets(const std::vector<bool>& is_predicted) {
  BandBuckets chosen;
  chosen.bucket_of_band.resize(is_predicted.size());
  if (spec_.pools_bands() && !symbols_.is_wide()) {
    SymbolRange& range = chosen.ranges[is_predicted[0] ? kBuckets : 0];
    for (const Block& block : symbols_.blocks()) range.add(block.range);
    if (!is_predicted[0]) return chosen;
    // Residuals are not looked at: this is how far they can reach.
    const int32_t extent = range.maximum - range.minimum;
    range.minimum = std::max(kResidualMinimum, -extent);
    range.maximum = std::min(-kResidualMinimum - 1, extent);
    std::fill(chosen.bucket_of_band.begin(), chosen.bucket_of_band.end(), static_cast<uint8_t>(kBuckets));
    return chosen;
  }
  const uint64_t positions = symbols_.positions();
  for (size_t band = 0; band < is_predicted.size(); ++band) {
    SymbolRange range = symbols_.range(band);
    if (is_predicted[band]) {
      range = {};
      for (const Block& block : symbols_.blocks())
        kernels_.measure_tokens(symbols_.residuals(block, band), block.tile.positions(), kResidualMinimum, &range);
    }
    const int bucket = spec_.pools_bands() ? shift_for(range.minimum, range.maximum, token_minimum_)
                                           : bucket_of(range.magnitude, positions);
    chosen.bucket_of_band[band] = static_cast<uint8_t>(bucket + (is_predicted[band] ? kBuckets : 0));
    chosen.ranges[chosen.bucket_of_band[band]].add(range);
  }
  return chosen;
}

// Section 10, step 3.
GroupEncoder::BandItems GroupEncoder::count_items(const std::vector<bool>& is_predicted) {
  const auto [bucket_of_band, ranges] = choose_buckets(is_predicted);
  const uint64_t positions = symbols_.positions();
  BandLists buckets;
  buckets.assign(bucket_of_band, kAllBuckets);
  BandItems counted;
  counted.statistics.reserve(static_cast<size_t>(std::count_if(
      ranges.begin(), ranges.end(), [](const SymbolRange& range) { return range.minimum <= range.maximum; })));
  std::array<uint8_t, kAllBuckets> item_of_bucket{};
  for (size_t bucket = 0; bucket < kAllBuckets; ++bucket) {
    const std::span<const uint32_t> bands = buckets.bands(bucket);
    if (bands.empty()) continue;
    item_of_bucket[bucket] = static_cast<uint8_t>(counted.statistics.size());
    TokenStatistics& item = counted.statistics.emplace_back();
    item.is_predicted = bucket >= kBuckets;
    item.symbols = bands.size() * positions;
    item.minimum = ranges[bucket].minimum;
    item.maximum = ranges[bucket].maximum;
    if (!item.is_predicted) item.shift = shift_for(item.minimum, item.maximum, token_minimum_);
    TokenCounter values, masks;
    for (const Block& block : symbols_.blocks()) {
      const size_t count = gather_sample(block, bands, item);
      // Most maps are mostly zeros: these are told by a comparison and not counted one by one.
      uint8_t* const nonzero = nonzero_.reserve(count + kSlackBytes);
      const size_t nonzero_count = kernels_.compact_nonzero(sample_.get(), count, nonzero);
      values.count(nonzero, nonzero_count);
      values.partial[0][0] += static_cast<uint32_t>(count - nonzero_count);
      if (spec_.effort == kExactEffort) continue;
      BitCursor cursor{mask_.reserve(count / 8 + kSlackBytes), 0};
      kernels_.write_mask(sample_.get(), count, &cursor);
      masks.count(cursor.bytes, count / 8);
    }
    item.counts = values.total();
    item.masks = masks.total();
  }
  for (const uint8_t bucket : bucket_of_band) counted.item_of_band.push_back(item_of_bucket[bucket]);
  return counted;
}

// Brings those tokens of some bands of a block together that an effort looks at; returns their number.
size_t GroupEncoder::gather_sample(const Block& block, std::span<const uint32_t> bands, const TokenStatistics& item) {
  const auto [run, sample_stride, least_own_symbols] = diligence(spec_.effort);
  const size_t positions = block.tile.positions();
  const size_t runs = (positions + kSamplePeriod - 1) / kSamplePeriod;
  uint8_t* const sample = sample_.reserve(bands.size() * runs * run + kSlackBytes);
  size_t count = 0;
  for (size_t i = 0; i < bands.size(); i += sample_stride) {
    const uint8_t* const tokens = band_tokens(block, bands[i], item.is_predicted, item.shift);
    for (size_t p = 0; p < positions; p += kSamplePeriod) {
      const size_t length = std::min<size_t>(run, positions - p);
      std::memcpy(sample + count, tokens + p, length);
      count += length;
    }
  }
  return count;
}

void GroupEncoder::BandLists::assign(const std::vector<uint8_t>& number_of_band, size_t count) {
  begin_.assign(count + 1, 0);
  for (const uint8_t number : number_of_band) ++begin_[number + 1u];
  for (size_t number = 0; number < count; ++number) begin_[number + 1] += begin_[number];
  std::vector<size_t> next(begin_.begin(), begin_.end() - 1);
  bands_.resize(number_of_band.size());
  for (size_t band = 0; band < number_of_band.size(); ++band)
    bands_[next[number_of_band[band]]++] = static_cast<uint32_t>(band);
}

void GroupEncoder::use_tables(const Tables& tables) {
  if (tables.model == ClassModel::kBands) {
    classes_.assign(tables.class_map, kMaxClasses);
    codes_ = build_codes(tables, spec_.code_layout);
    return;
  }
  class_of_context_ = tables.class_of_context();
  rans_writer_.emplace(kernels_, tables);
}

const uint8_t* GroupEncoder::band_tokens(const Block& block, uint64_t band, bool is_predicted, int shift) {
  return is_predicted ? symbols_.residuals(block, band) : symbols_.tokens(block, band, shift);
}

template <class Visit>
void GroupEncoder::for_each_band(const Block& block, size_t class_index, const TableClass& table, const Visit& visit) {
  const std::span<const uint32_t> bands = classes_.bands(class_index);
  const bool joins = !table.is_predicted && symbols_.is_contiguous(block);
  for (size_t i = 0, run = 1; i < bands.size(); i += run) {
    run = 1;
    while (joins && i + run < bands.size() && bands[i + run] == bands[i] + run) ++run;
    visit(band_tokens(block, bands[i], table.is_predicted, table.shift), run * block.tile.positions());
  }
}

// The symbols of the bands of a class, for their low bits.
const int32_t* GroupEncoder::gather_symbols(const Block& block, size_t class_index) {
  const uint64_t positions = block.tile.positions();
  const std::span<const uint32_t> bands = classes_.bands(class_index);
  int32_t* const gathered = class_symbols_.reserve(bands.size() * positions);
  for (size_t i = 0; i < bands.size(); ++i)
    std::copy_n(symbols_.symbols(block, bands[i]), positions, gathered + i * positions);
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
    if (table.value_lengths[static_cast<uint8_t>(h)] == 0 && !(is_masked && h == 0)) return false;
  }
  return !is_masked || std::find(table.mask_lengths.begin(), table.mask_lengths.end(), 0) == table.mask_lengths.end();
}

// Whether static tables can code the stream of a class: all symbols fit the shift, and all tokens have a code.
bool GroupEncoder::fits(const Block& block, size_t class_index, const TableClass& table) {
  const std::span<const uint32_t> bands = classes_.bands(class_index);
  if (bands.empty()) return true;
  if (covers(block, table)) return true;  // calibrated tables nearly always do, and need no look at the tokens
  if (symbols_.is_wide()) {
    SymbolRange range;
    for (const uint32_t band : bands)
      kernels_.measure_symbols(symbols_.symbols(block, band), block.tile.positions(), &range);
    if (shift_for(range.minimum, range.maximum, token_minimum_) > table.shift) return false;
  }
  TokenCounter values, masks;
  const size_t mask_bytes = (bands.size() * block.tile.positions() + 7) / 8;
  BitCursor cursor{mask_.reserve(mask_bytes + kSlackBytes), 0};
  for_each_band(block, class_index, table, [&](const uint8_t* tokens, size_t count) {
    values.count(tokens, count);
    if (table.mode == ClassMode::kMasked) kernels_.write_mask(tokens, count, &cursor);
  });
  const auto has_codes = [](const TokenHistogram& histogram, const CodeLengths& lengths, size_t first_token) {
    for (size_t token = first_token; token < kTokens; ++token) {
      if (histogram[token] > 0 && lengths[token] == 0) return false;
    }
    return true;
  };
  if (table.mode == ClassMode::kZero) return has_codes(values.total(), {}, 1);
  if (table.mode == ClassMode::kPlain) return has_codes(values.total(), table.value_lengths, 0);
  masks.count(cursor.bytes, mask_bytes);
  return has_codes(masks.total(), table.mask_lengths, 0) && has_codes(values.total(), table.value_lengths, 1);
}

// Returns false, and writes nothing, if the block cannot be coded or would be longer than raw.
bool GroupEncoder::write_coded(const Block& block, const Tables& tables, ByteBuffer& out) {
  if (tables.model == ClassModel::kNeighbours) return !symbols_.is_wide() && write_neighbours(block, tables, out);
  BitCursor cursor{out.end(), 8};
  cursor.bytes[0] = static_cast<uint8_t>(BlockKind::kCoded);
  for (size_t k = 0; k < codes_.size(); ++k) {
    const TableClass& table = tables.classes[k];
    if (spec_.tables && !fits(block, k, table)) return false;
    if (table.mode == ClassMode::kZero) continue;
    stream_writer_.begin(codes_[k], classes_.bands(k).size() * block.tile.positions());
    for_each_band(block, k, table, [&](const uint8_t* tokens, size_t count) { stream_writer_.add(tokens, count); });
    stream_writer_.end(table.shift > 0 ? gather_symbols(block, k) : nullptr, &cursor);
  }
  // Decided without the padding to words, so that the kind of a block does not depend on the layout.
  if ((cursor.position_bits + 7) / 8 > raw_size_bytes(block)) return false;
  pad_to_words(8, spec_.block_word_bits(), &cursor);
  out.advance(cursor.position_bits / 8);
  return true;
}

// The same with contexts from neighbours. rANS writes backwards: the phases from the last to the first.
bool GroupEncoder::write_neighbours(const Block& block, const Tables& tables, ByteBuffer& out) {
  const size_t count = symbols_.count(block);
  const uint8_t* const tokens = ordered_.get() + block.first_symbol;
  uint8_t* const classes = class_of_token_.reserve(count + kSlackBytes);
  kernels_.translate(contexts_.get() + block.first_symbol, count, class_of_context_.data(), classes);
  if (spec_.tables) {
    for (size_t i = 0; i < count; ++i) {
      if (tables.classes[classes[i]].weights[tokens[i]] == 0) return false;
    }
  }
  lattice_.set_tile(symbols_.bands(), block.tile.rows, block.tile.columns);
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
