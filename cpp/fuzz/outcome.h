// SPDX-License-Identifier: Apache-2.0
// What decoding bytes gives: values or an error, to be compared.
#pragma once

#include <optional>
#include <vector>

#include "fmcodec/error.h"
#include "fmcodec/frame.h"

namespace fmc::fuzz {

// Aborts with the message, for a fuzzer to see.
void require(bool holds, const char* message);

struct Outcome {
  std::optional<ErrorCode> error;
  int64_t offset = kNoOffset;
  std::vector<uint8_t> values;  // in the layout of the frame

  uint32_t digest() const;
  bool operator==(const Outcome&) const = default;
};

// Larger tensors are not decoded, so that inputs are quick.
inline constexpr uint64_t kMostValues = uint64_t{1} << 18;

// Of the present instruction set. `external_spec` may be null.
Outcome decode_whole(Bytes bytes, const Spec* external_spec);

// The same on every instruction set of the machine; aborts if they differ.
Outcome decode_on_all_isas(Bytes bytes, const Spec* external_spec);

// Aborts if the frame in the other layout decodes to other values.
void check_relayout(Bytes bytes, const Spec* external_spec, const Outcome& expected);

// A dense tensor in memory of the caller.
MutableTensorView dense_view(void* data, Dtype dtype, Layout layout, const TensorShape& shape);

}  // namespace fmc::fuzz
