/* Kernels without sums: every element by itself. Tails go through the same vector code, so that a result does not
 * depend on where an element lies in a vector. */

static void bias_gelu(float *x, int64_t ldx, const float *bias, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++, x += ldx)
    CK_LOOP(i, columns, {
      const vf b = bias != NULL ? vf_load_n(bias + i, lanes) : vf_set1(0);
      vf_store_n(x + i, vf_gelu(vf_load_n(x + i, lanes) + b), lanes);
    });
}

static void bias_add(float *x, int64_t ldx, const float *bias, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++, x += ldx)
    CK_LOOP(i, columns, { vf_store_n(x + i, vf_load_n(x + i, lanes) + vf_load_n(bias + i, lanes), lanes); });
}

static void swiglu(const float *gate, const float *up, float *y, int64_t count) {
  CK_LOOP(i, count, {
    const vf g = vf_load_n(gate + i, lanes);
    vf_store_n(y + i, g / (vf_exp(-g) + 1.0f) * vf_load_n(up + i, lanes), lanes);
  });
}

/* x[rows, columns] += gamma * (branch + bias), all dense */
static void residual(float *x, const float *branch, const float *bias, const float *gamma, int64_t rows,
                     int64_t columns) {
  for (int64_t r = 0; r < rows; r++, x += columns, branch += columns)
    CK_LOOP(i, columns, {
      vf v = vf_load_n(branch + i, lanes);
      if (bias != NULL) v += vf_load_n(bias + i, lanes);
      const vf g = gamma != NULL ? vf_load_n(gamma + i, lanes) : vf_set1(1);
      vf_store_n(x + i, vf_fma(g, v, vf_load_n(x + i, lanes)), lanes);
    });
}

static void sigmoid(float *x, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(x + i, vf_sigmoid(vf_load_n(x + i, lanes)), lanes); });
}

static void exp_f32(const float *x, float *y, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(y + i, vf_exp(vf_load_n(x + i, lanes)), lanes); });
}

static void scale(float *x, float factor, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(x + i, vf_load_n(x + i, lanes) * factor, lanes); });
}

static void add(float *x, const float *y, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(x + i, vf_load_n(x + i, lanes) + vf_load_n(y + i, lanes), lanes); });
}

static void divide(float *x, const float *by, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(x + i, vf_load_n(x + i, lanes) / vf_load_n(by + i, lanes), lanes); });
}

/* Every stride_x-th float, `lanes` of them. */
CK_INLINE vf vf_gather(const float *x, int64_t stride_x, int lanes) {
  float whole[VL] = {0};
  for (int l = 0; l < lanes; l++) whole[l] = x[l * stride_x];
  return vf_load(whole);
}

static void weighted_accumulate(float *sum, const float *g, const float *x, int64_t stride_x, int64_t count) {
  CK_LOOP(i, count, {
    const vf v = stride_x == 1 ? vf_load_n(x + i, lanes) : vf_gather(x + i * stride_x, stride_x, lanes);
    vf_store_n(sum + i, vf_fma(vf_load_n(g + i, lanes), v, vf_load_n(sum + i, lanes)), lanes);
  });
}

/* x: [classes, plane_stride]. Starting from class 0 and minus infinity, a NaN never wins, class 0's included. */
static void argmax_planes(const float *x, int64_t plane_stride, int64_t classes, int64_t count, int32_t *out) {
  CK_LOOP(i, count, {
    vf best = vf_set1(-INFINITY);
    vi winner = (vi)vf_set1(0);
    for (int64_t c = 0; c < classes; c++) {
      const vf v = vf_load_n(x + c * plane_stride + i, lanes);
      const vi greater = v > best;
      best = vf_select(greater, v, best);
      winner = (winner & ~greater) | ((int32_t)c & greater);
    }
    memcpy(out + i, &winner, (size_t)lanes * sizeof *out);
  });
}
