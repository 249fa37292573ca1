/* GFLOP/s of one thread at ViT-B shapes, every supported instruction set. Arguments: tokens (default 1029 and 3141). */
#include "kernels_bench.h"

typedef struct {
  const ck_kernels *kernels;
  ck_gemm_args args;
  void *scratch;
  const float *a, *w;
  void (*gemm)(const ck_gemm_args *args, void *scratch);
} gemm_job;
/* In row blocks, as the library's tasks are. */
static void run_gemm(void *argument) {
  gemm_job *j = argument;
  ck_gemm_args part = j->args;
  enum { ROWS = 128 };
  for (int64_t r = 0; r < j->args.m; r += ROWS) {
    part.m = j->args.m - r < ROWS ? j->args.m - r : ROWS;
    part.a = (const char *)j->args.a + (size_t)(r * part.lda) * (part.a_type == CK_BF16 ? 2 : 4);
    part.c = (char *)j->args.c + (size_t)(r * part.ldc) * (part.c_type == CK_BF16 ? 2 : 4);
    part.residual = j->args.residual != NULL ? part.c : NULL;
    j->gemm(&part, j->scratch);
  }
}
static void run_whole_gemm(void *argument) {
  gemm_job *j = argument;
  j->gemm(&j->args, j->scratch);
}
static void run_sgemm(void *argument) {
  const gemm_job *j = argument;
  const ck_gemm_args *a = &j->args;
  ck_sgemm(0, 1, a->m, a->n, a->k, j->a, a->k, j->w, a->k, 0, a->c, a->n);
}

static void bench_gemm(const char *name, int precision, int64_t m, int64_t n, int64_t k, int a_type, int c_type,
                       int gelu, int residual) {
  const double work = 2.0 * (double)m * (double)n * (double)k * 1e-9;
  gemm_job j = {.a = noise(m * k), .w = noise(n * k)};
  float *bias = noise(n), *c = room((size_t)(m * n) * 4);
  uint16_t *narrow = room((size_t)(m * k) * 2);
  j.args = (ck_gemm_args){.m = m, .n = n, .k = k, .lda = k, .ldc = n, .c = c, .bias = bias, .c_type = c_type,
                          .epilogue = gelu ? CK_EPILOGUE_GELU : CK_EPILOGUE_NONE, .residual = residual ? c : NULL,
                          .ldr = n, .gamma = residual ? bias : NULL};
  printf("%-10s %-4s %4ld x %4ld x %4ld", name, precision == CK_BF16 ? "bf16" : "f32", (long)m, (long)n, (long)k);
  printf("  sgemm %6.1f", work / best_time(run_sgemm, &j));
  for (int isa = CK_ISA_COUNT - 1; isa >= 0; isa--) {
    if ((j.kernels = ck_kernels_for(isa)) == NULL) continue;
    const ck_kernels *t = j.kernels;
    const int narrow_products = precision == CK_BF16;
    void *packed = room((narrow_products ? t->packed_bf16_bytes : t->packed_f32_bytes)(n, k));
    (narrow_products ? t->pack_bf16 : t->pack_f32)(j.w, k, n, k, packed);
    j.gemm = narrow_products ? t->gemm_bf16 : t->gemm_f32;
    j.kernels->f32_to_bf16(j.a, narrow, m * k);
    j.args.packed = packed;
    j.scratch = room((narrow_products ? t->gemm_bf16_scratch : t->gemm_f32_scratch)(k));
    j.args.a_type = a_type;
    j.args.a = a_type == CK_BF16 ? (void *)narrow : (void *)j.a;
    const double whole = work / best_time(run_whole_gemm, &j), blocks = work / best_time(run_gemm, &j);
    printf("  %s %6.1f (by 128: %6.1f)", ck_isa_name(isa), whole, blocks);
    fflush(stdout);
    free(packed), free(j.scratch);
  }
  printf("\n");
  free((void *)j.a), free((void *)j.w), free(bias), free(c), free(narrow);
}

typedef struct {
  const ck_kernels *kernels;
  ck_attention_args args;
  void *scratch;
} attention_job;
static void run_pack(void *argument) {
  attention_job *j = argument;
  const int64_t size = j->kernels->attention_block(), blocks = (j->args.tokens + size - 1) / size;
  /* a block's rows of qkv are read by all heads in turn: block by block, not head by head */
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t h = 0; h < j->args.heads; h++) j->kernels->attention_pack(&j->args, h, b);
}
static void run_attention(void *argument) {
  attention_job *j = argument;
  const int64_t size = j->kernels->attention_block(), blocks = (j->args.tokens + size - 1) / size;
  run_pack(argument);
  for (int64_t h = 0; h < j->args.heads; h++)
    for (int64_t b = 0; b < blocks; b++) j->kernels->attention_rows(&j->args, h, b, j->scratch);
}

static void bench_attention(int64_t tokens, int64_t heads, int64_t d, int precision) {
  const int64_t width = heads * d;
  const double work = 4.0 * (double)tokens * (double)tokens * (double)width * 1e-9;
  attention_job j = {.args = {.tokens = tokens, .prefix = 5, .heads = heads, .head_dim = d,
                              .qkv = noise(tokens * 3 * width), .qkv_stride = 3 * width,
                              .sin = noise(tokens * d), .cos = noise(tokens * d),
                              .rope_bf16 = 1, .precision = precision,
                              .out = room((size_t)(tokens * width) * 4), .out_stride = width}};
  printf("attention %-4s N %4ld heads %2ld d %3ld", precision == CK_BF16 ? "bf16" : "f32", (long)tokens, (long)heads,
         (long)d);
  for (int isa = CK_ISA_COUNT - 1; isa >= 0; isa--) {
    if ((j.kernels = ck_kernels_for(isa)) == NULL) continue;
    j.scratch = room(j.kernels->attention_scratch(&j.args));
    j.args.packed = room(j.kernels->attention_bytes(&j.args));
    const double all = best_time(run_attention, &j), pack = best_time(run_pack, &j);
    printf("  %s %6.1f (pack %.1f%%)", ck_isa_name(isa), work / all, 100 * pack / all);
    fflush(stdout);
    free(j.scratch), free(j.args.packed);
  }
  printf("\n");
  free((void *)j.args.qkv), free((void *)j.args.sin), free((void *)j.args.cos), free(j.args.out);
}

static void bench_tokens(int64_t n) {
  bench_gemm("qkv", CK_F32, n, 2304, 768, CK_F32, CK_F32, 0, 0);
  bench_gemm("proj", CK_F32, n, 768, 768, CK_F32, CK_F32, 0, 1);
  bench_gemm("fc1 gelu", CK_F32, n, 3072, 768, CK_F32, CK_F32, 1, 0);
  bench_gemm("fc2", CK_F32, n, 768, 3072, CK_F32, CK_F32, 0, 1);
  bench_gemm("qkv", CK_BF16, n, 2304, 768, CK_BF16, CK_F32, 0, 0);
  bench_gemm("proj", CK_BF16, n, 768, 768, CK_F32, CK_F32, 0, 1);
  bench_gemm("fc1 gelu", CK_BF16, n, 3072, 768, CK_BF16, CK_BF16, 1, 0);
  bench_gemm("fc2", CK_BF16, n, 768, 3072, CK_BF16, CK_F32, 0, 1);
  bench_attention(n, 12, 64, CK_F32);
  bench_attention(n, 12, 64, CK_BF16);
}

/* The decoder: wide first stages, a narrow last one, and the head of 16 classes. */
static void bench_decoder(int precision) {
  bench_gemm("stage 1", precision, 448, 6144, 768, CK_F32, CK_F32, 0, 0);
  bench_gemm("stage 2", precision, 448, 3072, 1536, CK_F32, CK_F32, 0, 0);
  bench_gemm("stage 4", precision, 1024, 768, 384, CK_F32, CK_F32, 0, 0);
  bench_gemm("head", precision, 4096, 16, 192, CK_F32, CK_F32, 0, 0);
}

int main(int count, char **values) {
  if (count < 2) bench_tokens(1029), bench_tokens(3141);
  for (int i = 1; i < count; i++) bench_tokens(atol(values[i]));
  bench_decoder(CK_F32);
  bench_decoder(CK_BF16);
  bench_attention(1029, 8, 128, CK_F32);
  bench_attention(1029, 8, 128, CK_BF16);
  return 0;
}
