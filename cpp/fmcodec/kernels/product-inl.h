// SPDX-License-Identifier: Apache-2.0
// The matrix product of the KLT (docs/format.md, section 4.2): 16-bit entries and inputs, sums modulo 2^32.
//
// Inputs of two channels stand side by side in 32 bits, so that one multiplication adds two products. A tile of rows
// and vectors of positions stays in registers while it runs over the channels.

#if defined(FMC_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_PRODUCT_INL_H_
#undef FMC_PRODUCT_INL_H_
#else
#define FMC_PRODUCT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fmcodec/kernels/convert-inl.h"
#include "fmcodec/kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

// sum + a.low * b.low + a.high * b.high in each lane.
HWY_INLINE VI add_pair_products(VI sum, VI a, VI b) {
#if HWY_TARGET == HWY_AVX3_DL
  // Highway asks processors for AVX-512 VNNI before it takes this target, but does not compile for it; and GCC 12
  // stores each result of the intrinsic to memory besides.
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  const hn::Repartition<int16_t, I32> d16;
  // On x86 the products of a pair go to the lane of the pair; elsewhere Highway leaves their order open.
  VI unused = hn::Zero(I32());
  return hn::ReorderWidenMulAccumulate(I32(), hn::BitCast(d16, a), hn::BitCast(d16, b), sum, unused);
#else
  const auto low = [](VI v) HWY_ATTR { return hn::ShiftRight<16>(hn::ShiftLeft<16>(v)); };
  const auto high = [](VI v) HWY_ATTR { return hn::ShiftRight<16>(v); };
  return hn::Add(sum, hn::Add(hn::Mul(low(a), low(b)), hn::Mul(high(a), high(b))));
#endif
}

HWY_INLINE VI clamp16(VI v) { return hn::Max(hn::Min(v, hn::Set(I32(), INT16_MAX)), hn::Set(I32(), INT16_MIN)); }

// The inputs of each two channels, less `subtract`, clamped to 16 bits.
HWY_ATTR void pair_columns(const MatrixProduct& product, const int32_t* in, size_t stride, size_t count,
                           int32_t* pairs) {
  const VI low_half = hn::Set(I32(), 0xFFFF);
  const auto input = [&](size_t column, size_t i) HWY_ATTR {
    const int32_t subtract = product.subtract != nullptr ? product.subtract[column] : 0;
    return clamp16(hn::Sub(hn::LoadU(I32(), in + column * stride + i), hn::Set(I32(), subtract)));
  };
  for (size_t column = 0; column < product.columns; column += 2) {
    const bool is_last = column + 1 == product.columns;
    for (size_t i = 0; i < count; i += hn::Lanes(I32())) {
      const VI high = is_last ? hn::Zero(I32()) : hn::ShiftLeft<16>(input(column + 1, i));
      hn::StoreU(hn::Or(hn::And(input(column, i), low_half), high), I32(), pairs + column / 2 * stride + i);
    }
  }
}

// Sums of some rows for four vectors of positions. Nested structs stay in registers, where GCC keeps arrays in memory.
template <size_t kRows>
struct ProductTile {
  VI sum0, sum1, sum2, sum3;
  ProductTile<kRows - 1> rest;

  // A constructor that the compiler declares itself is not compiled for the target.
  HWY_INLINE ProductTile() {}
  HWY_INLINE void set(VI start) {
    sum0 = sum1 = sum2 = sum3 = start;
    rest.set(start);
  }
  // `entries`: two of each row, `row_stride` apart.
  HWY_INLINE void add(VI in0, VI in1, VI in2, VI in3, const int16_t* entries, size_t row_stride) {
    int32_t pair;
    memcpy(&pair, entries, sizeof(pair));
    const VI both = hn::Set(I32(), pair);
    sum0 = add_pair_products(sum0, in0, both);
    sum1 = add_pair_products(sum1, in1, both);
    sum2 = add_pair_products(sum2, in2, both);
    sum3 = add_pair_products(sum3, in3, both);
    rest.add(in0, in1, in2, in3, entries + row_stride, row_stride);
  }
  HWY_INLINE void store(int fraction_bits, const int16_t* added, int32_t* HWY_RESTRICT out, size_t stride) const {
    const size_t lanes = hn::Lanes(I32());
    const VI offset = hn::Set(I32(), added != nullptr ? *added : 0);
    const auto rounded = [&](VI sum)
                             HWY_ATTR { return hn::Add(clamp16(hn::ShiftRightSame(sum, fraction_bits)), offset); };
    hn::StoreU(rounded(sum0), I32(), out);
    hn::StoreU(rounded(sum1), I32(), out + lanes);
    hn::StoreU(rounded(sum2), I32(), out + 2 * lanes);
    hn::StoreU(rounded(sum3), I32(), out + 3 * lanes);
    rest.store(fraction_bits, added != nullptr ? added + 1 : nullptr, out + stride, stride);
  }
};
template <>
struct ProductTile<0> {
  HWY_INLINE ProductTile() {}
  HWY_INLINE void set(VI) {}
  HWY_INLINE void add(VI, VI, VI, VI, const int16_t*, size_t) {}
  HWY_INLINE void store(int, const int16_t*, int32_t*, size_t) const {}
};

// The rows from `first` on.
template <size_t kRows>
HWY_INLINE void multiply_tile(const MatrixProduct& product, size_t first, const int32_t* HWY_RESTRICT pairs,
                              size_t stride, int32_t* HWY_RESTRICT out) {
  const size_t lanes = hn::Lanes(I32()), column_pairs = (product.columns + 1) / 2, row_stride = 2 * column_pairs;
  const int16_t* const rows = product.matrix + first * row_stride;
  ProductTile<kRows> tile;
  tile.set(hn::Set(I32(), 1 << (product.fraction_bits - 1)));
  for (size_t c = 0; c < column_pairs; ++c) {
    const int32_t* const in = pairs + c * stride;
    tile.add(hn::LoadU(I32(), in), hn::LoadU(I32(), in + lanes), hn::LoadU(I32(), in + 2 * lanes),
             hn::LoadU(I32(), in + 3 * lanes), rows + 2 * c, row_stride);
  }
  tile.store(product.fraction_bits, product.add != nullptr ? product.add + first : nullptr, out + first * stride,
             stride);
}

HWY_ATTR void multiply(const MatrixProduct& product, const int32_t* in, size_t stride, size_t count, int32_t* pairs,
                       int32_t* out) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  constexpr size_t kRows = 6;  // 24 sums in 32 registers
#else
  constexpr size_t kRows = 2;  // 8 sums in 16
#endif
  pair_columns(product, in, stride, count, pairs);
  for (size_t i = 0; i < count; i += 4 * hn::Lanes(I32())) {
    size_t row = 0;
    for (; row + kRows <= product.rows; row += kRows) multiply_tile<kRows>(product, row, pairs + i, stride, out + i);
    for (; row + 2 <= product.rows; row += 2) multiply_tile<2>(product, row, pairs + i, stride, out + i);
    if (row < product.rows) multiply_tile<1>(product, row, pairs + i, stride, out + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_PRODUCT_INL_H_
