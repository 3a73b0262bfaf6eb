// SPDX-License-Identifier: Apache-2.0
#include "any_spec.h"

#include <numeric>
#include <utility>

namespace fmc::fuzz {
namespace {

constexpr uint32_t kSizes[] = {1, 4, 8, 16, 32};

std::shared_ptr<const Basis> any_basis(Input& input, const Spec& spec, uint64_t channels) {
  const bool is_wide = input.flag();
  std::vector<uint8_t> bytes{static_cast<uint8_t>(input.number(1, 14)), static_cast<uint8_t>(is_wide ? 2 : 1)};
  const uint64_t size = Basis::size_bytes(bytes, channels, spec.kept_bands);
  for (uint64_t c = 0; c < channels; ++c) append_le<uint16_t>(bytes, static_cast<uint16_t>(input.byte()));
  while (bytes.size() < size) bytes.push_back(input.byte());
  return std::make_shared<const Basis>(bytes, channels, spec.transform_size, spec.kept_bands);
}

double any_dead_zone(Input& input) { return 0.5 + (input.byte() & 63) / 126.0; }

Dtype any_dtype(Input& input) { return static_cast<Dtype>(input.number(1, 5)); }

TensorShape any_shape(Input& input) {
  // Small, so that many are tried: a few images, groups of all sizes, cells that are cut.
  return {input.number(0, 2), input.number(0, 33), input.number(0, 17), input.number(0, 25)};
}

Spec any_spec(Input& input, uint64_t channels) {
  Spec spec;
  spec.step = float_of_bits(0x3F800000u + ((input.byte() & 31u) << 18));
  spec.bits = static_cast<int>(input.number(2, 16));
  spec.zero_point = input.number(0, (1u << spec.bits) - 1);
  spec.transform = static_cast<Transform>(input.number(0, 3));
  const bool is_klt = spec.transform == Transform::kKlt;
  spec.transform_size = is_klt ? static_cast<uint32_t>(channels) : kSizes[input.number(0, 4)];
  if (spec.transform == Transform::kIdentity) spec.transform_size = 1;
  spec.kept_bands = spec.transform_size > 0 ? input.number(1, spec.transform_size) : 0;
  spec.spatial_size = 1u << input.number(0, 3);
  spec.exact_zeros = input.flag();
  spec.band_steps.resize(input.flag() ? input.number(1, 40) : 1);
  for (uint16_t& step : spec.band_steps) step = static_cast<uint16_t>(input.number(1, input.flag() ? 65535 : 40));
  if (channels > 0 && input.flag()) {
    spec.permutation.resize(channels);
    std::iota(spec.permutation.begin(), spec.permutation.end(), uint16_t{0});
    for (size_t i = channels; i-- > 1;) std::swap(spec.permutation[i], spec.permutation[input.byte() % (i + 1)]);
  }
  if (is_klt && channels > 0) spec.basis = any_basis(input, spec, channels);
  if (input.flag()) {
    spec.code_layout = CodeLayout::kSerial;
    spec.word_bits = 8 << input.number(0, 3);
  }
  spec.dead_zone = {any_dead_zone(input)};
  spec.max_code_length = static_cast<int>(input.number(8, 15));
  spec.effort = static_cast<int>(input.number(1, 3));
  if (input.flag()) {
    spec.block_rows = input.number(1, 20);
    spec.block_columns = input.number(1, 20);
  }
  spec.clamps_nonfinite = input.flag();
  if (input.flag()) {
    spec.dead_zone.resize(input.number(1, 40));
    for (double& dead_zone : spec.dead_zone) dead_zone = any_dead_zone(input);
  }
  return spec;
}

}  // namespace

AnyTensor any_tensor(Input& input) {
  AnyTensor tensor;
  tensor.dtype = any_dtype(input);
  tensor.shape = any_shape(input);
  tensor.spec = any_spec(input, tensor.shape.channels);
  tensor.layout = input.flag() ? Layout::kNhwc : Layout::kNchw;
  return tensor;
}

}  // namespace fmc::fuzz
