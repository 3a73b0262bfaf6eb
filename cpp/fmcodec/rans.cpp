// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/rans.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "fmcodec/bits.h"
#include "fmcodec/error.h"

namespace fmc {
namespace {

// The three highest bits of a weight.
uint16_t leading_bits(uint32_t weight) {
  const int low = std::max(0, static_cast<int>(std::bit_width(weight)) - 3);
  return static_cast<uint16_t>(weight >> low << low);
}

}  // namespace

Weights weights_of(const TokenHistogram& histogram) {
  const uint64_t total = std::accumulate(histogram.begin(), histogram.end(), uint64_t{0});
  Weights weights{};
  for (size_t token = 0; token < kTokens; ++token) {
    if (histogram[token] == 0) continue;
    const auto scaled = static_cast<unsigned __int128>(histogram[token]) * kRansTotal / total;
    weights[token] = leading_bits(std::max(uint32_t{1}, static_cast<uint32_t>(scaled)));
  }
  return weights;
}

Frequencies frequencies_of(const Weights& weights) {
  const uint32_t total = std::accumulate(weights.begin(), weights.end(), uint32_t{0});
  Frequencies frequencies{};
  uint32_t sum = 0;
  for (size_t token = 0; token < kTokens; ++token) {
    if (weights[token] == 0) continue;
    frequencies[token] = static_cast<uint16_t>(std::max<uint32_t>(1, weights[token] * kRansTotal / total));
    sum += frequencies[token];
  }
  // What is missing goes to the most frequent token; what is too much is taken from it, half of it at most, again and
  // again.
  while (sum != kRansTotal) {
    uint16_t& most = *std::max_element(frequencies.begin(), frequencies.end());
    const uint32_t change = sum < kRansTotal ? kRansTotal - sum : std::min<uint32_t>(sum - kRansTotal, most / 2);
    most = static_cast<uint16_t>(sum < kRansTotal ? most + change : most - change);
    sum = sum < kRansTotal ? sum + change : sum - change;
  }
  return frequencies;
}

RansWriter::RansWriter(const KernelTable& kernels, const Tables& tables) : kernels_(kernels) {
  symbols_.resize(tables.classes.size() * kTokens);
  for (size_t k = 0; k < tables.classes.size(); ++k) {
    const Frequencies frequencies = frequencies_of(tables.classes[k].weights);
    uint32_t begin = 0;
    for (size_t token = 0; token < kTokens; ++token) {
      if (frequencies[token] == 0) continue;
      const uint32_t frequency = frequencies[token];
      const auto shift = static_cast<uint32_t>(31 + std::bit_width(frequency - 1));
      const auto reciprocal = static_cast<uint32_t>(((uint64_t{1} << shift) + frequency - 1) / frequency);
      symbols_[k * kTokens + token] = {frequency, begin, reciprocal, shift};
      begin += frequency;
    }
  }
}

void RansWriter::begin(uint64_t symbols) {
  lanes_ = rans_lanes(symbols);
  states_.fill(kRansLow);
  const size_t capacity = 2 * symbols + 4 * kRansMaxLanes + kSlackBytes;  // at most one word per symbol, one in advance
  words_end_ = words_.reserve(capacity) + capacity;
  at_ = words_end_;
}

void RansWriter::write(const uint8_t* tokens, const uint8_t* classes, size_t count) {
  at_ = kernels_.write_rans(symbols_.data(), classes, tokens, count, states_.data(), lanes_, at_);
}

std::span<const uint8_t> RansWriter::end() {
  at_ -= 4 * lanes_;
  for (size_t lane = 0; lane < lanes_; ++lane) {
    for (size_t byte = 0; byte < 4; ++byte) at_[4 * lane + byte] = static_cast<uint8_t>(states_[lane] >> (8 * byte));
  }
  return {at_, words_end_};
}

RansReader::RansReader(const KernelTable& kernels, const Tables& tables) : kernels_(kernels) {
  slots_.resize(tables.classes.size() * kRansTotal);
  for (size_t k = 0; k < tables.classes.size(); ++k) {
    const Frequencies frequencies = frequencies_of(tables.classes[k].weights);
    uint32_t* slot = &slots_[k * kRansTotal];
    for (size_t token = 0; token < kTokens; ++token) {
      const uint32_t entry = static_cast<uint32_t>(token) | (uint32_t{frequencies[token]} - 1) << 8;
      for (uint32_t i = 0; i < frequencies[token]; ++i) *slot++ = entry | i << 20;
    }
  }
}

void RansReader::begin(uint64_t symbols, const BitSource& in) {
  lanes_ = rans_lanes(symbols);
  offset_bytes_ = in.offset_bytes;
  at_ = in.bytes;
  end_ = in.bytes + in.size_bits / 8;
  if (in.size_bits / 8 < 4 * lanes_) fail("a block ends before its symbols");
  for (size_t lane = 0; lane < lanes_; ++lane, at_ += 4) {
    states_[lane] = load_le<uint32_t>(at_);
    if (states_[lane] < kRansLow || states_[lane] >> 31 != 0) fail("a state of a block is out of range");
  }
}

void RansReader::read(const uint8_t* classes, size_t count, uint8_t* tokens) {
  at_ = kernels_.read_rans(slots_.data(), classes, count, states_.data(), lanes_, at_, end_, tokens);
  if (at_ == nullptr) fail("a block ends before its symbols");
}

void RansReader::end() const {
  if (at_ != end_) fail("bits are left over in a block");
  if (std::any_of(states_.begin(), states_.begin() + static_cast<std::ptrdiff_t>(lanes_),
                  [](uint32_t state) { return state != kRansLow; }))
    fail("the states of a block do not end where they began");
}

void RansReader::fail(const char* message) const { throw Error(ErrorCode::kCorrupt, message, offset_bytes_); }

}  // namespace fmc
