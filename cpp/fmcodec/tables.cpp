// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/tables.h"

#include <algorithm>
#include <bit>

#include "fmcodec/error.h"

namespace fmc {
namespace {

constexpr int kFirstPreviousLength = 4;

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
  return is_last_used && !in.is_overrun() && is_complete_code(lengths);
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

uint64_t table_size_bits(const CodeLengths& lengths, bool is_ascending) {
  BitWriter counter;
  write_table(counter, lengths, is_ascending);
  return counter.size_bits();
}

}  // namespace fmc
