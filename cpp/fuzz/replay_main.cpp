// SPDX-License-Identifier: Apache-2.0
// Runs a target on files, without libFuzzer: fmcodec_replay TARGET FILE... The digest of all that it saw is the same on
// every processor.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "fmcodec/crc32c.h"
#include "targets.h"

int main(int count, char** arguments) {
  for (const fmc::fuzz::Target& target : fmc::fuzz::kTargets) {
    if (count < 2 || target.name != arguments[1]) continue;
    uint32_t digest = 0;
    for (int i = 2; i < count; ++i) {
      std::ifstream file(arguments[i], std::ios::binary);
      if (!file) {
        std::fprintf(stderr, "cannot read %s\n", arguments[i]);
        return 2;
      }
      const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
      std::vector<uint8_t> chained;
      fmc::append_le(chained, digest);
      fmc::append_le(chained, target.run(bytes));
      digest = fmc::crc32c(chained);
    }
    std::printf("%s: %d inputs, digest %08x\n", arguments[1], count - 2, digest);
    return 0;
  }
  std::fprintf(stderr, "usage: fmcodec_replay TARGET FILE..., with a target of");
  for (const fmc::fuzz::Target& target : fmc::fuzz::kTargets) std::fprintf(stderr, " %s", target.name.data());
  std::fprintf(stderr, "\n");
  return 2;
}
