// SPDX-License-Identifier: Apache-2.0
// Tensors and specs made from the bytes of a fuzzer.
#pragma once

#include "fmcodec/spec.h"
#include "fmcodec/tensor.h"
#include "input.h"

namespace fmc::fuzz {

struct AnyTensor {
  Dtype dtype;
  TensorShape shape;
  Spec spec;  // may not be valid: validate_spec() tells
  Layout layout;
};

AnyTensor any_tensor(Input& input);

}  // namespace fmc::fuzz
