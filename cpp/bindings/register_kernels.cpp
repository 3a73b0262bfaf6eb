// SPDX-License-Identifier: Apache-2.0
// The kernels one by one, as fmcodec._core.kernels, for tests and benchmarks. They use the active instruction set.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "fmcodec/code_table.h"
#include "fmcodec/crc32c.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/serial.h"
#include "fmcodec/wavelet.h"
#include "register.h"

namespace py = pybind11;

namespace fmc {
namespace {

using Tokens = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;
using Integers = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

// A copy that kernels may read and write kSlackBytes behind. What is there is not 0, so that nobody counts on it.
template <class Bytes>
std::vector<uint8_t> padded_copy(const Bytes* bytes, size_t size) {
  std::vector<uint8_t> padded(size + kSlackBytes, 0xA5);
  std::copy_n(bytes, size, padded.begin());
  return padded;
}
std::vector<uint8_t> with_slack(const Tokens& tokens) { return padded_copy(tokens.data(), tokens.size()); }
std::vector<uint8_t> with_slack(const py::bytes& bits) {
  const std::string_view view(bits);
  return padded_copy(view.data(), view.size());
}

// By 0 columns, or in runs or periods of 0, kernels would not come to an end.
void check_not_zero(size_t extent) {
  if (extent == 0) throw std::invalid_argument("columns, runs and periods must not be 0");
}

const uint8_t* entries_of(const Tokens& table) {
  if (table.size() != static_cast<py::ssize_t>(kTokens)) throw std::invalid_argument("a table must have 256 entries");
  return table.data();
}

Quantizer quantizer(float step, int zero_point, int bits, int token_minimum) {
  return {step, static_cast<float>(1.0 / static_cast<double>(step)), -zero_point, (1 << bits) - 1 - zero_point,
          token_minimum};
}

py::tuple quantize_to_levels(const py::array& values, int dtype, float step, int zero_point, int bits) {
  Integers levels(values.size());
  const bool is_finite = kernels().quantize_to_levels(static_cast<Dtype>(dtype), values.data(), values.size(),
                                                      quantizer(step, zero_point, bits, 0), levels.mutable_data());
  return py::make_tuple(levels, is_finite);
}

py::tuple quantize_to_tokens(const py::array& values, int dtype, float step, int zero_point, int bits) {
  Tokens tokens(values.size());
  const bool is_finite = kernels().quantize_to_tokens(static_cast<Dtype>(dtype), values.data(), values.size(),
                                                      quantizer(step, zero_point, bits, 0), tokens.mutable_data());
  return py::make_tuple(tokens, is_finite);
}

py::array empty_values(int dtype, py::ssize_t count) {
  static const char* const kNames[] = {"", "float32", "uint16", "uint16", "int8", "uint8"};
  return py::array(py::dtype(kNames[dtype]), std::vector<py::ssize_t>{count});
}

py::array dequantize_levels(const Integers& levels, int dtype, float step, int zero_point, int bits) {
  py::array values = empty_values(dtype, levels.size());
  kernels().dequantize_levels(static_cast<Dtype>(dtype), levels.data(), levels.size(),
                              quantizer(step, zero_point, bits, 0), values.mutable_data());
  return values;
}

py::array dequantize_tokens(const Tokens& tokens, int dtype, float step, int zero_point, int bits, int token_minimum) {
  py::array values = empty_values(dtype, tokens.size());
  kernels().dequantize_tokens(static_cast<Dtype>(dtype), tokens.data(), tokens.size(),
                              quantizer(step, zero_point, bits, token_minimum), values.mutable_data());
  return values;
}

// Rows with room behind them, as transforms want them.
struct PaddedRows {
  explicit PaddedRows(const Integers& rows)
      : count(rows.shape(1)),
        stride((count + kProductPositions - 1) / kProductPositions * kProductPositions + kSlackBytes / sizeof(int32_t)),
        values(rows.shape(0) * stride) {
    for (py::ssize_t r = 0; r < rows.shape(0); ++r)
      std::memcpy(&values[r * stride], rows.data(r), count * sizeof(int32_t));
  }
  size_t count, stride;
  std::vector<int32_t> values;
};

Integers without_padding(const std::vector<int32_t>& rows, size_t row_count, size_t count, size_t stride) {
  Integers out({row_count, count});
  for (size_t r = 0; r < row_count; ++r) std::memcpy(out.mutable_data(r), &rows[r * stride], count * sizeof(int32_t));
  return out;
}

Integers dct(const Integers& matrix, const Integers& rows, bool is_forward) {
  PaddedRows padded(rows);
  const size_t size = rows.shape(0);
  (is_forward ? kernels().forward_dct : kernels().inverse_dct)(matrix.data(), size, padded.values.data(), padded.stride,
                                                               padded.count);
  return without_padding(padded.values, size, padded.count, padded.stride);
}

Integers hadamard(const Integers& rows, int factor) {
  PaddedRows padded(rows);
  const size_t size = rows.shape(0);
  kernels().hadamard(size, factor, padded.values.data(), padded.stride, padded.count);
  return without_padding(padded.values, size, padded.count, padded.stride);
}

using Entries = py::array_t<int16_t, py::array::c_style | py::array::forcecast>;

Integers multiply(const Entries& matrix, const std::optional<Entries>& subtract, const std::optional<Entries>& add,
                  const Integers& in, int fraction_bits) {
  const size_t rows = matrix.shape(0), columns = matrix.shape(1), row_stride = columns + columns % 2;
  if (in.shape(0) != matrix.shape(1) || (subtract && subtract->size() != matrix.shape(1)) ||
      (add && add->size() != matrix.shape(0)))
    throw std::invalid_argument("shapes do not fit");
  std::vector<int16_t> entries(rows * row_stride);
  for (size_t r = 0; r < rows; ++r)
    std::memcpy(&entries[r * row_stride], matrix.data(static_cast<py::ssize_t>(r)), columns * sizeof(int16_t));
  const PaddedRows padded(in);
  std::vector<int32_t> pairs(row_stride / 2 * padded.stride), out(rows * padded.stride);
  kernels().multiply({entries.data(), rows, columns, fraction_bits, subtract ? subtract->data() : nullptr,
                      add ? add->data() : nullptr},
                     padded.values.data(), padded.stride, padded.count, pairs.data(), out.data());
  return without_padding(out, rows, padded.count, padded.stride);
}

Integers quantize_band(const Integers& coefficients, int step, int rounding) {
  Integers symbols(coefficients.size());
  std::memcpy(symbols.mutable_data(), coefficients.data(), coefficients.nbytes());
  kernels().quantize_band(symbols.mutable_data(), symbols.size(), step, rounding);
  return symbols;
}

py::tuple band_to_tokens(const Integers& coefficients, int step, int rounding) {
  Tokens tokens(coefficients.size());
  SymbolRange range;
  kernels().band_to_tokens(coefficients.data(), coefficients.size(), step, rounding, tokens.mutable_data(), &range);
  return py::make_tuple(tokens, py::make_tuple(range.minimum, range.maximum, range.magnitude));
}

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

void check_fused(py::ssize_t size, const Integers& steps, py::ssize_t bands) {
  if (size > static_cast<py::ssize_t>(kMaxFusedSize) || bands > size || steps.size() != bands)
    throw std::invalid_argument("at most 16 channels, no more bands than channels, and a step for each band");
}

// By the DCT of `matrix`, or a Hadamard transform if it has one entry. None if the kernel cannot.
std::optional<Tokens> values_to_tokens(const Floats& values, float step, int zero_point, int bits,
                                       const Integers& matrix, const Integers& steps, const Integers& roundings) {
  const size_t size = values.shape(0), count = values.shape(1), kept = steps.size();
  check_fused(values.shape(0), steps, roundings.size());
  std::vector<const float*> channels(size);
  for (size_t n = 0; n < size; ++n) channels[n] = values.data(n);
  const FusedForward group{
      quantizer(step, zero_point, bits, -128), channels.data(), channels.data(), steps.data(), roundings.data(), kept};
  Tokens tokens({kept, count});
  const bool is_done =
      matrix.size() == 1
          ? kernels().hadamard_to_tokens(group, *matrix.data(), size, count, tokens.mutable_data(), count)
          : kernels().dct_to_tokens(group, matrix.data(), size, count, tokens.mutable_data(), count);
  return is_done ? std::optional(tokens) : std::nullopt;
}

// The inverse, of bands of which some may be missing.
std::optional<Floats> tokens_to_values(const std::vector<std::optional<Tokens>>& bands, size_t size, size_t count,
                                       float step, int zero_point, int bits, const Integers& matrix,
                                       const Integers& steps) {
  check_fused(size, steps, bands.size());
  std::vector<const uint8_t*> tokens;
  for (const auto& band : bands) {
    if (band && band->size() != static_cast<py::ssize_t>(count)) throw std::invalid_argument("bands differ in size");
    tokens.push_back(band ? band->data() : nullptr);
  }
  Floats values({size, count});
  std::vector<float*> channels(size);
  for (size_t n = 0; n < size; ++n) channels[n] = values.mutable_data(n);
  const FusedInverse group{quantizer(step, zero_point, bits, -128), channels.data(), tokens.data(), steps.data(),
                           bands.size()};
  const bool is_done = matrix.size() == 1 ? kernels().hadamard_from_tokens(group, *matrix.data(), size, count)
                                          : kernels().dct_from_tokens(group, matrix.data(), size, count);
  return is_done ? std::optional(values) : std::nullopt;
}

Integers dequantize_band(const Integers& symbols, int step) {
  Integers coefficients(symbols.size());
  std::memcpy(coefficients.mutable_data(), symbols.data(), symbols.nbytes());
  kernels().dequantize_band(coefficients.mutable_data(), coefficients.size(), step);
  return coefficients;
}

Integers flag_nonzero(const Integers& levels) {
  Integers flags(levels.size());
  kernels().flag_nonzero(levels.data(), levels.size(), flags.mutable_data());
  return flags;
}

Integers clear_unflagged(const Integers& flags, const Integers& levels) {
  if (flags.size() != levels.size()) throw std::invalid_argument("as many flags as levels, please");
  Integers cleared(levels.size());
  std::memcpy(cleared.mutable_data(), levels.data(), levels.nbytes());
  kernels().clear_unflagged(flags.data(), cleared.size(), cleared.mutable_data());
  return cleared;
}

py::tuple measure_symbols(const Integers& symbols) {
  SymbolRange range;
  kernels().measure_symbols(symbols.data(), symbols.size(), &range);
  return py::make_tuple(range.minimum, range.maximum, range.magnitude);
}

py::tuple measure_tokens(const Tokens& tokens, int token_minimum) {
  SymbolRange range;
  kernels().measure_tokens(with_slack(tokens).data(), tokens.size(), token_minimum, &range);
  return py::make_tuple(range.minimum, range.maximum, range.magnitude);
}

CodeLengths lengths_of(const Tokens& lengths) {
  CodeLengths by_token;
  std::memcpy(by_token.data(), entries_of(lengths), kTokens);
  return by_token;
}

TokenHistogram histogram_of(const std::vector<uint64_t>& counts) {
  TokenHistogram histogram{};
  std::copy_n(counts.begin(), std::min(counts.size(), kTokens), histogram.begin());
  return histogram;
}

Tokens limited_code_lengths_of(const std::vector<uint64_t>& counts, int limit) {
  return Tokens(kTokens, limited_code_lengths(histogram_of(counts), limit).data());
}

Tokens grouped_code_lengths_of(const std::vector<uint64_t>& counts, int limit) {
  return Tokens(kTokens, grouped_code_lengths(histogram_of(counts), limit).data());
}

Tokens subtract_above(const Tokens& tokens, size_t columns) {
  check_not_zero(columns);
  const std::vector<uint8_t> padded = with_slack(tokens);
  std::vector<uint8_t> residuals(padded.size());
  kernels().subtract_above(padded.data(), columns, tokens.size(), residuals.data());
  return Tokens(tokens.size(), residuals.data());
}

Tokens add_above(const Tokens& residuals, size_t columns) {
  check_not_zero(columns);
  std::vector<uint8_t> tokens = with_slack(residuals);
  kernels().add_above(tokens.data(), columns, residuals.size());
  return Tokens(residuals.size(), tokens.data());
}

// Sampled symbols; how many of them and of their residuals are not 0, and the eighths of a bit of their magnitudes.
py::tuple sample_prediction(const Tokens& tokens, size_t columns, size_t run, size_t period, int token_minimum) {
  for (const size_t extent : {columns, run, period}) check_not_zero(extent);
  const std::vector<uint8_t> padded = with_slack(tokens);
  PredictionSample sample;
  kernels().sample_prediction(padded.data(), columns, tokens.size(), run, period, token_minimum, &sample);
  return py::make_tuple(sample.symbols, py::make_tuple(sample.tokens.nonzero, sample.tokens.magnitude_bits),
                        py::make_tuple(sample.residuals.nonzero, sample.residuals.magnitude_bits));
}

Tokens compact_nonzero(const Tokens& tokens) {
  const std::vector<uint8_t> padded = with_slack(tokens);
  std::vector<uint8_t> nonzero(padded.size());
  const size_t count = kernels().compact_nonzero(padded.data(), tokens.size(), nonzero.data());
  return Tokens(static_cast<py::ssize_t>(count), nonzero.data());
}

py::bytes bytes_of(const BitCursor& cursor) {
  return py::bytes(reinterpret_cast<const char*>(cursor.bytes), (cursor.position_bits + 7) / 8);
}

// One bit for each token, from a call for each `run` of them.
py::bytes write_mask(const Tokens& tokens, size_t run) {
  check_not_zero(run);
  const size_t count = tokens.size();
  const std::vector<uint8_t> padded = with_slack(tokens);
  std::vector<uint8_t> mask(count / 8 + 1 + kSlackBytes);
  BitCursor cursor{mask.data(), 0};
  for (size_t i = 0; i < count; i += run) kernels().write_mask(padded.data() + i, std::min(run, count - i), &cursor);
  return bytes_of(cursor);
}

// The same, and the translated tokens that are not 0.
py::tuple pack_nonzero(const Tokens& tokens, const Tokens& table, size_t run) {
  check_not_zero(run);
  const uint8_t* const entries = entries_of(table);
  const size_t count = tokens.size();
  const std::vector<uint8_t> padded = with_slack(tokens);
  std::vector<uint8_t> mask(count / 8 + 1 + kSlackBytes), nonzero(padded.size());
  BitCursor cursor{mask.data(), 0};
  size_t packed = 0;
  for (size_t i = 0; i < count; i += run) {
    packed +=
        kernels().pack_nonzero(padded.data() + i, std::min(run, count - i), entries, &cursor, nonzero.data() + packed);
  }
  return py::make_tuple(bytes_of(cursor), Tokens(static_cast<py::ssize_t>(packed), nonzero.data()));
}

// `count` tokens: those that are not 0, and zeros, by a mask.
Tokens expand_nonzero(const py::bytes& mask, const Tokens& nonzero, size_t count) {
  const std::vector<uint8_t> padded_mask = with_slack(mask), padded = with_slack(nonzero);
  if (padded_mask.size() - kSlackBytes != (count + 7) / 8)
    throw std::invalid_argument("a mask has a bit for each token");
  if (kernels().count_ones(padded_mask.data(), 0, count) != static_cast<size_t>(nonzero.size()))
    throw std::invalid_argument("a mask has a 1 for each token that is not 0");
  std::vector<uint8_t> tokens(count + kSlackBytes);
  kernels().expand_nonzero(padded_mask.data(), padded.data(), count, tokens.data());
  return Tokens(static_cast<py::ssize_t>(count), tokens.data());
}

// One bit for each symbol, from a call for each `run` of them, and those that are not 0.
py::tuple pack_symbols(const Integers& symbols, size_t run) {
  check_not_zero(run);
  const size_t count = symbols.size();
  std::vector<uint8_t> mask(count / 8 + 1 + kSlackBytes);
  std::vector<int32_t> nonzero(count + kSlackBytes / sizeof(int32_t));
  BitCursor cursor{mask.data(), 0};
  size_t packed = 0;
  for (size_t i = 0; i < count; i += run)
    packed += kernels().pack_symbols(symbols.data() + i, std::min(run, count - i), &cursor, nonzero.data() + packed);
  return py::make_tuple(bytes_of(cursor), Integers(static_cast<py::ssize_t>(packed), nonzero.data()));
}

// `count` symbols: those that are not 0, and zeros, by a mask.
Integers expand_symbols(const py::bytes& mask, const Integers& nonzero, size_t count) {
  const std::vector<uint8_t> padded_mask = with_slack(mask);
  if (padded_mask.size() - kSlackBytes != (count + 7) / 8)
    throw std::invalid_argument("a mask has a bit for each symbol");
  if (kernels().count_ones(padded_mask.data(), 0, count) != static_cast<size_t>(nonzero.size()))
    throw std::invalid_argument("a mask has a 1 for each symbol that is not 0");
  std::vector<int32_t> padded(nonzero.data(), nonzero.data() + nonzero.size()), symbols(count);
  padded.resize(padded.size() + kSlackBytes / sizeof(int32_t));
  kernels().expand_symbols(padded_mask.data(), padded.data(), count, symbols.data());
  return Integers(static_cast<py::ssize_t>(count), symbols.data());
}

// Bits of the tokens in the wavelet layout, and their number.
py::tuple write_wavelet(const Tokens& tokens, const Tokens& lengths) {
  const CodeTree tree = build_code_tree(lengths_of(lengths));
  const size_t count = tokens.size();
  std::vector<uint8_t> ranks(count + kSlackBytes), bits(2 * count + 16 + kSlackBytes);
  Buffer<uint8_t> scratch;
  BitCursor cursor{bits.data(), 0};
  kernels().translate(tokens.data(), count, tree.rank_of_token.data(), ranks.data());
  write_ranks(kernels(), tree, ranks.data(), count, scratch, &cursor);
  return py::make_tuple(bytes_of(cursor), cursor.position_bits);
}

Tokens read_wavelet(const py::bytes& bits, const Tokens& lengths, size_t count) {
  const CodeTree tree = build_code_tree(lengths_of(lengths));
  const std::vector<uint8_t> padded = with_slack(bits);
  std::vector<uint8_t> tokens(count + kSlackBytes);
  Buffer<uint8_t> scratch;
  BitSource source{padded.data(), 0, (padded.size() - kSlackBytes) * 8, 0};
  read_tokens(kernels(), tree, count, scratch, &source, tokens.data());
  return Tokens(static_cast<py::ssize_t>(count), tokens.data());
}

// The same in the serial layout, with `shift` low bits of each symbol.
py::tuple write_serial_of(const Tokens& tokens, const Integers& symbols, int shift, const Tokens& lengths) {
  const size_t count = tokens.size();
  std::vector<uint8_t> bits(4 * count + 8 + kSlackBytes);
  BitCursor cursor{bits.data(), 0};
  write_serial(SerialCode(lengths_of(lengths)), tokens.data(), symbols.data(), shift, count, &cursor);
  return py::make_tuple(bytes_of(cursor), cursor.position_bits);
}

// Tokens and low bits.
py::tuple read_serial_of(const py::bytes& bits, int shift, const Tokens& lengths, size_t count) {
  const std::vector<uint8_t> padded = with_slack(bits);
  Tokens tokens(count);
  Integers low_bits(shift > 0 ? count : 0);
  BitSource source{padded.data(), 0, (padded.size() - kSlackBytes) * 8, 0};
  read_serial(SerialCode(lengths_of(lengths)), shift, count, &source, tokens.mutable_data(), low_bits.mutable_data());
  return py::make_tuple(tokens, low_bits);
}

uint32_t crc32c_of(const py::bytes& bytes) {
  const std::string_view view(bytes);
  return crc32c({reinterpret_cast<const uint8_t*>(view.data()), view.size()});
}

}  // namespace

void register_kernels(py::module_& parent) {
  py::module_ module = parent.def_submodule("kernels");
  module.def("quantize_to_levels", &quantize_to_levels);
  module.def("quantize_to_tokens", &quantize_to_tokens);
  module.def("dequantize_levels", &dequantize_levels);
  module.def("dequantize_tokens", &dequantize_tokens);
  module.def("dct", &dct);
  module.def("hadamard", &hadamard);
  module.def("multiply", &multiply);
  module.def("quantize_band", &quantize_band);
  module.def("band_to_tokens", &band_to_tokens);
  module.def("values_to_tokens", &values_to_tokens);
  module.def("tokens_to_values", &tokens_to_values);
  module.def("dequantize_band", &dequantize_band);
  module.def("flag_nonzero", &flag_nonzero);
  module.def("clear_unflagged", &clear_unflagged);
  module.def("measure_symbols", &measure_symbols);
  module.def("measure_tokens", &measure_tokens);
  module.def("subtract_above", &subtract_above);
  module.def("add_above", &add_above);
  module.def("sample_prediction", &sample_prediction);
  module.def("limited_code_lengths", &limited_code_lengths_of);
  module.def("grouped_code_lengths", &grouped_code_lengths_of);
  module.def("compact_nonzero", &compact_nonzero);
  module.def("write_mask", &write_mask);
  module.def("pack_nonzero", &pack_nonzero);
  module.def("expand_nonzero", &expand_nonzero);
  module.def("pack_symbols", &pack_symbols);
  module.def("expand_symbols", &expand_symbols);
  module.def("write_wavelet", &write_wavelet);
  module.def("read_wavelet", &read_wavelet);
  module.def("write_serial", &write_serial_of);
  module.def("read_serial", &read_serial_of);
  module.def("crc32c", &crc32c_of);
}

}  // namespace fmc
