// SPDX-License-Identifier: Apache-2.0
// Runs a target on files, without libFuzzer: fmcodec_replay TARGET FILE...
#include <cstdio>
#include <fstream>
#include <iterator>

#include "targets.h"

int main(int count, char** arguments) {
  for (const fmc::fuzz::Target& target : fmc::fuzz::kTargets) {
    if (count < 2 || target.name != arguments[1]) continue;
    for (int i = 2; i < count; ++i) {
      std::ifstream file(arguments[i], std::ios::binary);
      if (!file) {
        std::fprintf(stderr, "cannot read %s\n", arguments[i]);
        return 2;
      }
      const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
      target.run(bytes);
    }
    std::printf("%s: %d inputs\n", arguments[1], count - 2);
    return 0;
  }
  std::fprintf(stderr, "usage: fmcodec_replay TARGET FILE..., with a target of");
  for (const fmc::fuzz::Target& target : fmc::fuzz::kTargets) std::fprintf(stderr, " %s", target.name.data());
  std::fprintf(stderr, "\n");
  return 2;
}
