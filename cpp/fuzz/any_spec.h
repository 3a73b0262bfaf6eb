// SPDX-License-Identifier: Apache-2.0
// Specs and shapes made from the bytes of a fuzzer.
#pragma once

#include "fmcodec/spec.h"
#include "fmcodec/tensor.h"
#include "input.h"

namespace fmc::fuzz {

Dtype any_dtype(Input& input);
TensorShape any_shape(Input& input);
// May not be valid: validate_spec() tells.
Spec any_spec(Input& input, uint64_t channels);

}  // namespace fmc::fuzz
