/* Attention's backward against the definition in double precision. */
#include "kernels_test.h"

typedef struct {
  int64_t tokens, heads, d, chunks;
  int precision;
} variant;

static void run_tasks(const ck_kernels *t, ck_attention_backward_args *a) {
  const int64_t size = t->attention_block(), blocks = (a->forward.tokens + size - 1) / size;
  void *forward = bytes(t->attention_bytes(&a->forward)), *scratch = bytes(t->attention_scratch(&a->forward));
  a->forward.packed = forward;
  for (int64_t h = 0; h < a->forward.heads; h++)
    for (int64_t b = 0; b < blocks; b++) t->attention_pack(&a->forward, h, b);
  for (int64_t h = 0; h < a->forward.heads; h++)
    for (int64_t b = 0; b < blocks; b++) t->attention_rows(&a->forward, h, b, scratch);
  free(forward), free(scratch);
  a->forward.packed = bytes(t->attention_backward_bytes(a));
  scratch = bytes(t->attention_backward_scratch(a));
  for (int64_t h = 0; h < a->forward.heads; h++)
    for (int64_t b = 0; b < blocks; b++) t->attention_backward_pack(a, h, b);
  for (int64_t h = a->forward.heads - 1; h >= 0; h--)
    for (int64_t c = a->chunks - 1; c >= 0; c--) t->attention_backward_keys(a, h, c, scratch);
  for (int64_t h = 0; h < a->forward.heads; h++)
    for (int64_t b = blocks - 1; b >= 0; b--) t->attention_backward_queries(a, h, b);
  free(scratch), free(a->forward.packed);
}

/* dq, dk, dv of one head, [3][tokens][d] */
static void reference(const ck_attention_backward_args *a, int64_t head, double *out) {
  const int64_t n = a->forward.tokens, d = a->forward.head_dim, width = a->forward.heads * d;
  double *p = malloc((size_t)n * sizeof *p), *dp = malloc((size_t)n * sizeof *dp);
  for (int64_t i = 0; i < 3 * n * d; i++) out[i] = 0;
#define AT(part, t, i) ((double)a->forward.qkv[(t) * a->forward.qkv_stride + (part) * width + head * d + (i)])
#define SLOPE(t, i) ((double)a->gradient[(t) * a->forward.out_stride + head * d + (i)])
  for (int64_t t = 0; t < n; t++) {
    double top = -INFINITY, sum = 0, mean = 0;
    for (int64_t s = 0; s < n; s++) {
      p[s] = dp[s] = 0;
      for (int64_t i = 0; i < d; i++) p[s] += AT(0, t, i) * AT(1, s, i), dp[s] += SLOPE(t, i) * AT(2, s, i);
      p[s] /= sqrt((double)d);
      top = p[s] > top ? p[s] : top;
    }
    for (int64_t s = 0; s < n; s++) sum += p[s] = exp(p[s] - top);
    for (int64_t s = 0; s < n; s++) mean += (p[s] /= sum) * dp[s];
    for (int64_t s = 0; s < n; s++) {
      const double ds = p[s] * (dp[s] - mean) / sqrt((double)d);
      for (int64_t i = 0; i < d; i++) {
        out[t * d + i] += ds * AT(1, s, i);
        out[(n + s) * d + i] += ds * AT(0, t, i);
        out[(2 * n + s) * d + i] += p[s] * SLOPE(t, i);
      }
    }
  }
  free(p), free(dp);
}

static void backward_case(const ck_kernels *t, variant v) {
  const int64_t width = v.heads * v.d;
  ck_attention_backward_args a = {.forward = {.tokens = v.tokens, .heads = v.heads, .head_dim = v.d,
                                              .qkv_stride = 3 * width + 2, .out_stride = width + 3,
                                              .precision = v.precision}, .chunks = v.chunks};
  float *qkv = random_floats(v.tokens * a.forward.qkv_stride, -1.5, 1.5);
  float *out = random_floats(v.tokens * a.forward.out_stride, 0, 0);
  float *g = random_floats(v.tokens * a.forward.out_stride, -1, 1);
  float *result = random_floats(v.tokens * a.forward.qkv_stride, SENTINEL, SENTINEL);
  a.forward.qkv = qkv, a.forward.out = out, a.gradient = g, a.qkv_gradient = result;
  a.forward.log_sum_exp = random_floats(v.heads * v.tokens, 0, 0);
  run_tasks(t, &a);
  /* one token has slopes of 0: errors are then measured by the size of the factors */
  double *expected = malloc((size_t)(3 * v.tokens * v.d) * sizeof *expected), worst = 0;
  for (int64_t h = 0; h < v.heads; h++) {
    reference(&a, h, expected);
    for (int part = 0; part < 3; part++) {
      double size = 0, error = 0;
      for (int64_t i = 0; i < v.tokens * v.d; i++) {
        const double e = expected[part * v.tokens * v.d + i];
        const float got = result[i / v.d * a.forward.qkv_stride + part * width + h * v.d + i % v.d];
        size += e * e;
        error = worse(error, fabs(got - e));
      }
      worst = worse(worst, error / (sqrt(size / (double)(v.tokens * v.d)) + 0.05));
    }
  }
  int clean = 1;
  for (int64_t i = 0; i < v.tokens * a.forward.qkv_stride; i++)
    if (i % a.forward.qkv_stride >= 3 * width) clean &= result[i] == SENTINEL;
  check(worst < (v.precision == CK_BF16 ? 6e-2 : 2e-5), "attention backward N %ld heads %ld d %ld chunks %ld precision %d: %g",
        (long)v.tokens, (long)v.heads, (long)v.d, (long)v.chunks, v.precision, worst);
  check(clean, "attention backward writes only its columns");
  free(qkv), free(out), free(g), free(result), free(a.forward.log_sum_exp), free(expected);
}

void test_attention_backward(const ck_kernels *t) {
  seed(72);
  static const int64_t dims[] = {4, 12, 16, 20, 32, 64, 96, 100, 128}, tokens[] = {1, 2, 5, 31, 95, 96, 97, 193, 230};
  for (int i = 0; i < 9; i++)
    for (int precision = CK_F32; precision <= CK_BF16; precision++) {
      const int64_t n = tokens[(i + precision) % 9], blocks = (n + 95) / 96;
      backward_case(t, (variant){n, 1 + i % 2, dims[i], 1 + i % blocks, precision});
      backward_case(t, (variant){tokens[i], 1, 64, (tokens[i] + 95) / 96, precision});
    }
}
