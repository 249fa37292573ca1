/* What follows a finished tile of a product: bias, GELU, residual, and the way into c. */

/* Asks for the lines of c that a tile will be stored to. */
CK_INLINE void gemm_fetch(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column) {
  const int64_t size = args->c_type == CK_BF16 ? 2 : 4, bytes = NR * size;
  const char *line = (const char *)args->c + (row0 * args->ldc + column) * size;
  for (int64_t r = 0; r < rows; r++, line += args->ldc * size)
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(line + at, 1);
}

/* Sums of one row's vector with what comes before the activation. */
CK_INLINE vf gemm_biased(const ck_gemm_args *args, int64_t at, const int lanes, const float *sums, vf bias) {
  vf v = vf_load(sums);
  if (args->accumulate) v += vf_load_n((const float *)args->c + at, lanes);
  return v + bias;
}

/* One vector of columns: sums[row][NR] to c. Rows go `n` at a time, so that an activation is never waited for. */
CK_INLINE void gemm_finish_rows(const int n, const ck_gemm_args *args, int64_t row, int64_t column, const int lanes,
                                const float *sums, vf bias, vf gamma) {
  vf v[n];
  FOR_N v[i] = gemm_biased(args, (row + i) * args->ldc + column, lanes, sums + i * NR, bias);
  if (args->epilogue == CK_EPILOGUE_GELU) vf_gelu_n(n, v);
  if (args->residual != NULL)
    FOR_N v[i] = vf_fma(gamma, v[i], vf_load_n(args->residual + (row + i) * args->ldr + column, lanes));
  if (args->c_type == CK_BF16)
    FOR_N vf_store_bf16_n((uint16_t *)args->c + (row + i) * args->ldc + column, v[i], lanes);
  else
    FOR_N vf_store_n((float *)args->c + (row + i) * args->ldc + column, v[i], lanes);
}

CK_INLINE void gemm_finish_columns(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column,
                                   const int lanes, const float *sums) {
  const vf bias = args->bias != NULL ? vf_load_n(args->bias + column, lanes) : vf_set1(0);
  const vf gamma = args->gamma != NULL ? vf_load_n(args->gamma + column, lanes) : vf_set1(1);
  int64_t r = 0;
  for (; r + AT_ONCE <= rows; r += AT_ONCE)
    gemm_finish_rows(AT_ONCE, args, row0 + r, column, lanes, sums + r * NR, bias, gamma);
  for (; r < rows; r++) gemm_finish_rows(1, args, row0 + r, column, lanes, sums + r * NR, bias, gamma);
}

static void gemm_finish(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column, const float *sums) {
  for (int v = 0; v < 2; v++, column += VL, sums += VL) {
    const int64_t left = args->n - column;
    if (left >= VL) gemm_finish_columns(args, row0, rows, column, VL, sums);
    else if (left > 0) gemm_finish_columns(args, row0, rows, column, (int)left, sums);
  }
}
