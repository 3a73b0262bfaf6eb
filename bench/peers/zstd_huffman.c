// SPDX-License-Identifier: Apache-2.0
// zstd's own Huffman coder alone: blocks of 128 KiB, 4 streams each, as the literals of a zstd block.
//
// A coded block is its size in 4 bytes and then one byte if all symbols are equal, the symbols themselves if Huffman
// codes do not shorten them, or what zstd makes of them: a table and 4 streams.
#include <stdint.h>
#include <string.h>
#include <zstd.h>

// The declarations below are those of zstd's internal lib/common/huf.h, which is not installed. Their last argument is
// a set of flags since 1.5.4; up to 1.5.6 they are the same.
#if ZSTD_VERSION_NUMBER < 10504 || ZSTD_VERSION_NUMBER > 10506
#error "zstd's internal Huffman functions are known for versions 1.5.4 to 1.5.6 only"
#endif
typedef enum { HUF_repeat_none, HUF_repeat_check, HUF_repeat_valid } HUF_repeat;
size_t HUF_compress4X_repeat(void* dst, size_t dst_size, const void* src, size_t src_size, unsigned max_symbol,
                             unsigned table_log, void* workspace, size_t workspace_size, size_t* table,
                             HUF_repeat* repeat, int flags);
size_t HUF_decompress4X_hufOnly_wksp(uint32_t* table, void* dst, size_t dst_size, const void* src, size_t src_size,
                                     void* workspace, size_t workspace_size, int flags);
unsigned HUF_isError(size_t code);

enum {
  kBlockSize = 128 << 10,
  kSizeBytes = 4,
  kMaxSymbol = 255,
  kTableLog = 11,          // LitHufLog: what zstd uses for literals
  kMaxTableLog = 12,       // HUF_TABLELOG_MAX, and the capacity of the decoder's table
  kWorkspaceWords = 2048,  // 16 KiB; HUF_WORKSPACE_SIZE, the larger need, is 8.5 KiB
  kFlagBmi2 = 1,
};

static int flags(void) {
#if defined(__x86_64__)
  return __builtin_cpu_supports("bmi2") ? kFlagBmi2 : 0;
#else
  return 0;
#endif
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// Returns the number of bytes written, 0 for an error. The capacity should be about twice src_size: zstd flushes more
// often where the codes of a stream, at their longest, would not fit.
size_t zstd_huffman_encode(const uint8_t* src, size_t src_size, uint8_t* dst, size_t capacity) {
  uint64_t workspace[kWorkspaceWords];
  size_t table[kMaxSymbol + 2];
  size_t written = 0;
  for (size_t start = 0; start < src_size; start += kBlockSize) {
    const size_t count = smaller(src_size - start, kBlockSize);
    if (capacity - written < kSizeBytes + count) return 0;
    uint8_t* payload = dst + written + kSizeBytes;
    HUF_repeat repeat = HUF_repeat_none;
    size_t size = HUF_compress4X_repeat(payload, capacity - written - kSizeBytes, src + start, count, kMaxSymbol,
                                        kTableLog, workspace, sizeof workspace, table, &repeat, flags());
    if (HUF_isError(size)) return 0;
    if (size == 0) {
      memcpy(payload, src + start, count);
      size = count;
    }
    const uint32_t stored_size = (uint32_t)size;
    memcpy(dst + written, &stored_size, kSizeBytes);
    written += kSizeBytes + size;
  }
  return written;
}

// Returns dst_size, 0 if src is not what the encoder writes for so many symbols.
size_t zstd_huffman_decode(const uint8_t* src, size_t src_size, uint8_t* dst, size_t dst_size) {
  uint64_t workspace[kWorkspaceWords];
  uint32_t table[1 + (1 << kMaxTableLog)];
  size_t read = 0;
  for (size_t start = 0; start < dst_size; start += kBlockSize) {
    const size_t count = smaller(dst_size - start, kBlockSize);
    uint32_t size;
    if (src_size - read < kSizeBytes) return 0;
    memcpy(&size, src + read, kSizeBytes);
    read += kSizeBytes;
    if (src_size - read < size) return 0;
    if (size == count) {
      memcpy(dst + start, src + read, count);
    } else if (size == 1) {
      memset(dst + start, src[read], count);
    } else {
      table[0] = kMaxTableLog * 0x01000001u;  // as HUF_CREATE_STATIC_DTABLEX2
      if (HUF_decompress4X_hufOnly_wksp(table, dst + start, count, src + read, size, workspace, sizeof workspace,
                                        flags()) != count) {
        return 0;
      }
    }
    read += size;
  }
  return read == src_size ? dst_size : 0;
}
