// SPDX-License-Identifier: Apache-2.0
// Tensor to frame: the encoder of docs/format.md, section 10.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fmcodec/buffer.h"
#include "fmcodec/frame.h"
#include "fmcodec/parallel.h"
#include "fmcodec/spec.h"
#include "fmcodec/tensor.h"

namespace fmc {

// A coded tensor in pieces that stand one after the other in the frame.
class EncodedFrame {
 public:
  uint64_t size_bytes() const;
  // Precondition: out.size() is size_bytes() or more. Pieces that are in their place already are not copied.
  void write_to(std::span<uint8_t> out) const;

  std::vector<ByteBuffer> pieces;
};

struct EncodeOptions {
  Layout layout = Layout::kNchw;
  int rank = 4;
  bool embeds_spec = true;
  size_t threads = 1;
  Poll poll;
};

// `place` is where the frame is to stand in the end; it may be too small or empty. With one thread, pieces are written
// there at once where they fit with room to spare; with several, each is brought there when its place is known. Throws
// Error(kArgument or kNonFinite).
EncodedFrame encode(const TensorView& tensor, const Spec& spec, const EncodeOptions& options,
                    std::span<uint8_t> place = {});

// The size of the frame that encode() makes, without keeping its bytes. Throws what encode() throws.
uint64_t encoded_size(const TensorView& tensor, const Spec& spec, const EncodeOptions& options);

// Most bytes a frame of this shape can have.
uint64_t encode_bound(const TensorShape& shape, Dtype dtype, const Spec& spec);

}  // namespace fmc
