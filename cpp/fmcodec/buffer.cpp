// SPDX-License-Identifier: Apache-2.0
// The scratch cache: a few free pieces of memory per thread, given back when the thread ends.
#include "fmcodec/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace fmc {
namespace {

// What a thread may keep; larger pieces go back to the system at once.
constexpr size_t kMaxCachedBytes = size_t{32} << 20;

struct Piece {
  void* bytes;
  size_t size_bytes;
};

class Cache {
 public:
  ~Cache() {
    for (const Piece& piece : pieces_) std::free(piece.bytes);
  }
  // The smallest piece that is large enough, or null.
  Piece take(size_t size_bytes) {
    auto best = pieces_.end();
    for (auto piece = pieces_.begin(); piece != pieces_.end(); ++piece) {
      if (piece->size_bytes >= size_bytes && (best == pieces_.end() || piece->size_bytes < best->size_bytes))
        best = piece;
    }
    if (best == pieces_.end()) return {nullptr, 0};
    const Piece taken = *best;
    cached_bytes_ -= taken.size_bytes;
    *best = pieces_.back();
    pieces_.pop_back();
    return taken;
  }
  void give(Piece piece) noexcept {
    if (cached_bytes_ + piece.size_bytes > kMaxCachedBytes || pieces_.size() == kMaxPieces)
      return std::free(piece.bytes);
    pieces_.push_back(piece);
    cached_bytes_ += piece.size_bytes;
  }
  Cache() { pieces_.reserve(kMaxPieces); }

 private:
  static constexpr size_t kMaxPieces = 32;
  std::vector<Piece> pieces_;
  size_t cached_bytes_ = 0;
};

Cache& cache() {
  static thread_local Cache cache;
  return cache;
}

}  // namespace

ScratchMemory::ScratchMemory(ScratchMemory&& other) noexcept
    : bytes_(std::exchange(other.bytes_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

ScratchMemory& ScratchMemory::operator=(ScratchMemory&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

ScratchMemory::~ScratchMemory() { release(); }

void* ScratchMemory::reserve(size_t size_bytes) {
  if (size_bytes <= size_bytes_ && bytes_ != nullptr) return bytes_;
  release();
  Piece piece = cache().take(size_bytes);
  if (piece.bytes == nullptr) {
    piece = {std::malloc(std::max<size_t>(size_bytes, 1)), std::max<size_t>(size_bytes, 1)};
    if (piece.bytes == nullptr) throw std::bad_alloc();
  }
  bytes_ = piece.bytes;
  size_bytes_ = piece.size_bytes;
  return bytes_;
}

void ScratchMemory::release() {
  if (bytes_ != nullptr) cache().give({bytes_, size_bytes_});
  bytes_ = nullptr;
  size_bytes_ = 0;
}

}  // namespace fmc
