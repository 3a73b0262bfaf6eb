// SPDX-License-Identifier: Apache-2.0
// One group of blocks: symbols, then tables, then bits. Each thread has its own encoder and its scratch memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "fmcodec/block_transform.h"
#include "fmcodec/buffer.h"
#include "fmcodec/class_stream.h"
#include "fmcodec/frame.h"
#include "fmcodec/lattice.h"
#include "fmcodec/planar.h"
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

  EncodedGroup encode(uint64_t group);

 private:
  struct Block {
    Tile tile;
    uint64_t first_symbol;  // in tokens_ or symbols_
    SymbolRange range;      // of all its symbols
  };

  struct BandBuckets {
    std::vector<uint8_t> bucket_of_band;
    std::vector<TokenStatistics> statistics;  // by bucket
  };

  void transform_blocks(uint64_t group);
  bool transform_blocks_to(bool is_wide);
  void order_blocks();

  Tables choose_tables();
  CostedTables choose_band_tables(const BandBuckets& buckets, size_t most_classes);
  CostedTables choose_neighbour_tables();
  CostedTables choose_modes(Tables tables, std::vector<TokenStatistics>& classes);
  BandBuckets count_buckets();

  void use_tables(const Tables& tables);
  // What for_each_stream needs of tables.
  void use_map(const Tables& tables);
  // With bands: calls visit(class, tokens, count) for each stream of a block, in the order of the format. The tokens
  // are valid until the next stream.
  template <class Visit>
  void for_each_stream(const Block& block, const Visit& visit);

  // Tokens of a band of a block; valid until the next call.
  const uint8_t* band_tokens(const Block& block, uint64_t band, int shift);
  size_t gather_class(const Block& block, size_t class_index, int shift);
  const int32_t* gather_symbols(const Block& block, size_t class_index);
  bool covers(const Block& block, const TableClass& table) const;
  bool fits(const Block& block, size_t class_index, const TableClass& table, const uint8_t* tokens, size_t count);
  bool write_coded(const Block& block, const Tables& tables, ByteBuffer& out);
  bool write_neighbours(const Block& block, const Tables& tables, ByteBuffer& out);
  void write_raw(const Block& block, ByteBuffer& out);

  uint64_t symbol_count(const Block& block) const { return plan_.kept_bands() * block.tile.positions(); }
  uint64_t symbol_count() const { return blocks_.back().first_symbol + symbol_count(blocks_.back()); }
  void add_part(EncodedGroup& group, size_t begin) const;
  uint64_t raw_size_bytes(const Block& block) const;

  const KernelTable& kernels_;
  const Spec& spec_;
  const BandPlan& plan_;
  const TensorView& tensor_;
  const Tiling& tiling_;
  const int32_t token_minimum_;
  BlockTransform transform_;

  bool is_wide_ = false;  // symbols_ is in use, else tokens_
  std::vector<Block> blocks_;
  std::vector<SymbolRange> ranges_;  // by kept band, over the group
  std::vector<ClassCode> codes_;
  ClassStreamWriter stream_writer_;

  // With bands.
  std::vector<int> shifts_;           // by class
  std::vector<uint32_t> band_order_;  // kept bands, by class
  std::vector<size_t> class_begin_;   // into band_order_
  // With contexts from neighbours.
  std::array<uint8_t, 256> class_of_context_{};
  std::optional<RansWriter> rans_writer_;

  Lattice lattice_;
  bool is_ordered_ = false;             // ordered_ and contexts_ are those of blocks_
  Buffer<uint8_t> ordered_, contexts_;  // by phase, at first_symbol of each block
  Buffer<uint8_t> planes_, tokens_, stream_, converted_, mask_, classes_, bits_;
  Buffer<int32_t> symbols_, class_symbols_, raw_symbols_;
};

}  // namespace fmc
