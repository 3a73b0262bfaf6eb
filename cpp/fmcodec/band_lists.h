// SPDX-License-Identifier: Apache-2.0
// The bands of each class or item of a group, and walks over their tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fmcodec/group_symbols.h"

namespace fmc {

// The bands that have a number, in ascending order.
class BandLists {
 public:
  void assign(const std::vector<uint8_t>& number_of_band, size_t count);
  std::span<const uint32_t> bands(size_t number) const {
    return std::span(bands_).subspan(begin_[number], begin_[number + 1] - begin_[number]);
  }

 private:
  std::vector<uint32_t> bands_;
  std::vector<size_t> begin_;  // by number
};

// Tokens of a band of a block, true or residual, as long as GroupSymbols says.
inline const uint8_t* band_tokens(GroupSymbols& symbols, const GroupSymbols::Block& block, uint64_t band,
                                  bool is_predicted, int shift) {
  return is_predicted ? symbols.residuals(block, band) : symbols.tokens(block, band, shift);
}

// Calls visit(tokens, count) for some bands of a block, one by one, or several at once that lie next to each other. The
// tokens are valid until the next call.
template <class Visit>
void for_each_band(GroupSymbols& symbols, const GroupSymbols::Block& block, std::span<const uint32_t> bands,
                   bool is_predicted, int shift, const Visit& visit) {
  const bool joins = !is_predicted && symbols.is_contiguous(block);
  for (size_t i = 0, run = 1; i < bands.size(); i += run) {
    run = 1;
    while (joins && i + run < bands.size() && bands[i + run] == bands[i] + run) ++run;
    visit(band_tokens(symbols, block, bands[i], is_predicted, shift), run * block.tile.positions());
  }
}

}  // namespace fmc
