// SPDX-License-Identifier: Apache-2.0
// Any bytes as a frame.
#include "outcome.h"
#include "targets.h"

namespace fmc::fuzz {

uint32_t decode_target(Bytes bytes) {
  const Outcome outcome = decode_on_all_isas(bytes, nullptr);
  require(outcome.error != ErrorCode::kArgument, "bytes are not the caller's arguments");
  require(outcome.offset <= static_cast<int64_t>(bytes.size()), "an error is behind the frame");
  if (!outcome.error) check_relayout(bytes, nullptr, outcome);
  return outcome.digest();
}

}  // namespace fmc::fuzz
