// SPDX-License-Identifier: Apache-2.0
// Frequencies of tokens, and token streams in rANS (docs/format.md, section 7.5).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fmcodec/buffer.h"
#include "fmcodec/code_table.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/tables.h"
#include "fmcodec/wavelet.h"

namespace fmc {

// By token; 0: not used.
using Frequencies = std::array<uint16_t, kTokens>;

// The weights of a histogram. All 0 if it is empty.
Weights weights_of(const TokenHistogram& histogram);
// Frequencies of at least 1 for the used tokens that sum up to 4096. At least one token must be used.
Frequencies frequencies_of(const Weights& weights);

// Lanes of a block of so many symbols.
inline size_t rans_lanes(uint64_t symbols) { return symbols >= 65536 ? 32 : 4; }

// Codes the tokens of a block, which have `classes`, by tables per class. Writes backwards: begin, write the last run
// first, end.
class RansWriter {
 public:
  RansWriter(const KernelTable& kernels, const Tables& tables);
  void begin(uint64_t symbols);
  void write(const uint8_t* tokens, const uint8_t* classes, size_t count);
  // The bytes of the block: states, then words. Valid until the next begin().
  std::span<const uint8_t> end();

 private:
  const KernelTable& kernels_;
  std::vector<RansSymbol> symbols_;  // by class and token
  std::array<uint32_t, kRansMaxLanes> states_;
  size_t lanes_ = 0;
  Buffer<uint8_t> words_;
  uint8_t* at_ = nullptr;
  uint8_t* words_end_ = nullptr;
};

class RansReader {
 public:
  RansReader(const KernelTable& kernels, const Tables& tables);
  // `in` is the whole block; throws Error(kCorrupt).
  void begin(uint64_t symbols, const BitSource& in);
  void read(const uint8_t* classes, size_t count, uint8_t* tokens);
  // Throws if words are left over or the states are not as they were.
  void end() const;

 private:
  [[noreturn]] void fail(const char* message) const;

  const KernelTable& kernels_;
  std::vector<uint32_t> slots_;  // by class and slot
  std::array<uint32_t, kRansMaxLanes> states_;
  size_t lanes_ = 0;
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  int64_t offset_bytes_ = 0;
};

}  // namespace fmc
