// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry points for the target named by FMC_FUZZ_TARGET.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "targets.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace {

const fmc::fuzz::Target& target() {
  static const auto* const kFound = std::find_if(fmc::fuzz::kTargets.begin(), fmc::fuzz::kTargets.end(),
                                                 [](const fmc::fuzz::Target& t) { return t.name == FMC_FUZZ_TARGET; });
  return *kFound;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  target().run({data, size});
  return 0;
}

// Three of four mutations get checksums that are right, so that what is behind them is reached.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (!target().takes_frames || seed % 4 == 0) return size;
  std::vector<uint8_t> frame(data, data + size);
  fmc::fuzz::repair_checksums(frame);
  std::memcpy(data, frame.data(), size);
  return size;
}
