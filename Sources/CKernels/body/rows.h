/* Kernels over rows: normalisation and softmax. Sums run in VL lanes of float32, which for the rows of these
 * networks (up to a few thousand) is more exact than one running float32 sum. */

CK_INLINE void store_row(void *y, int32_t y_type, int64_t i, vf value, int lanes) {
  if (y_type == CK_BF16) vf_store_bf16_n((uint16_t *)y + i, value, lanes);
  else vf_store_n((float *)y + i, value, lanes);
}
CK_INLINE void *next_row(void *y, int32_t y_type, int64_t ldy) {
  return (char *)y + ldy * (int64_t)(y_type == CK_BF16 ? sizeof(uint16_t) : sizeof(float));
}

/* Lanes past the end hold 0, so they add nothing. */
CK_INLINE float row_mean(const float *x, int64_t columns) {
  vf even = vf_set1(0), odd = vf_set1(0);
  int64_t i = 0;
  for (; i + 2 * VL <= columns; i += 2 * VL) even += vf_load(x + i), odd += vf_load(x + i + VL);
  CK_LOOP(j, columns - i, { even += vf_load_n(x + i + j, lanes); });
  return vf_sum(even + odd) / (float)columns;
}

/* The mean of (x - centre)^2, the second pass: no cancellation, whatever the mean. */
CK_INLINE float row_mean_square(const float *x, int64_t columns, float centre) {
  vf even = vf_set1(0), odd = vf_set1(0);
  const vf c = vf_set1(centre);
  int64_t i = 0;
  for (; i + 2 * VL <= columns; i += 2 * VL) {
    const vf d = vf_load(x + i) - c, e = vf_load(x + i + VL) - c;
    even = vf_fma(d, d, even);
    odd = vf_fma(e, e, odd);
  }
  for (; i + VL <= columns; i += VL) {
    const vf d = vf_load(x + i) - c;
    even = vf_fma(d, d, even);
  }
  float rest = 0;
  for (; i < columns; i++) rest += (x[i] - centre) * (x[i] - centre);
  return (vf_sum(even + odd) + rest) / (float)columns;
}

CK_INLINE vf norm_vector(const float *x, const float *w, const float *b, int64_t i, int lanes, vf mean, vf rstd) {
  const vf v = (vf_load_n(x + i, lanes) - mean) * rstd;
  return vf_fma(v, vf_load_n(w + i, lanes), b != NULL ? vf_load_n(b + i, lanes) : vf_set1(0));
}

/* y = (x - mean) / sqrt(variance + eps) * w + b, the biased variance (Ba, Kiros, Hinton 2016, arXiv:1607.06450) */
CK_INLINE void norm_row(const float *x, void *y, int32_t y_type, const float *w, const float *b, int64_t columns,
                        float mean, float rstd, int gelu) {
  const vf m = vf_set1(mean), s = vf_set1(rstd);
  int64_t i = 0;
  if (gelu)
    for (; i + AT_ONCE * VL <= columns; i += AT_ONCE * VL) {
      vf v[AT_ONCE];
      CK_UNROLL for (int j = 0; j < AT_ONCE; j++) v[j] = norm_vector(x, w, b, i + j * VL, VL, m, s);
      vf_gelu_n(AT_ONCE, v);
      CK_UNROLL for (int j = 0; j < AT_ONCE; j++) store_row(y, y_type, i + j * VL, v[j], VL);
    }
  CK_LOOP(j, columns - i, {
    const vf v = norm_vector(x, w, b, i + j, lanes, m, s);
    store_row(y, y_type, i + j, gelu ? vf_gelu(v) : v, lanes);
  });
}

static void layer_norm(const float *x, int64_t ldx, void *y, int64_t ldy, int32_t y_type, const float *w,
                       const float *b, int64_t rows, int64_t columns, float eps) {
  for (int64_t r = 0; r < rows; r++, x += ldx, y = next_row(y, y_type, ldy)) {
    const float mean = row_mean(x, columns);
    norm_row(x, y, y_type, w, b, columns, mean, 1.0f / sqrtf(row_mean_square(x, columns, mean) + eps), 0);
  }
}

static void layer_norm_gelu(float *x, const float *w, const float *b, int64_t rows, int64_t columns, float eps) {
  for (int64_t r = 0; r < rows; r++, x += columns) {
    const float mean = row_mean(x, columns);
    norm_row(x, x, CK_F32, w, b, columns, mean, 1.0f / sqrtf(row_mean_square(x, columns, mean) + eps), 1);
  }
}

/* y = x / sqrt(mean(x^2) + eps) * w (Zhang, Sennrich 2019, arXiv:1910.07467) */
static void rms_norm(const float *x, int64_t ldx, void *y, int64_t ldy, int32_t y_type, const float *w, int64_t rows,
                     int64_t columns, float eps) {
  for (int64_t r = 0; r < rows; r++, x += ldx, y = next_row(y, y_type, ldy))
    norm_row(x, y, y_type, w, NULL, columns, 0.0f, 1.0f / sqrtf(row_mean_square(x, columns, 0.0f) + eps), 0);
}

/* x[rows, columns] dense, in place; the row's maximum is subtracted first. */
static void softmax_rows(float *x, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++, x += columns) {
    vf best = vf_set1(-INFINITY);
    int64_t i = 0;
    for (; i + VL <= columns; i += VL) best = vf_max(best, vf_load(x + i));
    float top = vf_largest(best), sum = 0;
    for (; i < columns; i++) top = x[i] > top ? x[i] : top;
    vf total = vf_set1(0);
    const vf t = vf_set1(top);
    CK_LOOP(j, columns, {
      const vf e = vf_exp(vf_load_n(x + j, lanes) - t);
      vf_store_n(x + j, e, lanes);
      total += vf_load_n(x + j, lanes); /* again from memory: lanes past the end are 0 */
    });
    sum = vf_sum(total);
    scale(x, 1.0f / sum, columns);
  }
}
