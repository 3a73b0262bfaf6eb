// SPDX-License-Identifier: Apache-2.0
// Looks at the symbols of a group and chooses its tables (docs/format.md, section 10); table_choice.h has the rules.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "fmcodec/band_lists.h"
#include "fmcodec/buffer.h"
#include "fmcodec/group_order.h"
#include "fmcodec/group_symbols.h"
#include "fmcodec/table_choice.h"
#include "fmcodec/tables.h"

namespace fmc {

class TableChooser {
 public:
  // All arguments must outlive the object.
  TableChooser(const KernelTable& kernels, const Spec& spec, GroupSymbols& symbols, GroupOrder& order)
      : kernels_(kernels), spec_(spec), token_minimum_(spec.token_minimum()), symbols_(symbols), order_(order) {}

  // The tables of the group that is loaded.
  Tables choose();

 private:
  using Block = GroupSymbols::Block;

  // What section 10 calls items, made of bands: non-empty buckets.
  struct BandItems {
    std::vector<uint8_t> item_of_band;
    std::vector<TokenStatistics> statistics;  // by item
  };

  static constexpr size_t kAllBuckets = 2 * kBuckets;  // of true tokens, then of residuals
  struct BandBuckets {
    std::vector<uint8_t> bucket_of_band;
    std::array<SymbolRange, kAllBuckets> ranges;
  };

  CostedTables choose_band_tables(const BandItems& items, size_t most_classes);
  CostedTables choose_neighbour_tables();
  CostedTables choose_modes(Tables tables, std::vector<TokenStatistics>& classes);
  std::vector<bool> choose_predicted();
  BandBuckets choose_buckets(const std::vector<bool>& is_predicted);
  BandItems count_items(const std::vector<bool>& is_predicted);
  // What is counted of an item in a block, valid until the next one is made.
  struct Sample {
    size_t count, nonzero_count;
    const uint8_t* nonzero;  // tokens of the symbols that are not 0
    const uint8_t* mask;     // of all; not at the exact effort, which counts other masks
  };
  Sample sample(const Block& block, std::span<const uint32_t> bands, const TokenStatistics& item);
  Sample wide_sample(const Block& block, std::span<const uint32_t> bands, const TokenStatistics& item);
  template <class T, class RowOf>
  size_t gather(const Block& block, std::span<const uint32_t> bands, const RowOf& row_of, Buffer<T>& gathered);
  void count_masks(size_t class_index, TokenStatistics& statistics);

  const KernelTable& kernels_;
  const Spec& spec_;
  const int32_t token_minimum_;
  GroupSymbols& symbols_;
  GroupOrder& order_;
  BandLists classes_;
  Buffer<uint8_t> sample_, nonzero_, mask_;
  Buffer<int32_t> symbol_sample_, nonzero_symbols_;
};

}  // namespace fmc
