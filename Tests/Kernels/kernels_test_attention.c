/* Attention against a plain double-precision softmax over the same (rounded) q, k and v. */
#include "kernels_test.h"

typedef struct {
  int64_t tokens, prefix, heads, d;
  int rope, rope_bf16, precision;
} variant;

/* q, k or v of one token as the specification says: model-and-ssl.md section 1.3 */
static void reference_vector(const ck_attention_args *a, int part, int64_t head, int64_t token, double *out) {
  const int64_t d = a->head_dim, half = d / 2;
  const float *x = a->qkv + token * a->qkv_stride + (part * a->heads + head) * d;
  for (int64_t i = 0; i < d; i++) {
    double value = x[i];
    const int rounds = part < 2 && a->rope_bf16;
    if (rounds) value = bf16_rounded(x[i]);
    if (part < 2 && a->sin != NULL && token >= a->prefix) {
      const float *sin = a->sin + (token - a->prefix) * d, *cos = a->cos + (token - a->prefix) * d;
      const float turned = i < half ? -x[i + half] : x[i - half];
      if (rounds) {
        const float p = bf16_rounded(bf16_rounded(x[i]) * cos[i]), q = bf16_rounded(bf16_rounded(turned) * sin[i]);
        value = bf16_rounded(p + q);
      } else {
        value = (double)x[i] * cos[i] + (double)turned * sin[i];
      }
    }
    out[i] = a->precision == CK_BF16 ? bf16_rounded((float)value) : value;
  }
}

/* Worst error of one head in units of the tolerance. bf16 probabilities differ from the exact by half a unit,
 * 2^-9, each (and so do rotated q and k that lie next to a tie), so the tolerance there is relative to sum p |v|. */
static double head_error(const ck_attention_args *a, int64_t head, double tolerance, double *lse_error) {
  const int64_t n = a->tokens, d = a->head_dim;
  double *all = malloc((size_t)(3 * n * d) * sizeof *all), *p = malloc((size_t)n * sizeof *p), worst = 0;
  for (int part = 0; part < 3; part++)
    for (int64_t t = 0; t < n; t++) reference_vector(a, part, head, t, all + (part * n + t) * d);
  const double *q = all, *k = all + n * d, *v = all + 2 * n * d;
  for (int64_t t = 0; t < n; t++) {
    double top = -INFINITY, sum = 0;
    for (int64_t s = 0; s < n; s++) {
      p[s] = 0;
      for (int64_t i = 0; i < d; i++) p[s] += q[t * d + i] * k[s * d + i];
      p[s] /= sqrt((double)d);
      top = p[s] > top ? p[s] : top;
    }
    for (int64_t s = 0; s < n; s++) sum += p[s] = exp(p[s] - top);
    for (int64_t i = 0; i < d; i++) {
      double e = 0, size = 0;
      for (int64_t s = 0; s < n; s++) e += p[s] / sum * v[s * d + i], size += p[s] / sum * fabs(v[s * d + i]);
      worst = worse(worst, fabs(a->out[t * a->out_stride + head * d + i] - e) / (tolerance * size));
    }
    const double lse = top + log(sum); /* its error grows with the scores: 20 units of float32 beyond a fixed part */
    *lse_error = worse(*lse_error, fabs(a->log_sum_exp[head * n + t] - lse) / (1 + 0.06 * fabs(lse)));
  }
  free(all), free(p);
  return worst;
}

static void run_attention(const ck_kernels *kernels, ck_attention_args *a) {
  void *scratch = bytes(kernels->attention_scratch(a));
  a->packed = bytes(kernels->attention_bytes(a));
  const int64_t size = kernels->attention_block(), blocks = (a->tokens + size - 1) / size;
  for (int64_t h = 0; h < a->heads; h++)
    for (int64_t b = 0; b < blocks; b++) kernels->attention_pack(a, h, b);
  for (int64_t h = a->heads - 1; h >= 0; h--)
    for (int64_t b = blocks - 1; b >= 0; b--) kernels->attention_rows(a, h, b, scratch);
  free(scratch), free(a->packed);
}

static void attention_case(const ck_kernels *kernels, variant v, float size) {
  const int64_t width = v.heads * v.d, rotated = v.tokens - v.prefix;
  ck_attention_args a = {.tokens = v.tokens, .prefix = v.prefix, .heads = v.heads, .head_dim = v.d,
                         .qkv_stride = 3 * width + 2,
                         .out_stride = width + 3, .rope_bf16 = v.rope_bf16, .precision = v.precision};
  float *qkv = random_floats(v.tokens * a.qkv_stride, -size, size);
  float *out = random_floats(v.tokens * a.out_stride, SENTINEL, SENTINEL);
  float *sin_table = random_floats(rotated * v.d, -1, 1), *cos_table = random_floats(rotated * v.d, -1, 1);
  for (int64_t i = 0; v.rope_bf16 && i < rotated * v.d; i++) {
    sin_table[i] = bf16_rounded(sin_table[i]);
    cos_table[i] = bf16_rounded(cos_table[i]);
  }
  a.qkv = qkv;
  a.out = out;
  a.sin = v.rope ? sin_table : NULL;
  a.cos = v.rope ? cos_table : NULL;
  a.log_sum_exp = random_floats(v.heads * v.tokens, 0, 0);
  run_attention(kernels, &a);
  double worst = 0, lse = 0;
  for (int64_t h = 0; h < v.heads; h++)
    worst = worse(worst, head_error(&a, h, v.precision == CK_BF16 ? 4e-3 : 2e-6 + 1e-6 * size * size, &lse));
  int clean = 1;
  for (int64_t i = 0; i < v.tokens * a.out_stride; i++)
    if (i % a.out_stride >= width) clean &= out[i] == SENTINEL;
  check(worst < 1, "attention N %ld prefix %ld heads %ld d %ld rope %d/%d precision %d size %g: %.2f tolerances",
        (long)v.tokens,
        (long)v.prefix, (long)v.heads, (long)v.d, v.rope, v.rope_bf16, v.precision, size, worst);
  check(lse < (v.precision == CK_BF16 && v.rope && !v.rope_bf16 ? 2e-2 : 2e-5),
        "attention log_sum_exp N %ld d %ld: %g", (long)v.tokens,
        (long)v.d, lse);
  check(clean, "attention writes only its columns");
  free(qkv), free(out), free(sin_table), free(cos_table), free(a.log_sum_exp);
}

static void nan_case(const ck_kernels *kernels, int precision) {
  enum { N = 200, D = 16 };
  float *qkv = random_floats(N * 3 * D, -1, 1), *out = random_floats(N * D, 0, 0);
  ck_attention_args a = {.tokens = N, .heads = 1, .head_dim = D, .qkv = qkv, .qkv_stride = 3 * D, .out = out,
                         .out_stride = D, .precision = precision};
  qkv[7 * 3 * D + 2] = NAN; /* q of token 7 */
  run_attention(kernels, &a);
  int others = 1, own = 1;
  for (int i = 0; i < N * D; i++) {
    if (i / D == 7) own &= isnan(out[i]) != 0;
    else others &= isfinite(out[i]) != 0;
  }
  check(own && others, "attention: NaN in one q spoils its row and no other (precision %d)", precision);
  qkv[100 * 3 * D + D] = NAN; /* k of token 100 */
  run_attention(kernels, &a);
  int all = 1;
  for (int i = 0; i < N * D; i++) all &= isnan(out[i]) != 0;
  check(all, "attention: NaN in one k spoils every row (precision %d)", precision);
  free(qkv), free(out);
}

void test_attention(const ck_kernels *kernels) {
  seed(16);
  static const int64_t dims[] = {4, 8, 12, 16, 20, 32, 64, 96, 100, 128};
  static const int64_t tokens[] = {1, 2, 5, 31, 33, 95, 97, 191, 193, 230};
  for (int i = 0; i < 10; i++)
    for (int form = 0; form < 6; form++) {
      const int64_t n = tokens[(i + form) % 10];
      const variant v = {.tokens = n, .prefix = n > 6 ? 5 : n / 2, .heads = 1 + (i + form) % 2, .d = dims[i],
                         .rope = form > 1, .rope_bf16 = form > 3, .precision = form & 1};
      attention_case(kernels, v, 1.5f);
    }
  for (int i = 0; i < 10; i++) /* head_dim 64 has tiles of its own: every token count with it */
    for (int precision = CK_F32; precision <= CK_BF16; precision++)
      attention_case(kernels, (variant){.tokens = tokens[i], .prefix = 1, .heads = 1, .d = 64, .rope = 1,
                                        .rope_bf16 = 1, .precision = precision}, 1.0f);
  /* sharp rows: the running maximum moves, weights vanish */
  for (int precision = CK_F32; precision <= CK_BF16; precision++) {
    attention_case(kernels, (variant){.tokens = 421, .heads = 1, .d = 32, .precision = precision}, 12);
    attention_case(kernels, (variant){.tokens = 613, .prefix = 5, .heads = 1, .d = 64, .rope = 1,
                                      .precision = precision}, 2);
    nan_case(kernels, precision);
  }
}
