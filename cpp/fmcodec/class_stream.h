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
  int shift;
  CodeTree values, masks;                                   // kWavelet
  std::unique_ptr<SerialCode> serial_values, serial_masks;  // kSerial; null if the mode has no use for them
};

std::vector<ClassCode> build_codes(const Tables& tables, CodeLayout layout);

class ClassStreamWriter {
 public:
  explicit ClassStreamWriter(const KernelTable& kernels) : kernels_(kernels) {}
  // Every token must have a code. `tokens` has kSlackBytes of room behind it, like all token buffers here. `symbols`
  // are looked at only if the class has low bits.
  void write(const ClassCode& code, const uint8_t* tokens, const int32_t* symbols, size_t count, BitCursor* out);

 private:
  void write_masks(const ClassCode& code, const uint8_t* masks, size_t count, BitCursor* out);
  void write_values(const ClassCode& code, const uint8_t* tokens, const int32_t* symbols, size_t count, BitCursor* out);

  const KernelTable& kernels_;
  Buffer<uint8_t> ranks_, mask_, tree_scratch_;
};

class ClassStreamReader {
 public:
  ClassStreamReader(const KernelTable& kernels, int32_t token_minimum)
      : kernels_(kernels), token_minimum_(token_minimum) {}
  // The symbols are written only if the class has low bits. Throws Error(kCorrupt).
  void read(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens, int32_t* symbols);

 private:
  void read_masks(const ClassCode& code, size_t count, BitSource* in, uint8_t* masks);
  void read_values(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens, int32_t* symbols);

  const KernelTable& kernels_;
  const int32_t token_minimum_;
  Buffer<uint8_t> mask_, nonzero_, tree_scratch_;
  Buffer<int32_t> low_bits_;
};

}  // namespace fmc
