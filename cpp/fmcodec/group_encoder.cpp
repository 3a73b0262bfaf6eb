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

// Of a band in a block, one run of positions in four is counted.
constexpr uint64_t kSamplePeriod = 256, kSampleRun = 64;

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
      transform_(kernels, spec, plan, tensor.dtype) {
  if (!spec.tables) return;
  order_bands(spec.tables->band_class, spec.tables->classes.size());
  build_trees(*spec.tables);
}

EncodedGroup GroupEncoder::encode(uint64_t group) {
  transform_blocks(group);
  EncodedGroup encoded;
  const Tables adaptive = spec_.tables ? Tables{} : choose_tables();
  const Tables& tables = spec_.tables ? *spec_.tables : adaptive;
  if (!spec_.tables) {
    encoded.bytes = write_class_section(tables, token_minimum_);
    add_part(encoded, 0);
    build_trees(tables);
  }
  for (const Block& block : blocks_) {
    const size_t begin = encoded.bytes.size();
    if (block.range.magnitude > 0 && !write_coded(block, tables, encoded.bytes)) write_raw(block, encoded.bytes);
    add_part(encoded, begin);
  }
  return encoded;
}

void GroupEncoder::build_trees(const Tables& tables) {
  value_trees_.clear();
  mask_trees_.clear();
  for (const TableClass& c : tables.classes) {
    value_trees_.push_back(build_code_tree(c.value_lengths));
    mask_trees_.push_back(build_code_tree(c.mask_lengths));
  }
}

void GroupEncoder::add_part(EncodedGroup& group, size_t begin) const {
  const Bytes bytes = Bytes(group.bytes).subspan(begin);
  if (bytes.size() > UINT32_MAX)
    throw Error(ErrorCode::kArgument, "a block is above 4 GiB: choose a smaller block_shape");
  group.parts.push_back({begin, static_cast<uint32_t>(bytes.size()), bytes.empty() ? 0 : crc32c(bytes)});
}

// Step 2. Symbols are kept as tokens if all of them fit at shift 0, which is nearly always so, else as 32-bit integers.
void GroupEncoder::transform_blocks(uint64_t group) {
  blocks_.clear();
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
  const uint64_t total = blocks_.back().first_symbol + symbol_count(blocks_.back());
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

// Steps 2 to 6.
Tables GroupEncoder::choose_tables() {
  std::vector<uint8_t> bucket_of_band(ranges_.size());
  const std::array<Bucket, kBuckets> buckets = count_buckets(bucket_of_band);
  const BucketClasses chosen = choose_classes(buckets, plan_.kept_bands());
  Tables tables;
  tables.band_class.resize(ranges_.size());
  for (size_t band = 0; band < ranges_.size(); ++band)
    tables.band_class[band] = chosen.class_of_bucket[bucket_of_band[band]];
  order_bands(tables.band_class, chosen.count);
  std::vector<TokenStatistics> classes(chosen.count);
  for (size_t b = 0; b < kBuckets; ++b) {
    if (buckets[b].bands > 0) classes[chosen.class_of_bucket[b]].add(buckets[b].statistics);
  }
  for (size_t k = 0; k < chosen.count; ++k) {
    smooth(classes[k]);
    TokenHistogram masks;
    const bool has_masks = may_be_masked(classes[k]);
    if (has_masks) masks = mask_histogram(k);
    tables.classes.push_back(
        choose_mode(classes[k], has_masks ? &masks : nullptr, spec_.max_code_length, token_minimum_));
  }
  return tables;
}

// Steps 2 and 3.
std::array<Bucket, kBuckets> GroupEncoder::count_buckets(std::vector<uint8_t>& bucket_of_band) {
  uint64_t positions = 0;
  for (const Block& block : blocks_) positions += block.tile.positions();
  std::array<Bucket, kBuckets> buckets{};
  for (size_t band = 0; band < ranges_.size(); ++band) {
    const SymbolRange& range = ranges_[band];
    bucket_of_band[band] = static_cast<uint8_t>(bucket_of(range.magnitude, positions));
    Bucket& bucket = buckets[bucket_of_band[band]];
    ++bucket.bands;
    bucket.statistics.symbols += positions;
    bucket.statistics.minimum = std::min(bucket.statistics.minimum, range.minimum);
    bucket.statistics.maximum = std::max(bucket.statistics.maximum, range.maximum);
  }
  std::vector<size_t> filled;
  std::array<size_t, kBuckets> counter_of_bucket{};
  for (size_t b = 0; b < kBuckets; ++b) {
    if (buckets[b].bands == 0) continue;
    TokenStatistics& statistics = buckets[b].statistics;
    statistics.shift = shift_for(statistics.minimum, statistics.maximum, token_minimum_);
    counter_of_bucket[b] = filled.size();
    filled.push_back(b);
  }
  std::vector<TokenCounter> counters(filled.size());
  for (const Block& block : blocks_) {
    const uint64_t positions_in_tile = block.tile.positions();
    uint8_t* const nonzero = stream_.reserve(positions_in_tile + kSlackBytes);
    for (size_t band = 0; band < ranges_.size(); ++band) {
      const size_t b = bucket_of_band[band];
      TokenCounter& counter = counters[counter_of_bucket[b]];
      const uint8_t* const tokens = band_tokens(block, band, buckets[b].statistics.shift);
      // Most maps are mostly zeros: these are told by a comparison and not counted one by one.
      size_t sampled = 0, nonzero_count = 0;
      for (uint64_t p = 0; p < positions_in_tile; p += kSamplePeriod) {
        const size_t run = std::min(kSampleRun, positions_in_tile - p);
        nonzero_count += kernels_.compact_nonzero(tokens + p, run, nonzero + nonzero_count);
        sampled += run;
      }
      counter.count(nonzero, nonzero_count);
      counter.partial[0][0] += static_cast<uint32_t>(sampled - nonzero_count);
    }
  }
  for (size_t i = 0; i < filled.size(); ++i) buckets[filled[i]].statistics.counts = counters[i].total();
  return buckets;
}

TokenHistogram GroupEncoder::mask_histogram(size_t class_index) {
  TokenCounter counter;
  for (const Block& block : blocks_) {
    const size_t count = gather_class(block, class_index, 0);
    BitCursor cursor{mask_.reserve((count + 7) / 8 + kSlackBytes), 0};
    kernels_.write_mask(stream_.get(), count, &cursor);
    counter.count(cursor.bytes, (count + 7) / 8);
  }
  return counter.total();
}

void GroupEncoder::order_bands(const std::vector<uint8_t>& band_class, size_t class_count) {
  class_begin_.assign(class_count + 1, 0);
  for (const uint8_t k : band_class) ++class_begin_[k + 1];
  for (size_t k = 0; k < class_count; ++k) class_begin_[k + 1] += class_begin_[k];
  std::vector<size_t> next(class_begin_.begin(), class_begin_.end() - 1);
  band_order_.resize(band_class.size());
  for (size_t band = 0; band < band_class.size(); ++band)
    band_order_[next[band_class[band]]++] = static_cast<uint32_t>(band);
}

const uint8_t* GroupEncoder::band_tokens(const Block& block, uint64_t band, int shift) {
  const uint64_t positions = block.tile.positions();
  const uint64_t first = block.first_symbol + band * positions;
  if (!is_wide_) return tokens_.get() + first;
  uint8_t* const converted = ranks_.reserve(positions + kSlackBytes);
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

// Whether static tables can code the class: all symbols fit the shift, and all tokens of stream_ have a code.
bool GroupEncoder::fits(const Block& block, size_t class_index, const TableClass& table) {
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
  const size_t count = (class_begin_[class_index + 1] - class_begin_[class_index]) * block.tile.positions();
  const uint8_t* const stream = stream_.get();
  const TokenHistogram values = histogram_of(stream, count);
  const auto has_codes = [](const TokenHistogram& histogram, const CodeLengths& lengths, size_t first_token) {
    for (size_t token = first_token; token < kTokens; ++token) {
      if (histogram[token] > 0 && lengths[token] == 0) return false;
    }
    return true;
  };
  if (table.mode == ClassMode::kZero) return values[0] == count;
  if (table.mode == ClassMode::kPlain) return has_codes(values, table.value_lengths, 0);
  BitCursor cursor{mask_.reserve((count + 7) / 8 + kSlackBytes), 0};
  kernels_.write_mask(stream, count, &cursor);
  const TokenHistogram masks = histogram_of(cursor.bytes, (count + 7) / 8);
  return has_codes(masks, table.mask_lengths, 0) && has_codes(values, table.value_lengths, 1);
}

// Returns false, and writes nothing, if the block cannot be coded or would be longer than raw.
bool GroupEncoder::write_coded(const Block& block, const Tables& tables, std::vector<uint8_t>& out) {
  // At most 15 bits for a token, 15 / 8 for its part of the mask, 13 low bits: below 4 bytes per symbol.
  BitCursor cursor{bits_.reserve(4 * symbol_count(block) + 256 + kSlackBytes), 8};
  cursor.bytes[0] = static_cast<uint8_t>(BlockKind::kCoded);
  for (size_t k = 0; k < tables.classes.size(); ++k) {
    const TableClass& table = tables.classes[k];
    const size_t count = gather_class(block, k, table.shift);
    if (count == 0) continue;
    if (spec_.tables && !fits(block, k, table)) return false;
    if (table.mode == ClassMode::kZero) continue;
    const uint8_t* values = stream_.get();
    size_t value_count = count;
    uint8_t* const ranks = ranks_.reserve(count + kSlackBytes);
    if (table.mode == ClassMode::kMasked) {
      const size_t mask_bytes = (count + 7) / 8;
      BitCursor mask{mask_.reserve(mask_bytes + kSlackBytes), 0};
      kernels_.write_mask(values, count, &mask);
      kernels_.translate(mask.bytes, mask_bytes, mask_trees_[k].rank_of_token.data(), ranks);
      write_ranks(kernels_, mask_trees_[k], ranks, mask_bytes, tree_scratch_, &cursor);
      value_count = kernels_.compact_nonzero(values, count, ranks);
      values = ranks;
    }
    kernels_.translate(values, value_count, value_trees_[k].rank_of_token.data(), ranks);
    write_ranks(kernels_, value_trees_[k], ranks, value_count, tree_scratch_, &cursor);
    for (int plane = table.shift; plane-- > 0;) {
      for (size_t i = class_begin_[k]; i < class_begin_[k + 1]; ++i) {
        const int32_t* const symbols = symbols_.get() + block.first_symbol + band_order_[i] * block.tile.positions();
        kernels_.write_symbol_plane(symbols, block.tile.positions(), static_cast<uint32_t>(plane), &cursor);
      }
    }
  }
  const uint64_t size = (cursor.position_bits + 7) / 8;
  if (size > raw_size_bytes(block)) return false;
  out.insert(out.end(), cursor.bytes, cursor.bytes + size);
  return true;
}

uint64_t GroupEncoder::raw_size_bytes(const Block& block) const {
  const int width = raw_width(block.range);
  return kRawHeadBytes + (symbol_count(block) * static_cast<uint64_t>(width) + 7) / 8;
}

void GroupEncoder::write_raw(const Block& block, std::vector<uint8_t>& out) {
  const size_t count = symbol_count(block);
  int32_t* const symbols = raw_symbols_.reserve(count);
  if (is_wide_) {
    std::copy_n(symbols_.get() + block.first_symbol, count, symbols);
  } else {
    kernels_.tokens_to_symbols(tokens_.get() + block.first_symbol, count, token_minimum_, 0, symbols);
  }
  for (size_t i = 0; i < count; ++i) symbols[i] -= block.range.minimum;
  const int width = raw_width(block.range);
  out.push_back(static_cast<uint8_t>(BlockKind::kRaw));
  append_le<uint32_t>(out, static_cast<uint32_t>(block.range.minimum));
  out.push_back(static_cast<uint8_t>(width));
  BitCursor cursor{bits_.reserve(4 * count + 256 + kSlackBytes), 0};
  for (int plane = width; plane-- > 0;)
    kernels_.write_symbol_plane(symbols, count, static_cast<uint32_t>(plane), &cursor);
  out.insert(out.end(), cursor.bytes, cursor.bytes + (cursor.position_bits + 7) / 8);
}

}  // namespace fmc
