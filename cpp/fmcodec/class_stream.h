// SPDX-License-Identifier: Apache-2.0
// The symbols of one class in a block, by the mode of the class (docs/format.md, section 7.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fmcodec/buffer.h"
#include "fmcodec/code_table.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/serial.h"
#include "fmcodec/tables.h"
#include "fmcodec/wavelet.h"

namespace fmc {

// A class with its codes in the form that the layout needs.
struct ClassCode {
  ClassCode(const TableClass& table, CodeLayout layout);

  ClassMode mode;
  CodeLayout layout;
  bool is_predicted;
  int shift;
  CodeTree values, masks;                                   // kWavelet
  std::unique_ptr<SerialCode> serial_values, serial_masks;  // kSerial; null if the mode has no use for them
};

std::vector<ClassCode> build_codes(const Tables& tables, CodeLayout layout);

// Writes the stream of one class in a block: begin, its tokens in any number of runs, end; or, if the class has low
// bits, its symbols at once.
class ClassStreamWriter {
 public:
  explicit ClassStreamWriter(const KernelTable& kernels) : kernels_(kernels) {}
  // `count` is the number of tokens to come. The code must stay valid until the end.
  void begin(const ClassCode& code, size_t count);
  // Every token must have a code. `tokens` has kSlackBytes of room behind it, like all token buffers here.
  void add(const uint8_t* tokens, size_t count);
  void end(BitCursor* out);
  // Every token of a symbol that is coded must have a code.
  void write_symbols(const ClassCode& code, const int32_t* symbols, size_t count, BitCursor* out);

 private:
  void write(const int32_t* symbols, BitCursor* out);

  const KernelTable& kernels_;
  const ClassCode* code_ = nullptr;
  size_t count_ = 0;        // of the tokens so far
  size_t value_count_ = 0;  // of those that are coded as values
  BitCursor mask_cursor_{};
  Buffer<uint8_t> values_, mask_, mask_ranks_, tree_scratch_;  // values_: ranks or, in the serial layout, tokens
  Buffer<int32_t> nonzero_;
};

class ClassStreamReader {
 public:
  ClassStreamReader(const KernelTable& kernels, int32_t token_minimum)
      : kernels_(kernels), token_minimum_(token_minimum) {}
  // The symbols are written only if the class has low bits. Throws Error(kCorrupt).
  void read(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens, int32_t* symbols);

 private:
  void read_masked(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens, int32_t* symbols);
  void read_masks(const ClassCode& code, size_t count, BitSource* in, uint8_t* masks);
  void read_values(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens, int32_t* symbols);

  const KernelTable& kernels_;
  const int32_t token_minimum_;
  Buffer<uint8_t> mask_, nonzero_, tree_scratch_;
  Buffer<int32_t> low_bits_, nonzero_symbols_;
};

}  // namespace fmc
