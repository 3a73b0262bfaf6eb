// SPDX-License-Identifier: Apache-2.0
// The list of kernel tables this machine can run, the best first.
#pragma once

#include <vector>

#include "fmcodec/kernels/kernels.h"

namespace fmc {

// Not thread-safe; dispatch.cpp calls it once.
std::vector<KernelTable> list_kernel_tables();

}  // namespace fmc
