// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/spec.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "fmcodec/error.h"

namespace fmc {
namespace {

constexpr uint8_t kHasPermutation = 1, kHasTables = 2;
constexpr size_t kFixedSectionBytes = 18;
constexpr unsigned kSpatialShift = 2;  // in the flags
constexpr uint8_t kSpatialFlags = 3 << kSpatialShift;
constexpr uint8_t kExactZeros = 16;
constexpr uint32_t kMaxSpatialSize = 8;
constexpr int kMaxKltBits = 15, kMaxSpatialBits = 14;
constexpr uint64_t kMaxFractionBits = 14;

bool is_word_size(int bits) { return bits == 8 || bits == 16 || bits == 32 || bits == 64; }

void require(bool holds, ErrorCode code, const std::string& message, int64_t offset = kNoOffset) {
  if (!holds) throw Error(code, message, offset);
}

bool is_size_of(Transform transform, uint32_t size) {
  if (transform == Transform::kIdentity) return size == 1;
  if (transform == Transform::kKlt) return size >= 1 && size <= UINT16_MAX;
  return size == 4 || size == 8 || size == 16 || size == 32;
}

// Whether means are levels: with at most 15 bits, less their mean they are numbers of 16 bits.
bool has_valid_basis(const Spec& spec, uint64_t channels) {
  if (spec.basis == nullptr || spec.bits > kMaxKltBits || spec.basis->channels() != channels) return false;
  if (spec.basis->size() != spec.transform_size || spec.basis->kept() != spec.kept_bands) return false;
  const Quantizer q = spec.quantizer();
  return std::all_of(spec.basis->means().begin(), spec.basis->means().end(),
                     [&](int16_t mean) { return mean >= q.lo && mean <= q.hi; });
}

}  // namespace

uint64_t Basis::size_bytes(Bytes head, uint64_t channels, uint64_t kept) {
  const uint64_t fraction_bits = head[0], entry_bytes = head[1];
  const bool is_valid = fraction_bits >= 1 && fraction_bits <= kMaxFractionBits && entry_bytes >= 1 && entry_bytes <= 2;
  return is_valid ? kHeadBytes + channels * (2 + kept * entry_bytes) : 0;
}

Basis::Basis(Bytes bytes, uint64_t channels, uint32_t size, uint32_t kept)
    : bytes_(bytes.begin(), bytes.end()), size_(size), kept_(kept), means_(channels) {
  const uint8_t* at = &bytes_[kHeadBytes];
  for (int16_t& mean : means_) {
    mean = static_cast<int16_t>(load_le<uint16_t>(at));
    at += 2;
  }
  const size_t entry_bytes = bytes_[1];
  const uint64_t groups = channels / size;
  rows_.resize(groups * kept * padded(size));
  columns_.resize(channels * padded(kept));
  for (uint64_t row = 0; row < groups * kept; ++row) {
    const uint64_t first_column = row / kept * size;
    for (uint64_t n = 0; n < size; ++n, at += entry_bytes) {
      const auto entry = entry_bytes == 2 ? static_cast<int16_t>(load_le<uint16_t>(at))
                                          : static_cast<int16_t>(static_cast<int8_t>(*at));
      rows_[row * padded(size) + n] = entry;
      columns_[(first_column + n) * padded(kept) + row % kept] = entry;
    }
  }
}

Quantizer Spec::quantizer() const {
  return {step, static_cast<float>(1.0 / static_cast<double>(step)), -static_cast<int32_t>(zero_point),
          (1 << bits) - 1 - static_cast<int32_t>(zero_point), token_minimum()};
}

int32_t Spec::token_minimum() const {
  if (transform != Transform::kIdentity || spatial_size > 1) return -128;
  if (bits <= 8) return -static_cast<int32_t>(zero_point);
  return zero_point == 0 ? 0 : -128;
}

bool Spec::has_direct_symbols() const {
  return transform == Transform::kIdentity && spatial_size == 1 &&
         std::all_of(band_steps.begin(), band_steps.end(), [](auto s) { return s == 1; });
}

void validate_spec(const Spec& spec, Dtype dtype, uint64_t channels, ErrorCode code) {
  const uint32_t size = spec.transform_size;
  require(std::isfinite(spec.step) && spec.step >= 0x1p-64f && spec.step <= 0x1p64f, code,
          "step is outside 2^-64 to 2^64");
  require(spec.bits >= 2 && spec.bits <= 16, code, "bits is outside 2 to 16");
  require(size_of(dtype) > 1 || spec.bits <= 8, code, "bits must be at most 8 for int8 and uint8 tensors");
  require(spec.zero_point < (1u << spec.bits), code, "zero_point is above 2^bits - 1");
  require(is_size_of(spec.transform, size), code, "transform_size does not fit the transform");
  require(spec.kept_bands >= 1 && spec.kept_bands <= size, code, "kept_bands is outside 1 to transform_size");
  require(std::has_single_bit(spec.spatial_size) && spec.spatial_size <= kMaxSpatialSize, code,
          "spatial_size must be 1, 2, 4 or 8");
  require(spec.spatial_size == 1 || spec.bits <= kMaxSpatialBits, code,
          "bits must be at most 14 with a spatial transform");
  require(!spec.exact_zeros || spec.transform != Transform::kIdentity || spec.spatial_size > 1, code,
          "exact_zeros needs a transform");
  require(spec.transform != Transform::kKlt || has_valid_basis(spec, channels), code,
          "the basis does not fit the levels or the " + std::to_string(channels) + " channels of the tensor");
  require(
      !spec.band_steps.empty() && std::find(spec.band_steps.begin(), spec.band_steps.end(), 0) == spec.band_steps.end(),
      code, "band_steps must hold at least one step, none of them 0");
  require(!spec.dead_zone.empty(), code, "dead_zone must hold at least one number");
  require(is_word_size(spec.word_bits), code, "word_bits must be 8, 16, 32 or 64");
  if (!spec.permutation.empty()) {
    require(spec.permutation.size() == channels, code,
            "permutation has " + std::to_string(spec.permutation.size()) + " entries for " + std::to_string(channels) +
                " channels");
    std::vector<bool> is_seen(channels);
    for (const uint16_t channel : spec.permutation) {
      require(channel < channels && !is_seen[channel], code, "permutation must hold each channel once");
      is_seen[channel] = true;
    }
  }
  if (spec.tables) {
    const uint64_t bands = BandPlan(spec, channels).bands();
    require(spec.tables->model == ClassModel::kNeighbours || spec.tables->class_map.size() == bands, code,
            "static tables are for " + std::to_string(spec.tables->class_map.size()) + " bands, the tensor has " +
                std::to_string(bands));
  }
}

std::vector<uint8_t> write_spec_section(const Spec& spec) {
  std::vector<uint8_t> out;
  append_le<uint32_t>(out, float_bits(spec.step));
  append_le<uint16_t>(out, static_cast<uint16_t>(spec.zero_point));
  out.push_back(static_cast<uint8_t>(spec.bits));
  out.push_back(static_cast<uint8_t>(spec.transform));
  append_le<uint16_t>(out, static_cast<uint16_t>(spec.transform_size));
  append_le<uint16_t>(out, static_cast<uint16_t>(spec.kept_bands));
  out.push_back(static_cast<uint8_t>(spec.code_layout));
  const auto log2_spatial = static_cast<unsigned>(std::countr_zero(spec.spatial_size));
  out.push_back(static_cast<uint8_t>((spec.permutation.empty() ? 0u : kHasPermutation) |
                                     (spec.tables ? kHasTables : 0u) | log2_spatial << kSpatialShift |
                                     (spec.exact_zeros ? kExactZeros : 0u)));
  append_le<uint32_t>(out, static_cast<uint32_t>(spec.band_steps.size()));
  for (const uint16_t step : spec.band_steps) append_le<uint16_t>(out, step);
  if (spec.code_layout == CodeLayout::kSerial) out.push_back(static_cast<uint8_t>(spec.word_bits));
  if (!spec.permutation.empty()) {
    append_le<uint32_t>(out, static_cast<uint32_t>(spec.permutation.size()));
    for (const uint16_t channel : spec.permutation) append_le<uint16_t>(out, channel);
  }
  if (spec.basis != nullptr) out.insert(out.end(), spec.basis->bytes().begin(), spec.basis->bytes().end());
  if (spec.tables) {
    const std::vector<uint8_t> section = write_class_section(*spec.tables, spec.token_minimum());
    append_le<uint32_t>(out, static_cast<uint32_t>(section.size()));
    out.insert(out.end(), section.begin(), section.end());
  }
  return out;
}

Spec parse_spec_section(Bytes section, uint64_t channels, int64_t base_offset) {
  const auto check = [&](bool holds, const char* message, size_t at) {
    require(holds, ErrorCode::kCorrupt, message, base_offset + static_cast<int64_t>(at));
  };
  check(section.size() >= kFixedSectionBytes, "spec section is too short", 0);
  Spec spec;
  spec.step = float_of_bits(load_le<uint32_t>(&section[0]));
  spec.zero_point = load_le<uint16_t>(&section[4]);
  spec.bits = section[6];
  check(section[7] <= static_cast<uint8_t>(Transform::kKlt), "unknown transform", 7);
  spec.transform = static_cast<Transform>(section[7]);
  spec.transform_size = load_le<uint16_t>(&section[8]);
  spec.kept_bands = load_le<uint16_t>(&section[10]);
  check(spec.bits >= 2 && spec.bits <= 16 && spec.zero_point < (1u << spec.bits), "bits or zero_point out of range", 4);
  check(spec.transform_size >= 1 && spec.kept_bands >= 1 && spec.kept_bands <= spec.transform_size,
        "kept_bands out of range", 8);
  spec.code_layout = static_cast<CodeLayout>(section[12]);
  check(spec.code_layout == CodeLayout::kWavelet || spec.code_layout == CodeLayout::kSerial, "unknown coder", 12);
  const uint8_t flags = section[13];
  check((flags & ~(kHasPermutation | kHasTables | kSpatialFlags | kExactZeros)) == 0, "reserved spec flags are set",
        13);

  spec.spatial_size = 1u << ((flags & kSpatialFlags) >> kSpatialShift);
  spec.exact_zeros = (flags & kExactZeros) != 0;

  size_t at = 14;
  const auto read_u16_list = [&](std::vector<uint16_t>& list) {
    check(section.size() - at >= 4, "spec section is too short", at);
    const uint64_t count = load_le<uint32_t>(&section[at]);
    at += 4;
    check(count >= 1 && (section.size() - at) / 2 >= count, "list in the spec section has a wrong count", at - 4);
    list.resize(count);
    for (size_t i = 0; i < count; ++i, at += 2) list[i] = load_le<uint16_t>(&section[at]);
  };
  read_u16_list(spec.band_steps);
  if (spec.code_layout == CodeLayout::kSerial) {
    check(at < section.size(), "spec section is too short", at);
    spec.word_bits = section[at];
    check(is_word_size(spec.word_bits), "word_bits must be 8, 16, 32 or 64", at);
    ++at;
  }
  if (flags & kHasPermutation) read_u16_list(spec.permutation);
  if (spec.transform == Transform::kKlt) {
    const Bytes rest = section.subspan(at);
    const uint64_t size = rest.size() < Basis::kHeadBytes ? 0 : Basis::size_bytes(rest, channels, spec.kept_bands);
    check(size > 0 && size <= rest.size() && channels % spec.transform_size == 0,
          "the basis does not fit its section or the channels", at);
    spec.basis = std::make_shared<const Basis>(rest.first(size), channels, spec.transform_size, spec.kept_bands);
    at += size;
  }
  if (flags & kHasTables) {
    check(section.size() - at >= 4, "spec section is too short", at);
    const uint64_t size = load_le<uint32_t>(&section[at]);
    at += 4;
    check(section.size() - at == size, "class section has a wrong size", at - 4);
    spec.tables = parse_class_section(section.subspan(at), BandPlan(spec, channels).bands(), spec.token_minimum(),
                                      base_offset + static_cast<int64_t>(at));
    at += size;
  }
  check(at == section.size(), "bytes are left over in the spec section", at);
  return spec;
}

BandPlan::BandPlan(const Spec& spec, uint64_t channels) : spec_(spec), channels_(channels) {
  const uint64_t size = spec.transform_size;
  full_groups_ = channels / size;
  uint64_t input = full_groups_ * size;
  kept_coefficients_ = full_groups_ * spec.kept_bands;
  while (input < channels) {
    const auto group_size = static_cast<uint32_t>(std::bit_floor(channels - input));
    const auto kept = static_cast<uint32_t>((group_size * spec.kept_bands + size - 1) / size);
    leftover_.push_back({input, kept_coefficients_, group_size, kept});
    input += group_size;
    kept_coefficients_ += kept;
  }
}

TransformGroup BandPlan::group(uint64_t index) const {
  if (index >= full_groups_) return leftover_[index - full_groups_];
  return {index * spec_.transform_size, index * spec_.kept_bands, spec_.transform_size, spec_.kept_bands};
}

// The number of coefficient k of a group in a list of `count` numbers for all, by frequency, or by channel.
size_t BandPlan::entry(const TransformGroup& group, uint32_t k, size_t count) const {
  return count == spec_.transform_size ? k * (spec_.transform_size / group.size) : (group.first_input + k) % count;
}

int32_t BandPlan::step(const TransformGroup& group, uint32_t k) const {
  return spec_.band_steps[entry(group, k, spec_.band_steps.size())];
}

int32_t BandPlan::rounding(const TransformGroup& group, uint32_t k) const {
  const double dead_zone = spec_.dead_zone[entry(group, k, spec_.dead_zone.size())];
  return static_cast<int32_t>(std::floor(step(group, k) * (1.0 - dead_zone)));
}

}  // namespace fmc
