// SPDX-License-Identifier: Apache-2.0
// Any spec and tensor, there and back.
#include <cstring>

#include "any_spec.h"
#include "fmcodec/crc32c.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/encode.h"
#include "fmcodec/table_statistics.h"
#include "outcome.h"
#include "targets.h"

namespace fmc::fuzz {
namespace {

// Elements of any bits: those given, again and again, each time with a byte added so that maps are not all alike.
std::vector<uint8_t> any_values(Bytes bytes, size_t size) {
  std::vector<uint8_t> values(size);
  for (size_t i = 0; i < size && !bytes.empty(); ++i)
    values[i] = static_cast<uint8_t>(bytes[i % bytes.size()] + (i / bytes.size()) % 3);
  return values;
}

std::vector<uint8_t> joined(const EncodedFrame& frame) {
  std::vector<uint8_t> bytes(frame.size_bytes());
  frame.write_to(bytes);
  return bytes;
}

}  // namespace

uint32_t round_trip_target(Bytes bytes) {
  Input input(bytes);
  const auto [dtype, shape, spec, layout] = any_tensor(input);
  const bool has_tables = input.flag(), embeds_spec = input.flag();
  const std::vector<uint8_t> values = any_values(input.rest(), shape.values() * size_of(dtype));
  const MutableTensorView view = dense_view(const_cast<uint8_t*>(values.data()), dtype, layout, shape);
  const TensorView tensor{view.data,         dtype, shape, view.image_stride, view.channel_stride, view.row_stride,
                          view.column_stride};
  std::vector<uint8_t> first;
  uint32_t digest = 0;
  for (const std::string& isa : available_isas()) {
    force_isa(isa);
    try {
      Spec used = spec;
      if (has_tables && shape.values() > 0) {
        // Tables of a part of the tensor, so that the rest may have symbols without a code.
        TableStatistics statistics(spec);
        TensorView part = tensor;
        part.shape.images = 1;
        part.shape.rows = (shape.rows + 1) / 2;
        statistics.update(part);
        used.tables = statistics.build();
      }
      const EncodeOptions options{layout, 4, embeds_spec, isa.size() % 2 + 1, {}};
      const std::vector<uint8_t> frame = joined(encode(tensor, used, options));
      require(first.empty() || frame == first, (isa + " encodes differently").c_str());
      first = frame;
      require(encoded_size(tensor, used, options) == frame.size(), "the size announced is another one");
      require(frame.size() <= encode_bound(shape, dtype, used), "the frame is larger than its bound");
      const Outcome outcome = decode_on_all_isas(frame, &used);
      require(!outcome.error, "an encoded frame cannot be decoded");
      check_relayout(frame, &used, outcome);
      digest = crc32c(frame) ^ outcome.digest();
    } catch (const Error& error) {
      require(error.code() == ErrorCode::kArgument || error.code() == ErrorCode::kNonFinite,
              "encoding fails for another reason than its arguments");
      require(first.empty(), (isa + " refuses what others encode").c_str());
    }
  }
  force_isa("");
  return digest;
}

}  // namespace fmc::fuzz
