// SPDX-License-Identifier: Apache-2.0
// The kernels of values, coefficients and symbols one by one, as fmcodec._core.kernels, for tests and benchmarks. They
// use the active instruction set.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <stdexcept>
#include <vector>

#include "fmcodec/dispatch.h"
#include "kernel_arrays.h"
#include "register.h"

namespace py = pybind11;

namespace fmc {
namespace {

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

}  // namespace

void register_kernels(py::module_& module) {
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
}

}  // namespace fmc
