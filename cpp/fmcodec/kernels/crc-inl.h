// SPDX-License-Identifier: Apache-2.0
// CRC-32C. Long messages are folded: many bytes become few whose CRC is the same, by carry-less multiplication
// (V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009).

#if defined(FMC_CRC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMC_CRC_INL_H_
#undef FMC_CRC_INL_H_
#else
#define FMC_CRC_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "fmcodec/kernels/crc_tables.h"
#include "fmcodec/kernels/words-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmc {
namespace HWY_NAMESPACE {

// Lower numbers of targets are the better ones of an architecture.
#undef FMC_HAS_CRC_INSTRUCTION
#if defined(__x86_64__) && HWY_TARGET <= HWY_SSE4
#define FMC_HAS_CRC_INSTRUCTION 1
#else
#define FMC_HAS_CRC_INSTRUCTION 0
#endif

// Both pass a register on over some bytes, without folding.
HWY_INLINE uint32_t crc_of_word(uint32_t crc, uint64_t word) {
#if FMC_HAS_CRC_INSTRUCTION
  return static_cast<uint32_t>(_mm_crc32_u64(crc, word));
#else
  word ^= crc;
  uint32_t next = 0;
  for (size_t k = 0; k < 8; ++k) next ^= kCrcTables[7 - k][word >> (8 * k) & 255];
  return next;
#endif
}

HWY_INLINE uint32_t crc_of_bytes(uint32_t crc, const uint8_t* bytes, size_t count) {
  for (; count >= 8; bytes += 8, count -= 8) crc = crc_of_word(crc, load_u64(bytes));
  for (; count > 0; ++bytes, --count) crc = crc >> 8 ^ kCrcTables[0][(crc ^ *bytes) & 255];
  return crc;
}

HWY_ATTR uint32_t advance_crc(uint32_t crc, const uint8_t* bytes, size_t count) {
#if FMC_HAS_CRC_INSTRUCTION || HWY_TARGET == HWY_NEON
  // Only this target multiplies more than 128 bits at a time.
#if HWY_TARGET == HWY_AVX3_DL
  constexpr size_t kLanes = 8;
#else
  constexpr size_t kLanes = 2;
#endif
  constexpr size_t kStates = 4, kVectorBytes = 8 * kLanes, kStepBytes = kStates * kVectorBytes;
  if (count >= 2 * kStepBytes) {
    const hn::FixedTag<uint64_t, kLanes> d;
    const hn::Repartition<uint8_t, decltype(d)> bytes_of;
    // A vector moves over the bytes of a step: its words, each first and second of a pair, by this many powers of x.
    alignas(64) uint64_t factors[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      constexpr uint64_t kFirst = crc_factor(8 * kStepBytes + 63), kSecond = crc_factor(8 * kStepBytes - 1);
      factors[lane] = lane % 2 == 0 ? kFirst : kSecond;
    }
    const auto factor = hn::Load(d, factors);
    const auto load = [&](size_t s) HWY_ATTR { return hn::BitCast(d, hn::LoadU(bytes_of, bytes + s * kVectorBytes)); };
    const auto moved = [&](hn::Vec<decltype(d)> v)
                           HWY_ATTR { return hn::Xor(hn::CLMulLower(v, factor), hn::CLMulUpper(v, factor)); };
    auto s0 = load(0), s1 = load(1), s2 = load(2), s3 = load(3);
    // A register is a sum with the first bytes.
    alignas(64) uint64_t first[kLanes] = {crc};
    s0 = hn::Xor(s0, hn::Load(d, first));
    for (bytes += kStepBytes, count -= kStepBytes; count >= kStepBytes; bytes += kStepBytes, count -= kStepBytes) {
      s0 = hn::Xor(moved(s0), load(0));
      s1 = hn::Xor(moved(s1), load(1));
      s2 = hn::Xor(moved(s2), load(2));
      s3 = hn::Xor(moved(s3), load(3));
    }
    alignas(64) uint64_t states[kStates * kLanes];
    hn::Store(s0, d, states);
    hn::Store(s1, d, states + kLanes);
    hn::Store(s2, d, states + 2 * kLanes);
    hn::Store(s3, d, states + 3 * kLanes);
    crc = 0;
    for (const uint64_t word : states) crc = crc_of_word(crc, word);
  }
#endif
  return crc_of_bytes(crc, bytes, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace fmc
HWY_AFTER_NAMESPACE();

#endif  // FMC_CRC_INL_H_
