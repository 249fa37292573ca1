/* Training: backwards of the norms. With n = (x - mean) rstd and y = n w + b:
 *   dx = rstd (g w - mean(g w) - n mean(g w n)), dw = sum g n, db = sum g;  RMSNorm: without the means of x and of g w. */

typedef struct {
  float mean, rstd, first, second; /* first = mean(g w), second = mean(g w n) */
} norm_row_sums;

/* The parameters' gradients, and the two means. `slope` is called with n w + b when the norm's output went through GELU: then g
 * is multiplied by the slope and stored. */
CK_INLINE norm_row_sums norm_backward_sums(const float *x, const float *w, const float *b, const float *g, float *stored,
                                           float *dw, float *db, int64_t columns, float mean, float rstd,
                                           const int gelu) {
  const vf m = vf_set1(mean), s = vf_set1(rstd);
  vf first = vf_set1(0), second = vf_set1(0);
  CK_LOOP(i, columns, {
    const vf weight = vf_load_n(w + i, lanes);
    vf n = (vf_load_n(x + i, lanes) - m) * s;
    vf d = vf_load_n(g + i, lanes);
    if (gelu) {
      d *= vf_gelu_slope(vf_fma(n, weight, vf_load_n(b + i, lanes)));
      vf_store_n(stored + i, d, lanes);
    }
    if (dw != NULL) vf_store_n(dw + i, vf_fma(d, n, vf_load_n(dw + i, lanes)), lanes);
    if (db != NULL) vf_store_n(db + i, d + vf_load_n(db + i, lanes), lanes);
    d *= weight; /* lanes past the end hold 0 */
    first += d;
    second = vf_fma(d, n, second);
  });
  return (norm_row_sums){mean, rstd, vf_sum(first) / (float)columns, vf_sum(second) / (float)columns};
}

CK_INLINE void norm_backward_row(const float *x, const float *w, const float *g, float *dx, int64_t columns,
                                 norm_row_sums sums, const int centred, int adds) {
  const vf m = vf_set1(sums.mean), s = vf_set1(sums.rstd), first = vf_set1(centred ? sums.first : 0.0f);
  const vf second = vf_set1(-sums.second);
  CK_LOOP(i, columns, {
    const vf n = (vf_load_n(x + i, lanes) - m) * s;
    vf d = vf_fma(vf_load_n(g + i, lanes), vf_load_n(w + i, lanes), -first);
    d = vf_fma(second, n, d) * s;
    if (adds) d += vf_load_n(dx + i, lanes);
    vf_store_n(dx + i, d, lanes);
  });
}

static void layer_norm_backward(const float *x, const float *w, const float *g, float *input_gradient, int adds,
                                float *weight_gradient, float *bias_gradient, int64_t rows, int64_t columns,
                                float eps) {
  for (int64_t r = 0; r < rows; r++, x += columns, g += columns) {
    const float mean = row_mean(x, columns), rstd = 1.0f / sqrtf(row_mean_square(x, columns, mean) + eps);
    const norm_row_sums sums =
        norm_backward_sums(x, w, NULL, g, NULL, weight_gradient, bias_gradient, columns, mean, rstd, 0);
    if (input_gradient != NULL)
      norm_backward_row(x, w, g, input_gradient + r * columns, columns, sums, 1, adds);
  }
}

static void rms_norm_backward(const float *x, const float *w, const float *g, float *input_gradient, int adds,
                              float *weight_gradient, int64_t rows, int64_t columns, float eps) {
  for (int64_t r = 0; r < rows; r++, x += columns, g += columns) {
    const float rstd = 1.0f / sqrtf(row_mean_square(x, columns, 0.0f) + eps);
    const norm_row_sums sums = norm_backward_sums(x, w, NULL, g, NULL, weight_gradient, NULL, columns, 0.0f, rstd, 0);
    if (input_gradient != NULL)
      norm_backward_row(x, w, g, input_gradient + r * columns, columns, sums, 0, adds);
  }
}

static void layer_norm_gelu_backward(const float *x, const float *w, const float *b, float *g, float *weight_gradient,
                                     float *bias_gradient, int64_t rows, int64_t columns, float eps) {
  for (int64_t r = 0; r < rows; r++, x += columns, g += columns) {
    const float mean = row_mean(x, columns), rstd = 1.0f / sqrtf(row_mean_square(x, columns, mean) + eps);
    const norm_row_sums sums =
        norm_backward_sums(x, w, b, g, g, weight_gradient, bias_gradient, columns, mean, rstd, 1);
    norm_backward_row(x, w, g, g, columns, sums, 1, 0);
  }
}
