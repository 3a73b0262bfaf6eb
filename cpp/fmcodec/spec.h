// SPDX-License-Identifier: Apache-2.0
// Spec: the parameters of all stages, as plain values; and the bands they make of C channels.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "fmcodec/bits.h"
#include "fmcodec/error.h"
#include "fmcodec/tables.h"
#include "fmcodec/tensor.h"

namespace fmc {

// From this effort on, the encoder counts everything and tries several tables, contexts from neighbours among them.
inline constexpr int kExactEffort = 3;
// At this effort, all bands share one table and all masks have standard tables.
inline constexpr int kFastestEffort = 1;
inline constexpr size_t kFewClasses = 4;
inline constexpr size_t kMostClasses[] = {kFewClasses, 8, kMaxClasses};  // by effort

// Stored in the format.
enum class Transform : uint8_t { kIdentity = 0, kDct = 1, kHadamard = 2, kKlt = 3 };

// The matrix of a KLT (section 4.2). Rows are padded with zeros to an even number of entries, as the kernel reads them.
class Basis {
 public:
  // Bytes of a basis whose head, two bytes of section 4.3, is that; 0 if the head is not valid.
  static constexpr size_t kHeadBytes = 2;
  static uint64_t size_bytes(Bytes head, uint64_t channels, uint64_t kept);

  // Precondition: a valid head, all of its bytes, and channels that are a multiple of `size`.
  Basis(Bytes bytes, uint64_t channels, uint32_t size, uint32_t kept);

  // As in the stream.
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  int fraction_bits() const { return bytes_[0]; }
  uint64_t channels() const { return means_.size(); }
  uint32_t size() const { return size_; }
  uint32_t kept() const { return kept_; }
  const std::vector<int16_t>& means() const { return means_; }
  // Of the group whose first input is `first_input`: kept rows of `size` entries; and its transpose.
  const int16_t* rows(uint64_t first_input) const { return &rows_[first_input / size_ * kept_ * padded(size_)]; }
  const int16_t* columns(uint64_t first_input) const { return &columns_[first_input * padded(kept_)]; }

 private:
  static uint64_t padded(uint64_t entries) { return entries + (entries & 1); }

  std::vector<uint8_t> bytes_;
  uint32_t size_, kept_;
  std::vector<int16_t> means_, rows_, columns_;
};

struct Spec {
  float step = 1.0f;
  uint32_t zero_point = 0;
  int bits = 8;
  Transform transform = Transform::kIdentity;
  uint32_t transform_size = 1;
  uint32_t kept_bands = 1;
  uint32_t spatial_size = 1;  // of cells, along rows and columns
  bool exact_zeros = false;   // levels of 0 are told apart (section 4.5)
  std::vector<uint16_t> band_steps{1};
  std::vector<uint16_t> permutation;   // empty: none
  std::shared_ptr<const Basis> basis;  // kKlt only
  CodeLayout code_layout = CodeLayout::kWavelet;
  int word_bits = 32;            // of the words of a coded block; only if the layout is serial
  std::optional<Tables> tables;  // absent: adaptive

  // Encoder only, not stored.
  std::vector<double> dead_zone{0.5};  // for all bands or, in the order of band_steps, one for each of them
  int max_code_length = 12;
  int effort = 2;
  uint32_t block_rows = 0, block_columns = 0;  // 0: by size
  bool clamps_nonfinite = false;

  size_t most_classes() const { return kMostClasses[effort - 1]; }
  // Whether the encoder decides for all bands together (section 10).
  bool pools_bands() const { return effort == kFastestEffort; }
  CodeChoice code_choice() const { return {max_code_length, effort < kExactEffort}; }
  // The bits of a coded block are a whole number of these.
  int block_word_bits() const { return code_layout == CodeLayout::kSerial ? word_bits : 8; }
  Quantizer quantizer() const;
  int32_t token_minimum() const;
  // Whether symbols are levels that fit tokens, so that the values can be quantized straight to tokens.
  bool has_direct_tokens() const { return has_direct_symbols() && bits <= 8; }
  // Whether symbols are levels.
  bool has_direct_symbols() const;
  uint32_t cell_values() const { return spatial_size * spatial_size; }
};

// Throws Error(kCorrupt or kArgument, as given) if a field is out of range or does not fit the tensor.
void validate_spec(const Spec& spec, Dtype dtype, uint64_t channels, ErrorCode code);

// Section 2.4 of docs/format.md. parse throws Error(kCorrupt); offsets count from `base_offset`.
std::vector<uint8_t> write_spec_section(const Spec& spec);
Spec parse_spec_section(Bytes section, uint64_t channels, int64_t base_offset);

// One group of channels that are transformed together (section 4).
struct TransformGroup {
  uint64_t first_input;      // number of the first transform input, and of the first band
  uint64_t first_kept_band;  // number among the kept coefficients, each of which is a band for each value of a cell
  uint32_t size;
  uint32_t kept;
};

// The transform groups of C channels, computed rather than stored: C may be large.
class BandPlan {
 public:
  BandPlan(const Spec& spec, uint64_t channels);
  uint64_t group_count() const { return full_groups_ + leftover_.size(); }
  TransformGroup group(uint64_t index) const;
  uint64_t channels() const { return channels_; }
  // All bands that are coded: those of kept coefficients, then those of flags, if there are any (section 4.5).
  uint64_t bands() const { return first_flag_band() + (spec_.exact_zeros ? channels_ * spec_.cell_values() : 0); }
  uint64_t first_flag_band() const { return kept_coefficients_ * spec_.cell_values(); }
  // Step of coefficient k of a group (section 5).
  int32_t step(const TransformGroup& group, uint32_t k) const;
  // What the encoder adds to the magnitude of that coefficient before it divides (section 5).
  int32_t rounding(const TransformGroup& group, uint32_t k) const;

 private:
  size_t entry(const TransformGroup& group, uint32_t k, size_t count) const;

  const Spec& spec_;
  uint64_t channels_;
  uint64_t full_groups_;
  std::vector<TransformGroup> leftover_;
  uint64_t kept_coefficients_;
};

}  // namespace fmc
