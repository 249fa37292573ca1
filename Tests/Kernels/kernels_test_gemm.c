/* gemm_f32 and gemm_bf16 with every epilogue, and ck_sgemm. */
#include "kernels_test.h"

typedef struct {
  int64_t m, n, k;
  int a_type, c_type, bias, gelu, accumulate, residual, gamma, in_place;
  int f32; /* which of the two */
} variant;

static size_t packed_bytes(const ck_kernels *kernels, int f32, int64_t n, int64_t k) {
  return f32 ? kernels->packed_f32_bytes(n, k) : kernels->packed_bf16_bytes(n, k);
}
static void gemm(const ck_kernels *kernels, int f32, const ck_gemm_args *args, void *scratch) {
  if (f32) kernels->gemm_f32(args, scratch);
  else kernels->gemm_bf16(args, scratch);
}
/* What the product sees of an operand. */
static double seen(int f32, int type, float x) { return f32 && type == CK_F32 ? x : bf16_rounded(x); }

/* Everything a call needs, with strides wider than the rows. */
typedef struct {
  ck_gemm_args args;
  float *a, *w, *bias, *gamma, *residual;
  void *packed, *scratch, *before;
  size_t c_bytes;
} gemm_case;

static gemm_case make_case(const ck_kernels *kernels, variant v) {
  gemm_case t = {0};
  const int64_t lda = v.k + 3, ldw = v.k + 1, ldc = v.n + 5;
  t.a = random_floats(v.m * lda, -1, 1);
  t.w = random_floats(v.n * ldw, -1, 1);
  t.bias = random_floats(v.n, -1, 1);
  t.gamma = random_floats(v.n, -1, 1);
  t.residual = random_floats(v.m * ldc, -1, 1);
  t.packed = bytes(packed_bytes(kernels, v.f32, v.n, v.k));
  t.scratch = bytes(v.f32 ? kernels->gemm_f32_scratch(v.k) : kernels->gemm_bf16_scratch(v.k));
  (v.f32 ? kernels->pack_f32 : kernels->pack_bf16)(t.w, ldw, v.n, v.k, t.packed);
  uint16_t *narrow = malloc((size_t)(v.m * lda) * sizeof *narrow);
  for (int64_t i = 0; i < v.m * lda; i++) narrow[i] = bf16_bits(t.a[i]);
  float *c = random_floats(v.m * ldc, -1, 1);
  if (v.in_place) memcpy(c, t.residual, (size_t)(v.m * ldc) * sizeof *c);
  t.c_bytes = (size_t)(v.m * ldc) * sizeof(float);
  t.before = malloc(t.c_bytes);
  memcpy(t.before, c, t.c_bytes);
  t.args = (ck_gemm_args){
      .m = v.m, .n = v.n, .k = v.k, .a = v.a_type == CK_BF16 ? (void *)narrow : (void *)t.a, .lda = lda,
          .a_type = v.a_type,
      .packed = t.packed, .bias = v.bias ? t.bias : NULL, .epilogue = v.gelu ? CK_EPILOGUE_GELU : CK_EPILOGUE_NONE,
      .accumulate = v.accumulate, .residual = v.in_place ? c : v.residual ? t.residual : NULL, .ldr = ldc,
      .gamma = v.gamma ? t.gamma : NULL, .c = c, .ldc = ldc, .c_type = v.c_type};
  if (v.a_type != CK_BF16) free(narrow);
  return t;
}

static void free_case(gemm_case *t, variant v) {
  if (v.a_type == CK_BF16) free((void *)t->args.a);
  free(t->a), free(t->w), free(t->bias), free(t->gamma), free(t->residual), free(t->packed), free(t->scratch);
  free(t->before), free(t->args.c);
}

static void run_case(const ck_kernels *kernels, variant v) {
  gemm_case t = make_case(kernels, v);
  const int64_t lda = t.args.lda, ldw = v.k + 1, ldc = t.args.ldc;
  gemm(kernels, v.f32, &t.args, t.scratch);
  double worst = 0;
  int clean = 1;
  for (int64_t i = 0; i < v.m; i++)
    for (int64_t j = 0; j < ldc; j++) {
      const int64_t at = i * ldc + j;
      if (j >= v.n) {
        const size_t width = v.c_type == CK_BF16 ? 2 : 4;
        clean &= memcmp((char *)t.before + (size_t)at * width, (char *)t.args.c + (size_t)at * width, width) == 0;
        continue;
      }
      double e = 0, size = 1;
      for (int64_t p = 0; p < v.k; p++) {
        const double product = seen(v.f32, v.a_type, t.a[i * lda + p]) * seen(v.f32, CK_F32, t.w[j * ldw + p]);
        e += product;
        size += fabs(product);
      }
      if (v.accumulate) e += ((float *)t.before)[at];
      if (v.bias) e += t.bias[j];
      if (v.gelu) e = gelu_reference(e);
      if (v.residual || v.in_place) e = t.residual[at] + (v.gamma ? t.gamma[j] : 1.0) * e;
      const double got = v.c_type == CK_BF16 ? bf16_value(((uint16_t *)t.args.c)[at]) : ((float *)t.args.c)[at];
      const double tolerance = 1e-6 * size + (v.c_type == CK_BF16 ? 0.004 * fabs(e) : 0);
      worst = worse(worst, fabs(got - e) / tolerance);
    }
  check(worst < 1, "gemm f32 %d %ldx%ldx%ld a%d c%d bias%d gelu%d acc%d res%d gamma%d inplace%d: %.2f tolerances",
        v.f32, (long)v.m, (long)v.n, (long)v.k, v.a_type, v.c_type, v.bias, v.gelu, v.accumulate, v.residual, v.gamma, v.in_place, worst);
  check(clean, "gemm %ldx%ldx%ld writes only its columns", (long)v.m, (long)v.n, (long)v.k);
  free_case(&t, v);
}

/* Rows computed in two calls must have the bits of one call: how work is split must not show. */
static void split_case(const ck_kernels *kernels, int f32) {
  const variant v = {.m = 61, .n = 70, .k = 1601, .bias = 1, .gelu = 1, .f32 = f32};
  gemm_case t = make_case(kernels, v);
  gemm(kernels, f32, &t.args, t.scratch);
  int same = 1;
  for (int64_t cut = 1; cut < v.m; cut += 17) {
    float *c = malloc(t.c_bytes);
    memcpy(c, t.before, t.c_bytes);
    ck_gemm_args top = t.args, rest = t.args;
    top.m = cut;
    top.c = c;
    rest.m = v.m - cut;
    rest.a = (const float *)t.args.a + cut * t.args.lda;
    rest.c = c + cut * t.args.ldc;
    gemm(kernels, f32, &top, t.scratch);
    gemm(kernels, f32, &rest, t.scratch);
    same &= memcmp(c, t.args.c, t.c_bytes) == 0;
    free(c);
  }
  check(same, "gemm f32 %d: the same bits however the rows are split", f32);
  free_case(&t, v);
}

/* Columns from a multiple of 64 on, by the panels that hold them: the bits of one call. */
static void column_case(const ck_kernels *kernels, int f32) {
  const variant v = {.m = 33, .n = 700, .k = 801, .bias = 1, .residual = 1, .gamma = 1, .f32 = f32};
  gemm_case t = make_case(kernels, v);
  float *c = malloc(t.c_bytes);
  memcpy(c, t.before, t.c_bytes);
  gemm(kernels, f32, &t.args, t.scratch);
  static const int64_t cuts[] = {0, 64, 320, 640, 700};
  for (int i = 0; i + 1 < 5; i++) {
    ck_gemm_args part = t.args;
    part.n = cuts[i + 1] - cuts[i];
    part.packed = (const char *)t.packed + packed_bytes(kernels, f32, cuts[i], v.k);
    part.bias += cuts[i];
    part.gamma += cuts[i];
    part.residual += cuts[i];
    part.c = c + cuts[i];
    gemm(kernels, f32, &part, t.scratch);
  }
  check(memcmp(c, t.args.c, t.c_bytes) == 0, "gemm f32 %d: the same bits however the columns are split", f32);
  free(c);
  free_case(&t, v);
}

/* k in several calls that accumulate, as the decoder's taps do; bias and GELU come with the last. */
static void accumulate_case(const ck_kernels *kernels, int f32) {
  const variant v = {.m = 47, .n = 75, .k = 400, .f32 = f32, .bias = 1};
  enum { CALLS = 4 };
  gemm_case t[CALLS];
  const int64_t ldw = v.k + 1;
  for (int i = 0; i < CALLS; i++) {
    t[i] = make_case(kernels, v);
    ck_gemm_args args = t[i].args;
    args.c = t[0].args.c;
    args.accumulate = i > 0;
    if (i + 1 < CALLS) args.bias = NULL;
    else args.epilogue = CK_EPILOGUE_GELU;
    gemm(kernels, f32, &args, t[i].scratch);
  }
  double worst = 0;
  for (int64_t i = 0; i < v.m; i++)
    for (int64_t j = 0; j < v.n; j++) {
      double e = t[CALLS - 1].bias[j], size = 1;
      for (int call = 0; call < CALLS; call++)
        for (int64_t p = 0; p < v.k; p++) {
          const double product = seen(f32, CK_F32, t[call].a[i * t[call].args.lda + p]) *
                                 seen(f32, CK_F32, t[call].w[j * ldw + p]);
          e += product;
          size += fabs(product);
        }
      worst = worse(worst, fabs(((float *)t[0].args.c)[i * t[0].args.ldc + j] - gelu_reference(e)) / (1e-6 * size));
    }
  check(worst < 1, "gemm f32 %d accumulates over calls: %.2f tolerances", f32, worst);
  for (int i = 0; i < CALLS; i++) free_case(&t[i], v);
}

static void test_one_gemm(const ck_kernels *kernels, int f32) {
  static const int64_t rows[] = {1, 2, 3, 5, 6, 7, 13, 14, 15, 27, 29, 57, 113, 139, 140, 141, 290};
  static const int64_t columns[] = {1, 3, 8, 15, 16, 17, 31, 32, 33, 48, 65};
  static const int64_t depths[] = {1, 2, 3, 16, 31, 64, 257, 383, 384, 385, 767, 768, 769, 1537};
  for (int i = 0; i < 17; i++)
    for (int j = 0; j < 11; j++)
      run_case(kernels, (variant){.m = rows[i], .n = columns[j], .k = depths[(i * 3 + j) % 14], .bias = 1,
                                  .a_type = (i + j) & 1, .f32 = f32});
  for (int bits = 0; bits < 128; bits++) {
    variant v = {.m = 9, .n = 37, .k = 50 + bits, .a_type = bits & 1, .c_type = bits >> 1 & 1, .bias = bits >> 2 & 1,
                 .gelu = bits >> 3 & 1, .accumulate = bits >> 4 & 1, .residual = bits >> 5 & 1, .gamma = bits >> 6 & 1,
                 .f32 = f32};
    if (v.c_type == CK_BF16) v.accumulate = 0;
    if (v.c_type == CK_F32 && !v.accumulate && !v.residual && v.gamma) v.in_place = 1;
    if (!v.residual && !v.in_place) v.gamma = 0;
    run_case(kernels, v);
  }
  /* several chunks of columns, several blocks of k */
  run_case(kernels, (variant){.m = 19, .n = 1100, .k = 1000, .bias = 1, .gelu = 1, .in_place = 1, .f32 = f32});
  split_case(kernels, f32);
  column_case(kernels, f32);
  accumulate_case(kernels, f32);
}

void test_gemm(const ck_kernels *kernels) {
  seed(14);
  test_one_gemm(kernels, 0);
  test_one_gemm(kernels, 1);
}

void test_sgemm(void) {
  seed(15);
  const int64_t m = 13, n = 17, k = 29;
  for (int form = 0; form < 8; form++) {
    const int ta = form & 1, tb = form >> 1 & 1;
    const float beta = form & 4 ? 1 : 0;
    const int64_t lda = (ta ? m : k) + 2, ldb = (tb ? k : n) + 1, ldc = n + 3;
    float *a = random_floats((ta ? k : m) * lda, -1, 1), *b = random_floats((tb ? n : k) * ldb, -1, 1);
    float *c = random_floats(m * ldc, -1, 1), *before = malloc((size_t)(m * ldc) * sizeof *c);
    memcpy(before, c, (size_t)(m * ldc) * sizeof *c);
    ck_sgemm(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc);
    double worst = 0;
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++) {
        double e = beta * before[i * ldc + j];
        for (int64_t p = 0; p < k; p++)
          e += (double)a[ta ? p * lda + i : i * lda + p] * b[tb ? j * ldb + p : p * ldb + j];
        worst = worse(worst, fabs(c[i * ldc + j] - e));
      }
    check(worst < 1e-5 && c[n] == before[n], "sgemm form %d: %g", form, worst);
    free(a), free(b), free(c), free(before);
  }
}
