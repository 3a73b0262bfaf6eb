// SPDX-License-Identifier: Apache-2.0
// The kernels: every loop over elements, as a table of functions per instruction set.
//
// Contract of all kernels: pointers are valid for the stated counts and need no alignment; nothing is allocated;
// nothing fails. Arguments were checked above (docs/architecture.md has where). The same input gives the same output on
// every instruction set.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

// Kernels move bits by whole words in memory. On other machines fmcodec.reference reads and writes the same streams.
static_assert(std::endian::native == std::endian::little, "fmcodec needs a little-endian machine");

namespace fmc {

// Stored in the format.
enum class Dtype : uint8_t { kFloat32 = 1, kFloat16 = 2, kBfloat16 = 3, kInt8 = 4, kUint8 = 5 };

// Bytes that wavelet kernels may read and write past the end of their token and bit buffers.
inline constexpr size_t kSlackBytes = 64;

// Contexts from neighbours (section 7.4): context 0 has none; the others are a bin of the mean and one of the spread.
inline constexpr uint8_t kMeanBins = 32;
inline constexpr uint8_t kNarrowSpread = 8;
inline constexpr size_t kContexts = 1 + 3 * kMeanBins;
// rANS (section 7.5): frequencies of kRansBits bits, states from kRansLow to 2^31 - 1, words of 16 bits.
inline constexpr uint32_t kRansBits = 12;
inline constexpr uint32_t kRansTotal = 1 << kRansBits;
inline constexpr uint32_t kRansLow = 1 << 15;
inline constexpr size_t kRansMaxLanes = 32;
struct alignas(16) RansSymbol {
  uint32_t frequency = 1;
  uint32_t begin = 0;  // sum of the frequencies of smaller tokens
  // Division by the frequency of what is below 2^31: multiplied by `reciprocal`, shifted right by `shift`.
  uint32_t reciprocal = 0;
  uint32_t shift = 0;
};

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

// What tokens would cost, as far as their zeros and magnitudes tell; sums over calls.
struct TokenCost {
  uint64_t nonzero = 0;
  uint64_t magnitude_bits = 0;  // in eighths of a bit

  void add(const TokenCost& other) {
    nonzero += other.nonzero;
    magnitude_bits += other.magnitude_bits;
  }
};

// The same symbols as they are and less those above them.
struct PredictionSample {
  uint64_t symbols = 0;
  TokenCost tokens, residuals;

  void add(const PredictionSample& other) {
    symbols += other.symbols;
    tokens.add(other.tokens);
    residuals.add(other.residuals);
  }
};

// The product with a basis (section 4.2): out[r] = add[r] + x16((sum over c of matrix[r][c] * x16(in[c] - subtract[c])
// + 2^(fraction_bits - 1)) >> fraction_bits).
struct MatrixProduct {
  const int16_t* matrix;  // rows padded with 0 to an even number of columns
  size_t rows, columns;
  int fraction_bits;
  const int16_t* subtract;  // null: zeros
  const int16_t* add;       // null: zeros
};

inline constexpr size_t kProductPositions = 64;

// float32 channels of a transform group of 4, 8 or 16, on their way to the tokens of the first `kept` bands.
inline constexpr size_t kMaxFusedSize = 16;
struct FusedForward {
  Quantizer quantizer;
  const float* const* channels;
  const float* const* ahead;  // what is read next, to be fetched meanwhile; need not be there
  const int32_t* steps;       // of the bands, as are the roundings
  const int32_t* roundings;
  size_t kept;
};

// And back. Tokens of a band may be null: all are 0.
struct FusedInverse {
  Quantizer quantizer;
  float* const* channels;
  const uint8_t* const* tokens;
  const int32_t* steps;
  size_t kept;
};

// Position in a bit stream, least significant bit of each byte first.
struct BitCursor {
  uint8_t* bytes;
  uint64_t position_bits;
};

// A node of a code tree over ranks, in preorder (section 7.2). No code is longer than kMaxTreeDepth.
inline constexpr size_t kMaxTreeDepth = 15;
struct CodeNode {
  enum class Kind : uint8_t { kLeaf, kPlanes, kSplit };
  Kind kind;
  uint8_t first_rank;  // of the tokens below the node
  uint8_t planes;      // kPlanes: number of bits left of each code
  uint8_t pivot_rank;  // kSplit: smallest rank of the right child
  uint16_t right;      // kSplit: index of the right child; the left one is the next node
};

// Room that a walk through a tree needs: the two sides of one node per level, each with slack.
inline constexpr size_t tree_scratch_bytes(size_t count) { return kMaxTreeDepth * (count + 2 * kSlackBytes); }

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
  // size: 1 to 8, 16 or 32. Rows have kSlackBytes of room behind `count`.
  void (*forward_dct)(const int32_t* matrix, size_t size, int32_t* rows, size_t stride, size_t count);
  void (*inverse_dct)(const int32_t* matrix, size_t size, int32_t* rows, size_t stride, size_t count);
  // Both ways; `factor` is the magnitude of the matrix's entries.
  void (*hadamard)(size_t size, int32_t factor, int32_t* rows, size_t stride, size_t count);
  // From `in` to `out`, which both have rows of `count` integers, `stride` apart, as `pairs` has one for each two
  // columns. All have room for a multiple of kProductPositions in each row; what is behind `count` is overwritten.
  void (*multiply)(const MatrixProduct& product, const int32_t* in, size_t stride, size_t count, int32_t* pairs,
                   int32_t* out);

  // --- sections 3 to 6 in one pass, if steps are coarse: `count` tokens with shift 0 for each band, `stride` apart, or
  // the values of such tokens. Return false if that cannot be: the size is none of those, `count` is less than a
  // vector, a value is not finite, or a symbol has a magnitude above 127. What was written is then meaningless.
  bool (*dct_to_tokens)(const FusedForward& group, const int32_t* matrix, size_t size, size_t count, uint8_t* tokens,
                        size_t stride);
  bool (*hadamard_to_tokens)(const FusedForward& group, int32_t factor, size_t size, size_t count, uint8_t* tokens,
                             size_t stride);
  bool (*dct_from_tokens)(const FusedInverse& group, const int32_t* matrix, size_t size, size_t count);
  bool (*hadamard_from_tokens)(const FusedInverse& group, int32_t factor, size_t size, size_t count);

  // --- symbols (section 5), in place. Precondition of quantize_band: |coefficient| + rounding < 2^21.
  void (*quantize_band)(int32_t* coefficients, size_t count, int32_t step, int32_t rounding);
  // The symbols of quantize_band, measured, as tokens with shift 0.
  void (*band_to_tokens)(const int32_t* coefficients, size_t count, int32_t step, int32_t rounding, uint8_t* tokens,
                         SymbolRange* range);
  void (*dequantize_band)(int32_t* symbols, size_t count, int32_t step);
  // Flags of section 4.5: 1 where a level is not 0; and the inverse, which makes levels 0 where their flag is.
  void (*flag_nonzero)(const int32_t* levels, size_t count, int32_t* flags);
  void (*clear_unflagged)(const int32_t* flags, size_t count, int32_t* levels);
  void (*measure_symbols)(const int32_t* symbols, size_t count, SymbolRange* range);
  // Tokens have kSlackBytes of room behind them, which are read.
  void (*measure_tokens)(const uint8_t* tokens, size_t count, int32_t token_minimum, SymbolRange* range);

  // --- tokens and low bits (section 6).
  void (*symbols_to_tokens)(const int32_t* symbols, size_t count, int32_t shift, uint8_t* tokens);
  void (*tokens_to_symbols)(const uint8_t* tokens, size_t count, int32_t token_minimum, int32_t shift,
                            int32_t* symbols);
  void (*translate)(const uint8_t* tokens, size_t count, const uint8_t table[256], uint8_t* translated);

  // --- prediction from the row above (section 6.1) in a plane of `columns` columns and `count` positions. All token
  // buffers have kSlackBytes of room, which may be read; that of `residuals` may be overwritten.
  void (*subtract_above)(const uint8_t* tokens, size_t columns, size_t count, uint8_t* residuals);
  // The inverse, in place.
  void (*add_above)(uint8_t* tokens, size_t columns, size_t count);
  // Adds what the first `run` of each `period` positions behind the first row cost.
  void (*sample_prediction)(const uint8_t* tokens, size_t columns, size_t count, size_t run, size_t period,
                            int32_t token_minimum, PredictionSample* sample);

  // --- bits (section 7.2). Writers need kSlackBytes behind the last bit; what is there may be overwritten.
  // Writes the ranks of a stream node by node. They are overwritten; `scratch` has tree_scratch_bytes(count).
  void (*write_tree)(const CodeNode* nodes, uint8_t* ranks, size_t count, uint8_t* scratch, BitCursor* bits);
  // The inverse, which also looks up the tokens of the ranks; their table has kSlackBytes of room. Reads `count` tokens
  // from `position_bits` on. Returns the position behind them, or UINT64_MAX if they end behind `size_bits`.
  uint64_t (*read_tree)(const CodeNode* nodes, const uint8_t* token_of_rank, const uint8_t* bits,
                        uint64_t position_bits, uint64_t size_bits, size_t count, uint8_t* scratch, uint8_t* tokens);
  // Copies the tokens that are not 0 and returns their number.
  size_t (*compact_nonzero)(const uint8_t* tokens, size_t count, uint8_t* nonzero);
  // Both of write_mask and compact_nonzero, the copied tokens translated.
  size_t (*pack_nonzero)(const uint8_t* tokens, size_t count, const uint8_t table[256], BitCursor* mask,
                         uint8_t* nonzero);
  // Writes one bit per token: 1 if it is not 0.
  void (*write_mask)(const uint8_t* tokens, size_t count, BitCursor* bits);
  // Writes the mask of symbols, as write_mask does, and copies those that are not 0; returns their number. Behind these
  // there is room for kSlackBytes, as behind what the inverse reads.
  size_t (*pack_symbols)(const int32_t* symbols, size_t count, BitCursor* mask, int32_t* nonzero);
  void (*write_symbol_plane)(const int32_t* symbols, size_t count, uint32_t plane, BitCursor* bits);

  size_t (*count_ones)(const uint8_t* bits, uint64_t position_bits, size_t count);
  // The inverse of compact_nonzero, by a mask.
  void (*expand_nonzero)(const uint8_t* mask, const uint8_t* nonzero, size_t count, uint8_t* tokens);
  // The inverse of pack_symbols.
  void (*expand_symbols)(const uint8_t* mask, const int32_t* nonzero, size_t count, int32_t* symbols);
  // Adds 2^plane to the symbols whose bit is 1.
  void (*add_symbol_plane)(const uint8_t* bits, uint64_t position_bits, size_t count, uint32_t plane, int32_t* symbols);

  // --- neighbours (section 7.4). All buffers have kSlackBytes of room, which may be overwritten.
  // The context of each element, from the codes (below 64) at the four offsets and that of its band.
  void (*neighbour_contexts)(const uint8_t* codes, const uint8_t* band_codes, size_t count, const ptrdiff_t offsets[4],
                             uint8_t* contexts);
  // Copies the values whose kind is `kind`, in order; returns how many there are.
  size_t (*select_kind)(const uint8_t* values, const uint8_t* kinds, uint8_t kind, size_t count, uint8_t* selected);
  // The inverse: the other values stay.
  void (*place_kind)(const uint8_t* selected, const uint8_t* kinds, uint8_t kind, size_t count, uint8_t* values);
  // The mean of each of `count` runs of bytes, rounded half up.
  void (*mean_of_runs)(const uint8_t* codes, size_t run, size_t count, uint8_t* means);
  // Each of `count` values `run` times.
  void (*repeat_each)(const uint8_t* values, size_t run, size_t count, uint8_t* out);

  // --- rANS (section 7.5). Token i of a run belongs to lane i mod lanes, a power of two; each has one of 32 classes.
  // Codes a run of tokens, the last one first, by the symbols of (class, token). Words go below `words`; returns the
  // last one.
  uint8_t* (*write_rans)(const RansSymbol* symbols, const uint8_t* classes, const uint8_t* tokens, size_t count,
                         uint32_t* states, size_t lanes, uint8_t* words);
  // The inverse. slots[class][slot]: token, frequency - 1 at bit 8, slot less the begin of the token at bit 20. Returns
  // the next word, or null if the words went beyond `end`; kSlackBytes behind it are readable.
  const uint8_t* (*read_rans)(const uint32_t* slots, const uint8_t* classes, size_t count, uint32_t* states,
                              size_t lanes, const uint8_t* words, const uint8_t* end, uint8_t* tokens);

  // --- checksums (section 2.3). The register of a CRC-32C after more bytes; it begins with all ones and is inverted at
  // the end.
  uint32_t (*advance_crc)(uint32_t crc, const uint8_t* bytes, size_t count);
};

}  // namespace fmc
