// Products of small bf16 matrices by AMX, whose tiles hold 16 rows of 64 bytes, and what these want
// in memory: every size a multiple of 32, and a right operand's rows in pairs.
#pragma once

#include "attention.h"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define SIMCSE_AMX

#include <sys/syscall.h>
#include <unistd.h>

namespace simcse {

using c10::BFloat16;

inline int64_t tiled(int64_t n) { return (n + 31) / 32 * 32; }

// Linux grants a process the tiles' room in its threads' states when it is asked.
inline bool amx_granted() {
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
}

// Compilers do not know that the tiles' instructions read and write memory: it is to be as the
// program says before and after them.
inline void settle() { asm volatile("" ::: "memory"); }

// All eight tiles of the calling thread, for as long as this lives; then as they were.
class Tiles {
 public:
  Tiles() {
    _tile_storeconfig(before_);
    alignas(64) uint8_t whole[64] = {1};  // the palette; from 16 on bytes a row, from 48 on rows
    for (int tile = 0; tile < 8; ++tile) {
      whole[16 + 2 * tile] = 64;
      whole[48 + tile] = 16;
    }
    settle();
    _tile_loadconfig(whole);
  }
  ~Tiles() {
    if (before_[0] != 0)
      _tile_loadconfig(before_);
    else
      _tile_release();
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  alignas(64) uint8_t before_[64];
};

// C (m x n) = A (m x depth) B, dense; word (i, j) of `b` holds rows 2i and 2i + 1 of B's column j.
inline void multiply_tiles(const BFloat16* a, const uint32_t* b, int64_t m, int64_t n, int64_t depth,
                           float* c) {
  settle();
  for (int64_t r = 0; r < m; r += 32)
    for (int64_t j = 0; j < n; j += 32) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t k = 0; k < depth; k += 32) {
        _tile_loadd(4, a + r * depth + k, depth * sizeof *a);
        _tile_loadd(5, a + (r + 16) * depth + k, depth * sizeof *a);
        _tile_loadd(6, b + k / 2 * n + j, n * sizeof *b);
        _tile_loadd(7, b + k / 2 * n + j + 16, n * sizeof *b);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, c + r * n + j, n * sizeof *c);
      _tile_stored(1, c + r * n + j + 16, n * sizeof *c);
      _tile_stored(2, c + (r + 16) * n + j, n * sizeof *c);
      _tile_stored(3, c + (r + 16) * n + j + 16, n * sizeof *c);
    }
  settle();
}

// Thirty-two bf16, those from `count` on as 0.
inline WordLanes load_words(const BFloat16* from, int64_t count) {
  const __mmask32 some = count >= 32 ? ~0u : (1u << count) - 1;
  return reinterpret_cast<WordLanes>(_mm512_maskz_loadu_epi16(some, from));
}

inline void store_words(void* to, WordLanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

// Sixteen floats and sixteen more as thirty-two bf16.
inline WordLanes narrowed(Lanes low, Lanes high) {
  const __m512bh both = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(high),
                                            reinterpret_cast<__m512>(low));
  WordLanes found;
  std::memcpy(&found, &both, sizeof found);
  return found;
}

// Word j holds half `from + j` of `low`, and above it that of `high`.
inline WordLanes interleaved(WordLanes low, WordLanes high, uint32_t from) {
  const WordLanes word = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const WordLanes places = (word + from) | (word + from + 32) << 16;
  return reinterpret_cast<WordLanes>(_mm512_permutex2var_epi16(
      reinterpret_cast<__m512i>(low), reinterpret_cast<__m512i>(places),
      reinterpret_cast<__m512i>(high)));
}

// Word j holds half j of these, and above it half 16 + j.
inline WordLanes interleaved(WordLanes both) {
  const WordLanes word = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return reinterpret_cast<WordLanes>(_mm512_permutexvar_epi16(
      reinterpret_cast<__m512i>(word | (word + 16) << 16), reinterpret_cast<__m512i>(both)));
}

// A head of a sequence into (tiled rows, tiled columns), zeros around it.
inline void gather(Block<const BFloat16> from, int64_t rows, int64_t columns, BFloat16* to) {
  const int64_t wide = tiled(columns);
  for (int64_t i = 0; i < rows; ++i) {
    const BFloat16* row = from.start + i * from.stride;
    __builtin_prefetch(row + columns);  // the next head's
    // whole rows of a tile: what was stored in halves a tile would wait for
    for (int64_t j = 0; j < wide; j += 2 * kLanes)
      store_words(to + i * wide + j, load_words(row + j, columns - j));
  }
  std::fill_n(to + rows * wide, (tiled(rows) - rows) * wide, BFloat16(0));
}

// A head of a sequence as a right operand (tiled rows, tiled columns).
inline void pair_rows(Block<const BFloat16> from, int64_t rows, int64_t columns, uint32_t* to) {
  const int64_t wide = tiled(columns);
  for (int64_t i = 0; i < rows; i += 2) {
    const BFloat16 *low = from.start + i * from.stride, *high = low + from.stride;
    __builtin_prefetch(low + columns);
    __builtin_prefetch(high + columns);
    for (int64_t j = 0; j < wide; j += 2 * kLanes) {
      const WordLanes a = load_words(low + j, columns - j);
      const WordLanes b = i + 1 < rows ? load_words(high + j, columns - j) : WordLanes{};
      store_words(to + i / 2 * wide + j, interleaved(a, b, 0));
      store_words(to + i / 2 * wide + j + kLanes, interleaved(a, b, kLanes));
    }
  }
  const int64_t done = (rows + 1) / 2 * wide;
  std::fill_n(to + done, tiled(rows) / 2 * wide - done, 0u);
}

// Its transpose as a right operand (tiled columns, tiled rows).
inline void pair_columns(Block<const BFloat16> from, int64_t rows, int64_t columns, uint32_t* to) {
  WordLanes square[kLanes];
  const int64_t wide = tiled(rows);
  for (int64_t i = 0; i < wide; i += kLanes)
    for (int64_t j = 0; j < columns; j += 2 * kLanes) {
      const BFloat16* row = from.start + i * from.stride + j;
      for (int64_t k = 0; k < kLanes; ++k, row += from.stride) {
        __builtin_prefetch(row + columns);
        square[k] = i + k < rows ? load_words(row, columns - j) : WordLanes{};
      }
      turn(square);
      for (int64_t k = 0; k < kLanes; ++k) store_words(to + (j / 2 + k) * wide + i, square[k]);
    }
}

// A square of floats as a left operand, as it is or transposed.
inline void narrow(const float* from, int64_t size, BFloat16* to) {
  for (int64_t at = 0; at < size * size; at += 2 * kLanes)
    store_words(to + at, narrowed(load(from + at), load(from + at + kLanes)));
}

inline void narrow_transposed(const float* from, int64_t size, BFloat16* to) {
  WordLanes square[kLanes];
  for (int64_t i = 0; i < size; i += 2 * kLanes)
    for (int64_t j = 0; j < size; j += kLanes) {
      for (int64_t k = 0; k < kLanes; ++k) {
        const float* pair = from + (i + 2 * k) * size + j;
        const WordLanes both = narrowed(load(pair), load(pair + size));
        square[k] = interleaved(both);
      }
      turn(square);
      for (int64_t k = 0; k < kLanes; ++k) store_words(to + (j + k) * size + i, square[k]);
    }
}

}  // namespace simcse

#endif
