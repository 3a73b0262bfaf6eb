// SPDX-License-Identifier: Apache-2.0
// Compiles the -inl.h files once per instruction set and lists the resulting tables.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "fmcodec/kernels/kernels.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h

#include <hwy/highway.h>

#include "fmcodec/kernels/crc-inl.h"
#include "fmcodec/kernels/dct-inl.h"
#include "fmcodec/kernels/fused-inl.h"
#include "fmcodec/kernels/hadamard-inl.h"
#include "fmcodec/kernels/kernels.h"
#include "fmcodec/kernels/lattice-inl.h"
#include "fmcodec/kernels/prediction-inl.h"
#include "fmcodec/kernels/product-inl.h"
#include "fmcodec/kernels/quantize-inl.h"
#include "fmcodec/kernels/rans-inl.h"
#include "fmcodec/kernels/wavelet-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

// Calls function(Traits(), typed pointer) for the dtype.
template <class Values, class Function>
HWY_INLINE auto with_dtype(Dtype dtype, Values* values, const Function& function) {
  const auto call = [&](auto traits) HWY_ATTR {
    using T = typename decltype(traits)::T;
    using Pointer = std::conditional_t<std::is_const_v<Values>, const T*, T*>;
    return function(traits, static_cast<Pointer>(values));
  };
  switch (dtype) {
    case Dtype::kFloat32: return call(Float32());
    case Dtype::kFloat16: return call(Float16());
    case Dtype::kBfloat16: return call(Bfloat16());
    case Dtype::kInt8: return call(Int8());
    default: return call(Uint8());
  }
}

HWY_ATTR bool quantize_any_to_levels(Dtype dtype, const void* values, size_t count, const Quantizer& q,
                                     int32_t* levels) {
  return with_dtype(dtype, values, [&](auto traits, auto* typed) HWY_ATTR {
    return quantize_to_levels<decltype(traits)>(typed, count, q, levels);
  });
}

HWY_ATTR bool quantize_any_to_tokens(Dtype dtype, const void* values, size_t count, const Quantizer& q,
                                     uint8_t* tokens) {
  return with_dtype(dtype, values, [&](auto traits, auto* typed) HWY_ATTR {
    return quantize_to_tokens<decltype(traits)>(typed, count, q, tokens);
  });
}

HWY_ATTR void dequantize_levels_to_any(Dtype dtype, const int32_t* levels, size_t count, const Quantizer& q,
                                       void* values) {
  with_dtype(dtype, values,
             [&](auto traits, auto* typed) HWY_ATTR { dequantize_levels<decltype(traits)>(levels, count, q, typed); });
}

HWY_ATTR void dequantize_tokens_to_any(Dtype dtype, const uint8_t* tokens, size_t count, const Quantizer& q,
                                       void* values) {
  with_dtype(dtype, values,
             [&](auto traits, auto* typed) HWY_ATTR { dequantize_tokens<decltype(traits)>(tokens, count, q, typed); });
}

const KernelTable* kernel_table() {
  static constexpr KernelTable kTable = {
      .isa = nullptr,
      .quantize_to_levels = quantize_any_to_levels,
      .quantize_to_tokens = quantize_any_to_tokens,
      .dequantize_levels = dequantize_levels_to_any,
      .dequantize_tokens = dequantize_tokens_to_any,
      .forward_dct = dct<ForwardRows>,
      .inverse_dct = dct<InverseRows>,
      .hadamard = hadamard,
      .multiply = multiply,
      .dct_to_tokens = dct_to_tokens,
      .hadamard_to_tokens = hadamard_to_tokens,
      .dct_from_tokens = dct_from_tokens,
      .hadamard_from_tokens = hadamard_from_tokens,
      .quantize_band = quantize_band,
      .band_to_tokens = band_to_tokens,
      .dequantize_band = dequantize_band,
      .flag_nonzero = flag_nonzero,
      .clear_unflagged = clear_unflagged,
      .measure_symbols = measure_symbols,
      .measure_tokens = measure_tokens,
      .symbols_to_tokens = symbols_to_tokens,
      .tokens_to_symbols = tokens_to_symbols,
      .translate = translate,
      .subtract_above = subtract_above,
      .add_above = add_above,
      .sample_prediction = sample_prediction,
      .write_tree = write_tree,
      .read_tree = read_tree,
      .compact_nonzero = compact_nonzero,
      .pack_nonzero = pack_nonzero,
      .write_mask = write_mask,
      .pack_symbols = pack_symbols,
      .write_symbol_plane = write_symbol_plane,
      .count_ones = count_ones,
      .expand_nonzero = expand_nonzero,
      .expand_symbols = expand_symbols,
      .add_symbol_plane = add_symbol_plane,
      .neighbour_contexts = neighbour_contexts,
      .select_kind = select_kind,
      .place_kind = place_kind,
      .mean_of_runs = mean_of_runs,
      .repeat_each = repeat_each,
      .write_rans = write_rans,
      .read_rans = read_rans,
      .advance_crc = advance_crc,
  };
  return &kTable;
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <string>
#include <vector>

#include "fmcodec/kernels/registry.h"

namespace fmc {

HWY_EXPORT(kernel_table);

std::vector<KernelTable> list_kernel_tables() {
  std::vector<KernelTable> tables;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    tables.push_back(*HWY_DYNAMIC_DISPATCH(kernel_table)());
    // Highway's names, in lower case, live in static memory for the rest of the process.
    static std::string names[64];
    std::string& name = names[tables.size() - 1];
    name = hwy::TargetName(target);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    tables.back().isa = name.c_str();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
  return tables;
}

}  // namespace fmc
#endif  // HWY_ONCE
