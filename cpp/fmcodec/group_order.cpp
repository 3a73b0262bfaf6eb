// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/group_order.h"

namespace fmc {

void GroupOrder::prepare() {
  if (is_ordered_) return;
  const uint64_t total = symbols_.count();
  uint8_t* const tokens = tokens_.reserve(total + kSlackBytes);
  uint8_t* const contexts = contexts_.reserve(total + kSlackBytes);
  for (const GroupSymbols::Block& block : symbols_.blocks()) {
    lattice_.set_tile(symbols_.bands(), block.tile.rows, block.tile.columns);
    lattice_.order(symbols_.tokens(block), tokens + block.first_symbol, contexts + block.first_symbol);
  }
  is_ordered_ = true;
}

OrderedTokens GroupOrder::order(const GroupSymbols::Block& block, const uint8_t* tokens) {
  reset();
  const size_t count = symbols_.count(block);
  uint8_t* const ordered = tokens_.reserve(count + kSlackBytes);
  uint8_t* const contexts = contexts_.reserve(count + kSlackBytes);
  lattice_.set_tile(symbols_.bands(), block.tile.rows, block.tile.columns);
  lattice_.order(tokens, ordered, contexts);
  return {ordered, contexts};
}

const std::array<size_t, Lattice::kPhases>& GroupOrder::phase_counts(const GroupSymbols::Block& block) {
  lattice_.set_tile(symbols_.bands(), block.tile.rows, block.tile.columns);
  return lattice_.phase_counts();
}

}  // namespace fmc
