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
  /* What a fetching form asks for while it multiplies, `step` bytes further each k. */
  const char *next;
  int64_t step;
} tile_start;

#define FOR_ROWS CK_UNROLL for (int r = 0; r < rows; r++)
#define FOR_VECTORS CK_UNROLL for (int v = 0; v < form.vectors; v++)

/* What a form knows at compile time: 1 or 2 vectors of the panel (1: the rest of c is left alone), and whether it asks
 * for memory that is needed soon. */
typedef struct {
  int vectors, fetch;
} tile_form;

CK_INLINE void tile_begin(const int rows, const tile_form form, vf (*acc)[2], const float *c, tile_start from) {
  if (from.start == START_ZERO) {
    FOR_ROWS FOR_VECTORS acc[r][v] = vf_set1(0);
  } else if (from.start == START_ADD) {
    FOR_ROWS FOR_VECTORS acc[r][v] = vf_load(c + r * NR + v * VL);
  } else {
    vf carry[2];
    FOR_VECTORS carry[v] = vf_load(from.carry + v * VL);
    FOR_ROWS FOR_VECTORS acc[r][v] = vf_load(c + r * NR + v * VL) * carry[v];
  }
}
CK_INLINE void tile_end(const int rows, const tile_form form, vf (*acc)[2], float *c) {
  FOR_ROWS FOR_VECTORS vf_store(c + r * NR + v * VL, acc[r][v]);
}

/* float32 times float32 */
CK_INLINE void tile_f32(const int rows, const tile_form form, int64_t k, const float *a, int64_t row_step,
                        int64_t k_step, const float *b, float *c, tile_start from) {
  vf acc[16][2], w[2];
  tile_begin(rows, form, acc, c, from);
  for (int64_t p = 0; p < k; p++, a += k_step, b += NR) {
    if (form.fetch) __builtin_prefetch(from.next + p * from.step);
    FOR_VECTORS w[v] = vf_load(b + v * VL);
    FOR_ROWS {
      const vf x = vf_set1(a[r * row_step]);
      FOR_VECTORS acc[r][v] = vf_fma(x, w[v], acc[r][v]);
    }
  }
  tile_end(rows, form, acc, c);
}

#ifdef CK_HAS_DOT
/* Pairs of bf16 in 32-bit words, k, row_step and k_step in words. */
CK_INLINE void tile_pairs(const int rows, const tile_form form, int64_t k, const uint32_t *a, int64_t row_step,
                          int64_t k_step, const uint32_t *b, float *c, tile_start from) {
  vf acc[16][2];
  vu w[2];
  tile_begin(rows, form, acc, c, from);
  for (int64_t p = 0; p < k; p++, a += k_step, b += NR) {
    if (form.fetch) __builtin_prefetch(from.next + p * from.step);
    FOR_VECTORS w[v] = vu_load(b + v * VL);
    FOR_ROWS {
      const vu x = (vu)_mm512_set1_epi32((int)a[r * row_step]);
      FOR_VECTORS acc[r][v] = vf_dot_bf16(acc[r][v], x, w[v]);
    }
  }
  tile_end(rows, form, acc, c);
}
#else
/* a: float32 values already rounded to bf16, k_step 1; b: words of two bf16, widened here by a shift and a mask
 * (exact). k counts words. The even half of the word is finished before the odd one begins: four widened vectors
 * would not fit the registers. */
CK_INLINE void tile_pairs(const int rows, const tile_form form, int64_t k, const float *a, int64_t row_step,
                          int64_t k_step, const uint32_t *b, float *c, tile_start from) {
  vf acc[16][2], even[2], odd[2];
  tile_begin(rows, form, acc, c, from);
  for (int64_t p = 0; p < k; p++, a += 2 * k_step, b += NR) {
    if (form.fetch) __builtin_prefetch(from.next + p * from.step);
    FOR_VECTORS even[v] = (vf)(vu_load(b + v * VL) << 16);
    FOR_ROWS {
      const vf x = vf_set1(a[r * row_step]);
      FOR_VECTORS acc[r][v] = vf_fma(x, even[v], acc[r][v]);
    }
    FOR_VECTORS odd[v] = (vf)(vu_load(b + v * VL) & 0xffff0000u);
    FOR_ROWS {
      const vf x = vf_set1(a[r * row_step + 1]);
      FOR_VECTORS acc[r][v] = vf_fma(x, odd[v], acc[r][v]);
    }
  }
  tile_end(rows, form, acc, c);
}
#endif

/* NAME(rows, ...) runs BODY with `rows` known at compile time, 1 <= rows <= MR, in the form of the last arguments. */
#define TILE_CASE(BODY, n, ROW_STEP, K_STEP, ...)                                                               \
  case n:                                                                                                       \
    if (n <= MR) BODY(n, (const tile_form){__VA_ARGS__}, k, a, ROW_STEP, K_STEP, b, c, from);                   \
    break;
#define DEFINE_TILE(NAME, BODY, A, B, ROW_STEP, K_STEP, ...)                                                    \
  static __attribute__((noinline)) void NAME(int rows, int64_t k, const A *a, int64_t step, const B *b,         \
                                             float *c, tile_start from) {                                       \
    (void)step;                                                                                                 \
    switch (rows) {                                                                                             \
      TILE_CASE(BODY, 1, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 2, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 3, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 4, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 5, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 6, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 7, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 8, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 9, ROW_STEP, K_STEP, __VA_ARGS__)                                                         \
      TILE_CASE(BODY, 10, ROW_STEP, K_STEP, __VA_ARGS__)                                                        \
      TILE_CASE(BODY, 11, ROW_STEP, K_STEP, __VA_ARGS__)                                                        \
      TILE_CASE(BODY, 12, ROW_STEP, K_STEP, __VA_ARGS__)                                                        \
      TILE_CASE(BODY, 13, ROW_STEP, K_STEP, __VA_ARGS__)                                                        \
      TILE_CASE(BODY, 14, ROW_STEP, K_STEP, __VA_ARGS__)                                                        \
    }                                                                                                           \
  }

/* Piece i of `pieces` near equal pieces of [0, count) begins here: no tile is left with a row or two. */
CK_INLINE int64_t piece_start(int64_t count, int64_t pieces, int64_t i) { return count * i / pieces; }
