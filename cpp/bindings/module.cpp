// SPDX-License-Identifier: Apache-2.0
// The Python module fmcodec._core: registers the parts, holds no code of its own.
#include "register.h"

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  fmc::register_errors(module);
  fmc::register_dispatch(module);
  fmc::register_spec(module);
  fmc::register_codec(module);
  pybind11::module_ kernels = module.def_submodule("kernels");
  fmc::register_kernels(kernels);
  fmc::register_token_kernels(kernels);
}
