// SPDX-License-Identifier: Apache-2.0
// encode, decode and inspection of frames. The GIL is released around all work on values.
#include <pybind11/stl.h>

#include <array>
#include <chrono>

#include "arrays.h"
#include "fmcodec/decode.h"
#include "fmcodec/encode.h"
#include "fmcodec/error.h"
#include "fmcodec/relayout.h"
#include "register.h"

namespace py = pybind11;

namespace fmc {
namespace {

Layout layout_of(bool is_nhwc) { return is_nhwc ? Layout::kNhwc : Layout::kNchw; }

// Lets Ctrl-C end long work. The GIL is asked for now and then only: another thread may hold it for milliseconds.
Poll poll_signals() {
  using Clock = std::chrono::steady_clock;
  return [last = Clock::now()]() mutable {
    if (Clock::now() - last < std::chrono::milliseconds(100)) return;
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    last = Clock::now();
  };
}

// encode() or encoded_size() of an array.
template <class Function>
auto with_array(const Function& function, const py::array& array, int dtype, const Spec& spec, bool is_nhwc,
                size_t threads, bool embeds_spec) {
  const auto view = tensor_view<const void>(array.data(), array, static_cast<Dtype>(dtype), layout_of(is_nhwc));
  const EncodeOptions options{layout_of(is_nhwc), static_cast<int>(array.ndim()), embeds_spec, threads, poll_signals()};
  const py::gil_scoped_release release;
  return function(view, spec, options);
}

py::bytes encode_to_bytes(const py::array& array, int dtype, const Spec& spec, bool is_nhwc, size_t threads,
                          bool embeds_spec) {
  const auto encode_view = [](const TensorView& view, const Spec& s, const EncodeOptions& options) {
    return encode(view, s, options);
  };
  const EncodedFrame frame = with_array(encode_view, array, dtype, spec, is_nhwc, threads, embeds_spec);
  PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(frame.size_bytes()));
  if (bytes == nullptr) throw py::error_already_set();
  frame.write_to({reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(bytes)), static_cast<size_t>(frame.size_bytes())});
  return py::reinterpret_steal<py::bytes>(bytes);
}

uint64_t size_of_encoded(const py::array& array, int dtype, const Spec& spec, bool is_nhwc, size_t threads,
                         bool embeds_spec) {
  return with_array(encoded_size, array, dtype, spec, is_nhwc, threads, embeds_spec);
}

size_t encode_to_buffer(const py::array& array, int dtype, const Spec& spec, bool is_nhwc, size_t threads,
                        bool embeds_spec, const py::buffer& buffer) {
  const py::buffer_info target = buffer.request(/*writable=*/true);
  const auto capacity = static_cast<uint64_t>(target.size * target.itemsize);
  const std::span<uint8_t> place(static_cast<uint8_t*>(target.ptr), capacity);
  const auto encode_to_place = [&](const TensorView& view, const Spec& s, const EncodeOptions& options) {
    return encode(view, s, options, place);
  };
  const EncodedFrame frame = with_array(encode_to_place, array, dtype, spec, is_nhwc, threads, embeds_spec);
  const uint64_t size = frame.size_bytes();
  if (size > capacity) {
    throw Error(ErrorCode::kArgument, "the frame has " + std::to_string(size) + " bytes, the buffer only " +
                                          std::to_string(capacity) +
                                          "; encode_bound() says how many are always enough");
  }
  frame.write_to(place);
  return static_cast<size_t>(size);
}

// A parsed frame, which keeps the buffer it lies in.
class ParsedFrame {
 public:
  ParsedFrame(const py::buffer& buffer, const Spec* spec)
      : buffer_(buffer.request()), frame_(parse_frame(bytes(), spec)) {}

  // Decodes the part of the tensor that begins at `origin` (n, c, h, w) and has the shape of `out`.
  void decode_into(py::array out, const std::array<uint64_t, 4>& origin, uint64_t max_block_bytes,
                   size_t threads) const {
    const auto view = tensor_view<void>(out.mutable_data(), out, frame_.dtype, frame_.layout);
    const Region region{origin[0], origin[1], origin[2], origin[3], view.shape};
    const py::gil_scoped_release release;
    decode(bytes(), frame_, region, view, max_block_bytes, threads, poll_signals());
  }

  // The frame in another layout of the codes.
  py::bytes relayout(int code_layout, int word_bits, size_t threads) const {
    std::vector<uint8_t> frame;
    {
      const py::gil_scoped_release release;
      frame = fmc::relayout(bytes(), frame_, static_cast<CodeLayout>(code_layout), word_bits, threads, poll_signals());
    }
    return {reinterpret_cast<const char*>(frame.data()), frame.size()};
  }

  // dtype, whether the layout is NHWC, rank, (N, C, H, W): what decoding needs.
  py::tuple outline() const {
    const TensorShape& shape = frame_.tiling.shape;
    return py::make_tuple(static_cast<int>(frame_.dtype), frame_.layout == Layout::kNhwc, frame_.rank,
                          py::make_tuple(shape.images, shape.channels, shape.rows, shape.columns));
  }

  // The rest of what a frame says about itself.
  py::dict describe() const {
    py::dict fields;
    fields["version"] = kStreamVersion;
    fields["has_external_spec"] = frame_.has_external_spec;
    fields["block_shape"] = py::make_tuple(frame_.tiling.tile_rows, frame_.tiling.tile_columns);
    fields["blocks_per_group"] = frame_.tiling.blocks_per_group;
    fields["size_bytes"] = bytes().size();
    fields["spec_size_bytes"] = frame_.spec_size_bytes;
    fields["index_size_bytes"] = frame_.index_size_bytes;
    fields["parts"] = parts();
    return fields;
  }

  Spec spec() const { return frame_.spec; }

 private:
  Bytes bytes() const {
    return {static_cast<const uint8_t*>(buffer_.ptr), static_cast<size_t>(buffer_.size * buffer_.itemsize)};
  }
  // (whether it is a class section, offset, size, CRC) of all parts in the order of the payload.
  std::vector<std::tuple<bool, uint64_t, uint32_t, uint32_t>> parts() const {
    std::vector<std::tuple<bool, uint64_t, uint32_t, uint32_t>> list;
    for (size_t b = 0; b < frame_.blocks.size(); ++b) {
      if (!frame_.class_sections.empty() && b % frame_.tiling.blocks_per_group == 0) {
        const Part& section = frame_.class_sections[b / frame_.tiling.blocks_per_group];
        list.emplace_back(true, section.offset, section.size_bytes, section.crc);
      }
      list.emplace_back(false, frame_.blocks[b].offset, frame_.blocks[b].size_bytes, frame_.blocks[b].crc);
    }
    return list;
  }

  py::buffer_info buffer_;
  Frame frame_;
};

}  // namespace

void register_codec(py::module_& module) {
  module.def("encode", &encode_to_bytes, py::arg("array"), py::arg("dtype"), py::arg("spec"), py::arg("is_nhwc"),
             py::arg("threads"), py::arg("embeds_spec"));
  module.def("encode_into", &encode_to_buffer, py::arg("array"), py::arg("dtype"), py::arg("spec"), py::arg("is_nhwc"),
             py::arg("threads"), py::arg("embeds_spec"), py::arg("buffer"));
  module.def("encoded_size", &size_of_encoded, py::arg("array"), py::arg("dtype"), py::arg("spec"), py::arg("is_nhwc"),
             py::arg("threads"), py::arg("embeds_spec"));
  module.def(
      "encode_bound",
      [](uint64_t images, uint64_t channels, uint64_t rows, uint64_t columns, int dtype, const Spec& spec) {
        return encode_bound({images, channels, rows, columns}, static_cast<Dtype>(dtype), spec);
      },
      py::arg("images"), py::arg("channels"), py::arg("rows"), py::arg("columns"), py::arg("dtype"), py::arg("spec"));
  py::class_<ParsedFrame>(module, "ParsedFrame")
      .def(py::init<const py::buffer&, const Spec*>(), py::arg("buffer"), py::arg("spec").none(true))
      .def("decode_into", &ParsedFrame::decode_into, py::arg("out"), py::arg("origin"), py::arg("max_block_bytes"),
           py::arg("threads"))
      .def("relayout", &ParsedFrame::relayout, py::arg("code_layout"), py::arg("word_bits"), py::arg("threads"))
      .def("outline", &ParsedFrame::outline)
      .def("describe", &ParsedFrame::describe)
      .def("spec", &ParsedFrame::spec);
}

}  // namespace fmc
