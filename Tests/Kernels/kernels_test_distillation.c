/* The kernels of self-distillation against the formula in double precision. */
#include "kernels_test.h"

static void entropy_case(const ck_kernels *k, int64_t columns, int64_t targets) {
  float *z = random_floats(columns, -6, 6), *gradient = random_floats(columns, SENTINEL, SENTINEL), *rows[3];
  double *q = malloc((size_t)columns * sizeof *q), top = -INFINITY, sum = 0, mass = 0, want = 0, worst = 0, size = 0;
  for (int64_t t = 0; t < targets; t++) rows[t] = random_floats(columns, 0, 1);
  for (int64_t i = 0; i < columns; i++) {
    q[i] = 0;
    for (int64_t t = 0; t < targets; t++) q[i] += rows[t][i];
    mass += q[i];
    top = z[i] > top ? z[i] : top;
  }
  for (int64_t i = 0; i < columns; i++) sum += exp((z[i] - top) / 0.1);
  for (int64_t i = 0; i < columns; i++) want += q[i] * (log(sum) - (z[i] - top) / 0.1);
  const double got = k->soft_cross_entropy(z, (const float *const *)rows, targets, columns, 10, 0.5f, gradient);
  check(fabs(got - want) <= 3e-6 * (1 + fabs(want)), "entropy of %ld columns, %ld targets: %g for %g", (long)columns,
        (long)targets, got, want);
  for (int64_t i = 0; i < columns; i++) {
    const double g = 5 * (exp((z[i] - top) / 0.1) / sum * mass - q[i]);
    worst = worse(worst, fabs(gradient[i] - g));
    size = fabs(g) > size ? fabs(g) : size;
  }
  check(worst <= 2e-6 * (size + 1e-3), "its gradient: %g of %g", worst, size);
  check(k->soft_cross_entropy(z, (const float *const *)rows, targets, columns, 10, 0.5f, NULL) == got,
        "the entropy without a gradient has the same bits");
  for (int64_t t = 0; t < targets; t++) free(rows[t]);
  free(z), free(gradient), free(q);
}

static void normalize_case(const ck_kernels *k, int64_t columns) {
  enum { ROWS = 3 };
  const float eps = 1e-3f;
  float *x = random_floats(ROWS * columns, -2, 2), *g = random_floats(ROWS * columns, -1, 1);
  float *y = random_floats(ROWS * columns, 0, 0), *dx = random_floats(ROWS * columns, 1, 1);
  for (int64_t i = 0; i < columns; i++) x[columns + i] *= 1e-7f; /* shorter than eps */
  k->normalize_rows(x, y, ROWS, columns, eps);
  k->normalize_rows_backward(x, g, dx, ROWS, columns, eps);
  double worst = 0, error = 0;
  for (int r = 0; r < ROWS; r++) {
    double square = 0, along = 0;
    for (int64_t i = 0; i < columns; i++) {
      square += (double)x[r * columns + i] * x[r * columns + i];
      along += (double)x[r * columns + i] * g[r * columns + i];
    }
    const int tiny = sqrt(square) < eps;
    const double n = tiny ? eps : sqrt(square), share = tiny ? 0 : along / square;
    for (int64_t i = 0; i < columns; i++) {
      const double d = (g[r * columns + i] - x[r * columns + i] * share) / n;
      worst = worse(worst, fabs(y[r * columns + i] - x[r * columns + i] / n));
      error = worse(error, fabs(dx[r * columns + i] - 1 - d) / (1 + fabs(d) + 1 / n));
    }
  }
  check(worst < 4e-7 && error < 1e-6, "normalised rows of %ld: %g, backward %g", (long)columns, worst, error);
  free(x), free(g), free(y), free(dx);
}

static void gram_case(const ck_kernels *k, int64_t count, int student, int teacher) {
  float *s = random_floats(count, -1, 1), *t = random_floats(count, -1, 1), *kept = malloc((size_t)count * sizeof *s);
  double want = 0;
  int good = 1;
  memcpy(kept, s, (size_t)count * sizeof *s);
  const double got = k->gram_difference(s, t, count, student, teacher);
  for (int64_t i = 0; i < count; i++) {
    const float b = teacher && t[i] < 0 ? 0 : t[i], a = student && kept[i] < 0 ? 0 : kept[i];
    want += (double)(a - b) * (a - b);
    good &= s[i] == (student && kept[i] < 0 ? 0 : a - b);
  }
  check(good && fabs(got - want) <= 1e-6 * (1 + want), "gram difference of %ld: %g for %g", (long)count, got, want);
  free(s), free(t), free(kept);
}

static void plain_case(const ck_kernels *k, int64_t count) {
  float *x = random_floats(count, -3, 3), *y = random_floats(count, -3, 3), *z = random_floats(count, 0, 0);
  double want = 0, worst = 0, error = 0;
  float top = -INFINITY;
  k->exp_scaled(x, z, 0.5f, 2, -1, count);
  for (int64_t i = 0; i < count; i++) {
    want += (double)x[i] * y[i];
    top = x[i] > top ? x[i] : top;
    worst = worse(worst, fabs(z[i] / exp(2 * ((double)x[i] - 0.5) - 1) - 1));
  }
  const double got = k->dot(x, y, count);
  check(fabs(got - want) <= 1e-6 * (double)count, "dot of %ld: %g for %g", (long)count, got, want);
  check(k->largest(x, count) == top, "largest of %ld", (long)count);
  k->multiply_scaled(z, y, 0.5f, count);
  for (int64_t i = 0; i < count; i++)
    error = worse(error, fabs(z[i] - exp(2 * ((double)x[i] - 0.5) - 1) * y[i] / 2) / exp(2 * ((double)x[i] - 0.5) - 1));
  check(worst < 2e-6 && error < 4e-6, "exponentials of %ld: %g, scaled %g", (long)count, worst, error);
  x[0] = NAN;
  check(count == 1 ? isinf(k->largest(x, count)) : k->largest(x, count) <= top, "a NaN is not the largest");
  free(x), free(y), free(z);
}

void test_distillation(const ck_kernels *k) {
  seed(74);
  static const int64_t counts[] = {1, 3, 8, 17, 33, 255, 1024, 1025, 5000};
  for (int i = 0; i < 9; i++) {
    for (int64_t targets = 0; targets < 4; targets++) entropy_case(k, counts[i], targets);
    normalize_case(k, counts[i]);
    for (int cut = 0; cut < 4; cut++) gram_case(k, counts[i], cut & 1, cut >> 1);
    plain_case(k, counts[i]);
  }
}
