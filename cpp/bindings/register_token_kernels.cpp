// SPDX-License-Identifier: Apache-2.0
// The kernels of tokens and bits one by one, as fmcodec._core.kernels, for tests and benchmarks. They use the active
// instruction set.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "fmcodec/code_table.h"
#include "fmcodec/crc32c.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/rans.h"
#include "fmcodec/serial.h"
#include "fmcodec/wavelet.h"
#include "kernel_arrays.h"
#include "register.h"

namespace py = pybind11;

namespace fmc {
namespace {

// The tokens of symbols without their low bits.
Tokens symbols_to_tokens(const Integers& symbols, int shift) {
  Tokens tokens(symbols.size());
  kernels().symbols_to_tokens(symbols.data(), symbols.size(), shift, tokens.mutable_data());
  return tokens;
}

Integers tokens_to_symbols(const Tokens& tokens, int token_minimum, int shift) {
  Integers symbols(tokens.size());
  kernels().tokens_to_symbols(tokens.data(), tokens.size(), token_minimum, shift, symbols.mutable_data());
  return symbols;
}

Tokens translate(const Tokens& tokens, const Tokens& table) {
  Tokens translated(tokens.size());
  kernels().translate(tokens.data(), tokens.size(), entries_of(table), translated.mutable_data());
  return translated;
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

// Calls function(begin, size) for each `run` of `count` elements.
template <class Function>
void for_each_run(size_t count, size_t run, const Function& function) {
  check_not_zero(run);
  for (size_t i = 0; i < count; i += run) function(i, std::min(run, count - i));
}

py::bytes bytes_of(const BitCursor& cursor) {
  return py::bytes(reinterpret_cast<const char*>(cursor.bytes), (cursor.position_bits + 7) / 8);
}

// One bit for each token, from a call for each `run` of them.
py::bytes write_mask(const Tokens& tokens, size_t run) {
  const std::vector<uint8_t> padded = with_slack(tokens);
  std::vector<uint8_t> mask(tokens.size() / 8 + 1 + kSlackBytes);
  BitCursor cursor{mask.data(), 0};
  for_each_run(tokens.size(), run,
               [&](size_t begin, size_t size) { kernels().write_mask(padded.data() + begin, size, &cursor); });
  return bytes_of(cursor);
}

// The same, and the translated tokens that are not 0.
py::tuple pack_nonzero(const Tokens& tokens, const Tokens& table, size_t run) {
  const uint8_t* const entries = entries_of(table);
  const std::vector<uint8_t> padded = with_slack(tokens);
  std::vector<uint8_t> mask(tokens.size() / 8 + 1 + kSlackBytes), nonzero(padded.size());
  BitCursor cursor{mask.data(), 0};
  size_t packed = 0;
  for_each_run(tokens.size(), run, [&](size_t begin, size_t size) {
    packed += kernels().pack_nonzero(padded.data() + begin, size, entries, &cursor, nonzero.data() + packed);
  });
  return py::make_tuple(bytes_of(cursor), Tokens(static_cast<py::ssize_t>(packed), nonzero.data()));
}

// The mask of `count` tokens or symbols of which so many are not 0.
std::vector<uint8_t> mask_with_slack(const py::bytes& mask, size_t count, py::ssize_t nonzero) {
  std::vector<uint8_t> padded = with_slack(mask);
  if (padded.size() - kSlackBytes != (count + 7) / 8)
    throw std::invalid_argument("a mask has a bit for each token or symbol");
  if (kernels().count_ones(padded.data(), 0, count) != static_cast<size_t>(nonzero))
    throw std::invalid_argument("a mask has a 1 for each token or symbol that is not 0");
  return padded;
}

// `count` tokens: those that are not 0, and zeros, by a mask.
Tokens expand_nonzero(const py::bytes& mask, const Tokens& nonzero, size_t count) {
  const std::vector<uint8_t> padded_mask = mask_with_slack(mask, count, nonzero.size()), padded = with_slack(nonzero);
  std::vector<uint8_t> tokens(count + kSlackBytes);
  kernels().expand_nonzero(padded_mask.data(), padded.data(), count, tokens.data());
  return Tokens(static_cast<py::ssize_t>(count), tokens.data());
}

// One bit for each symbol, from a call for each `run` of them, and those that are not 0.
py::tuple pack_symbols(const Integers& symbols, size_t run) {
  const size_t count = symbols.size();
  std::vector<uint8_t> mask(count / 8 + 1 + kSlackBytes);
  std::vector<int32_t> nonzero(count + kSlackBytes / sizeof(int32_t));
  BitCursor cursor{mask.data(), 0};
  size_t packed = 0;
  for_each_run(count, run, [&](size_t begin, size_t size) {
    packed += kernels().pack_symbols(symbols.data() + begin, size, &cursor, nonzero.data() + packed);
  });
  return py::make_tuple(bytes_of(cursor), Integers(static_cast<py::ssize_t>(packed), nonzero.data()));
}

// `count` symbols: those that are not 0, and zeros, by a mask.
Integers expand_symbols(const py::bytes& mask, const Integers& nonzero, size_t count) {
  const std::vector<uint8_t> padded_mask = mask_with_slack(mask, count, nonzero.size());
  std::vector<int32_t> padded(nonzero.data(), nonzero.data() + nonzero.size()), symbols(count);
  padded.resize(padded.size() + kSlackBytes / sizeof(int32_t));
  kernels().expand_symbols(padded_mask.data(), padded.data(), count, symbols.data());
  return Integers(static_cast<py::ssize_t>(count), symbols.data());
}

// One bit for each symbol, from a call for each `run` of them.
py::bytes write_symbol_plane(const Integers& symbols, int plane, size_t run) {
  const size_t count = symbols.size();
  std::vector<uint8_t> bits(count / 8 + 1 + kSlackBytes);
  BitCursor cursor{bits.data(), 0};
  for_each_run(count, run, [&](size_t begin, size_t size) {
    kernels().write_symbol_plane(symbols.data() + begin, size, plane, &cursor);
  });
  return bytes_of(cursor);
}

std::vector<uint8_t> bits_with_slack(const py::bytes& bits, size_t position, size_t count) {
  std::vector<uint8_t> padded = with_slack(bits);
  if (position > (padded.size() - kSlackBytes) * 8 || count > (padded.size() - kSlackBytes) * 8 - position)
    throw std::invalid_argument("there are fewer bits");
  return padded;
}

// The symbols with what the bits from `position` on add to them.
Integers add_symbol_plane(const py::bytes& bits, size_t position, int plane, const Integers& symbols) {
  const std::vector<uint8_t> padded = bits_with_slack(bits, position, symbols.size());
  Integers sums(symbols.size());
  std::copy_n(symbols.data(), symbols.size(), sums.mutable_data());
  kernels().add_symbol_plane(padded.data(), position, sums.size(), plane, sums.mutable_data());
  return sums;
}

size_t count_ones(const py::bytes& bits, size_t position, size_t count) {
  return kernels().count_ones(bits_with_slack(bits, position, count).data(), position, count);
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

// `codes` has the elements of `band_codes` and `margin` more on either side; offsets are at most that.
Tokens neighbour_contexts(const Tokens& codes, const Tokens& band_codes, const std::array<py::ssize_t, 4>& offsets,
                          py::ssize_t margin) {
  const py::ssize_t count = band_codes.size();
  const auto is_outside = [&](py::ssize_t offset) { return offset < -margin || offset > margin; };
  if (margin < 0 || codes.size() != count + 2 * margin || std::any_of(offsets.begin(), offsets.end(), is_outside))
    throw std::invalid_argument("offsets must be within the margins of the codes");
  const std::vector<uint8_t> padded = with_slack(codes), padded_bands = with_slack(band_codes);
  std::vector<uint8_t> contexts(count + kSlackBytes);
  kernels().neighbour_contexts(padded.data() + margin, padded_bands.data(), count, offsets.data(), contexts.data());
  return Tokens(count, contexts.data());
}

Tokens select_kind(const Tokens& values, const Tokens& kinds, uint8_t kind) {
  if (values.size() != kinds.size()) throw std::invalid_argument("as many values as kinds, please");
  std::vector<uint8_t> selected(values.size() + kSlackBytes);
  const size_t count =
      kernels().select_kind(with_slack(values).data(), with_slack(kinds).data(), kind, values.size(), selected.data());
  return Tokens(static_cast<py::ssize_t>(count), selected.data());
}

Tokens place_kind(const Tokens& selected, const Tokens& kinds, uint8_t kind, const Tokens& values) {
  if (values.size() != kinds.size() || std::count(kinds.data(), kinds.data() + kinds.size(), kind) != selected.size())
    throw std::invalid_argument("as many values as kinds, and as many selected as there are of the kind, please");
  std::vector<uint8_t> placed = with_slack(values);
  kernels().place_kind(with_slack(selected).data(), with_slack(kinds).data(), kind, values.size(), placed.data());
  return Tokens(values.size(), placed.data());
}

Tokens mean_of_runs(const Tokens& codes, size_t run) {
  check_not_zero(run);
  const size_t count = codes.size() / run;
  Tokens means(count);
  kernels().mean_of_runs(with_slack(codes).data(), run, count, means.mutable_data());
  return means;
}

Tokens repeat_each(const Tokens& values, size_t run) {
  check_not_zero(run);
  const size_t count = values.size();
  std::vector<uint8_t> repeated(count * run + kSlackBytes);
  kernels().repeat_each(values.data(), run, count, repeated.data());
  return Tokens(static_cast<py::ssize_t>(count * run), repeated.data());
}

using WeightRows = py::array_t<uint16_t, py::array::c_style | py::array::forcecast>;

Tables tables_of(const WeightRows& weights, const Tokens& classes) {
  if (weights.ndim() != 2 || weights.shape(1) != static_cast<py::ssize_t>(kTokens))
    throw std::invalid_argument("weights must be rows of 256");
  if (std::any_of(classes.data(), classes.data() + classes.size(), [&](uint8_t k) { return k >= weights.shape(0); }))
    throw std::invalid_argument("classes must be rows of the weights");
  Tables tables;
  tables.classes.resize(weights.shape(0));
  for (size_t k = 0; k < tables.classes.size(); ++k)
    std::copy_n(weights.data(static_cast<py::ssize_t>(k)), kTokens, tables.classes[k].weights.begin());
  return tables;
}

// As a block of `symbols` symbols would be, of which these tokens are all; a call for each `run` of them, last to
// first.
py::bytes write_rans(const WeightRows& weights, const Tokens& tokens, const Tokens& classes, uint64_t symbols,
                     size_t run) {
  check_not_zero(run);
  const size_t count = tokens.size();
  if (classes.size() != tokens.size() || count > symbols)
    throw std::invalid_argument("as many tokens as classes, and no more than symbols, please");
  RansWriter writer(kernels(), tables_of(weights, classes));
  writer.begin(symbols);
  for (size_t i = (count + run - 1) / run * run; i > 0; i -= run)
    writer.write(tokens.data() + i - run, classes.data() + i - run, std::min(run, count - (i - run)));
  const std::span<const uint8_t> bytes = writer.end();
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Tokens read_rans(const WeightRows& weights, const py::bytes& bytes, const Tokens& classes, uint64_t symbols,
                 size_t run) {
  check_not_zero(run);
  const size_t count = classes.size();
  const std::vector<uint8_t> padded = with_slack(bytes), padded_classes = with_slack(classes);
  std::vector<uint8_t> tokens(count + kSlackBytes);
  RansReader reader(kernels(), tables_of(weights, classes));
  reader.begin(symbols, {padded.data(), 0, (padded.size() - kSlackBytes) * 8, 0});
  for (size_t i = 0; i < count; i += run)
    reader.read(padded_classes.data() + i, std::min(run, count - i), tokens.data() + i);
  reader.end();
  return Tokens(static_cast<py::ssize_t>(count), tokens.data());
}

uint32_t crc32c_of(const py::bytes& bytes) {
  const std::string_view view(bytes);
  return crc32c({reinterpret_cast<const uint8_t*>(view.data()), view.size()});
}

}  // namespace

void register_token_kernels(py::module_& module) {
  module.def("symbols_to_tokens", &symbols_to_tokens);
  module.def("tokens_to_symbols", &tokens_to_symbols);
  module.def("translate", &translate);
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
  module.def("write_symbol_plane", &write_symbol_plane);
  module.def("add_symbol_plane", &add_symbol_plane);
  module.def("count_ones", &count_ones);
  module.def("write_wavelet", &write_wavelet);
  module.def("read_wavelet", &read_wavelet);
  module.def("write_serial", &write_serial_of);
  module.def("read_serial", &read_serial_of);
  module.def("neighbour_contexts", &neighbour_contexts);
  module.def("select_kind", &select_kind);
  module.def("place_kind", &place_kind);
  module.def("mean_of_runs", &mean_of_runs);
  module.def("repeat_each", &repeat_each);
  module.def("write_rans", &write_rans);
  module.def("read_rans", &read_rans);
  module.def("crc32c", &crc32c_of);
}

}  // namespace fmc
