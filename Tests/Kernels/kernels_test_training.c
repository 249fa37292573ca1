/* Training kernels: transposed products, element-wise backwards, norms, AdamW, sums. */
#include "kernels_test.h"

static const int64_t sizes[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 97, 200};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Panels and products from a transposed factor are those of the factor itself, bit for bit. */
static void transposed_case(const ck_kernels *t, int64_t m, int64_t n, int64_t k, int f32) {
  const int64_t lda = m + 3, ldw = n + 2;
  float *a = random_floats(k * lda, -1, 1), *w = random_floats(k * ldw, -1, 1);
  float *a_turned = random_floats(m * k, 0, 0), *w_turned = random_floats(n * k, 0, 0);
  for (int64_t p = 0; p < k; p++) {
    for (int64_t i = 0; i < m; i++) a_turned[i * k + p] = a[p * lda + i];
    for (int64_t j = 0; j < n; j++) w_turned[j * k + p] = w[p * ldw + j];
  }
  const size_t size = f32 ? t->packed_f32_bytes(n, k) : t->packed_bf16_bytes(n, k);
  void *packed = bytes(size), *same = bytes(size);
  (f32 ? t->pack_f32_columns : t->pack_bf16_columns)(w, ldw, n, k, packed);
  (f32 ? t->pack_f32 : t->pack_bf16)(w_turned, k, n, k, same);
  check(memcmp(packed, same, size) == 0, "pack columns %ld x %ld f32 %d", (long)n, (long)k, f32);
  void *scratch = bytes(f32 ? t->gemm_f32_scratch(k) : t->gemm_bf16_scratch(k));
  float *c = random_floats(m * n, 0, 0), *d = random_floats(m * n, 0, 0);
  ck_gemm_args args = {.m = m, .n = n, .k = k, .a = a, .lda = lda, .a_transposed = 1, .packed = packed, .c = c,
                       .ldc = n};
  (f32 ? t->gemm_f32 : t->gemm_bf16)(&args, scratch);
  args.a = a_turned, args.lda = k, args.a_transposed = 0, args.c = d;
  (f32 ? t->gemm_f32 : t->gemm_bf16)(&args, scratch);
  check(memcmp(c, d, (size_t)(m * n) * sizeof *c) == 0, "transposed a %ld x %ld x %ld f32 %d", (long)m, (long)n,
        (long)k, f32);
  double worst = 0;
  for (int64_t i = 0; i < m; i += 3)
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      for (int64_t p = 0; p < k; p++)
        sum += f32 ? (double)a_turned[i * k + p] * w_turned[j * k + p]
                   : (double)bf16_rounded(a_turned[i * k + p]) * bf16_rounded(w_turned[j * k + p]);
      worst = worse(worst, fabs(c[i * n + j] - sum));
    }
  check(worst < 6e-8 * (double)k + 1e-6, "transposed product %ld x %ld x %ld f32 %d: %g", (long)m, (long)n, (long)k, f32, worst);
  free(a), free(w), free(a_turned), free(w_turned), free(packed), free(same), free(scratch), free(c), free(d);
}

static double slope_of_gelu(double x) {
  return 0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
}

static void elementwise_case(const ck_kernels *t, int64_t n) {
  float *x = random_floats(n, -8, 8), *u = random_floats(n, -2, 2), *g = random_floats(n, -2, 2);
  float *y = random_floats(n, 0, 0), *z = random_floats(n, 0, 0);
  double gelu = 0, slope = 0, gate = 0, up = 0, add = 0, average = 0;
  t->gelu(x, y, n);
  t->gelu_backward(x, g, z, n);
  for (int64_t i = 0; i < n; i++) {
    gelu = worse(gelu, fabs(y[i] - gelu_reference(x[i])));
    slope = worse(slope, fabs(z[i] - g[i] * slope_of_gelu(x[i])));
  }
  check(gelu < 2e-6 && slope < 1e-6, "gelu and its slope, count %ld: %g, %g", (long)n, gelu, slope);
  memcpy(y, g, (size_t)n * sizeof *y); /* the gate's gradient in place of the gradient */
  t->swiglu_backward(x, u, y, y, z, n);
  for (int64_t i = 0; i < n; i++) {
    const double s = 1 / (1 + exp(-(double)x[i]));
    gate = worse(gate, fabs(y[i] - g[i] * u[i] * s * (1 + x[i] * (1 - s))));
    up = worse(up, fabs(z[i] - g[i] * x[i] * s));
  }
  check(gate < 4e-6 && up < 4e-6, "swiglu_backward count %ld: %g, %g", (long)n, gate, up);
  memcpy(y, x, (size_t)n * sizeof *y);
  memcpy(z, x, (size_t)n * sizeof *z);
  t->add_scaled(y, g, 0.3f, n);
  t->interpolate(z, g, 0.75f, 0.25f, n);
  double squares = 0;
  for (int64_t i = 0; i < n; i++) {
    add = worse(add, fabs(y[i] - (x[i] + (double)0.3f * g[i])));
    average = worse(average, fabs(z[i] - (0.75 * x[i] + 0.25 * g[i])));
    squares += (double)x[i] * x[i];
  }
  check(add < 1e-6 && average < 1e-6, "add_scaled, interpolate count %ld: %g, %g", (long)n, add, average);
  check(fabs(t->sum_of_squares(x, n) - squares) <= 1e-13 * squares, "sum_of_squares count %ld", (long)n);
  t->fill(y, 3, n - 1);
  check((n == 1 || y[n - 2] == 3) && y[n - 1] != 3, "fill stops at its count");
  free(x), free(u), free(g), free(y), free(z);
}

static void adamw_case(const ck_kernels *t, int64_t n) {
  float *p = random_floats(n, -1, 1), *g = random_floats(n, -1, 1), *m = random_floats(n, -1, 1);
  float *v = random_floats(n, 0, 1);
  const ck_adamw_args a = {.gradient_scale = 0.5f, .decay = 0.99f, .first_weight = 0.1f, .beta2 = 0.98f,
                           .second_weight = 0.02f, .step_size = 0.01f, .root_correction = 0.3f, .epsilon = 1e-8f};
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    float q = p[i], first = m[i], second = v[i];
    const double d = 0.5 * g[i], m1 = first + (double)a.first_weight * (d - first);
    const double v1 = (double)a.beta2 * second + (double)a.second_weight * d * d;
    const double p1 = (double)a.decay * q - (double)a.step_size * m1 / (sqrt(v1) / (double)a.root_correction + 1e-8);
    t->adamw(&q, g + i, &first, &second, &a, 1);
    worst = worse(worst, fabs(q - p1) + fabs(first - m1) + fabs(second - v1));
  }
  check(worst < 1e-6, "adamw: %g", worst);
  float *q = malloc((size_t)n * sizeof *q), *first = malloc((size_t)n * sizeof *q), one = p[n - 1], m1 = m[n - 1];
  float v1 = v[n - 1];
  memcpy(q, p, (size_t)n * sizeof *q);
  memcpy(first, m, (size_t)n * sizeof *q);
  t->adamw(q, g, first, v, &a, n);
  t->adamw(&one, g + n - 1, &m1, &v1, &a, 1);
  check(same_bits(q[n - 1], one) && same_bits(first[n - 1], m1) && same_bits(v[n - 1], v1),
        "adamw: an element's bits do not depend on its place, count %ld", (long)n);
  free(p), free(g), free(m), free(v), free(q), free(first);
}

static void sums_case(const ck_kernels *t, int64_t columns) {
  const int64_t rows = 131, ld = columns + 2;
  float *g = random_floats(rows * ld, -1, 1), *sums = random_floats(columns, -1, 1);
  float *dense = random_floats(rows * columns, -1, 1), *branch = random_floats(rows * columns, -1, 1);
  float *out = random_floats(rows * columns, 0, 0), *gamma = random_floats(columns, -1, 1);
  double column = 0, by_gamma = 0, by_branch = 0;
  double *expected = malloc((size_t)columns * sizeof *expected);
  for (int64_t c = 0; c < columns; c++) {
    expected[c] = sums[c];
    for (int64_t r = 0; r < rows; r++) expected[c] += g[r * ld + c];
  }
  t->column_sums(g, ld, rows, columns, sums);
  for (int64_t c = 0; c < columns; c++) column = worse(column, fabs(sums[c] - expected[c]));
  for (int64_t c = 0; c < columns; c++) {
    expected[c] = sums[c];
    for (int64_t r = 0; r < rows; r++) expected[c] += 1.5 * dense[r * columns + c] * branch[r * columns + c];
  }
  t->residual_backward(dense, branch, gamma, 1.5f, out, sums, rows, columns);
  for (int64_t c = 0; c < columns; c++) by_gamma = worse(by_gamma, fabs(sums[c] - expected[c]));
  for (int64_t i = 0; i < rows * columns; i++)
    by_branch = worse(by_branch, fabs(out[i] - 1.5 * gamma[i % columns] * dense[i]));
  check(column < 1e-5 && by_gamma < 2e-5 && by_branch < 1e-6, "column sums %ld: %g, %g, %g", (long)columns, column,
        by_gamma, by_branch);
  t->residual_backward(dense, branch, NULL, 1.0f, dense, NULL, rows, columns);
  check(same_bits(dense[0], dense[0]), "residual_backward in place");
  free(g), free(sums), free(dense), free(branch), free(out), free(gamma), free(expected);
}

/* kind 0: LayerNorm, 1: RMSNorm, 2: LayerNorm then GELU */
static void norm_backward_case(const ck_kernels *t, int64_t columns, int kind) {
  enum { ROWS = 3 };
  const double eps = 1e-3;
  float *x = random_floats(ROWS * columns, -2, 3), *g = random_floats(ROWS * columns, -1, 1);
  float *w = random_floats(columns, -1, 1), *b = random_floats(columns, -1, 1);
  float *dx = random_floats(ROWS * columns, -1, 1), *dw = random_floats(columns, -1, 1);
  float *db = random_floats(columns, -1, 1);
  double *want_dx = malloc((size_t)(ROWS * columns) * sizeof *want_dx), worst = 0;
  double *want_dw = malloc((size_t)columns * sizeof *want_dw), *want_db = malloc((size_t)columns * sizeof *want_db);
  for (int64_t c = 0; c < columns; c++) want_dw[c] = dw[c], want_db[c] = db[c];
  for (int64_t r = 0; r < ROWS; r++) {
    const float *row = x + r * columns;
    double mean = 0, square = 0, first = 0, second = 0, count = (double)columns;
    for (int64_t c = 0; c < columns && kind != 1; c++) mean += row[c] / count;
    for (int64_t c = 0; c < columns; c++) square += (row[c] - mean) * (row[c] - mean) / count;
    const double rstd = 1 / sqrt(square + eps);
    double *d = want_dx + r * columns;
    for (int64_t c = 0; c < columns; c++) {
      const double n = (row[c] - mean) * rstd;
      d[c] = g[r * columns + c] * (kind == 2 ? slope_of_gelu(n * w[c] + b[c]) : 1);
      want_dw[c] += d[c] * n;
      want_db[c] += d[c];
      first += d[c] * w[c] / count;
      second += d[c] * w[c] * n / count;
    }
    for (int64_t c = 0; c < columns; c++)
      d[c] = rstd * (d[c] * w[c] - (kind == 1 ? 0 : first) - (row[c] - mean) * rstd * second);
  }
  if (kind == 2) {
    memcpy(dx, g, (size_t)(ROWS * columns) * sizeof *dx);
    t->layer_norm_gelu_backward(x, w, b, dx, dw, db, ROWS, columns, (float)eps);
  } else {
    for (int64_t i = 0; i < ROWS * columns; i++) want_dx[i] += dx[i];
    if (kind == 0) t->layer_norm_backward(x, w, g, dx, 1, dw, db, ROWS, columns, (float)eps);
    else t->rms_norm_backward(x, w, g, dx, 1, dw, ROWS, columns, (float)eps);
  }
  /* a row of one or two values has next to no variance: rstd is large and so is every error */
  for (int64_t i = 0; i < ROWS * columns; i++) worst = worse(worst, fabs(dx[i] - want_dx[i]) / (1 + fabs(want_dx[i])));
  for (int64_t c = 0; c < columns; c++) {
    worst = worse(worst, fabs(dw[c] - want_dw[c]));
    if (kind != 1) worst = worse(worst, fabs(db[c] - want_db[c]));
  }
  check(worst < (columns < 4 ? 2e-4 : 1e-5), "norm backward kind %d columns %ld: %g", kind, (long)columns, worst);
  free(x), free(g), free(w), free(b), free(dx), free(dw), free(db), free(want_dx), free(want_dw), free(want_db);
}

void test_training(const ck_kernels *t) {
  seed(71);
  static const int64_t products[][3] = {{1, 1, 1}, {5, 3, 7}, {30, 70, 33}, {150, 17, 400}, {141, 260, 800}, {9, 1, 769}};
  for (int i = 0; i < 6; i++)
    for (int f32 = 0; f32 < 2; f32++) transposed_case(t, products[i][0], products[i][1], products[i][2], f32);
  for (int i = 0; i < SIZES; i++) {
    elementwise_case(t, sizes[i]);
    adamw_case(t, sizes[i]);
    sums_case(t, sizes[i]);
    for (int kind = 0; kind < 3; kind++) norm_backward_case(t, sizes[i], kind);
  }
}
