/* Normalisations, softmax, elementwise kernels and the functions behind them. */
#include "kernels_test.h"

static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 100, 192, 257, 768,
                                1000};
enum { SIZES = sizeof sizes / sizeof *sizes };

typedef struct {
  double mean, rstd;
} moments;
static moments moments_of(const float *x, int64_t columns, int centred, double eps) {
  double mean = 0, square = 0;
  for (int64_t i = 0; centred && i < columns; i++) mean += x[i] / (double)columns;
  for (int64_t i = 0; i < columns; i++) square += (x[i] - mean) * (x[i] - mean) / (double)columns;
  return (moments){mean, 1 / sqrt(square + eps)};
}

/* kind 0: layer norm, 1: layer norm without b, 2: RMS norm */
static void norm_case(const ck_kernels *k, int64_t columns, int kind, int type, float offset) {
  enum { ROWS = 3 };
  const int64_t ldx = columns + 5, ldy = columns + 3;
  const float eps = 1e-5f;
  float *x = random_floats(ROWS * ldx, offset - 2, offset + 2), *w = random_floats(columns, -1, 2);
  float *b = random_floats(columns, -1, 1), *y = random_floats(ROWS * ldy, SENTINEL, SENTINEL);
  uint16_t *narrow = (uint16_t *)y;
  if (kind == 2) k->rms_norm(x, ldx, y, ldy, type, w, ROWS, columns, eps);
  else k->layer_norm(x, ldx, y, ldy, type, w, kind == 0 ? b : NULL, ROWS, columns, eps);
  const float sentinel = SENTINEL;
  uint16_t untouched[2];
  memcpy(untouched, &sentinel, sizeof sentinel);
  double worst = 0;
  int clean = 1;
  for (int64_t r = 0; r < ROWS; r++) {
    const moments m = moments_of(x + r * ldx, columns, kind != 2, eps);
    for (int64_t i = 0; i < ldy; i++) {
      const int64_t at = r * ldy + i;
      if (i >= columns) {
        clean &= type == CK_F32 ? y[at] == SENTINEL : narrow[at] == untouched[at & 1];
        continue;
      }
      const double expected = (x[r * ldx + i] - m.mean) * m.rstd * w[i] + (kind == 0 ? b[i] : 0);
      const double got = type == CK_F32 ? y[at] : bf16_value(narrow[at]);
      const double unit = type == CK_F32 ? (2e-6 + fabs(offset) * 4e-7 * m.rstd) : 5e-3;
      worst = worse(worst, fabs(got - expected) / (fabs(expected) + 1) / unit);
    }
  }
  check(worst < 1, "norm kind %d type %d columns %ld offset %g: %.2f tolerances", kind, type, (long)columns, offset,
        worst);
  check(clean, "norm kind %d type %d columns %ld writes only its columns", kind, type, (long)columns);
  free(x), free(w), free(b), free(y);
}

static void norm_in_place_and_nan(const ck_kernels *k) {
  enum { N = 41 };
  float *x = random_floats(2 * N, -1, 1), *y = random_floats(2 * N, 0, 0), *w = random_floats(N, 1, 2);
  k->layer_norm(x, N, y, N, CK_F32, w, NULL, 2, N, 1e-6f);
  k->layer_norm(x, N, x, N, CK_F32, w, NULL, 2, N, 1e-6f);
  check(memcmp(x, y, 2 * N * sizeof *x) == 0, "layer_norm in place gives the same bits");
  for (int at = 0; at < N; at += 20)
    for (int kind = 0; kind < 2; kind++) {
      for (int i = 0; i < 2 * N; i++) x[i] = (float)(i % 7);
      x[at] = kind ? INFINITY : NAN;
      k->layer_norm(x, N, y, N, CK_F32, w, NULL, 2, N, 1e-6f);
      int nan = 0;
      for (int i = 0; i < N; i++) nan += isnan(y[i]) != 0;
      check(nan == N && !isnan(y[N]), "layer_norm: a row with %s is NaN, its neighbour is not",
            kind ? "infinity" : "NaN");
    }
  free(x), free(y), free(w);
}

static void norm_gelu_case(const ck_kernels *k, int64_t columns) {
  float *x = random_floats(4 * columns, -3, 3), *w = random_floats(columns, -1, 2), *b = random_floats(columns, -1, 1);
  float *before = malloc((size_t)(4 * columns) * sizeof *before);
  memcpy(before, x, (size_t)(4 * columns) * sizeof *x);
  k->layer_norm_gelu(x, w, b, 4, columns, 1e-6f);
  double worst = 0;
  for (int64_t i = 0; i < 4 * columns; i++) {
    const moments m = moments_of(before + i / columns * columns, columns, 1, 1e-6);
    const double e = gelu_reference((before[i] - m.mean) * m.rstd * w[i % columns] + b[i % columns]);
    worst = worse(worst, fabs(x[i] - e) / (1 + fabs(e)));
  }
  check(worst < 4e-6 * (columns < 4 ? 100 : 1), "layer_norm_gelu columns %ld: %g", (long)columns, worst);
  free(x), free(w), free(b), free(before);
}

static void softmax_case(const ck_kernels *k, int64_t columns, float range) {
  enum { ROWS = 3 };
  float *x = random_floats(ROWS * columns, -range, range), *y = malloc((size_t)(ROWS * columns) * sizeof *y);
  memcpy(y, x, (size_t)(ROWS * columns) * sizeof *y);
  k->softmax_rows(y, ROWS, columns);
  double worst = 0;
  for (int64_t r = 0; r < ROWS; r++) {
    double top = -INFINITY, sum = 0;
    /* fmax crashes gcc 12 here */
    for (int64_t i = 0; i < columns; i++) top = x[r * columns + i] > top ? x[r * columns + i] : top;
    for (int64_t i = 0; i < columns; i++) sum += exp(x[r * columns + i] - top);
    for (int64_t i = 0; i < columns; i++) {
      const double e = exp(x[r * columns + i] - top) / sum;
      worst = worse(worst, fabs(y[r * columns + i] - e) / (e + 1e-30));
    }
  }
  check(worst < 1e-5, "softmax columns %ld range %g: %g", (long)columns, range, worst);
  y[0] = NAN;
  k->softmax_rows(y, 1, columns);
  check(isnan(y[0]) && isnan(y[columns - 1]), "softmax of a row with NaN is NaN");
  free(x), free(y);
}

void test_rows(const ck_kernels *k) {
  seed(11);
  for (int i = 0; i < SIZES; i++) {
    for (int kind = 0; kind < 3; kind++)
      for (int type = CK_F32; type <= CK_BF16; type++) norm_case(k, sizes[i], kind, type, 0);
    if (sizes[i] > 8) norm_case(k, sizes[i], 0, CK_F32, 300);
    norm_gelu_case(k, sizes[i]);
    softmax_case(k, sizes[i], 5);
    softmax_case(k, sizes[i], 40);
  }
  norm_in_place_and_nan(k);
}

static void exp_checks(const ck_kernels *k) {
  enum { N = 20000 };
  float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
  double worst = 0, subnormal = 0;
  for (int i = 0; i < N; i++) x[i] = -87.3f + (float)i * (176.0f / N);
  k->exp_f32(x, y, N);
  for (int i = 0; i < N; i++) worst = worse(worst, fabs(y[i] / exp(x[i]) - 1));
  check(worst < 2e-7, "exp: relative error %g", worst);
  for (int i = 0; i < N; i++) x[i] = -87.4f - (float)i * (17.0f / N);
  k->exp_f32(x, y, N);
  for (int i = 0; i < N; i++) subnormal = worse(subnormal, fabs(y[i] - exp(x[i])));
  check(subnormal < 3e-45, "exp: subnormal results within two units: %g", subnormal);
  const float special[] = {INFINITY, -INFINITY, NAN, 0, 89, 200, -104.9f, -1e30f, -0.0f};
  k->exp_f32(special, y, 9);
  check(y[0] == INFINITY && y[1] == 0 && isnan(y[2]) && y[3] == 1 && y[4] == INFINITY && y[5] == INFINITY &&
        y[6] == 0 &&
            y[7] == 0 && y[8] == 1, "exp: special values");
  free(x), free(y);
}

static void gelu_checks(const ck_kernels *k) {
  enum { N = 40001 };
  float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
  double worst = 0, small = 0;
  for (int i = 0; i < N; i++) y[i] = x[i] = -10.0f + (float)i * (20.0f / (N - 1));
  k->bias_gelu(y, N, NULL, 1, N);
  for (int i = 0; i < N; i++) {
    const double e = gelu_reference(x[i]), error = fabs(y[i] - e);
    worst = worse(worst, error / fmax(1, fabs(x[i])));
    if (fabs(x[i]) < 1 && x[i] != 0) small = worse(small, error / fabs(e));
  }
  check(worst < 2e-7, "gelu: error %g of max(1, |x|)", worst);
  check(small < 1.5e-6, "gelu: relative error %g for |x| < 1", small);
  float special[] = {INFINITY, -INFINITY, NAN, 0, 1e30f, -1e30f, -20};
  k->bias_gelu(special, 7, NULL, 1, 7);
  check(special[0] == INFINITY && fabsf(special[1]) < 1e-30f && isnan(special[2]) && special[3] == 0 &&
        special[4] == 1e30f &&
            fabsf(special[5]) < 1e-30f && fabsf(special[6]) < 1e-30f, "gelu: special values");
  free(x), free(y);
}

static void sigmoid_checks(const ck_kernels *k) {
  enum { N = 10007 };
  float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y), *z = malloc(N * sizeof *z);
  float *up = random_floats(N, -2, 2);
  double worst = 0, silu = 0;
  for (int i = 0; i < N; i++) y[i] = x[i] = -80.0f + (float)i * (160.0f / N);
  k->sigmoid(y, N);
  k->swiglu(x, up, z, N);
  for (int i = 0; i < N; i++) {
    const double e = 1 / (1 + exp(-(double)x[i]));
    worst = worse(worst, fabs(y[i] / e - 1));
    silu = worse(silu, fabs(z[i] - x[i] * e * up[i]) / (fabs(x[i] * e * up[i]) + 1e-30));
  }
  check(worst < 4e-7, "sigmoid: relative error %g", worst);
  check(silu < 5e-7, "swiglu: relative error %g", silu);
  float special[] = {INFINITY, -INFINITY, NAN, -200, 200};
  k->sigmoid(special, 5);
  check(special[0] == 1 && special[1] == 0 && isnan(special[2]) && special[3] == 0 && special[4] == 1,
        "sigmoid: special values");
  free(x), free(y), free(z), free(up);
}

void test_functions(const ck_kernels *k) {
  exp_checks(k);
  gelu_checks(k);
  sigmoid_checks(k);
}
