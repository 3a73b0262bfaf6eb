// SPDX-License-Identifier: Apache-2.0
// One group of blocks: symbols, then tables, then bits. Each thread has its own encoder and its scratch memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fmcodec/buffer.h"
#include "fmcodec/class_stream.h"
#include "fmcodec/frame.h"
#include "fmcodec/group_symbols.h"
#include "fmcodec/lattice.h"
#include "fmcodec/rans.h"
#include "fmcodec/table_choice.h"
#include "fmcodec/tables.h"

namespace fmc {

struct CostedTables {
  Tables tables;
  uint64_t bits = 0;  // of the class section and of all blocks
};

struct EncodedGroup {
  ByteBuffer bytes;
  std::vector<Part> parts;  // class section (if adaptive), then each block; offsets count from `bytes`
};

class GroupEncoder {
 public:
  GroupEncoder(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, const TensorView& tensor,
               const Tiling& tiling);

  // The bytes go to `place` if it has room enough for every way to code them, else to memory of their own.
  EncodedGroup encode(uint64_t group, std::span<uint8_t> place = {});

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

  // The bands that have a number (of a class or item), in ascending order.
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

  void order_blocks();

  Tables choose_tables();
  CostedTables choose_band_tables(const BandItems& items, size_t most_classes);
  CostedTables choose_neighbour_tables();
  CostedTables choose_modes(Tables tables, std::vector<TokenStatistics>& classes);
  std::vector<bool> choose_predicted();
  BandBuckets choose_buckets(const std::vector<bool>& is_predicted);
  BandItems count_items(const std::vector<bool>& is_predicted);
  size_t gather_sample(const Block& block, std::span<const uint32_t> bands, const TokenStatistics& item);
  void count_masks(size_t class_index, TokenStatistics& statistics);

  void use_tables(const Tables& tables);
  // Calls visit(tokens, count) for the bands of a class in a block, one by one, or several at once that lie next to
  // each other. The tokens are valid until the next call.
  template <class Visit>
  void for_each_band(const Block& block, size_t class_index, const TableClass& table, const Visit& visit);

  const uint8_t* band_tokens(const Block& block, uint64_t band, bool is_predicted, int shift);
  const int32_t* gather_symbols(const Block& block, size_t class_index);
  bool covers(const Block& block, const TableClass& table) const;
  bool fits(const Block& block, size_t class_index, const TableClass& table);
  bool write_coded(const Block& block, const Tables& tables, ByteBuffer& out);
  bool write_neighbours(const Block& block, const Tables& tables, ByteBuffer& out);
  void write_raw(const Block& block, ByteBuffer& out);

  void add_part(EncodedGroup& group, size_t begin) const;
  uint64_t raw_size_bytes(const Block& block) const;

  const KernelTable& kernels_;
  const Spec& spec_;
  const int32_t token_minimum_;
  GroupSymbols symbols_;

  std::vector<ClassCode> codes_;
  ClassStreamWriter stream_writer_;

  // With bands.
  BandLists classes_;
  // With contexts from neighbours.
  std::array<uint8_t, 256> class_of_context_{};
  std::optional<RansWriter> rans_writer_;

  Lattice lattice_;
  bool is_ordered_ = false;             // ordered_ and contexts_ are those of the group
  Buffer<uint8_t> ordered_, contexts_;  // by phase, at first_symbol of each block
  Buffer<uint8_t> sample_, nonzero_, mask_, class_of_token_, bits_;
  Buffer<int32_t> class_symbols_;
};

}  // namespace fmc
