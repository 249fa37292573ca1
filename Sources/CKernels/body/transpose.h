/* Transposition in 4 x 4 blocks of registers: what products with a transposed factor are fed with. */
typedef float v4 __attribute__((vector_size(16)));

CK_INLINE v4 v4_load(const float *p) { v4 v; memcpy(&v, p, sizeof v); return v; }
CK_INLINE void v4_store(float *p, v4 v) { memcpy(p, &v, sizeof v); }

CK_INLINE void transpose_4x4(const float *x, int64_t ldx, float *y, int64_t ldy) {
  const v4 a = v4_load(x), b = v4_load(x + ldx), c = v4_load(x + 2 * ldx), d = v4_load(x + 3 * ldx);
  const v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const v4 ef = __builtin_shufflevector(a, b, 2, 6, 3, 7), gh = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  v4_store(y, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
  v4_store(y + ldy, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
  v4_store(y + 2 * ldy, __builtin_shufflevector(ef, gh, 0, 1, 4, 5));
  v4_store(y + 3 * ldy, __builtin_shufflevector(ef, gh, 2, 3, 6, 7));
}

/* y[columns, rows] = x[rows, columns]^T */
CK_INLINE void transpose(const float *x, int64_t ldx, int64_t rows, int64_t columns, float *y, int64_t ldy) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) transpose_4x4(x + r * ldx + c, ldx, y + c * ldy + r, ldy);
    for (; c < columns; c++)
      for (int64_t i = r; i < r + 4; i++) y[c * ldy + i] = x[i * ldx + c];
  }
  for (; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) y[c * ldy + r] = x[r * ldx + c];
}
