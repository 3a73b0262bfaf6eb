// SPDX-License-Identifier: Apache-2.0
// The tokens of a group in the order of contexts from neighbours.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fmcodec/buffer.h"
#include "fmcodec/group_symbols.h"
#include "fmcodec/lattice.h"

namespace fmc {

struct OrderedTokens {
  const uint8_t* tokens = nullptr;
  const uint8_t* contexts = nullptr;
};

class GroupOrder {
 public:
  // The symbols must outlive the object.
  GroupOrder(const KernelTable& kernels, int32_t token_minimum, GroupSymbols& symbols)
      : symbols_(symbols), lattice_(kernels, token_minimum) {}

  // Another group was loaded.
  void reset() { is_ordered_ = false; }
  // Orders the blocks of the group if that was not done yet. Precondition: its symbols are not wide.
  void prepare();

  // After prepare(). Of all blocks, one after the other; each at its first symbol, phase by phase.
  OrderedTokens all() const { return {tokens_.get(), contexts_.get()}; }
  OrderedTokens of_block(const GroupSymbols::Block& block) const {
    return {tokens_.get() + block.first_symbol, contexts_.get() + block.first_symbol};
  }
  // Of a block with other tokens than the group has there. Valid until the next call; prepare() is undone.
  OrderedTokens order(const GroupSymbols::Block& block, const uint8_t* tokens);
  // Tokens of each phase of a block.
  const std::array<size_t, Lattice::kPhases>& phase_counts(const GroupSymbols::Block& block);

 private:
  GroupSymbols& symbols_;
  Lattice lattice_;
  bool is_ordered_ = false;
  Buffer<uint8_t> tokens_, contexts_;
};

}  // namespace fmc
