// SPDX-License-Identifier: Apache-2.0
// The kernels: every loop over elements, as a table of functions per instruction set.
//
// Contract of all kernels: pointers are valid for the stated counts and need no alignment; nothing is allocated;
// nothing fails. Arguments were checked above (codec.cpp). The same input gives the same output on every instruction
// set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fmc {

// Stored in the format.
enum class Dtype : uint8_t { kFloat32 = 1, kFloat16 = 2, kBfloat16 = 3, kInt8 = 4, kUint8 = 5 };

// Bytes that wavelet kernels may read and write past the end of their token and bit buffers.
inline constexpr size_t kSlackBytes = 64;

struct Quantizer {
  float step;
  float inverse_step;
  int32_t lo;  // smallest level
  int32_t hi;  // largest level
  int32_t token_minimum;
};

// Extent of the symbols of a band, accumulated over calls.
struct SymbolRange {
  int32_t minimum = INT32_MAX;
  int32_t maximum = INT32_MIN;
  uint64_t magnitude = 0;  // sum of |symbol|

  void add(const SymbolRange& other) {
    minimum = other.minimum < minimum ? other.minimum : minimum;
    maximum = other.maximum > maximum ? other.maximum : maximum;
    magnitude += other.magnitude;
  }
};

// Position in a bit stream, least significant bit of each byte first.
struct BitCursor {
  uint8_t* bytes;
  uint64_t position_bits;
};

struct KernelTable {
  const char* isa;

  // --- values and levels (docs/format.md, section 3). Returns whether all values are finite; NaN counts as 0.
  bool (*quantize_to_levels)(Dtype dtype, const void* values, size_t count, const Quantizer& q, int32_t* levels);
  // The same, straight to tokens. Precondition: all levels fit the token range (bits <= 8).
  bool (*quantize_to_tokens)(Dtype dtype, const void* values, size_t count, const Quantizer& q, uint8_t* tokens);
  // Levels are clamped to lo..hi first.
  void (*dequantize_levels)(Dtype dtype, const int32_t* levels, size_t count, const Quantizer& q, void* values);
  void (*dequantize_tokens)(Dtype dtype, const uint8_t* tokens, size_t count, const Quantizer& q, void* values);

  // --- channel transform (section 4), in place on `size` rows of `count` integers, `stride` apart. `matrix` is size x
  // size. Rows have kSlackBytes of room behind `count`.
  void (*forward_dct)(const int32_t* matrix, size_t size, int32_t* rows, size_t stride, size_t count);
  void (*inverse_dct)(const int32_t* matrix, size_t size, int32_t* rows, size_t stride, size_t count);

  // --- symbols (section 5), in place. Precondition of quantize_band: |coefficient| + rounding < 2^21.
  void (*quantize_band)(int32_t* coefficients, size_t count, int32_t step, int32_t rounding);
  void (*dequantize_band)(int32_t* symbols, size_t count, int32_t step);
  void (*measure_symbols)(const int32_t* symbols, size_t count, SymbolRange* range);
  void (*measure_tokens)(const uint8_t* tokens, size_t count, int32_t token_minimum, SymbolRange* range);

  // --- tokens and low bits (section 6).
  void (*symbols_to_tokens)(const int32_t* symbols, size_t count, int32_t shift, uint8_t* tokens);
  void (*tokens_to_symbols)(const uint8_t* tokens, size_t count, int32_t token_minimum, int32_t shift,
                            int32_t* symbols);
  void (*translate)(const uint8_t* tokens, size_t count, const uint8_t table[256], uint8_t* translated);

  // --- bits (section 7.2). Writers need kSlackBytes behind the last bit; what is there may be overwritten.
  // Writes one bit per token, 1 if token >= pivot (pivot >= 1), and moves the tokens with 1 to `right` and the others,
  // in place, to the front of `tokens`. Returns the number of ones. Both outputs have kSlackBytes of room.
  size_t (*split)(uint8_t* tokens, size_t count, uint8_t pivot, BitCursor* bits, uint8_t* right);
  // Like split with pivot 1, but drops the zeros and writes no bits.
  size_t (*compact_nonzero)(const uint8_t* tokens, size_t count, uint8_t* nonzero);
  // Writes one bit per token: 1 if it is not 0.
  void (*write_mask)(const uint8_t* tokens, size_t count, BitCursor* bits);
  // Writes bit `plane` of (token - base) for each token.
  void (*write_plane)(const uint8_t* tokens, size_t count, uint8_t base, uint32_t plane, BitCursor* bits);
  void (*write_symbol_plane)(const int32_t* symbols, size_t count, uint32_t plane, BitCursor* bits);

  size_t (*count_ones)(const uint8_t* bits, uint64_t position_bits, size_t count);
  // The inverse of split. `left` may be the tail of `merged` (left == merged + ones); `right` may not overlap it.
  // A null side means that all its tokens are `fill`.
  void (*merge)(const uint8_t* bits, uint64_t position_bits, size_t count, const uint8_t* left, uint8_t left_fill,
                const uint8_t* right, uint8_t right_fill, uint8_t* merged);
  // Reads `planes` bit planes, most significant first, and adds base.
  void (*read_planes)(const uint8_t* bits, uint64_t position_bits, size_t count, uint32_t planes, uint8_t base,
                      uint8_t* tokens);
  // Adds 2^plane to the symbols whose bit is 1.
  void (*add_symbol_plane)(const uint8_t* bits, uint64_t position_bits, size_t count, uint32_t plane, int32_t* symbols);
};

}  // namespace fmc
