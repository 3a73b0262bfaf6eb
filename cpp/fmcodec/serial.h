// SPDX-License-Identifier: Apache-2.0
// Token streams in the serial layout (docs/format.md, section 7.6): the codes one after the other, as hardware packs
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "fmcodec/code_table.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/wavelet.h"

namespace fmc {

// The code of a table, ready for writing and reading in the order of the stream: the first bit is the least
// significant.
class SerialCode {
 public:
  // Precondition: is_complete_code(lengths).
  explicit SerialCode(const CodeLengths& lengths);

  struct Item {
    uint32_t bits;
    uint32_t length;
  };
  // Every token that is written must have a code.
  Item item(uint8_t token) const { return items_[token]; }

  // All codes that the encoder makes unless it is told otherwise are found in one step.
  using Index = CodeIndex<12>;
  Index::Found find(uint64_t bits) const { return index_.find(bits); }

 private:
  Index index_;
  std::array<Item, kTokens> items_{};
};

// Writes each token, and behind it the `shift` low bits of its symbol (`symbols` may be null if `shift` is 0). Needs
// kSlackBytes behind the last bit.
void write_serial(const SerialCode& code, const uint8_t* tokens, const int32_t* symbols, int shift, size_t count,
                  BitCursor* out);

// The inverse: the low bits go to `low_bits`, which may be null if `shift` is 0. Throws Error(kCorrupt).
void read_serial(const SerialCode& code, int shift, size_t count, BitSource* in, uint8_t* tokens, int32_t* low_bits);

// Pads with zeros to a whole number of words of `word_bits` (at most 64), counted from bit `begin_bits` on. Needs
// kSlackBytes behind the last bit.
void pad_to_words(uint64_t begin_bits, int word_bits, BitCursor* out);

}  // namespace fmc
