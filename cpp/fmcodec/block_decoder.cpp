// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/block_decoder.h"

#include <algorithm>
#include <cstring>

#include "fmcodec/block_kind.h"
#include "fmcodec/error.h"

namespace fmc {

BlockDecoder::BlockDecoder(const KernelTable& kernels, Bytes bytes, const Frame& frame, const BandPlan& plan)
    : kernels_(kernels),
      bytes_(bytes),
      frame_(frame),
      plan_(plan),
      transform_(kernels, frame.spec, plan, frame.dtype),
      stream_reader_(kernels, frame.spec.token_minimum()),
      lattice_(kernels, frame.spec.token_minimum()) {
  if (frame.spec.tables) prepare(*frame.spec.tables);
}

void BlockDecoder::decode(uint64_t index, const PlanarBlock<void>& out) {
  const Bytes block = load(index);
  if (block.empty()) return read_zero(out);
  if (block[0] == static_cast<uint8_t>(BlockKind::kRaw)) {
    read_raw(block, out.positions);
  } else {
    read_coded(block, frame_.tiling.tile(index), [](size_t, const uint8_t*, const int32_t*, size_t) {});
  }
  const uint8_t* const tokens = tokens_.get();
  const int32_t* const symbols = symbols_.get();
  transform_.inverse(
      [&](uint64_t band) -> BandSource {
        if (is_raw_) return {nullptr, symbols + band * out.positions};
        if (tables_->model == ClassModel::kNeighbours) {
          const uint64_t first = band * out.positions;
          return is_patched_ ? BandSource{nullptr, symbols + first} : BandSource{tokens + first, nullptr};
        }
        const uint64_t first = slot_of_band_[band] * out.positions;
        const TableClass& table = tables_->classes[tables_->class_map[band]];
        if (table.shift > 0 || is_patched_) return {nullptr, symbols + first};
        if (table.mode == ClassMode::kZero) return {nullptr, nullptr};
        return {tokens + first, nullptr};
      },
      out);
}

Bytes BlockDecoder::head(uint64_t index) {
  const Bytes block = load(index);
  const bool has_streams =
      !block.empty() && block[0] != static_cast<uint8_t>(BlockKind::kRaw) && tables_->model == ClassModel::kBands;
  return has_streams ? head_of(block) : Bytes{};
}

void BlockDecoder::read_streams(uint64_t index, const VisitStream& visit) {
  const Part& part = frame_.blocks[index];
  read_coded(bytes_.subspan(part.offset, part.size_bytes), frame_.tiling.tile(index), visit);
}

// The bytes of a block, after its tables were made ready.
Bytes BlockDecoder::load(uint64_t index) {
  const Part& part = frame_.blocks[index];
  const Bytes block = checked_part(bytes_, part);
  block_offset_ = static_cast<int64_t>(part.offset);
  tables(index / frame_.tiling.blocks_per_group);
  return block;
}

const Tables& BlockDecoder::tables(uint64_t group) {
  if (frame_.spec.tables || loaded_group_ == group) return *tables_;
  loaded_group_.reset();
  const Part& part = frame_.class_sections[group];
  adaptive_tables_ = parse_class_section(checked_part(bytes_, part), plan_.bands(), frame_.spec.token_minimum(),
                                         static_cast<int64_t>(part.offset));
  prepare(adaptive_tables_);
  loaded_group_ = group;
  return *tables_;
}

void BlockDecoder::prepare(const Tables& tables) {
  tables_ = &tables;
  if (tables.model == ClassModel::kNeighbours) {
    class_of_context_ = tables.class_of_context();
    rans_reader_.emplace(kernels_, tables);
    return;
  }
  codes_ = build_codes(tables, frame_.spec.code_layout);
  class_bands_.assign(tables.classes.size(), 0);
  for (const uint8_t k : tables.class_map) ++class_bands_[k];
  std::vector<uint64_t> next(tables.classes.size(), 0);
  for (size_t k = 1; k < next.size(); ++k) next[k] = next[k - 1] + class_bands_[k - 1];
  slot_of_band_.resize(tables.class_map.size());
  for (size_t band = 0; band < slot_of_band_.size(); ++band) slot_of_band_[band] = next[tables.class_map[band]]++;
}

void BlockDecoder::read_zero(const PlanarBlock<void>& out) {
  transform_.inverse([](uint64_t) { return BandSource{nullptr, nullptr}; }, out);
}

Bytes BlockDecoder::head_of(Bytes block) const {
  if (block[0] == static_cast<uint8_t>(BlockKind::kCoded)) return block.first(1);
  if (block[0] != static_cast<uint8_t>(BlockKind::kPatched)) fail("unknown kind of block");
  if (block.size() < kPatchCountBytes) fail("a patched block is too short");
  const uint64_t count = load_le<uint32_t>(&block[1]);
  if (count == 0) fail("a patched block has no patches");
  if (block.size() < patch_head_bytes(count)) fail("a patched block is too short");
  return block.first(patch_head_bytes(count));
}

void BlockDecoder::read_coded(Bytes block, const Tile& tile, const VisitStream& visit) {
  is_raw_ = false;
  const Bytes head = head_of(block);
  BitSource in = padded(block.subspan(head.size()));
  uint8_t* const tokens = tokens_.reserve(plan_.bands() * tile.positions() + kSlackBytes);
  is_patched_ = head.size() > 1;
  const Bytes patches = is_patched_ ? head.subspan(kPatchCountBytes) : Bytes{};
  if (tables_->model == ClassModel::kNeighbours) return read_neighbours(in, tile, tokens, patches);
  const int word_bits = frame_.spec.block_word_bits();
  if (in.size_bits % static_cast<uint64_t>(word_bits) != 0) fail("a block ends inside a word");
  read_band_streams(&in, tile, tokens, patches, visit);
  if (!in.is_finished(word_bits)) fail("bits are left over in a block");
}

void BlockDecoder::read_band_streams(BitSource* in, const Tile& tile, uint8_t* tokens, Bytes patches,
                                     const VisitStream& visit) {
  const uint64_t positions = tile.positions();
  const bool has_symbols = is_patched_ || tables_->has_shift();
  int32_t* symbols = has_symbols ? symbols_.reserve(plan_.bands() * positions) : nullptr;
  uint64_t place = 0;  // of the first symbol of a class among those of all
  size_t next_patch = 0;
  for (size_t k = 0; k < codes_.size(); ++k) {
    const ClassCode& code = codes_[k];
    const size_t count = class_bands_[k] * positions;
    if (code.mode != ClassMode::kZero || is_patched_) stream_reader_.read(code, count, in, tokens, symbols);
    visit(k, tokens, symbols, count);
    if (is_patched_) {
      patch_symbols({code.is_predicted, code.shift, place, count}, tokens, tile, patches, &next_patch, symbols);
    } else if (code.is_predicted) {
      for (size_t i = 0; i < count; i += positions) kernels_.add_above(tokens + i, tile.columns, positions);
    }
    tokens += count;
    if (has_symbols) symbols += count;
    place += count;
  }
  if (next_patch != patches.size() / kPatchBytes) fail("a patch is outside its block");
}

// The symbols of a stream in a patched block; `next` is the first patch that is not done.
void BlockDecoder::patch_symbols(const Stream& stream, uint8_t* tokens, const Tile& tile, Bytes patches, size_t* next,
                                 int32_t* symbols) const {
  const auto [is_predicted, shift, first_place, count] = stream;
  const size_t patch_count = patches.size() / kPatchBytes;
  const size_t first = *next;
  const auto place_of = [&](size_t patch) { return load_le<uint32_t>(&patches[4 * patch]); };
  const auto number_of = [&](size_t patch) {
    return static_cast<int32_t>(load_le<uint32_t>(&patches[4 * (patch_count + patch)]));
  };
  for (; *next < patch_count && place_of(*next) < first_place + count; ++*next) {
    const int32_t number = number_of(*next);
    if (place_of(*next) < first_place || (*next > 0 && place_of(*next) <= place_of(*next - 1)))
      fail("patches are out of order");
    if (is_predicted ? number < 0 || number > 255 : number < -kMaxRawMinimum || number > kMaxRawMinimum)
      fail("number of a patch is out of range");
    if (is_predicted) tokens[place_of(*next) - first_place] = static_cast<uint8_t>(number);
  }
  const uint64_t positions = tile.positions();
  for (size_t i = 0; is_predicted && i < count; i += positions) kernels_.add_above(tokens + i, tile.columns, positions);
  if (shift == 0) kernels_.tokens_to_symbols(tokens, count, frame_.spec.token_minimum(), 0, symbols);
  for (size_t patch = first; !is_predicted && patch < *next; ++patch)
    symbols[place_of(patch) - first_place] = number_of(patch);
}

void BlockDecoder::read_neighbours(const BitSource& in, const Tile& tile, uint8_t* tokens, Bytes patches) {
  const size_t count = plan_.bands() * tile.positions();
  rans_reader_->begin(count, in);
  lattice_.set_tile(plan_.bands(), tile.rows, tile.columns);
  lattice_.restore(
      [&](const uint8_t* contexts, size_t count, uint8_t* ordered) {
        uint8_t* const classes = classes_.reserve(count + kSlackBytes);
        kernels_.translate(contexts, count, class_of_context_.data(), classes);
        rans_reader_->read(classes, count, ordered);
      },
      tokens);
  rans_reader_->end();
  if (!is_patched_) return;
  size_t next_patch = 0;
  patch_symbols({false, 0, 0, count}, tokens, tile, patches, &next_patch, symbols_.reserve(count));
  if (next_patch != patches.size() / kPatchBytes) fail("a patch is outside its block");
}

void BlockDecoder::read_raw(Bytes block, uint64_t positions) {
  is_raw_ = true;
  if (block.size() < kRawHeadBytes) fail("a raw block is too short");
  const auto minimum = static_cast<int32_t>(load_le<uint32_t>(&block[1]));
  const int width = block[5];
  if (minimum < -kMaxRawMinimum || minimum > kMaxRawMinimum) fail("minimum of a raw block is out of range");
  if (width > raw_width_bound(frame_.spec)) fail("width of a raw block is out of range");
  const size_t count = plan_.bands() * positions;
  BitSource in = padded(block.subspan(kRawHeadBytes));
  int32_t* const symbols = symbols_.reserve(count);
  std::fill_n(symbols, count, minimum);
  for (int plane = width; plane-- > 0;)
    kernels_.add_symbol_plane(in.bytes, in.take(count), count, static_cast<uint32_t>(plane), symbols);
  if (!in.is_finished(8)) fail("bits are left over in a block");
}

BitSource BlockDecoder::padded(Bytes bits) {
  // Behind all but the last blocks of a frame there are other bytes, which do as well.
  if (bytes_.data() + bytes_.size() - (bits.data() + bits.size()) >= static_cast<std::ptrdiff_t>(kSlackBytes))
    return {bits.data(), 0, bits.size() * 8, block_offset_};
  uint8_t* const copy = bits_.reserve(bits.size() + kSlackBytes);
  if (!bits.empty()) std::memcpy(copy, bits.data(), bits.size());
  std::memset(copy + bits.size(), 0, kSlackBytes);
  return {copy, 0, bits.size() * 8, block_offset_};
}

void BlockDecoder::fail(const char* message) const { throw Error(ErrorCode::kCorrupt, message, block_offset_); }

}  // namespace fmc
