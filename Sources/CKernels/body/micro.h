/* Register tiles: c[rows, NR] (+)= a[rows, k] * b[k, NR], with b in panels of NR = two vectors and every
 * accumulator in a register.
 *
 * a is read as broadcasts: element (row, p) lies at a[row * row_step + p * k_step]. Each tile function comes in forms
 * whose steps are compile-time constants, so that the addresses of all rows are one register plus displacements. */
#define NR (2 * VL)

/* What an accumulator starts from: 0, c, or c times carry[NR] (the softmax's rescaling). */
enum { START_ZERO, START_ADD, START_CARRY };
typedef struct {
  const float *carry;
  int start;
  /* Forms with FETCH ask for memory that is needed soon while they multiply: `step` bytes further each k. */
  const char *next;
  int64_t step;
} tile_start;

#define FOR_ROWS CK_UNROLL for (int r = 0; r < rows; r++)

CK_INLINE void tile_begin(const int rows, vf (*acc)[2], const float *c, tile_start from) {
  if (from.start == START_ZERO) {
    FOR_ROWS { acc[r][0] = vf_set1(0); acc[r][1] = vf_set1(0); }
  } else if (from.start == START_ADD) {
    FOR_ROWS { acc[r][0] = vf_load(c + r * NR); acc[r][1] = vf_load(c + r * NR + VL); }
  } else {
    const vf s0 = vf_load(from.carry), s1 = vf_load(from.carry + VL);
    FOR_ROWS { acc[r][0] = vf_load(c + r * NR) * s0; acc[r][1] = vf_load(c + r * NR + VL) * s1; }
  }
}
CK_INLINE void tile_end(const int rows, vf (*acc)[2], float *c) {
  FOR_ROWS { vf_store(c + r * NR, acc[r][0]); vf_store(c + r * NR + VL, acc[r][1]); }
}

/* float32 times float32 */
CK_INLINE void tile_f32(const int rows, int64_t k, const float *a, int64_t row_step, int64_t k_step, const float *b,
                        float *c, tile_start from, const int fetch) {
  vf acc[16][2];
  tile_begin(rows, acc, c, from);
  for (int64_t p = 0; p < k; p++, a += k_step, b += NR) {
    if (fetch) __builtin_prefetch(from.next + p * from.step);
    const vf b0 = vf_load(b), b1 = vf_load(b + VL);
    FOR_ROWS {
      const vf x = vf_set1(a[r * row_step]);
      acc[r][0] = vf_fma(x, b0, acc[r][0]);
      acc[r][1] = vf_fma(x, b1, acc[r][1]);
    }
  }
  tile_end(rows, acc, c);
}

#ifdef CK_HAS_DOT
/* Pairs of bf16 in 32-bit words, k, row_step and k_step in words. */
CK_INLINE void tile_pairs(const int rows, int64_t k, const uint32_t *a, int64_t row_step, int64_t k_step,
                          const uint32_t *b, float *c, tile_start from, const int fetch) {
  vf acc[16][2];
  tile_begin(rows, acc, c, from);
  for (int64_t p = 0; p < k; p++, a += k_step, b += NR) {
    if (fetch) __builtin_prefetch(from.next + p * from.step);
    const vu b0 = vu_load(b), b1 = vu_load(b + VL);
    FOR_ROWS {
      const vu x = (vu)_mm512_set1_epi32((int)a[r * row_step]);
      acc[r][0] = vf_dot_bf16(acc[r][0], x, b0);
      acc[r][1] = vf_dot_bf16(acc[r][1], x, b1);
    }
  }
  tile_end(rows, acc, c);
}
#else
/* a: float32 values already rounded to bf16, k_step 1; b: words of two bf16, widened here by a shift and a mask
 * (exact). k counts words. The even half of the word is finished before the odd one begins: four widened vectors
 * would not fit the registers. */
CK_INLINE void tile_pairs(const int rows, int64_t k, const float *a, int64_t row_step, int64_t k_step,
                          const uint32_t *b, float *c, tile_start from, const int fetch) {
  vf acc[16][2];
  tile_begin(rows, acc, c, from);
  for (int64_t p = 0; p < k; p++, a += 2 * k_step, b += NR) {
    if (fetch) __builtin_prefetch(from.next + p * from.step);
    const vf even0 = (vf)(vu_load(b) << 16), even1 = (vf)(vu_load(b + VL) << 16);
    FOR_ROWS {
      const vf x = vf_set1(a[r * row_step]);
      acc[r][0] = vf_fma(x, even0, acc[r][0]);
      acc[r][1] = vf_fma(x, even1, acc[r][1]);
    }
    const vf odd0 = (vf)(vu_load(b) & 0xffff0000u), odd1 = (vf)(vu_load(b + VL) & 0xffff0000u);
    FOR_ROWS {
      const vf x = vf_set1(a[r * row_step + 1]);
      acc[r][0] = vf_fma(x, odd0, acc[r][0]);
      acc[r][1] = vf_fma(x, odd1, acc[r][1]);
    }
  }
  tile_end(rows, acc, c);
}
#endif

/* NAME(rows, ...) runs BODY with `rows` known at compile time, 1 <= rows <= MR. */
#define TILE_CASE(BODY, n, ROW_STEP, K_STEP, FETCH)                  \
  case n:                                                            \
    if (n <= MR) BODY(n, k, a, ROW_STEP, K_STEP, b, c, from, FETCH); \
    break;
#define DEFINE_TILE(NAME, BODY, A, B, ROW_STEP, K_STEP, FETCH)                                               \
  static __attribute__((noinline)) void NAME(int rows, int64_t k, const A *a, int64_t step, const B *b,    \
                                             float *c, tile_start from) {                                  \
    (void)step;                                                                                            \
    switch (rows) {                                                                                        \
      TILE_CASE(BODY, 1, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 2, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 3, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 4, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 5, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 6, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 7, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 8, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 9, ROW_STEP, K_STEP, FETCH)                                                          \
      TILE_CASE(BODY, 10, ROW_STEP, K_STEP, FETCH)                                                         \
      TILE_CASE(BODY, 11, ROW_STEP, K_STEP, FETCH)                                                         \
      TILE_CASE(BODY, 12, ROW_STEP, K_STEP, FETCH)                                                         \
      TILE_CASE(BODY, 13, ROW_STEP, K_STEP, FETCH)                                                         \
      TILE_CASE(BODY, 14, ROW_STEP, K_STEP, FETCH)                                                         \
    }                                                                                                      \
  }

/* Piece i of `pieces` near equal pieces of [0, count) begins here: no tile is left with a row or two. */
CK_INLINE int64_t piece_start(int64_t count, int64_t pieces, int64_t i) { return count * i / pieces; }
