// SPDX-License-Identifier: Apache-2.0
// The one exception type of the core: what is wrong, and at which byte of the frame.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace fmc {

enum class ErrorCode {
  kCorrupt,       // the bytes contradict docs/format.md
  kTruncated,     // the frame ends too early
  kChecksum,      // a CRC-32C does not match
  kVersion,       // a version this build does not read
  kLimit,         // more memory than the caller allows
  kSpecMismatch,  // the frame refers to an external spec that was not given
  kNonFinite,     // NaN or infinity in the input
  kArgument,      // the caller's arguments contradict each other
};

inline constexpr int64_t kNoOffset = -1;

class Error : public std::runtime_error {
 public:
  explicit Error(ErrorCode code, const std::string& message, int64_t offset_bytes = kNoOffset)
      : std::runtime_error(message), code_(code), offset_bytes_(offset_bytes) {}
  ErrorCode code() const { return code_; }
  int64_t offset_bytes() const { return offset_bytes_; }

 private:
  ErrorCode code_;
  int64_t offset_bytes_;
};

}  // namespace fmc
