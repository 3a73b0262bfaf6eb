// SPDX-License-Identifier: Apache-2.0
// Spec and Tables between Python values and the core. CodecSpec (Python) validates; this only converts.
#include <pybind11/stl.h>

#include <mutex>

#include "arrays.h"
#include "fmcodec/spec.h"
#include "fmcodec/table_statistics.h"
#include "register.h"

namespace py = pybind11;

namespace fmc {
namespace {

template <typename T>
std::array<T, kTokens> array_of(const std::vector<T>& by_token) {
  std::array<T, kTokens> array{};
  std::copy_n(by_token.begin(), std::min(by_token.size(), kTokens), array.begin());
  return array;
}

// Without the zeros at the end.
template <typename T>
std::vector<int> list_of(const std::array<T, kTokens>& by_token) {
  size_t count = kTokens;
  while (count > 0 && by_token[count - 1] == 0) --count;
  return {by_token.begin(), by_token.begin() + static_cast<std::ptrdiff_t>(count)};
}

// (model, class_map, [(mode, predicted, shift, value_lengths, mask_lengths, weights), ...])
using ClassTuple = std::tuple<int, bool, int, std::vector<int>, std::vector<int>, std::vector<int>>;
using TablesTuple = std::tuple<int, std::vector<int>, std::vector<ClassTuple>>;

TablesTuple tuple_of(const Tables& tables) {
  std::vector<ClassTuple> classes;
  for (const TableClass& c : tables.classes)
    classes.emplace_back(static_cast<int>(c.mode), c.is_predicted, c.shift, list_of(c.value_lengths),
                         list_of(c.mask_lengths), list_of(c.weights));
  return {static_cast<int>(tables.model), {tables.class_map.begin(), tables.class_map.end()}, std::move(classes)};
}

void set_tables(
    Spec& spec, int model, const std::vector<uint8_t>& class_map,
    const std::vector<std::tuple<int, bool, int, std::vector<uint8_t>, std::vector<uint8_t>, std::vector<uint16_t>>>&
        classes) {
  Tables tables;
  tables.model = static_cast<ClassModel>(model);
  tables.class_map = class_map;
  for (const auto& [mode, is_predicted, shift, values, masks, weights] : classes) {
    tables.classes.push_back(
        {static_cast<ClassMode>(mode), is_predicted, shift, array_of(values), array_of(masks), array_of(weights)});
  }
  spec.tables = std::move(tables);
}

// A basis as in the stream; after transform_size and kept_bands.
void set_basis(Spec& spec, const py::bytes& bytes, uint64_t channels) {
  const std::string_view view = bytes;
  const Bytes basis(reinterpret_cast<const uint8_t*>(view.data()), view.size());
  if (basis.size() < Basis::kHeadBytes || channels % spec.transform_size != 0 ||
      basis.size() != Basis::size_bytes(basis, channels, spec.kept_bands))
    throw std::invalid_argument("the basis does not fit the channels");
  spec.basis = std::make_shared<const Basis>(basis, channels, spec.transform_size, spec.kept_bands);
}

py::object basis_of(const Spec& spec) {
  if (spec.basis == nullptr) return py::none();
  const std::vector<uint8_t>& bytes = spec.basis->bytes();
  return py::make_tuple(py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size()), spec.basis->channels());
}

// Statistics that several Python threads may use at once, with or without a GIL.
class SharedStatistics {
 public:
  explicit SharedStatistics(const Spec& spec) : statistics_(spec) {}

  void update(const py::array& array, int dtype, bool is_nhwc) {
    const auto view = tensor_view<const void>(array.data(), array, static_cast<Dtype>(dtype),
                                              is_nhwc ? Layout::kNhwc : Layout::kNchw);
    const py::gil_scoped_release release;
    const std::lock_guard lock(mutex_);
    statistics_.update(view);
  }

  void merge(const SharedStatistics& other) {
    const py::gil_scoped_release release;
    const TableStatistics added = other.copy();  // so that two threads merging crosswise do not wait for each other
    const std::lock_guard lock(mutex_);
    statistics_.merge(added);
  }

  TablesTuple build() const {
    const py::gil_scoped_release release;
    return tuple_of(copy().build());
  }

  // Sums of magnitudes by band, positions, channels.
  std::tuple<std::vector<uint64_t>, uint64_t, uint64_t> magnitudes() const {
    const py::gil_scoped_release release;
    const std::lock_guard lock(mutex_);
    return {statistics_.magnitudes(), statistics_.positions(), statistics_.channels()};
  }

 private:
  TableStatistics copy() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

  mutable std::mutex mutex_;
  TableStatistics statistics_;
};

}  // namespace

void register_spec(py::module_& module) {
  py::class_<Spec>(module, "Spec")
      .def(py::init<>())
      .def_readwrite("step", &Spec::step)
      .def_readwrite("zero_point", &Spec::zero_point)
      .def_readwrite("bits", &Spec::bits)
      .def_property(
          "transform", [](const Spec& spec) { return static_cast<int>(spec.transform); },
          [](Spec& spec, int transform) { spec.transform = static_cast<Transform>(transform); })
      .def_readwrite("transform_size", &Spec::transform_size)
      .def_readwrite("kept_bands", &Spec::kept_bands)
      .def_readwrite("spatial_size", &Spec::spatial_size)
      .def_readwrite("exact_zeros", &Spec::exact_zeros)
      .def_readwrite("band_steps", &Spec::band_steps)
      .def_readwrite("permutation", &Spec::permutation)
      .def_property(
          "code_layout", [](const Spec& spec) { return static_cast<int>(spec.code_layout); },
          [](Spec& spec, int layout) { spec.code_layout = static_cast<CodeLayout>(layout); })
      .def_readwrite("word_bits", &Spec::word_bits)
      .def_readwrite("dead_zone", &Spec::dead_zone)
      .def_readwrite("max_code_length", &Spec::max_code_length)
      .def_readwrite("effort", &Spec::effort)
      .def_readwrite("block_rows", &Spec::block_rows)
      .def_readwrite("block_columns", &Spec::block_columns)
      .def_readwrite("clamps_nonfinite", &Spec::clamps_nonfinite)
      .def("set_basis", &set_basis, py::arg("bytes"), py::arg("channels"))
      .def("basis", &basis_of)
      .def("set_tables", &set_tables, py::arg("model"), py::arg("class_map"), py::arg("classes"))
      .def("tables", [](const Spec& spec) -> std::optional<TablesTuple> {
        if (!spec.tables) return std::nullopt;
        return tuple_of(*spec.tables);
      });

  py::class_<SharedStatistics>(module, "TableStatistics")
      .def(py::init<const Spec&>(), py::arg("spec"))
      .def("update", &SharedStatistics::update, py::arg("array"), py::arg("dtype"), py::arg("is_nhwc"))
      .def("merge", &SharedStatistics::merge, py::arg("other"))
      .def("build", &SharedStatistics::build)
      .def("magnitudes", &SharedStatistics::magnitudes);
}

}  // namespace fmc
