// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/tables.h"

#include <algorithm>
#include <bit>

#include "fmcodec/error.h"
#include "fmcodec/mask_tables.h"

namespace fmc {
namespace {

constexpr int kFirstPreviousLength = 4;
constexpr unsigned kMaskTableBits = 5;
constexpr unsigned kWeightBits = 2;

// Scan order of a table: token of entry i.
size_t scanned_token(size_t i, bool is_ascending) {
  if (is_ascending) return i;
  return i % 2 == 0 ? i / 2 : kTokens - (i + 1) / 2;
}

// In place of a BitWriter where only the size is asked for.
struct BitCounter {
  uint64_t bits = 0;
  void write(uint32_t, unsigned count) { bits += count; }
};

// Writes a table in the relative form of section 8; at least one token must be used.
template <class Sink>
void write_table(Sink& out, const CodeLengths& lengths, bool is_ascending) {
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

// Section 8.1.
template <class Sink>
void write_mask_table(Sink& out, const CodeLengths& lengths) {
  const std::optional<size_t> standard = mask_table_index(lengths);
  out.write(standard ? 0 : 1, 1);
  if (standard) {
    out.write(static_cast<uint32_t>(*standard), kMaskTableBits);
  } else {
    write_table(out, lengths, true);
  }
}

// Returns false if the table contradicts the format, but does not look at Kraft's equality.
bool read_lengths(BitReader& in, CodeLengths& lengths, bool is_ascending) {
  const size_t entries = in.read(8) + 1;
  int previous = kFirstPreviousLength;
  bool is_last_used = false;
  for (size_t i = 0; i < entries;) {
    const unsigned ones = in.read_ones(4);
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
  return is_last_used && !in.is_overrun();
}

bool read_table(BitReader& in, CodeLengths& lengths, bool is_ascending) {
  return read_lengths(in, lengths, is_ascending) && is_complete_code(lengths);
}

// Section 8.2: the bit widths of the weights as a table, then the bits of each below the highest, two at most.
template <class Sink>
void write_weight_table(Sink& out, const Weights& weights, bool is_ascending) {
  CodeLengths widths{};
  for (size_t token = 0; token < kTokens; ++token) widths[token] = static_cast<uint8_t>(std::bit_width(weights[token]));
  write_table(out, widths, is_ascending);
  for (size_t i = 0; i < kTokens; ++i) {
    const size_t token = scanned_token(i, is_ascending);
    if (widths[token] < 2) continue;
    const unsigned stored = std::min(widths[token] - 1u, kWeightBits);
    out.write((weights[token] >> (widths[token] - 1 - stored)) & ((1u << stored) - 1), stored);
  }
}

bool read_weight_table(BitReader& in, Weights& weights, bool is_ascending) {
  CodeLengths widths{};
  if (!read_lengths(in, widths, is_ascending)) return false;
  for (size_t i = 0; i < kTokens; ++i) {
    const size_t token = scanned_token(i, is_ascending);
    if (widths[token] == 0) continue;
    const unsigned stored = std::min(widths[token] - 1u, kWeightBits);
    const uint32_t leading = (1u << stored) | in.read(stored);
    weights[token] = static_cast<uint16_t>(leading << (widths[token] - 1 - stored));
  }
  return !in.is_overrun();
}

CodeLengths class_code(const std::vector<uint8_t>& class_map) {
  TokenHistogram histogram{};
  for (const uint8_t k : class_map) ++histogram[k];
  return limited_code_lengths(histogram, kMaxCodeLength);
}

// A code table over the classes, then the code of each band, from its most significant bit on.
template <class Sink>
void write_band_map(Sink& out, const Tables& tables) {
  const CodeLengths lengths = class_code(tables.class_map);
  write_table(out, lengths, true);
  const CanonicalCode code(lengths);
  std::array<uint32_t, kMaxClasses> stream_codes{};
  for (size_t k = 0; k < tables.classes.size(); ++k) stream_codes[k] = code.stream_code(k);
  for (const uint8_t k : tables.class_map) out.write(stream_codes[k], static_cast<unsigned>(code.length(k)));
}

bool read_band_map(BitReader& in, size_t count, std::vector<uint8_t>& class_map) {
  CodeLengths lengths{};
  if (!read_table(in, lengths, true)) return false;
  if (std::any_of(lengths.begin() + static_cast<std::ptrdiff_t>(count), lengths.end(), [](uint8_t l) { return l > 0; }))
    return false;
  const CodeIndex<8> index(lengths);
  for (size_t band = 0; band < class_map.size();) {
    uint64_t bits = in.peek();
    unsigned used = 0;
    for (; used + kMaxCodeLength <= BitReader::kPeekBits && band < class_map.size(); ++band) {
      const auto found = index.find(bits);
      class_map[band] = found.token;
      bits >>= found.length;
      used += found.length;
    }
    in.skip(used);
  }
  return !in.is_overrun();
}

// One bit per context but the first: whether its class is the next one. Classes are numbered in the order of contexts.
template <class Sink>
void write_steps(Sink& out, const Tables& tables) {
  for (size_t c = 1; c < tables.class_map.size(); ++c)
    out.write(static_cast<uint32_t>(tables.class_map[c] - tables.class_map[c - 1]), 1);
}

bool read_steps(BitReader& in, size_t count, std::vector<uint8_t>& class_map) {
  size_t k = 0;
  class_map[0] = 0;
  for (size_t c = 1; c < class_map.size(); ++c) {
    k += in.read(1);
    if (k >= count) return false;
    class_map[c] = static_cast<uint8_t>(k);
  }
  return k + 1 == count && !in.is_overrun();
}

bool read_mask_table(BitReader& in, CodeLengths& lengths) {
  if (in.read(1) != 0) return read_table(in, lengths, true);
  lengths = mask_table(in.read(kMaskTableBits)).lengths;
  return !in.is_overrun();
}

}  // namespace

bool Tables::has_shift() const {
  return std::any_of(classes.begin(), classes.end(), [](const TableClass& c) { return c.shift > 0; });
}

std::array<uint8_t, 256> Tables::class_of_context() const {
  std::array<uint8_t, 256> classes{};
  std::copy(class_map.begin(), class_map.end(), classes.begin());
  return classes;
}

std::vector<uint8_t> write_class_section(const Tables& tables, int32_t token_minimum) {
  BitWriter out;
  const size_t count = tables.classes.size();
  out.write(static_cast<uint32_t>(tables.model), 1);
  out.write(static_cast<uint32_t>(count - 1), 5);
  if (count > 1 && !tables.class_map.empty())
    tables.model == ClassModel::kNeighbours ? write_steps(out, tables) : write_band_map(out, tables);
  for (const TableClass& c : tables.classes) {
    if (c.mode == ClassMode::kRans) {
      write_weight_table(out, c.weights, token_minimum == 0);
      continue;
    }
    out.write(static_cast<uint32_t>(c.mode), 2);
    out.write(c.is_predicted ? 1 : 0, 1);
    out.write(static_cast<uint32_t>(c.shift), 4);
    if (c.mode == ClassMode::kMasked) write_mask_table(out, c.mask_lengths);
    if (c.mode != ClassMode::kZero)
      write_table(out, c.value_lengths, has_ascending_table(token_minimum, c.is_predicted));
  }
  return out.bytes();
}

Tables parse_class_section(Bytes section, uint64_t bands, int32_t token_minimum, int64_t base_offset) {
  const auto check = [&](bool holds, const char* message) {
    if (!holds) throw Error(ErrorCode::kCorrupt, message, base_offset);
  };
  BitReader in(section);
  Tables tables;
  tables.model = static_cast<ClassModel>(in.read(1));
  const size_t count = in.read(5) + 1;
  check(!in.is_overrun(), "class section is too short");
  tables.class_map.resize(tables.model == ClassModel::kNeighbours ? kContexts : bands);
  if (count > 1 && !tables.class_map.empty()) {
    const bool is_valid = tables.model == ClassModel::kNeighbours ? read_steps(in, count, tables.class_map)
                                                                  : read_band_map(in, count, tables.class_map);
    check(is_valid, "class map is not valid");
  }
  for (size_t k = 0; k < count; ++k) {
    TableClass c;
    if (tables.model == ClassModel::kNeighbours) {
      c.mode = ClassMode::kRans;
      check(read_weight_table(in, c.weights, token_minimum == 0), "table of weights is not valid");
      tables.classes.push_back(c);
      continue;
    }
    const uint32_t mode = in.read(2);
    check(mode <= static_cast<uint32_t>(ClassMode::kMasked), "unknown class mode");
    c.mode = static_cast<ClassMode>(mode);
    c.is_predicted = in.read(1) != 0;
    check(!c.is_predicted || c.mode != ClassMode::kZero, "a class of zeros cannot be predicted");
    c.shift = static_cast<int>(in.read(4));
    check(c.shift == 0 || !c.is_predicted, "a predicted class cannot have a shift");
    check(c.shift <= kMaxShift && (c.shift == 0 || c.mode != ClassMode::kZero), "shift does not fit the class mode");
    if (c.mode == ClassMode::kMasked) check(read_mask_table(in, c.mask_lengths), "mask table is not a valid code");
    if (c.mode != ClassMode::kZero)
      check(read_table(in, c.value_lengths, has_ascending_table(token_minimum, c.is_predicted)),
            "value table is not a valid code");
    check(c.mode != ClassMode::kMasked || c.shift > 0 || c.value_lengths[0] == 0,
          "value table of a masked class has a code for 0");
    tables.classes.push_back(c);
  }
  check(in.is_finished(), "class section has a wrong length or non-zero padding");
  return tables;
}

uint64_t class_section_bound(uint64_t bands) {
  // Two tables of an entry count and 256 lengths of at most 8 bits, mode, prediction and shift, for each class; and the
  // class count. A table of weights is smaller.
  constexpr uint64_t kClassBits = 2 * (8 + kTokens * 8) + 8;
  // The class map: a table, and codes that are no longer on average than numbers of 5 bits, or a bit longer if limited.
  return (6 + (kMaxClasses + 1) * kClassBits + std::max<uint64_t>(bands, kContexts) * 6 + 7) / 8;
}

uint64_t table_size_bits(const CodeLengths& lengths, bool is_ascending) {
  BitCounter counter;
  write_table(counter, lengths, is_ascending);
  return counter.bits;
}

uint64_t mask_table_size_bits(const CodeLengths& lengths) {
  BitCounter counter;
  write_mask_table(counter, lengths);
  return counter.bits;
}

uint64_t weight_table_size_bits(const Weights& weights, bool is_ascending) {
  BitCounter counter;
  write_weight_table(counter, weights, is_ascending);
  return counter.bits;
}

}  // namespace fmc
