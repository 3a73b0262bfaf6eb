// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/block_transform.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "fmcodec/dct_matrix.h"

namespace fmc {
namespace {

// Integers of a strip. With 128 KiB it is in the second-level cache, and long enough runs of each channel are read for
// the processor to fetch ahead; the small pieces that cells are made of go through half of the first-level cache.
constexpr uint64_t kStripValues = 1 << 15, kCellStripValues = 1 << 12;
constexpr uint64_t kRunValues = 1 << 12;  // of small channels, in the first-level cache

// The magnitude of the entries of M of a Walsh-Hadamard transform.
int32_t hadamard_factor(uint32_t size) { return static_cast<int32_t>(std::lround(4096.0 / std::sqrt(size))); }

}  // namespace

BlockTransform::BlockTransform(const KernelTable& kernels, const Spec& spec, const BandPlan& plan, Dtype dtype)
    : kernels_(kernels),
      spec_(spec),
      plan_(plan),
      dtype_(dtype),
      quantizer_(spec.quantizer()),
      is_direct_(spec.has_direct_symbols()),
      places_(spec.cell_values()),
      cells_(kernels, spec.spatial_size) {
  if (size_of(dtype) > 1 || !spec.has_direct_tokens()) return;
  has_byte_tables_ = true;
  std::array<uint8_t, 256> bytes;
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  kernels_.quantize_to_tokens(dtype_, bytes.data(), bytes.size(), quantizer_, token_of_value_.data());
  kernels_.dequantize_tokens(dtype_, bytes.data(), bytes.size(), quantizer_, value_of_token_.data());
  is_byte_identity_ = token_of_value_ == bytes && value_of_token_ == bytes;
}

bool BlockTransform::tokens_from_values(const void* values, size_t count, uint8_t* tokens) const {
  if (!has_byte_tables_) return kernels_.quantize_to_tokens(dtype_, values, count, quantizer_, tokens);
  translate(token_of_value_, static_cast<const uint8_t*>(values), count, tokens);
  return true;
}

void BlockTransform::values_from_tokens(const uint8_t* tokens, size_t count, void* values) const {
  if (!has_byte_tables_) return kernels_.dequantize_tokens(dtype_, tokens, count, quantizer_, values);
  translate(value_of_token_, tokens, count, static_cast<uint8_t*>(values));
}

void BlockTransform::translate(const std::array<uint8_t, 256>& table, const uint8_t* bytes, size_t count,
                               uint8_t* translated) const {
  if (is_byte_identity_) {
    std::memcpy(translated, bytes, count);
  } else {
    kernels_.translate(bytes, count, table.data(), translated);
  }
}

// How many small channels that lie next to each other are converted at a time.
uint64_t BlockTransform::run_of_channels(uint64_t positions) { return std::max<uint64_t>(1, kRunValues / positions); }

BlockTransform::Strip BlockTransform::strip(const TransformGroup& group) {
  const bool has_long_strips = places_ == 1 || spec_.transform == Transform::kKlt;
  const uint64_t values = has_long_strips ? kStripValues : kCellStripValues;
  uint64_t positions = values / (group.size * places_);
  // Vectors may write behind the positions of a place, up to the next one.
  if (spec_.transform == Transform::kKlt || places_ > 1)
    positions = std::max(kProductPositions, positions / kProductPositions * kProductPositions);
  const size_t stride = places_ * positions + kSlackBytes / sizeof(int32_t);
  return {rows_.reserve(group.size * stride), stride, positions, positions};
}

int32_t* BlockTransform::transform_group(const TransformGroup& group, const Strip& strip, size_t count,
                                         bool is_forward) {
  switch (spec_.transform) {
    case Transform::kIdentity: break;
    case Transform::kDct: {
      const auto dct = is_forward ? kernels_.forward_dct : kernels_.inverse_dct;
      if (group.size > 1) dct(dct_matrix(group.size), group.size, strip.rows, strip.stride, count);
      break;
    }
    case Transform::kHadamard:
      kernels_.hadamard(group.size, hadamard_factor(group.size), strip.rows, strip.stride, count);
      break;
    case Transform::kKlt: return multiply_basis(group, strip, count, is_forward);
  }
  return strip.rows;
}

int32_t* BlockTransform::multiply_basis(const TransformGroup& group, const Strip& strip, size_t count,
                                        bool is_forward) {
  const Basis& basis = *spec_.basis;
  const int16_t* const means = &basis.means()[group.first_input];
  const MatrixProduct product =
      is_forward
          ? MatrixProduct{basis.rows(group.first_input), group.kept, group.size, basis.fraction_bits(), means, nullptr}
          : MatrixProduct{
                basis.columns(group.first_input), group.size, group.kept, basis.fraction_bits(), nullptr, means};
  int32_t* const pairs = pairs_.reserve((product.columns + 1) / 2 * strip.stride);
  int32_t* const out = product_.reserve(product.rows * strip.stride);
  kernels_.multiply(product, strip.rows, strip.stride, count, pairs, out);
  return out;
}

// Of some bands whose tokens stand next to each other.
void BlockTransform::measure_run(const uint8_t* tokens, uint64_t first_band, uint64_t count, uint64_t positions,
                                 const RangeList& ranges) const {
  if (!ranges.by_band)
    return kernels_.measure_tokens(tokens, count * positions, quantizer_.token_minimum, ranges.ranges);
  for (uint64_t b = 0; b < count; ++b)
    kernels_.measure_tokens(tokens + b * positions, positions, quantizer_.token_minimum, ranges.of(first_band + b));
}

void BlockTransform::measure(const PlanarBlock<const void>& block, const RangeList& ranges) const {
  const uint64_t bands = plan_.bands();
  const uint64_t run = is_contiguous_at(block.channel_stride, block.positions) ? bands : 1;
  for (uint64_t first = 0; first < bands; first += run)
    measure_run(channel(block, first, 0), first, run, block.positions, ranges);
}

bool BlockTransform::forward_direct(const PlanarBlock<const void>& block, uint8_t* tokens, const RangeList& ranges) {
  const uint64_t bands = plan_.bands();
  const uint64_t run = is_contiguous_at(block.channel_stride, block.positions) ? run_of_channels(block.positions) : 1;
  bool is_finite = true;
  for (uint64_t first = 0; first < bands; first += run) {
    const uint64_t count = std::min(run, bands - first);
    uint8_t* const out = tokens + first * block.positions;
    is_finite &= tokens_from_values(channel(block, first, 0), count * block.positions, out);
    measure_run(out, first, count, block.positions, ranges);
  }
  return is_finite;
}

void BlockTransform::put_symbols(const int32_t* symbols, uint64_t band, uint64_t position, size_t count,
                                 const SymbolSink& sink) const {
  kernels_.measure_symbols(symbols, count, sink.ranges.of(band));
  if (sink.tokens != nullptr) {
    kernels_.symbols_to_tokens(symbols, count, 0, sink.tokens + band * sink.positions + position);
  } else {
    std::copy_n(symbols, count, sink.symbols + band * sink.positions + position);
  }
}

bool BlockTransform::read_symbols(const BandSource& band, uint64_t position, size_t count, int32_t* symbols) const {
  if (band.symbols != nullptr) {
    std::copy_n(band.symbols + position, count, symbols);
  } else if (band.tokens != nullptr) {
    kernels_.tokens_to_symbols(band.tokens + position, count, quantizer_.token_minimum, 0, symbols);
  } else {
    std::fill_n(symbols, count, 0);
    return false;
  }
  return true;
}

bool BlockTransform::can_fuse(const TransformGroup& group) const {
  return (spec_.transform == Transform::kDct || spec_.transform == Transform::kHadamard) && places_ == 1 &&
         !spec_.exact_zeros && dtype_ == Dtype::kFloat32 && group.size <= kMaxFusedSize;
}

bool BlockTransform::forward_fused(const TransformGroup& group, const PlanarBlock<const void>& block, uint8_t* tokens,
                                   const RangeList& ranges) const {
  if (!can_fuse(group)) return false;
  std::array<const float*, kMaxFusedSize> channels, ahead;
  std::array<int32_t, kMaxFusedSize> steps, roundings;
  // Next come the following channels at the same positions, or the first channels at the following positions.
  const uint64_t next_input = group.first_input + group.size;
  const bool is_last = next_input + group.size > plan_.channels();
  for (uint32_t n = 0; n < group.size; ++n) {
    channels[n] = reinterpret_cast<const float*>(channel(block, group.first_input + n, 0));
    ahead[n] = reinterpret_cast<const float*>(is_last ? channel(block, n, block.positions)
                                                      : channel(block, next_input + n, 0));
  }
  for (uint32_t k = 0; k < group.kept; ++k) {
    steps[k] = plan_.step(group, k);
    roundings[k] = plan_.rounding(group, k);
  }
  const FusedForward fused{quantizer_, channels.data(), ahead.data(), steps.data(), roundings.data(), group.kept};
  const uint64_t positions = block.positions;
  uint8_t* const out = tokens + group.first_kept_band * positions;
  const bool is_done =
      spec_.transform == Transform::kDct
          ? kernels_.dct_to_tokens(fused, dct_matrix(group.size), group.size, positions, out, positions)
          : kernels_.hadamard_to_tokens(fused, hadamard_factor(group.size), group.size, positions, out, positions);
  if (is_done) measure_run(out, group.first_kept_band, group.kept, positions, ranges);
  return is_done;
}

bool BlockTransform::inverse_fused(const TransformGroup& group, const std::array<const uint8_t*, kMaxFusedSize>& tokens,
                                   const PlanarBlock<void>& block) const {
  std::array<float*, kMaxFusedSize> channels;
  std::array<int32_t, kMaxFusedSize> steps;
  for (uint32_t n = 0; n < group.size; ++n)
    channels[n] = reinterpret_cast<float*>(channel(block, group.first_input + n, 0));
  for (uint32_t k = 0; k < group.kept; ++k) steps[k] = plan_.step(group, k);
  const FusedInverse fused{quantizer_, channels.data(), tokens.data(), steps.data(), group.kept};
  return spec_.transform == Transform::kDct
             ? kernels_.dct_from_tokens(fused, dct_matrix(group.size), group.size, block.positions)
             : kernels_.hadamard_from_tokens(fused, hadamard_factor(group.size), group.size, block.positions);
}

bool BlockTransform::forward(const PlanarBlock<const void>& block, uint8_t* tokens, int32_t* symbols,
                             const RangeList& ranges) {
  bool is_finite = true;
  if (tokens != nullptr && spec_.has_direct_tokens()) return forward_direct(block, tokens, ranges);
  const SymbolSink sink{tokens, symbols, block.positions, ranges};
  for (uint64_t g = 0; g < plan_.group_count(); ++g) {
    const TransformGroup group = plan_.group(g);
    if (tokens != nullptr && forward_fused(group, block, tokens, ranges)) continue;
    const Strip strip = this->strip(group);
    for (uint64_t position = 0; position < block.positions; position += strip.positions) {
      const size_t count = std::min(strip.positions, block.positions - position);
      for (uint32_t n = 0; n < group.size; ++n) {
        for (uint64_t place = 0; place < places_; ++place) {
          int32_t* const levels = strip.rows + n * strip.stride + place * strip.place_stride;
          is_finite &= kernels_.quantize_to_levels(dtype_, channel(block, group.first_input + n, position, place),
                                                   count, quantizer_, levels);
          if (!spec_.exact_zeros) continue;
          int32_t* const flags = flags_.reserve(count);
          kernels_.flag_nonzero(levels, count, flags);
          put_symbols(flags, flag_band(group.first_input + n, place), position, count, sink);
        }
      }
      int32_t* const coefficients = transform_group(group, strip, row_count(strip, count), true);
      for (uint32_t k = 0; k < group.kept; ++k) {
        int32_t* const row = coefficients + k * strip.stride;
        cells_.forward(row, strip.place_stride, block.extents, position, count);
        const int32_t step = plan_.step(group, k), rounding = plan_.rounding(group, k);
        for (uint64_t place = 0; place < places_; ++place) {
          int32_t* const part = row + place * strip.place_stride;
          const uint64_t band = (group.first_kept_band + k) * places_ + place;
          if (tokens != nullptr) {
            kernels_.band_to_tokens(part, count, step, rounding, tokens + band * block.positions + position,
                                    ranges.of(band));
          } else {
            if (step > 1) kernels_.quantize_band(part, count, step, rounding);
            put_symbols(part, band, position, count, sink);
          }
        }
      }
    }
  }
  return is_finite;
}

}  // namespace fmc
