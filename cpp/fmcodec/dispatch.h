// SPDX-License-Identifier: Apache-2.0
// Chooses the kernel table: the best the machine has, or the one named by FMCODEC_ISA or force_isa().
#pragma once

#include <string>
#include <vector>

#include "fmcodec/kernels/kernels.h"

namespace fmc {

// Names of the instruction sets this machine can run, the best first.
std::vector<std::string> available_isas();

// Selects the instruction set of all later calls in this process; an empty name returns to the default. Throws
// Error(kArgument) that lists the valid names. Output bytes do not depend on it; it is for tests and measurements.
void force_isa(const std::string& name);

// The active table. Throws Error(kArgument) if FMCODEC_ISA names no available instruction set.
const KernelTable& kernels();

}  // namespace fmc
