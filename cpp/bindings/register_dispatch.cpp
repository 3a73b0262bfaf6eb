// SPDX-License-Identifier: Apache-2.0
// Choice of the instruction set, and facts about the build.
#include <pybind11/stl.h>

#include "fmcodec/dispatch.h"
#include "fmcodec/frame.h"
#include "register.h"

namespace py = pybind11;

namespace fmc {

void register_dispatch(py::module_& module) {
  module.attr("version") = FMC_VERSION;
  module.def("available_isas", &available_isas);
  module.def("active_isa", [] { return std::string(kernels().isa); });
  module.def("force_isa", &force_isa, py::arg("name"));
  module.def("build_info", [] {
    py::dict info;
    info["version"] = FMC_VERSION;
    info["stream_version"] = kStreamVersion;
    info["compiler"] = FMC_COMPILER;
    info["build_type"] = FMC_BUILD_TYPE;
#ifdef NDEBUG
    info["has_assertions"] = false;
#else
    info["has_assertions"] = true;
#endif
    return info;
  });
}

}  // namespace fmc
