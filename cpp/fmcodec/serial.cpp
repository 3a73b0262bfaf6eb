// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/serial.h"

#include <algorithm>
#include <cstring>

namespace fmc {
namespace {

uint64_t load_word(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// Collects items of up to kMostBits and stores whole words; what is behind the last bit is overwritten with zeros.
class ItemAppender {
 public:
  static constexpr int kMostBits = 56;  // together with up to 7 that are held, below 64

  explicit ItemAppender(BitCursor* cursor)
      : cursor_(cursor), at_(cursor->bytes + cursor->position_bits / 8), held_(cursor->position_bits % 8) {
    if (held_ > 0) bits_ = *at_ & ((uint64_t{1} << held_) - 1);
  }
  // Bits at and above `length` must be 0. At most kMostBits between two calls of flush().
  void append(uint64_t bits, uint64_t length) {
    bits_ |= bits << held_;
    held_ += length;
  }
  void flush() {
    std::memcpy(at_, &bits_, sizeof(bits_));
    at_ += held_ / 8;
    bits_ >>= held_ / 8 * 8;
    held_ %= 8;
  }
  void finish() { cursor_->position_bits = static_cast<uint64_t>(at_ - cursor_->bytes) * 8 + held_; }

 private:
  BitCursor* cursor_;
  uint8_t* at_;
  uint64_t held_;
  uint64_t bits_ = 0;
};

// Bits that can be read at once from any position.
constexpr uint64_t kReadableBits = 57;

// Hands out tokens; the end is checked by whoever takes them. Reads up to 8 bytes behind the position.
class ItemSource {
 public:
  explicit ItemSource(const BitSource& in) : bytes_(in.bytes), position_(in.position_bits) {}
  uint64_t position() const { return position_; }
  uint64_t peek() const { return load_word(bytes_ + position_ / 8) >> (position_ % 8); }
  void skip(uint64_t count) { position_ += count; }

 private:
  const uint8_t* bytes_;
  uint64_t position_;
};

}  // namespace

SerialCode::SerialCode(const CodeLengths& lengths) : index_(lengths) {
  for (size_t token = 0; token < kTokens; ++token) {
    if (lengths[token] > 0)
      items_[token] = {index_.code().stream_code(token), static_cast<uint32_t>(index_.code().length(token))};
  }
}

void write_serial(const SerialCode& code, const uint8_t* tokens, const int32_t* symbols, int shift, size_t count,
                  BitCursor* out) {
  ItemAppender bits(out);
  size_t i = 0;
  if (shift > 0) {
    const uint32_t mask = (uint32_t{1} << shift) - 1;
    for (; i < count; ++i) {
      const SerialCode::Item item = code.item(tokens[i]);
      const uint64_t low_bits = static_cast<uint32_t>(symbols[i]) & mask;
      bits.append(item.bits | low_bits << item.length, item.length + static_cast<uint64_t>(shift));
      bits.flush();
    }
  } else {
    constexpr size_t kAtOnce = ItemAppender::kMostBits / kMaxCodeLength;
    const auto append = [&] {
      const SerialCode::Item item = code.item(tokens[i++]);
      bits.append(item.bits, item.length);
    };
    while (count - i >= kAtOnce) {
      for (size_t t = 0; t < kAtOnce; ++t) append();
      bits.flush();
    }
    while (i < count) append();
    bits.flush();
  }
  bits.finish();
}

void read_serial(const SerialCode& code, int shift, size_t count, BitSource* in, uint8_t* tokens, int32_t* low_bits) {
  if (shift == 0 && code.find(0).length == 0) {
    std::memset(tokens, code.find(0).token, count);
    return;
  }
  ItemSource bits(*in);
  size_t i = 0;
  if (shift == 0 && in->size_bits >= 64) {
    // Far from the end, some tokens are taken from one word without a check.
    constexpr size_t kAtOnce = kReadableBits / kMaxCodeLength;
    while (count - i >= kAtOnce && bits.position() <= in->size_bits - 64) {
      uint64_t word = bits.peek(), taken = 0;
      for (size_t t = 0; t < kAtOnce; ++t) {
        const SerialCode::Index::Found found = code.find(word);
        tokens[i++] = found.token;
        word >>= found.length;
        taken += found.length;
      }
      bits.skip(taken);
    }
  }
  for (; i < count; ++i) {
    const uint64_t word = bits.peek();
    const SerialCode::Index::Found found = code.find(word);
    const uint64_t length = found.length + static_cast<uint64_t>(shift);
    if (length > in->size_bits - bits.position()) in->fail_early_end();
    tokens[i] = found.token;
    if (shift > 0) low_bits[i] = static_cast<int32_t>(word >> found.length & ((uint64_t{1} << shift) - 1));
    bits.skip(length);
  }
  in->position_bits = bits.position();
}

void pad_to_words(uint64_t begin_bits, int word_bits, BitCursor* out) {
  const auto word = static_cast<uint64_t>(word_bits);
  const uint64_t words = (out->position_bits - begin_bits + word - 1) / word;
  const uint64_t end_bits = begin_bits + words * word;
  const uint64_t next_byte = (out->position_bits + 7) / 8;
  std::fill(out->bytes + next_byte, out->bytes + end_bits / 8, uint8_t{0});
  out->position_bits = end_bits;
}

}  // namespace fmc
