// SPDX-License-Identifier: Apache-2.0
// One block: bits to symbols to values. Each thread has its own decoder and its scratch memory.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "fmcodec/block_transform.h"
#include "fmcodec/buffer.h"
#include "fmcodec/class_stream.h"
#include "fmcodec/frame.h"
#include "fmcodec/lattice.h"
#include "fmcodec/rans.h"
#include "fmcodec/tables.h"

namespace fmc {

class BlockDecoder {
 public:
  BlockDecoder(const KernelTable& kernels, Bytes bytes, const Frame& frame, const BandPlan& plan);

  // Writes the values of block `index` to `out`. Throws Error.
  void decode(uint64_t index, const PlanarBlock<void>& out);

  // The tables of a group of blocks, valid until those of another one are asked for or decoded with. Throws Error.
  const Tables& tables(uint64_t group);
  // What stands in front of the class streams of block `index`; nothing if it has none: zero and raw blocks, and those
  // with contexts from neighbours. Throws Error.
  Bytes head(uint64_t index);
  // Is shown the class streams of a coded block as they are read, in the order of the format, without patches. The
  // symbols are there only if the class has low bits.
  using VisitStream =
      std::function<void(size_t class_index, const uint8_t* tokens, const int32_t* symbols, size_t count)>;
  // Reads the class streams of the block whose head was asked for last. Throws Error.
  void read_streams(uint64_t index, const VisitStream& visit);

 private:
  Bytes load(uint64_t index);
  void prepare(const Tables& tables);
  void read_zero(const PlanarBlock<void>& out);
  Bytes head_of(Bytes block) const;
  void read_coded(Bytes block, const Tile& tile, const VisitStream& visit);
  void read_band_streams(BitSource* in, const Tile& tile, uint8_t* tokens, Bytes patches, const VisitStream& visit);
  struct Stream {
    bool is_predicted;
    int shift;
    uint64_t first_place;  // of its symbols, among those of the block
    size_t count;
  };
  void patch_symbols(const Stream& stream, uint8_t* tokens, const Tile& tile, Bytes patches, size_t* next,
                     int32_t* symbols) const;
  void read_neighbours(const BitSource& in, const Tile& tile, uint8_t* tokens, Bytes patches);
  void read_raw(Bytes block, uint64_t positions);
  // A bit stream that kernels may read past its end; it is copied only if the frame ends there.
  BitSource padded(Bytes bits);
  [[noreturn]] void fail(const char* message) const;

  const KernelTable& kernels_;
  const Bytes bytes_;
  const Frame& frame_;
  const BandPlan& plan_;
  BlockTransform transform_;
  int64_t block_offset_ = 0;  // for error messages

  std::optional<uint64_t> loaded_group_;
  Tables adaptive_tables_;
  const Tables* tables_ = nullptr;
  std::vector<ClassCode> codes_;                 // by class
  std::vector<uint64_t> class_bands_;            // number of bands, by class
  std::vector<uint64_t> slot_of_band_;           // place of a band in class order, by band
  std::array<uint8_t, 256> class_of_context_{};  // only if contexts come from neighbours

  ClassStreamReader stream_reader_;
  std::optional<RansReader> rans_reader_;  // only if contexts come from neighbours
  Lattice lattice_;

  // Symbols of the current block. By slot if coded, by band if raw.
  bool is_raw_ = false;
  bool is_patched_ = false;  // then there are symbols of all classes
  Buffer<uint8_t> tokens_;
  Buffer<int32_t> symbols_;

  Buffer<uint8_t> bits_, classes_;
};

}  // namespace fmc
