// SPDX-License-Identifier: Apache-2.0
// One group of blocks: symbols, then tables, then bits. Each thread has its own encoder and its scratch memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fmcodec/band_lists.h"
#include "fmcodec/buffer.h"
#include "fmcodec/class_stream.h"
#include "fmcodec/frame.h"
#include "fmcodec/group_order.h"
#include "fmcodec/group_symbols.h"
#include "fmcodec/rans.h"
#include "fmcodec/table_chooser.h"
#include "fmcodec/tables.h"

namespace fmc {

struct EncodedGroup {
  ByteBuffer bytes;
  std::vector<Part> parts;  // class section (if adaptive), then each block; offsets count from `bytes`
};

class GroupEncoder {
 public:
  GroupEncoder(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, const TensorView& tensor,
               const Tiling& tiling);
  GroupEncoder(const GroupEncoder&) = delete;  // its parts refer to each other

  // The bytes go to `place` if it has room enough for every way to code them, else to memory of their own.
  EncodedGroup encode(uint64_t group, std::span<uint8_t> place = {});

 private:
  using Block = GroupSymbols::Block;

  void use_tables(const Tables& tables);
  int32_t symbol_of(uint8_t token) const;
  const int32_t* gather_symbols(const Block& block, size_t class_index, const TableClass& table, uint64_t first_place);
  bool covers(const Block& block, const TableClass& table) const;
  bool find_patches(const Block& block, size_t class_index, const TableClass& table, uint64_t first_place);
  const uint8_t* without_patches(const uint8_t* tokens, uint64_t first_place, size_t count, uint8_t substitute,
                                 size_t* next_patch);
  std::vector<uint8_t> head() const;
  bool write_coded(const Block& block, const Tables& tables, ByteBuffer& out);
  bool can_patch(const Block& block) const;
  bool has_weights(const Block& block) const;
  const uint8_t* patch_tokens(const Block& block);
  bool write_neighbours(const Block& block, ByteBuffer& out);
  void write_raw(const Block& block, ByteBuffer& out);

  void add_part(EncodedGroup& group, size_t begin) const;
  uint64_t raw_size_bytes(const Block& block) const;

  const KernelTable& kernels_;
  const Spec& spec_;
  const int32_t token_minimum_;
  GroupSymbols symbols_;
  GroupOrder order_;
  TableChooser chooser_;

  std::vector<ClassCode> codes_;
  ClassStreamWriter stream_writer_;

  // With bands.
  BandLists classes_;
  struct Patch {
    uint32_t place;  // of the symbol among those of all class streams
    int32_t number;  // the symbol, or the residual token
  };
  std::vector<Patch> patches_;  // of the block that is written
  // With contexts from neighbours.
  std::array<uint8_t, 256> class_of_context_{};
  std::array<bool, kTokens> has_weight_{};  // in all classes
  std::optional<RansWriter> rans_writer_;

  Buffer<uint8_t> nonzero_, mask_, substituted_, class_of_token_, bits_;
  Buffer<int32_t> class_symbols_, nonzero_symbols_;
};

}  // namespace fmc
