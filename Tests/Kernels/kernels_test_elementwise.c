/* Elementwise kernels at every tail length, argmax, and the 16-bit conversions, exhaustively where the input has
 * 16 bits. */
#include "kernels_test.h"

/* Each operation on `n` elements; what lies beyond must stay. */
static void simple_case(const ck_kernels *k, int64_t n) {
  float *x = random_floats(n + 1, -2, 2), *y = random_floats(n, 0.5f, 2), *z = malloc((size_t)(n + 1) * sizeof *z);
  int good[4] = {1, 1, 1, 1};
  x[n] = SENTINEL;
  for (int op = 0; op < 4; op++) {
    memcpy(z, x, (size_t)(n + 1) * sizeof *z);
    if (op == 0) k->scale(z, 0.37f, n);
    else if (op == 1) k->add(z, y, n);
    else if (op == 2) k->divide(z, y, n);
    else k->bias_add(z, n, y, 1, n);
    for (int64_t i = 0; i < n; i++) {
      const float e = op == 0 ? x[i] * 0.37f : op == 2 ? x[i] / y[i] : x[i] + y[i];
      good[op] &= same_bits(z[i], e);
    }
    good[op] &= z[n] == SENTINEL;
  }
  check(good[0] && good[1] && good[2] && good[3], "scale %d add %d divide %d bias_add %d, count %ld", good[0],
        good[1], good[2],
        good[3], (long)n);
  free(x), free(y), free(z);
}

static void residual_case(const ck_kernels *k, int64_t columns, int with_bias, int with_gamma) {
  enum { ROWS = 3 };
  const int64_t n = ROWS * columns;
  float *x = random_floats(n, -2, 2), *branch = random_floats(n, -2, 2), *bias = random_floats(columns, -1, 1);
  float *gamma = random_floats(columns, -1, 1), *y = malloc((size_t)n * sizeof *y);
  memcpy(y, x, (size_t)n * sizeof *y);
  k->residual(y, branch, with_bias ? bias : NULL, with_gamma ? gamma : NULL, ROWS, columns);
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    const int64_t c = i % columns;
    const double e = x[i] + (with_gamma ? gamma[c] : 1.0) * ((double)branch[i] + (with_bias ? bias[c] : 0));
    worst = worse(worst, fabs(y[i] - e));
  }
  check(worst < 1e-6, "residual columns %ld bias %d gamma %d: %g", (long)columns, with_bias, with_gamma, worst);
  free(x), free(branch), free(bias), free(gamma), free(y);
}

static void bias_gelu_case(const ck_kernels *k, int64_t columns) {
  enum { ROWS = 3 };
  const int64_t ldx = columns + 2;
  float *x = random_floats(ROWS * ldx, -2, 2), *bias = random_floats(columns, -1, 1),
      *y = malloc((size_t)(ROWS * ldx) * 4);
  memcpy(y, x, (size_t)(ROWS * ldx) * sizeof *y);
  k->bias_gelu(y, ldx, bias, ROWS, columns);
  double worst = 0;
  int clean = 1;
  for (int64_t i = 0; i < ROWS * ldx; i++) {
    if (i % ldx >= columns) clean &= same_bits(x[i], y[i]);
    else worst = worse(worst, fabs(y[i] - gelu_reference(x[i] + bias[i % ldx])));
  }
  check(worst < 6e-7 && clean, "bias_gelu columns %ld: %g", (long)columns, worst);
  free(x), free(bias), free(y);
}

static void accumulate_case(const ck_kernels *k, int64_t n, int64_t stride) {
  float *sum = random_floats(n + 1, -2, 2), *g = random_floats(n, 0, 1);
  float *x = random_floats((n - 1) * stride + 1, -3, 3);
  double *e = malloc((size_t)n * sizeof *e), worst = 0;
  sum[n] = SENTINEL;
  for (int64_t i = 0; i < n; i++) e[i] = sum[i] + (double)g[i] * x[i * stride];
  k->weighted_accumulate(sum, g, x, stride, n);
  for (int64_t i = 0; i < n; i++) worst = worse(worst, fabs(sum[i] - e[i]));
  check(worst < 1e-6 && sum[n] == SENTINEL, "weighted_accumulate count %ld stride %ld: %g", (long)n, (long)stride,
        worst);
  free(sum), free(g), free(x), free(e);
}

static void argmax_case(const ck_kernels *k, int64_t n, int64_t classes) {
  const int64_t stride = n + 3;
  float *x = malloc((size_t)(stride * classes) * sizeof *x);
  int32_t *out = malloc((size_t)(n + 1) * sizeof *out);
  for (int64_t i = 0; i < stride * classes; i++) { /* few values: many ties */
    const int pick = (int)(random_bits() % 8);
    x[i] = pick == 7 ? NAN : pick == 6 ? -INFINITY : (float)(pick % 4);
  }
  out[n] = -77;
  k->argmax_planes(x, stride, classes, n, out);
  int64_t wrong = 0;
  for (int64_t i = 0; i < n; i++) {
    int32_t best = 0;
    float top = -INFINITY;
    for (int64_t c = 0; c < classes; c++)
      if (x[c * stride + i] > top) top = x[c * stride + i], best = (int32_t)c;
    wrong += out[i] != best;
  }
  check(wrong == 0 && out[n] == -77, "argmax count %ld classes %ld: %ld wrong", (long)n, (long)classes, (long)wrong);
  free(x), free(out);
}

void test_elementwise(const ck_kernels *k) {
  seed(12);
  for (int64_t n = 1; n <= 70; n++) {
    simple_case(k, n);
    residual_case(k, n, (int)(n & 1), (int)(n >> 1 & 1));
    bias_gelu_case(k, n);
    accumulate_case(k, n, 1);
    accumulate_case(k, n, 1 + n % 5);
    argmax_case(k, n, 1 + n % 9);
  }
}

static float f16_value(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 0x3ff;
  double x = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
  if (exponent == 31) x = fraction ? NAN : INFINITY;
  return (float)(half & 0x8000 ? -x : x);
}

/* The nearest half, ties to even, by the definition: round x / unit to an integer. */
static uint16_t f16_reference(float x) {
  const uint16_t sign = signbit(x) ? 0x8000 : 0;
  const double size = fabs((double)x);
  if (size == 0) return sign;
  if (size >= 65520) return sign | 0x7c00;
  int exponent = 0;
  frexp(size, &exponent);
  const int unit = exponent - 11 < -24 ? -24 : exponent - 11;
  const double steps = nearbyint(ldexp(size, -unit)); /* at most 2048: a carry lands in the exponent by itself */
  if (unit == -24) return sign | (uint16_t)steps;
  return sign | (uint16_t)(((uint32_t)(unit + 25) << 10) + (uint32_t)steps - 1024);
}

static void widening(const ck_kernels *k) {
  enum { N = 65536 };
  uint16_t *h = malloc(N * sizeof *h), *back = malloc(N * sizeof *back);
  float *x = malloc(N * sizeof *x);
  int64_t bf16 = 0, f16 = 0, bf16_back = 0, f16_back = 0;
  for (int i = 0; i < N; i++) h[i] = (uint16_t)i;
  k->bf16_to_f32(h, x, N);
  k->f32_to_bf16(x, back, N);
  for (int i = 0; i < N; i++) {
    bf16 += !same_bits(x[i], bf16_value(h[i]));
    bf16_back += isnan(x[i]) ? back[i] != (h[i] | 0x40) : back[i] != h[i];
  }
  k->f16_to_f32(h, x, N);
  k->f32_to_f16(x, back, N);
  for (int i = 0; i < N; i++) {
    const float e = f16_value(h[i]);
    f16 += isnan(e) ? !isnan(x[i]) : !same_bits(x[i], e);
    f16_back += isnan(e) ? !isnan(f16_value(back[i])) : back[i] != h[i];
  }
  check(bf16 == 0 && bf16_back == 0, "bf16 -> f32 -> bf16, all 65536: %ld, %ld wrong", (long)bf16, (long)bf16_back);
  check(f16 == 0 && f16_back == 0, "f16 -> f32 -> f16, all 65536: %ld, %ld wrong", (long)f16, (long)f16_back);
  free(h), free(back), free(x);
}

/* Every 16-bit upper half with lower halves around the ties: all roundings there are. */
static void narrowing(const ck_kernels *k) {
  enum { N = 65536 };
  static const uint32_t low[] = {0, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff};
  float *x = malloc(N * sizeof *x);
  uint16_t *y = malloc(N * sizeof *y), *z = malloc(N * sizeof *z);
  for (size_t l = 0; l < sizeof low / sizeof *low; l++) {
    int64_t bf16 = 0, f16 = 0;
    for (uint32_t i = 0; i < N; i++) {
      const uint32_t bits = i << 16 | low[l];
      memcpy(x + i, &bits, 4);
    }
    k->f32_to_bf16(x, y, N);
    k->f32_to_f16(x, z, N);
    for (int i = 0; i < N; i++) {
      bf16 += y[i] != bf16_bits(x[i]);
      f16 += isnan(x[i]) ? !isnan(f16_value(z[i])) : z[i] != f16_reference(x[i]);
    }
    check(bf16 == 0 && f16 == 0, "f32 -> bf16, f16 with lower half %x: %ld, %ld wrong", (unsigned)low[l], (long)bf16,
          (long)f16);
  }
  free(x), free(y), free(z);
}

void test_conversions(const ck_kernels *k) {
  seed(13);
  widening(k);
  narrowing(k);
  for (int64_t n = 1; n < 40; n++) { /* tails: exact buffers, one sentinel behind */
    float *x = random_floats(n, -3, 3), *wide = random_floats(n + 1, SENTINEL, SENTINEL);
    uint16_t *y = malloc((size_t)(n + 1) * sizeof *y), *z = malloc((size_t)(n + 1) * sizeof *z);
    y[n] = z[n] = 0x1234;
    k->f32_to_bf16(x, y, n);
    k->f32_to_f16(x, z, n);
    int good = y[n] == 0x1234 && z[n] == 0x1234;
    for (int64_t i = 0; i < n; i++) good &= y[i] == bf16_bits(x[i]) && z[i] == f16_reference(x[i]);
    k->bf16_to_f32(y, wide, n);
    for (int64_t i = 0; i < n; i++) good &= wide[i] == bf16_value(y[i]);
    k->f16_to_f32(z, wide, n);
    for (int64_t i = 0; i < n; i++) good &= wide[i] == f16_value(z[i]);
    check(good && wide[n] == SENTINEL, "conversions, count %ld", (long)n);
    free(x), free(wide), free(y), free(z);
  }
}
