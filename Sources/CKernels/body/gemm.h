/* c[m, n] = epilogue(a[m, k] w[n, k]^T) in float32, and with bf16 products and float32 sums. */
#include "gemm_finish.h"
#define GEMM_PANELS 16 /* of a chunk */
#define GEMM_ROWS ((VL == 16 ? 140 : 96) / MR * MR)

/* float32: a block of a group is 210 KiB of the 1 MiB second cache where VL is 16, 144 KiB of 512 KiB elsewhere; of a
 * panel 48 and 24 KiB. */
#define GEMM(name) f32_##name
#define GEMM_A float
#define GEMM_W float
#define GEMM_PAIR 1
#define GEMM_K 384
DEFINE_TILE(f32_tile, tile_f32, float, float, GEMM_K, 1, 2, 1)
DEFINE_TILE(f32_half, tile_f32, float, float, GEMM_K, 1, 1, 1)
#define GEMM_STRIPS
DEFINE_TILE(f32_strip, tile_f32, float, float, 1, MR, 2, 1)
DEFINE_TILE(f32_strip_half, tile_f32, float, float, 1, MR, 1, 1)

CK_INLINE void f32_load_a(const ck_gemm_args *args, int64_t row, int64_t k0, int64_t count, float *out) {
  const int64_t at = row * args->lda + k0;
  if (args->a_type == CK_BF16) bf16_to_f32((const uint16_t *)args->a + at, out, count);
  else memcpy(out, (const float *)args->a + at, (size_t)count * sizeof *out);
}
#include "gemm_rows.h"

/* The same panels from w[k, n], the transposed matrix: a row of a panel is a piece of a row of w. */
static void pack_f32_columns(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed) {
  for (int64_t column = 0; column < n; column += NR) {
    float *out = (float *)packed + column * k;
    const int64_t count = n - column < NR ? n - column : NR;
    for (int64_t p = 0; p < k; p++, out += NR)
      for (int64_t v = 0; v < NR; v += VL) {
        const int64_t left = count - v;
        const float *from = w + p * ldw + column + v;
        vf_store(out + v, left >= VL ? vf_load(from) : left > 0 ? vf_load_n(from, (int)left) : vf_set1(0));
      }
  }
}

static void pack_f32(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed) {
  enum { CHUNK = 64 }; /* a piece of a panel stays in the first cache while its columns are filled in one by one */
  for (int64_t column = 0; column < n; column += NR)
    for (int64_t k0 = 0; k0 < k; k0 += CHUNK) {
      float *out = (float *)packed + column * k + k0 * NR;
      const int64_t length = k - k0 < CHUNK ? k - k0 : CHUNK;
      if (column + NR <= n) {
        transpose(w + column * ldw + k0, ldw, NR, length, out, NR);
        continue;
      }
      for (int64_t j = 0; j < NR; j++) {
        const float *row = column + j < n ? w + (column + j) * ldw + k0 : NULL;
        for (int64_t p = 0; p < length; p++) out[p * NR + j] = row != NULL ? row[p] : 0;
      }
    }
}

/* bf16: odd k leaves 0 in the upper half of a column's last word. Without the dot product, a holds values already
 * rounded to bf16, as float32. */
#define GEMM(name) bf16_##name
#define GEMM_W uint32_t
#define GEMM_PAIR 2
#ifdef CK_HAS_DOT
#define GEMM_K 768
#define GEMM_A uint16_t
DEFINE_TILE(bf16_tile, tile_pairs, uint32_t, uint32_t, GEMM_K / 2, 1, 2, 1)
DEFINE_TILE(bf16_half, tile_pairs, uint32_t, uint32_t, GEMM_K / 2, 1, 1, 1)
#else
#define GEMM_K 384
#define GEMM_A float
DEFINE_TILE(bf16_tile, tile_pairs, float, uint32_t, GEMM_K, 1, 2, 1)
DEFINE_TILE(bf16_half, tile_pairs, float, uint32_t, GEMM_K, 1, 1, 1)
#endif

/* `count` values of a's row, rounded to bf16, and a zero after an odd last one. */
CK_INLINE void bf16_load_a(const ck_gemm_args *args, int64_t row, int64_t k0, int64_t count, GEMM_A *out) {
  const float *wide = (const float *)args->a + row * args->lda + k0;
  const uint16_t *narrow = (const uint16_t *)args->a + row * args->lda + k0;
#ifdef CK_HAS_DOT
  if (args->a_type == CK_BF16) memcpy(out, narrow, (size_t)count * sizeof *out);
  else f32_to_bf16(wide, out, count);
#else
  if (args->a_type == CK_BF16) bf16_to_f32(narrow, out, count);
  else CK_LOOP(i, count, { vf_store_n(out + i, vf_round_bf16(vf_load_n(wide + i, lanes)), lanes); });
#endif
  if (count & 1) out[count] = 0;
}

#include "gemm_rows.h"

static void pack_bf16(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed) {
  enum { CHUNK = 256 }; /* one chunk of a panel stays in the first cache while its columns are filled in one by one */
  uint16_t rounded[CHUNK];
  for (int64_t panel = 0; panel * NR < n; panel++) {
    uint32_t *out = (uint32_t *)packed + panel * bf16_k_words(k) * NR;
    for (int64_t k0 = 0; k0 < k; k0 += CHUNK, out += CHUNK / 2 * NR) {
      const int64_t length = k - k0 < CHUNK ? k - k0 : CHUNK;
      for (int64_t j = 0; j < NR; j++) {
        const int64_t row = panel * NR + j;
        if (row < n) f32_to_bf16(w + row * ldw + k0, rounded, length);
        else memset(rounded, 0, sizeof rounded);
        if (length & 1) rounded[length] = 0;
        for (int64_t p = 0; p < bf16_k_words(length); p++) {
          uint32_t word;
          memcpy(&word, rounded + 2 * p, sizeof word);
          out[p * NR + j] = word;
        }
      }
    }
  }
}

static void pack_bf16_columns(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed) {
  for (int64_t column = 0; column < n; column += NR) {
    uint32_t *out = (uint32_t *)packed + column * bf16_k_words(k);
    for (int64_t p = 0; p < k; p += 2, out += NR)
      for (int64_t v = 0; v < NR; v += VL) {
        const int64_t left = n - column - v;
        const int lanes = left >= VL ? VL : left > 0 ? (int)left : 0;
        const float *from = w + p * ldw + column + v;
        vu low = (vu)vf_set1(0), high = low;
        if (lanes > 0) low = vu_round_bf16(vf_load_n(from, lanes));
        if (lanes > 0 && p + 1 < k) high = vu_round_bf16(vf_load_n(from + ldw, lanes));
        vu_store(out + v, high | low >> 16);
      }
  }
}
