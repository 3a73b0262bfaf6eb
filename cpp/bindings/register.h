// SPDX-License-Identifier: Apache-2.0
// Functions that add a part of the module each.
#pragma once

#include <pybind11/pybind11.h>

namespace fmc {

void register_errors(pybind11::module_& module);
void register_dispatch(pybind11::module_& module);
void register_spec(pybind11::module_& module);
void register_codec(pybind11::module_& module);
void register_kernels(pybind11::module_& kernels);
void register_token_kernels(pybind11::module_& kernels);

}  // namespace fmc
