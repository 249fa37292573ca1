/* What follows a finished tile of a product: bias, GELU, residual, and the way into c. */

/* Asks for the lines of c that a tile will be stored to. */
CK_INLINE void gemm_fetch(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column) {
  const int64_t size = args->c_type == CK_BF16 ? 2 : 4, bytes = NR * size;
  const char *line = (const char *)args->c + (row0 * args->ldc + column) * size;
  for (int64_t r = 0; r < rows; r++, line += args->ldc * size)
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(line + at, 1);
}

/* One vector of columns: sums[row][NR] to c. */
CK_INLINE void gemm_finish_columns(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column,
                                   const int lanes, const float *sums) {
  const vf zero = vf_set1(0), one = vf_set1(1);
  const vf bias = args->bias != NULL ? vf_load_n(args->bias + column, lanes) : zero;
  const vf gamma = args->gamma != NULL ? vf_load_n(args->gamma + column, lanes) : one;
  for (int64_t r = 0; r < rows; r++, sums += NR) {
    const int64_t at = (row0 + r) * args->ldc + column;
    vf v = vf_load(sums);
    if (args->accumulate) v += vf_load_n((const float *)args->c + at, lanes);
    v += bias;
    if (args->epilogue == CK_EPILOGUE_GELU) v = vf_gelu(v);
    if (args->residual != NULL)
      v = vf_fma(gamma, v, vf_load_n(args->residual + (row0 + r) * args->ldr + column, lanes));
    if (args->c_type == CK_BF16) vf_store_bf16_n((uint16_t *)args->c + at, v, lanes);
    else vf_store_n((float *)args->c + at, v, lanes);
  }
}

static void gemm_finish(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column, const float *sums) {
  for (int v = 0; v < 2; v++, column += VL, sums += VL) {
    const int64_t left = args->n - column;
    if (left >= VL) gemm_finish_columns(args, row0, rows, column, VL, sums);
    else if (left > 0) gemm_finish_columns(args, row0, rows, column, (int)left, sums);
  }
}
