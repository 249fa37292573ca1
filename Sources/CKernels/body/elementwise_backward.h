/* Training: element-wise kernels, their backwards and what an optimiser does. */

static void gelu(const float *x, float *y, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(y + i, vf_gelu(vf_load_n(x + i, lanes)), lanes); });
}

static void gelu_backward(const float *x, const float *g, float *y, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(y + i, vf_load_n(g + i, lanes) * vf_gelu_slope(vf_load_n(x + i, lanes)), lanes); });
}

/* y = a s(a) u with the sigmoid s: dy/da = u s (1 + a (1 - s)), dy/du = a s */
static void swiglu_backward(const float *gate, const float *up, const float *g, float *gate_gradient,
                            float *up_gradient, int64_t count) {
  CK_LOOP(i, count, {
    const vf a = vf_load_n(gate + i, lanes), u = vf_load_n(up + i, lanes), d = vf_load_n(g + i, lanes);
    const vf s = vf_sigmoid(a);
    vf_store_n(gate_gradient + i, d * u * s * vf_fma(a, 1.0f - s, vf_set1(1)), lanes);
    vf_store_n(up_gradient + i, d * a * s, lanes);
  });
}

static void residual_backward(const float *g, const float *branch, const float *gamma, float factor,
                              float *branch_gradient, float *gamma_gradient, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++, g += columns, branch += columns, branch_gradient += columns)
    CK_LOOP(i, columns, {
      const vf d = vf_load_n(g + i, lanes) * factor;
      if (gamma_gradient != NULL)
        vf_store_n(gamma_gradient + i,
                   vf_fma(d, vf_load_n(branch + i, lanes), vf_load_n(gamma_gradient + i, lanes)), lanes);
      vf_store_n(branch_gradient + i, gamma != NULL ? d * vf_load_n(gamma + i, lanes) : d, lanes);
    });
}

static void fill(float *x, float value, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(x + i, vf_set1(value), lanes); });
}

static void add_scaled(float *y, const float *x, float factor, int64_t count) {
  const vf f = vf_set1(factor);
  CK_LOOP(i, count, { vf_store_n(y + i, vf_fma(f, vf_load_n(x + i, lanes), vf_load_n(y + i, lanes)), lanes); });
}

static void interpolate(float *y, const float *x, float momentum, float rest, int64_t count) {
  CK_LOOP(i, count, {
    vf_store_n(y + i, vf_fma(vf_set1(rest), vf_load_n(x + i, lanes), vf_load_n(y + i, lanes) * momentum), lanes);
  });
}

static void adamw(float *parameter, const float *g, float *first, float *second, const ck_adamw_args *args,
                  int64_t count) {
  const ck_adamw_args a = *args;
  CK_LOOP(i, count, {
    const vf d = vf_load_n(g + i, lanes) * a.gradient_scale;
    const vf m = vf_load_n(first + i, lanes);
    const vf moved = vf_fma(vf_set1(a.first_weight), d - m, m);
    const vf square = vf_fma(d * a.second_weight, d, vf_load_n(second + i, lanes) * a.beta2);
    const vf root = vf_sqrt(square) / a.root_correction + a.epsilon;
    const vf p = vf_load_n(parameter + i, lanes) * a.decay;
    vf_store_n(first + i, moved, lanes);
    vf_store_n(second + i, square, lanes);
    vf_store_n(parameter + i, vf_fma(vf_set1(-a.step_size), moved / root, p), lanes);
  });
}

typedef double vd __attribute__((vector_size(VL * 8)));

static double sum_of_squares(const float *x, int64_t count) {
  vd even = {0}, odd = {0};
  double lane[VL], rest = 0;
  int64_t i = 0;
  for (; i + 2 * VL <= count; i += 2 * VL) {
    const vd a = __builtin_convertvector(vf_load(x + i), vd), b = __builtin_convertvector(vf_load(x + i + VL), vd);
    even += a * a;
    odd += b * b;
  }
  even += odd;
  for (; i < count; i++) rest += (double)x[i] * x[i];
  memcpy(lane, &even, sizeof lane);
  for (int l = 0; l < VL; l++) rest += lane[l];
  return rest;
}

/* Rows in groups, each summed by itself first: the long sum has few steps. */
static void column_sums(const float *x, int64_t ldx, int64_t rows, int64_t columns, float *sums) {
  enum { GROUP = 64 };
  for (int64_t r0 = 0; r0 < rows; r0 += GROUP, x += GROUP * ldx) {
    const int64_t count = rows - r0 < GROUP ? rows - r0 : GROUP;
    CK_LOOP(i, columns, {
      vf sum = vf_load_n(x + i, lanes);
      for (int64_t r = 1; r < count; r++) sum += vf_load_n(x + r * ldx + i, lanes);
      vf_store_n(sums + i, vf_load_n(sums + i, lanes) + sum, lanes);
    });
  }
}
