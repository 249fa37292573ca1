/* The training kernels of one thread at ViT-B shapes: GFLOP/s of products beside OpenBLAS, nanoseconds per element of
 * the rest. Arguments: rows (default 3141). */
#include "kernels_bench.h"

typedef struct {
  const ck_kernels *t;
  int f32;
  int64_t rows, outputs, inputs;
  const float *g, *x, *w;
  float *c;
  void *packed, *scratch;
} linear_job;

static void product(const linear_job *j, const float *a, int64_t lda, int turned, int64_t m, int64_t n, int64_t k,
                    int64_t k0, int adds) {
  enum { ROWS = 138 };
  for (int64_t r = 0; r < m; r += ROWS) {
    const ck_gemm_args args = {.m = m - r < ROWS ? m - r : ROWS, .n = n, .k = k, .lda = lda, .a_transposed = turned,
                               .a = a + (turned ? k0 * lda + r : r * lda + k0), .packed = j->packed, .c = j->c + r * n,
                               .ldc = n, .accumulate = adds};
    (j->f32 ? j->t->gemm_f32 : j->t->gemm_bf16)(&args, j->scratch);
  }
}
static void run_input(void *argument) { /* dX = dY W */
  const linear_job *j = argument;
  (j->f32 ? j->t->pack_f32_columns : j->t->pack_bf16_columns)(j->w, j->inputs, j->inputs, j->outputs, j->packed);
  product(j, j->g, j->outputs, 0, j->rows, j->inputs, j->outputs, 0, 0);
}
static void run_weight(void *argument) { /* dW += dY^T X */
  const linear_job *j = argument;
  enum { DEPTH = 3072 };
  for (int64_t k0 = 0; k0 < j->rows; k0 += DEPTH) {
    const int64_t k = j->rows - k0 < DEPTH ? j->rows - k0 : DEPTH;
    (j->f32 ? j->t->pack_f32_columns : j->t->pack_bf16_columns)(j->x + k0 * j->inputs, j->inputs, j->inputs, k,
                                                                j->packed);
    product(j, j->g, j->outputs, 1, j->outputs, j->inputs, k, k0, 1);
  }
}
static void run_blas_input(void *argument) {
  const linear_job *j = argument;
  ck_sgemm(0, 0, j->rows, j->inputs, j->outputs, j->g, j->outputs, j->w, j->inputs, 0, j->c, j->inputs);
}
static void run_blas_weight(void *argument) {
  const linear_job *j = argument;
  ck_sgemm(1, 0, j->outputs, j->inputs, j->rows, j->g, j->outputs, j->x, j->inputs, 1, j->c, j->inputs);
}

static void bench_linear(const ck_kernels *t, const char *name, int64_t rows, int64_t outputs, int64_t inputs) {
  const double work = 2.0 * (double)rows * (double)outputs * (double)inputs * 1e-9;
  const int64_t most = rows > outputs ? rows : outputs, longest = rows > outputs ? rows : outputs;
  linear_job j = {.t = t, .rows = rows, .outputs = outputs, .inputs = inputs, .g = noise(rows * outputs),
                  .x = noise(rows * inputs), .w = noise(outputs * inputs),
                  .c = room((size_t)(most * inputs) * sizeof(float))};
  j.packed = room(t->packed_f32_bytes(inputs, longest));
  j.scratch = room(t->gemm_f32_scratch(longest) + t->gemm_bf16_scratch(longest));
  printf("%-8s %4ld x %4ld x %4ld  sgemm dX %6.1f dW %6.1f", name, (long)rows, (long)outputs, (long)inputs,
         work / best_time(run_blas_input, &j), work / best_time(run_blas_weight, &j));
  for (j.f32 = 1; j.f32 >= 0; j.f32--)
    printf("  %s dX %6.1f dW %6.1f", j.f32 ? "f32" : "bf16", work / best_time(run_input, &j),
           work / best_time(run_weight, &j));
  printf("\n");
  free((void *)j.g), free((void *)j.x), free((void *)j.w), free(j.c), free(j.packed), free(j.scratch);
}

typedef struct {
  const ck_kernels *t;
  ck_attention_backward_args args;
  void *scratch;
} attention_job;
static void run_attention(void *argument) {
  const attention_job *j = argument;
  const int64_t size = j->t->attention_block(), blocks = (j->args.forward.tokens + size - 1) / size;
  const int64_t heads = j->args.forward.heads;
  for (int64_t i = 0; i < blocks * heads; i++) j->t->attention_backward_pack(&j->args, i % heads, i / heads);
  for (int64_t i = 0; i < j->args.chunks * heads; i++)
    j->t->attention_backward_keys(&j->args, i / j->args.chunks, i % j->args.chunks, j->scratch);
  for (int64_t i = 0; i < blocks * heads; i++) j->t->attention_backward_queries(&j->args, i % heads, i / heads);
}

static void bench_attention(const ck_kernels *t, int64_t tokens, int64_t heads, int64_t d, int precision) {
  const int64_t width = heads * d;
  const double work = 10.0 * (double)tokens * (double)tokens * (double)width * 1e-9;
  attention_job j = {.t = t, .args = {.forward = {.tokens = tokens, .prefix = 5, .heads = heads, .head_dim = d,
                                                  .qkv = noise(tokens * 3 * width), .qkv_stride = 3 * width,
                                                  .sin = noise(tokens * d), .cos = noise(tokens * d), .rope_bf16 = 1,
                                                  .precision = precision, .out = noise(tokens * width),
                                                  .out_stride = width, .log_sum_exp = noise(heads * tokens)},
                                      .gradient = noise(tokens * width), .chunks = 3,
                                      .qkv_gradient = noise(tokens * 3 * width)}};
  j.args.forward.packed = room(t->attention_backward_bytes(&j.args));
  j.scratch = room(t->attention_backward_scratch(&j.args));
  for (int64_t i = 0; i < heads * tokens; i++) j.args.forward.log_sum_exp[i] += 9; /* as a softmax's would be */
  printf("attention backward %s N %ld heads %ld d %ld: %.1f\n", precision == CK_BF16 ? "bf16" : "f32", (long)tokens,
         (long)heads, (long)d, work / best_time(run_attention, &j));
  free(j.args.forward.packed), free(j.scratch), free((void *)j.args.forward.qkv), free((void *)j.args.forward.sin);
  free((void *)j.args.forward.cos), free(j.args.forward.out), free(j.args.forward.log_sum_exp);
  free((void *)j.args.gradient), free(j.args.qkv_gradient);
}

typedef struct {
  const ck_kernels *t;
  int64_t rows, columns;
  float *x, *g, *y, *w, *sums;
  int16_t *target;
  double *totals;
  void *scratch;
} row_job;
static void run_norm(void *a) {
  const row_job *j = a;
  j->t->layer_norm_backward(j->x, j->w, j->g, j->y, 1, j->sums, j->sums, j->rows, j->columns, 1e-6f);
}
static void run_norm_gelu(void *a) {
  const row_job *j = a;
  j->t->layer_norm_gelu_backward(j->x, j->w, j->w, j->y, j->sums, j->sums, j->rows, j->columns, 1e-6f);
}
static void run_gelu(void *a) {
  const row_job *j = a;
  j->t->gelu_backward(j->x, j->g, j->y, j->rows * j->columns);
}
static void run_columns(void *a) {
  const row_job *j = a;
  j->t->column_sums(j->x, j->columns, j->rows, j->columns, j->sums);
}
static void run_adamw(void *a) {
  const row_job *j = a;
  const ck_adamw_args args = {1, 0.99f, 0.1f, 0.98f, 0.02f, 1e-4f, 0.5f, 1e-8f};
  j->t->adamw(j->x, j->g, j->y, j->y + 1, &args, j->rows * j->columns - 1);
}
static void run_loss(void *a) { /* columns are classes */
  const row_job *j = a;
  j->t->label_loss_sums(j->x, j->rows, j->target, -1, j->columns, j->rows, j->y, j->totals, j->scratch);
  j->t->label_loss_gradient(j->y, j->rows, j->target, -1, j->columns, j->rows, 1, j->w, j->w);
}

static void bench_rows(const ck_kernels *t, const char *name, timed call, int64_t rows, int64_t columns) {
  row_job j = {t, rows, columns, noise(rows * columns), noise(rows * columns), noise(rows * columns + 1),
               noise(columns), noise(columns), room((size_t)rows * sizeof(int16_t)),
               room((size_t)(3 * columns + 2) * sizeof(double)), room(t->label_loss_scratch(columns))};
  for (int64_t i = 0; i < rows * columns + 1; i++) j.y[i] = j.y[i] * j.y[i]; /* moments, too */
  printf("%-22s %7ld x %4ld: %.3f ns an element\n", name, (long)rows, (long)columns,
         1e9 * best_time(call, &j) / (double)(rows * columns));
  free(j.x), free(j.g), free(j.y), free(j.w), free(j.sums), free(j.target), free(j.totals), free(j.scratch);
}

int main(int count, char **values) {
  const int64_t rows = count > 1 ? atol(values[1]) : 3141;
  const ck_kernels *t = ck_kernels_for(ck_isa_best());
  printf("%s, one thread, GFLOP/s\n", ck_isa_name(t->isa));
  bench_linear(t, "qkv", rows, 2304, 768);
  bench_linear(t, "proj", rows, 768, 768);
  bench_linear(t, "fc1", rows, 3072, 768);
  bench_linear(t, "fc2", rows, 768, 3072);
  bench_linear(t, "stage 1", 448, 6144, 768); /* of the decoder, one tap */
  bench_linear(t, "stage 2", 1792, 3072, 1536);
  bench_linear(t, "stage 3", 896, 1536, 768);
  bench_linear(t, "stage 4", 3584, 768, 384);
  bench_attention(t, rows, 12, 64, CK_F32);
  bench_attention(t, rows, 12, 64, CK_BF16);
  bench_rows(t, "layer_norm backward", run_norm, rows, 768);
  bench_rows(t, "layer_norm_gelu b'ward", run_norm_gelu, 14336, 192);
  bench_rows(t, "gelu backward", run_gelu, rows, 3072);
  bench_rows(t, "column sums", run_columns, rows, 3072);
  bench_rows(t, "adamw", run_adamw, 3072, 768);
  bench_rows(t, "loss and gradient", run_loss, 896 * 896, 16);
  return 0;
}
