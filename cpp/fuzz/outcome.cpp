// SPDX-License-Identifier: Apache-2.0
#include "outcome.h"

#include <cstdio>
#include <cstdlib>

#include "fmcodec/crc32c.h"
#include "fmcodec/decode.h"
#include "fmcodec/dispatch.h"
#include "fmcodec/relayout.h"

namespace fmc::fuzz {

void require(bool holds, const char* message) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", message);
  std::abort();
}

uint32_t Outcome::digest() const {
  if (!error) return crc32c(values);
  std::vector<uint8_t> bytes{static_cast<uint8_t>(*error)};
  append_le(bytes, static_cast<uint64_t>(offset));
  return crc32c(bytes);
}

MutableTensorView dense_view(void* data, Dtype dtype, Layout layout, const TensorShape& shape) {
  // A tensor without images may have any extents: their product then wraps.
  const auto image = static_cast<int64_t>(shape.channels * shape.positions());
  const auto plane = static_cast<int64_t>(shape.positions()), row = static_cast<int64_t>(shape.columns);
  if (layout == Layout::kNchw) return {data, dtype, shape, image, plane, row, 1};
  const auto channels = static_cast<int64_t>(shape.channels);
  return {data, dtype, shape, image, 1, row * channels, channels};
}

Outcome decode_whole(Bytes bytes, const Spec* external_spec) {
  Outcome outcome;
  try {
    const Frame frame = parse_frame(bytes, external_spec);
    const TensorShape& shape = frame.tiling.shape;
    if (shape.values() > kMostValues) throw Error(ErrorCode::kLimit, "more values than are decoded here");
    outcome.values.resize(shape.values() * size_of(frame.dtype));
    decode(bytes, frame, {0, 0, 0, 0, shape}, dense_view(outcome.values.data(), frame.dtype, frame.layout, shape),
           kMostValues * 4, 1);
  } catch (const Error& error) {
    outcome = {error.code(), error.offset_bytes(), {}};
  }
  return outcome;
}

Outcome decode_on_all_isas(Bytes bytes, const Spec* external_spec) {
  std::optional<Outcome> first;
  for (const std::string& isa : available_isas()) {
    force_isa(isa);
    Outcome outcome = decode_whole(bytes, external_spec);
    require(!first || outcome == *first, (isa + " decodes differently").c_str());
    first = std::move(outcome);
  }
  force_isa("");
  return *first;
}

void check_relayout(Bytes bytes, const Spec* external_spec, const Outcome& expected) {
  const Frame frame = parse_frame(bytes, external_spec);
  const bool is_serial = frame.spec.code_layout == CodeLayout::kSerial;
  const std::vector<uint8_t> other =
      relayout(bytes, frame, is_serial ? CodeLayout::kWavelet : CodeLayout::kSerial, 32, 1);
  Spec other_spec = frame.spec;
  other_spec.code_layout = is_serial ? CodeLayout::kWavelet : CodeLayout::kSerial;
  other_spec.word_bits = 32;
  const Outcome outcome = decode_whole(other, frame.has_external_spec ? &other_spec : nullptr);
  require(outcome == expected, "the other layout decodes to other values");
}

}  // namespace fmc::fuzz
