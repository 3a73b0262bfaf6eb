// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/tables.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "fmcodec/error.h"

namespace fmc {
namespace {

constexpr int kFirstPreviousLength = 4;
constexpr uint64_t kOneBit = 1 << 16;  // unit of log2_q16

unsigned class_bits(size_t class_count) { return static_cast<unsigned>(std::bit_width(class_count - 1)); }

// Scan order of a table: token of entry i.
size_t scanned_token(size_t i, bool is_ascending) {
  if (is_ascending) return i;
  return i % 2 == 0 ? i / 2 : kTokens - (i + 1) / 2;
}

// Writes a table in the relative form of section 8; at least one token must be used.
void write_table(BitWriter& out, const CodeLengths& lengths, bool is_ascending) {
  size_t entries = kTokens;
  while (lengths[scanned_token(entries - 1, is_ascending)] == 0) --entries;
  out.write(static_cast<uint32_t>(entries - 1), 8);
  int previous = kFirstPreviousLength;
  for (size_t i = 0; i < entries;) {
    const int length = lengths[scanned_token(i, is_ascending)];
    if (length == 0) {
      uint32_t run = 1;
      while (run < 16 && lengths[scanned_token(i + run, is_ascending)] == 0) ++run;
      out.write(0b1111, 4);
      out.write(run - 1, 4);
      i += run;
      continue;
    }
    if (length == previous) {
      out.write(0, 1);
    } else if (length == previous + 1) {
      out.write(0b01, 2);
    } else if (length == previous - 1) {
      out.write(0b011, 3);
    } else {
      out.write(0b0111, 4);
      out.write(static_cast<uint32_t>(length), 4);
    }
    previous = length;
    ++i;
  }
}

// Returns false if the table contradicts the format.
bool read_table(BitReader& in, CodeLengths& lengths, bool is_ascending) {
  const size_t entries = in.read(8) + 1;
  int previous = kFirstPreviousLength;
  bool is_last_used = false;
  for (size_t i = 0; i < entries;) {
    unsigned ones = 0;
    while (ones < 4 && in.read(1) == 1) ++ones;
    if (ones == 4) {
      i += in.read(4) + 1;
      is_last_used = false;
      continue;
    }
    if (ones == 1) ++previous;
    if (ones == 2) --previous;
    if (ones == 3) previous = static_cast<int>(in.read(4));
    if (previous < 1 || previous > kMaxCodeLength) return false;
    lengths[scanned_token(i, is_ascending)] = static_cast<uint8_t>(previous);
    is_last_used = true;
    ++i;
  }
  return is_last_used && !in.is_overrun() && is_complete_code(lengths);
}

uint64_t table_bits(const CodeLengths& lengths, bool is_ascending) {
  BitWriter counter;
  write_table(counter, lengths, is_ascending);
  return counter.size_bits();
}

uint64_t coded_bits(const TokenHistogram& histogram, const CodeLengths& lengths) {
  const bool is_single = std::count_if(lengths.begin(), lengths.end(), [](uint8_t length) { return length > 0; }) == 1;
  uint64_t bits = 0;
  if (is_single) return bits;
  for (size_t token = 0; token < kTokens; ++token) bits += histogram[token] * lengths[token];
  return bits;
}

// Bits of all symbols, from those of the counted ones.
uint64_t scaled(uint64_t bits, uint64_t symbols, uint64_t counted) {
  return counted == 0 ? 0 : static_cast<uint64_t>(static_cast<unsigned __int128>(bits) * symbols / counted);
}

// Section 10, step 4: ideal bits of a class and a guess of its tables, in units of 2^-16 bits. `counts` may leave out
// tokens that do not occur; its first entry is token 0.
uint64_t class_cost(const std::vector<uint64_t>& counts, uint64_t symbols) {
  const uint64_t counted = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  const uint64_t log2_counted = counted > 0 ? log2_q16(counted) : 0;
  uint64_t used = 0, cost = 0;
  for (const uint64_t count : counts) {
    if (count == 0) continue;
    cost += count * (log2_counted - log2_q16(count));
    ++used;
  }
  const bool has_mask = counts[0] > 0 && counts[0] * 8 >= counted;
  const uint64_t table_guess = used > 1 ? 24 + 2 * used + (has_mask ? 512 : 0) : 8;
  return scaled(cost, symbols, counted) + table_guess * kOneBit;
}

}  // namespace

bool Tables::has_shift() const {
  return std::any_of(classes.begin(), classes.end(), [](const TableClass& c) { return c.shift > 0; });
}

std::vector<uint8_t> write_class_section(const Tables& tables, int32_t token_minimum) {
  BitWriter out;
  const size_t count = tables.classes.size();
  out.write(static_cast<uint32_t>(count - 1), 5);
  for (const uint8_t band_class : tables.band_class) out.write(band_class, class_bits(count));
  for (const TableClass& c : tables.classes) {
    out.write(static_cast<uint32_t>(c.mode), 2);
    out.write(static_cast<uint32_t>(c.shift), 4);
    if (c.mode == ClassMode::kMasked) write_table(out, c.mask_lengths, true);
    if (c.mode != ClassMode::kZero) write_table(out, c.value_lengths, token_minimum == 0);
  }
  return out.bytes();
}

Tables parse_class_section(Bytes section, uint64_t kept_bands, int32_t token_minimum, int64_t base_offset) {
  const auto check = [&](bool holds, const char* message) {
    if (!holds) throw Error(ErrorCode::kCorrupt, message, base_offset);
  };
  BitReader in(section);
  Tables tables;
  const size_t count = in.read(5) + 1;
  check(!in.is_overrun() && kept_bands * class_bits(count) <= section.size() * 8, "class section is too short");
  tables.band_class.resize(kept_bands);
  if (count > 1) {
    for (uint8_t& band_class : tables.band_class) {
      band_class = static_cast<uint8_t>(in.read(class_bits(count)));
      check(band_class < count, "a band has a class that does not exist");
    }
  }
  for (size_t k = 0; k < count; ++k) {
    TableClass c;
    const uint32_t mode = in.read(2);
    check(mode <= static_cast<uint32_t>(ClassMode::kMasked), "unknown class mode");
    c.mode = static_cast<ClassMode>(mode);
    c.shift = static_cast<int>(in.read(4));
    check(c.shift <= kMaxShift && (c.shift == 0 || c.mode == ClassMode::kPlain), "shift does not fit the class mode");
    if (c.mode == ClassMode::kMasked) check(read_table(in, c.mask_lengths, true), "mask table is not a valid code");
    if (c.mode != ClassMode::kZero)
      check(read_table(in, c.value_lengths, token_minimum == 0), "value table is not a valid code");
    check(c.mode != ClassMode::kMasked || c.value_lengths[0] == 0, "value table of a masked class has a code for 0");
    tables.classes.push_back(c);
  }
  check(in.is_finished(), "class section has a wrong length or non-zero padding");
  return tables;
}

uint64_t class_section_bound(uint64_t kept_bands) {
  // Two tables of an entry count and 256 lengths of at most 8 bits, mode and shift, for each class; and the class
  // count.
  constexpr uint64_t kClassBits = 2 * (8 + kTokens * 8) + 6;
  return (5 + kMaxClasses * kClassBits + kept_bands * 5 + 7) / 8;
}

uint64_t log2_q16(uint64_t n) {
  static const std::vector<uint32_t> kFraction = [] {
    std::vector<uint32_t> fraction(4096);
    for (size_t j = 0; j < fraction.size(); ++j) {
      fraction[j] = static_cast<uint32_t>(std::floor(65536.0 * std::log2(1.0 + static_cast<double>(j) / 4096.0) + 0.5));
    }
    return fraction;
  }();
  const unsigned exponent = static_cast<unsigned>(std::bit_width(n)) - 1;
  const uint64_t mantissa = exponent <= 12 ? n << (12 - exponent) : n >> (exponent - 12);
  return (static_cast<uint64_t>(exponent) << 16) + kFraction[mantissa - 4096];
}

int bucket_of(uint64_t magnitude, uint64_t count) {
  if (magnitude == 0) return 0;
  const int64_t log2_mean = static_cast<int64_t>(log2_q16(magnitude)) - static_cast<int64_t>(log2_q16(count));
  return static_cast<int>(std::clamp<int64_t>(1 + ((log2_mean + (8 << 16)) >> 15), 1, kBuckets - 1));
}

int shift_for(int32_t minimum, int32_t maximum, int32_t token_minimum) {
  int shift = 0;
  while ((minimum >> shift) < token_minimum || (maximum >> shift) > token_minimum + 255) ++shift;
  return shift;
}

BucketClasses choose_classes(const std::array<Bucket, kBuckets>& buckets, uint64_t kept_bands) {
  constexpr uint64_t kImpossible = std::numeric_limits<uint64_t>::max();
  std::vector<size_t> filled;
  for (size_t b = 0; b < kBuckets; ++b) {
    if (buckets[b].bands > 0) filled.push_back(b);
  }
  const size_t n = filled.size();
  BucketClasses result;
  if (n == 0) {
    result.count = 1;
    return result;
  }

  // Token 0 and those that occur: the rest of a histogram is not looked at again.
  std::vector<uint8_t> tokens{0};
  for (size_t token = 1; token < kTokens; ++token) {
    if (std::any_of(filled.begin(), filled.end(), [&](size_t b) { return buckets[b].statistics.counts[token] > 0; })) {
      tokens.push_back(static_cast<uint8_t>(token));
    }
  }

  // cost[i][j]: one class of the filled buckets i..j-1.
  std::vector<std::vector<uint64_t>> cost(n, std::vector<uint64_t>(n + 1, kImpossible));
  for (size_t i = 0; i < n; ++i) {
    std::vector<uint64_t> counts(tokens.size());
    uint64_t symbols = 0;
    for (size_t j = i; j < n && buckets[filled[j]].statistics.shift == buckets[filled[i]].statistics.shift; ++j) {
      const TokenStatistics& bucket = buckets[filled[j]].statistics;
      for (size_t t = 0; t < tokens.size(); ++t) counts[t] += bucket.counts[tokens[t]];
      symbols += bucket.symbols;
      cost[i][j + 1] = class_cost(counts, symbols);
    }
  }
  // best[k][j]: the filled buckets 0..j-1 in k classes, of which the last begins at first[k][j].
  std::vector<std::vector<uint64_t>> best(n + 1, std::vector<uint64_t>(n + 1, kImpossible));
  std::vector<std::vector<size_t>> first(n + 1, std::vector<size_t>(n + 1, 0));
  best[0][0] = 0;
  uint64_t least = kImpossible;
  for (size_t k = 1; k <= n; ++k) {
    for (size_t j = k; j <= n; ++j) {
      for (size_t i = k - 1; i < j; ++i) {
        if (best[k - 1][i] == kImpossible || cost[i][j] == kImpossible) continue;
        const uint64_t total = best[k - 1][i] + cost[i][j];
        if (total < best[k][j]) {
          best[k][j] = total;
          first[k][j] = i;
        }
      }
    }
    if (best[k][n] == kImpossible) continue;
    const uint64_t total = best[k][n] + kept_bands * class_bits(k) * kOneBit;
    if (total < least) {
      least = total;
      result.count = k;
    }
  }
  for (size_t k = result.count, j = n; k > 0; j = first[k][j], --k) {
    for (size_t i = first[k][j]; i < j; ++i) result.class_of_bucket[filled[i]] = static_cast<uint8_t>(k - 1);
  }
  return result;
}

void TokenStatistics::add(const TokenStatistics& other) {
  shift = other.shift;
  symbols += other.symbols;
  minimum = std::min(minimum, other.minimum);
  maximum = std::max(maximum, other.maximum);
  for (size_t token = 0; token < kTokens; ++token) counts[token] += other.counts[token];
}

uint64_t TokenStatistics::counted() const { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

void smooth(TokenStatistics& statistics) {
  constexpr uint64_t kCountedWeight = 64;
  if (statistics.counted() == statistics.symbols) return;
  for (uint64_t& count : statistics.counts) count *= kCountedWeight;
  for (int32_t h = statistics.minimum >> statistics.shift; h <= statistics.maximum >> statistics.shift; ++h)
    ++statistics.counts[static_cast<uint8_t>(h)];
}

bool may_be_masked(const TokenStatistics& statistics) {
  const uint64_t total = statistics.counted(), zeros = statistics.counts[0];
  return statistics.shift == 0 && zeros > 0 && zeros < total && zeros * 8 >= total;
}

TableClass choose_mode(const TokenStatistics& statistics, const TokenHistogram* masks, int max_code_length,
                       int32_t token_minimum) {
  const TokenHistogram& values = statistics.counts;
  TableClass plain;
  plain.shift = statistics.shift;
  const bool is_zero =
      plain.shift == 0 && std::all_of(values.begin() + 1, values.end(), [](uint64_t count) { return count == 0; });
  if (is_zero) return plain;
  plain.mode = ClassMode::kPlain;
  plain.value_lengths = limited_code_lengths(values, max_code_length);
  if (masks == nullptr) return plain;

  TableClass masked;
  masked.mode = ClassMode::kMasked;
  TokenHistogram nonzero = values;
  nonzero[0] = 0;
  masked.value_lengths = limited_code_lengths(nonzero, max_code_length);
  masked.mask_lengths = limited_code_lengths(*masks, max_code_length);
  const bool is_ascending = token_minimum == 0;
  const uint64_t total = statistics.counted();
  const uint64_t plain_bits = scaled(coded_bits(values, plain.value_lengths), statistics.symbols, total) +
                              table_bits(plain.value_lengths, is_ascending);
  const uint64_t masked_bits = scaled(coded_bits(nonzero, masked.value_lengths), statistics.symbols, total) +
                               table_bits(masked.value_lengths, is_ascending) +
                               coded_bits(*masks, masked.mask_lengths) + table_bits(masked.mask_lengths, true);
  return masked_bits < plain_bits ? masked : plain;
}

}  // namespace fmc
