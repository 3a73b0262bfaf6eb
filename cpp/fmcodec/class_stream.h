// SPDX-License-Identifier: Apache-2.0
// The tokens of one class in a block, by the mode of the class (docs/format.md, section 7.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fmcodec/buffer.h"
#include "fmcodec/code_table.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/tables.h"
#include "fmcodec/wavelet.h"

namespace fmc {

// A class with its code trees.
struct ClassCode {
  explicit ClassCode(const TableClass& table);

  ClassMode mode;
  int shift;
  CodeTree values, masks;
};

std::vector<ClassCode> build_codes(const Tables& tables);

// Histogram of the mask bytes of a stream.
void count_masks(const KernelTable& kernels, const uint8_t* tokens, size_t count, Buffer<uint8_t>& scratch,
                 TokenHistogram& masks);

class ClassStreamWriter {
 public:
  explicit ClassStreamWriter(const KernelTable& kernels) : kernels_(kernels) {}
  // Every token must have a code. `tokens` has kSlackBytes of room behind it, like all token buffers here.
  void write(const ClassCode& code, const uint8_t* tokens, size_t count, BitCursor* out);

 private:
  const KernelTable& kernels_;
  Buffer<uint8_t> ranks_, mask_, tree_scratch_;
};

class ClassStreamReader {
 public:
  explicit ClassStreamReader(const KernelTable& kernels) : kernels_(kernels) {}
  // Throws Error(kCorrupt).
  void read(const ClassCode& code, size_t count, BitSource* in, uint8_t* tokens);

 private:
  const KernelTable& kernels_;
  Buffer<uint8_t> mask_, nonzero_, tree_scratch_;
};

}  // namespace fmc
