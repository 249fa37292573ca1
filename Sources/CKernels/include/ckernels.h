/* CKernels: the arithmetic that needs intrinsics, and the thread pool. Floor 0: knows nothing of models or files.
 *
 * Every kernel is serial and works on the rows or tiles it is handed; the caller splits work (by shape alone, so that results do
 * not depend on the number of threads) and runs the pieces through a ck_pool. Kernels of one instruction set are gathered in a
 * table, so that a context chooses once and a test can force each. No kernel allocates, prints, or keeps state.
 *
 * Layout: row-major, channels last. Sizes and strides count elements. bf16 is uint16_t (the upper half of a float32), rounded to
 * nearest even. f16 is uint16_t (IEEE half). */
#ifndef CKERNELS_H
#define CKERNELS_H
#include <stddef.h>
#include <stdint.h>
#if defined(__clang__) /* Swift imports a non-null function pointer as a plain function */
#define CK_NONNULL _Nonnull
#pragma clang diagnostic ignored "-Wnullability-completeness"
#else
#define CK_NONNULL
#endif

/* ---- instruction sets --------------------------------------------------------------------------------------------- */
enum { CK_PORTABLE = 0, CK_AVX2 = 1, CK_AVX512 = 2, CK_AVX512_BF16 = 3, CK_NEON = 4, CK_ISA_COUNT = 5 };
int ck_isa_supported(int isa);    /* 1 when this processor and build can run it */
int ck_isa_best(void);            /* the fastest supported one */
const char *ck_isa_name(int isa); /* "portable", "avx2", "avx512", "avx512-bf16", "neon" */

/* ---- thread pool ---------------------------------------------------------------------------------------------------- */
typedef struct ck_pool ck_pool;
typedef void (*ck_task)(void *argument, int64_t index);
typedef void (*ck_parallel)(void *user, int64_t count, ck_task task, void *argument);
/* threads: how many take part, the caller included (>= 1). Workers start at the first region, sleep between regions, and are made
 * anew after a fork. NULL when memory is short. With host != NULL every region goes to host(user, ...) instead. */
ck_pool *ck_pool_create(int threads, ck_parallel host, void *user, int host_width);
void ck_pool_destroy(ck_pool *pool);
int ck_pool_width(const ck_pool *pool);
/* Runs task(argument, i) for i in [0, count), in any order, and returns when all are done. A region started while another region
 * of the same pool runs (from a task, or from a second host thread) runs on the calling thread alone. */
void ck_pool_run(ck_pool *pool, int64_t count, ck_task task, void *argument);

/* ---- fixed random draws ---------------------------------------------------------------------------------------------- */
/* MT19937 as NumPy's RandomState keeps it: 624 words and the place of the next one (0 to 624). Draws `draws` numbers in
 * [0, maximum] (masked bits, drawn again until they fit; no draw when maximum is 0) and adds 1 to counts[number] for each. */
void ck_legacy_count(uint32_t state[624], int32_t *position, uint32_t maximum, int64_t draws, uint32_t *counts);

/* ---- this thread's last error text (the C ABI's) ---------------------------------------------------------------------- */
void ck_set_last_error(const char *message); /* copied, cut at 1023 bytes on a UTF-8 boundary */
const char *ck_last_error(void);

/* ---- kernels ------------------------------------------------------------------------------------------------------------ */
enum { CK_F32 = 0, CK_BF16 = 1 };
enum { CK_EPILOGUE_NONE = 0, CK_EPILOGUE_GELU = 1 };

/* c[m, n] = epilogue( a[m, k] * w[n, k]^T + bias[n] ); with residual: c = residual + gamma * (...), gamma NULL = 1.
 * accumulate: the product is added to what c (f32) holds before the bias is; bias and epilogue then come with the last call. */
typedef struct {
  int64_t m, n, k;
  const void *a;           /* f32 or bf16 by a_type */
  int64_t lda;
  int32_t a_type;
  int32_t a_transposed;    /* 1: a is [k, m] with row stride lda, f32 */
  const void *packed;      /* w as pack_bf16 or pack_f32 left it */
  const float *bias;       /* [n] or NULL */
  int32_t epilogue;
  int32_t accumulate;
  const float *residual;   /* [m, n] with row stride ldr, or NULL; may be the same memory as c */
  int64_t ldr;
  const float *gamma;      /* [n] or NULL */
  void *c;                 /* f32 or bf16 by c_type */
  int64_t ldc;
  int32_t c_type;
} ck_gemm_args;

/* Self-attention of one image: out = softmax(rope(q) rope(k)^T / sqrt(head_dim)) v per head, online over key blocks, never an
 * N x N map. qkv is [tokens, 3 * heads * head_dim]: q, then k, then v, each head-major. The first `prefix` tokens are not rotated.
 * sin, cos: [tokens - prefix, head_dim], or NULL for no rotation. rope_bf16: q and k of ALL tokens are first rounded to bf16 and
 * each product and sum of the rotation is rounded to bf16 (the official bf16 RoPE). precision: CK_F32, or CK_BF16 for bf16
 * products with f32 accumulation (q, k, v and the probabilities rounded to bf16). */
typedef struct {
  int64_t tokens, prefix, heads, head_dim;
  const float *qkv;
  int64_t qkv_stride;
  const float *sin, *cos;
  int32_t rope_bf16, precision;
  void *packed;            /* attention_bytes() bytes, 64-byte aligned; filled by attention_pack, read by attention_rows */
  float *out;              /* [tokens, heads * head_dim], row stride out_stride */
  int64_t out_stride;
  float *log_sum_exp;      /* [heads, tokens] or NULL; what a backward pass needs */
} ck_attention_args;

/* The gradient of qkv from that of out, block by block from q, k, v and log_sum_exp (Dao 2023, arXiv:2307.08691). Tasks: pack
 * (head, block of ck_attention_block() tokens); then keys (head, chunk), which write dk and dv of the chunk's blocks of keys and keep
 * its share of dq; then queries (head, block), which add the shares and write dq. Where the forward rounds to bf16 because of rope_bf16,
 * the gradient is rounded too. */
typedef struct {
  ck_attention_args forward; /* packed: attention_backward_bytes() bytes; out, log_sum_exp: what the forward wrote */
  const float *gradient;     /* of out, row stride out_stride */
  float *qkv_gradient;       /* row stride qkv_stride */
  int64_t chunks;            /* into how many the blocks of keys are cut; at least 1, at most the blocks */
} ck_attention_backward_args;

/* One parameter's AdamW update in float32 (Loshchilov, Hutter 2019, arXiv:1711.05101; in PyTorch's order of operations). */
typedef struct {
  float gradient_scale, decay, first_weight, beta2, second_weight, step_size, root_correction, epsilon;
} ck_adamw_args;

typedef struct ck_kernels {
  int isa;
  /* bf16 GEMM. pack_bf16 rounds w[n, k] (row stride ldw) into panels; packed_bf16_bytes(n, k) bytes, 64-byte aligned. */
  size_t (*CK_NONNULL packed_bf16_bytes)(int64_t n, int64_t k);
  void (*CK_NONNULL pack_bf16)(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed);
  void (*CK_NONNULL gemm_bf16)(const ck_gemm_args *args, void *scratch); /* a whole row block; any m; scratch: gemm_bf16_scratch(k) bytes */
  size_t (*CK_NONNULL gemm_bf16_scratch)(int64_t k);
  int64_t gemm_rows; /* of both products: how many rows go through the columns together. More are cut evenly. */
  /* attention. Tasks: pack (head, block of ck_attention_block() tokens), then rows (head, block). scratch per thread. */
  size_t (*CK_NONNULL attention_bytes)(const ck_attention_args *args);
  size_t (*CK_NONNULL attention_scratch)(const ck_attention_args *args);
  int64_t (*CK_NONNULL attention_block)(void);
  void (*CK_NONNULL attention_pack)(const ck_attention_args *args, int64_t head, int64_t block);
  void (*CK_NONNULL attention_rows)(const ck_attention_args *args, int64_t head, int64_t block, void *scratch);
  /* rows. y may be x. w, b: [columns]; b may be NULL. y_type: CK_F32 or CK_BF16. */
  void (*CK_NONNULL layer_norm)(const float *x, int64_t ldx, void *y, int64_t ldy, int32_t y_type, const float *w, const float *b, int64_t rows, int64_t columns, float eps);
  void (*CK_NONNULL rms_norm)(const float *x, int64_t ldx, void *y, int64_t ldy, int32_t y_type, const float *w, int64_t rows, int64_t columns, float eps);
  void (*CK_NONNULL layer_norm_gelu)(float *x, const float *w, const float *b, int64_t rows, int64_t columns, float eps); /* in place: decoder */
  void (*CK_NONNULL bias_gelu)(float *x, int64_t ldx, const float *bias, int64_t rows, int64_t columns);      /* x = gelu(x + bias), exact erf form */
  void (*CK_NONNULL bias_add)(float *x, int64_t ldx, const float *bias, int64_t rows, int64_t columns);
  void (*CK_NONNULL swiglu)(const float *gate, const float *up, float *y, int64_t count);                      /* silu(gate) * up */
  void (*CK_NONNULL residual)(float *x, const float *branch, const float *bias, const float *gamma, int64_t rows, int64_t columns); /* x += gamma * (branch + bias); bias, gamma may be NULL */
  void (*CK_NONNULL softmax_rows)(float *x, int64_t rows, int64_t columns);
  void (*CK_NONNULL sigmoid)(float *x, int64_t count);
  void (*CK_NONNULL exp_f32)(const float *x, float *y, int64_t count);
  void (*CK_NONNULL scale)(float *x, float factor, int64_t count);
  void (*CK_NONNULL add)(float *x, const float *y, int64_t count);
  /* sum[i] += g[i] * x[i * stride_x] : Gaussian-weighted accumulation of one class plane */
  void (*CK_NONNULL weighted_accumulate)(float *sum, const float *g, const float *x, int64_t stride_x, int64_t count);
  void (*CK_NONNULL divide)(float *x, const float *by, int64_t count);
  void (*CK_NONNULL argmax_planes)(const float *x, int64_t plane_stride, int64_t classes, int64_t count, int32_t *out); /* first maximum */
  void (*CK_NONNULL f32_to_bf16)(const float *x, uint16_t *y, int64_t count);
  void (*CK_NONNULL bf16_to_f32)(const uint16_t *x, float *y, int64_t count);
  void (*CK_NONNULL f32_to_f16)(const float *x, uint16_t *y, int64_t count);
  void (*CK_NONNULL f16_to_f32)(const uint16_t *x, float *y, int64_t count);
  /* f32 GEMM: the same with pack_f32's panels and f32 products (a bf16 a is widened). Of both: the columns from n0 on, n0 a
   * multiple of 64, are the panels from packed + packed_..._bytes(n0, k) on. A column's bits depend on neither the rows nor the
   * columns that are computed with it. */
  size_t (*CK_NONNULL packed_f32_bytes)(int64_t n, int64_t k);
  void (*CK_NONNULL pack_f32)(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed);
  void (*CK_NONNULL gemm_f32)(const ck_gemm_args *args, void *scratch);
  size_t (*CK_NONNULL gemm_f32_scratch)(int64_t k);
  /* The panels of w[n, k] from its transpose, w[k, n] with row stride ldw. */
  void (*CK_NONNULL pack_f32_columns)(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed);
  void (*CK_NONNULL pack_bf16_columns)(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed);
  /* training: element-wise. Outputs may be the gradient. */
  void (*CK_NONNULL gelu)(const float *x, float *y, int64_t count);
  void (*CK_NONNULL gelu_backward)(const float *x, const float *g, float *y, int64_t count);
  void (*CK_NONNULL swiglu_backward)(const float *gate, const float *up, const float *g, float *gate_gradient, float *up_gradient, int64_t count);
  /* branch_gradient = factor * gamma * g; gamma_gradient[columns] += factor * (sum over rows of g * branch). gamma, gamma_gradient may be NULL. */
  void (*CK_NONNULL residual_backward)(const float *g, const float *branch, const float *gamma, float factor, float *branch_gradient, float *gamma_gradient, int64_t rows, int64_t columns);
  void (*CK_NONNULL fill)(float *x, float value, int64_t count);
  void (*CK_NONNULL add_scaled)(float *y, const float *x, float factor, int64_t count);      /* y += factor * x */
  void (*CK_NONNULL interpolate)(float *y, const float *x, float momentum, float rest, int64_t count); /* y = momentum * y + rest * x */
  void (*CK_NONNULL adamw)(float *parameter, const float *g, float *first, float *second, const ck_adamw_args *args, int64_t count);
  double (*CK_NONNULL sum_of_squares)(const float *x, int64_t count);
  void (*CK_NONNULL column_sums)(const float *x, int64_t ldx, int64_t rows, int64_t columns, float *sums); /* added to */
  /* training: rows, all dense [rows, columns]. input_gradient is added to when `adds` (then it is not g), else written and may be g; NULL is
   * not computed. weight_gradient, bias_gradient [columns] are added to, NULL is not computed. The gelu form: x is what the norm was given,
   * g the gradient of gelu(norm(x)). */
  void (*CK_NONNULL layer_norm_backward)(const float *x, const float *w, const float *g, float *input_gradient, int adds, float *weight_gradient, float *bias_gradient, int64_t rows, int64_t columns, float eps);
  void (*CK_NONNULL rms_norm_backward)(const float *x, const float *w, const float *g, float *input_gradient, int adds, float *weight_gradient, int64_t rows, int64_t columns, float eps);
  void (*CK_NONNULL layer_norm_gelu_backward)(const float *x, const float *w, const float *b, float *g, float *weight_gradient, float *bias_gradient, int64_t rows, int64_t columns, float eps); /* in place */
  /* training: attention. scratch per thread, 64-byte aligned. */
  size_t (*CK_NONNULL attention_backward_bytes)(const ck_attention_backward_args *args);
  size_t (*CK_NONNULL attention_backward_scratch)(const ck_attention_backward_args *args);
  void (*CK_NONNULL attention_backward_pack)(const ck_attention_backward_args *args, int64_t head, int64_t block);
  void (*CK_NONNULL attention_backward_keys)(const ck_attention_backward_args *args, int64_t head, int64_t chunk, void *scratch);
  void (*CK_NONNULL attention_backward_queries)(const ck_attention_backward_args *args, int64_t head, int64_t block);
  /* training: loss over `count` pixels of planes `plane` apart. p: where the probabilities go (NULL: nowhere); the gradient kernels turn them
   * into the gradient in place. Labels: sums [3 * classes + 2] are added to: per class sum p y, sum p, sum y (pixels that are left out not
   * counted), then the cross entropy and the number of pixels counted. ignore: the label left out, or below -32768 for none.
   * Gradient of class c: counted * (ce * (p - y) + p * (d_c - sum_k p_k d_k)), d_c = slope[c] + y * target_slope[c]. */
  size_t (*CK_NONNULL label_loss_scratch)(int64_t classes);
  void (*CK_NONNULL label_loss_sums)(const float *x, int64_t plane, const int16_t *target, int32_t ignore, int64_t classes, int64_t count, float *p, double *sums, void *scratch);
  void (*CK_NONNULL label_loss_gradient)(float *p, int64_t plane, const int16_t *target, int32_t ignore, int64_t classes, int64_t count, float ce, const float *slope, const float *target_slope);
  /* Regions, one plane: sums [4]: sum p y m, sum p m, sum y m and the binary cross entropy times m; left_out (1 where m is 0) may be NULL.
   * Gradient: m * (bce * (p - y) + p (1 - p) (slope + y * target_slope)). */
  void (*CK_NONNULL region_loss_sums)(const float *x, const int16_t *target, const int16_t *left_out, int64_t count, float *p, double *sums);
  void (*CK_NONNULL region_loss_gradient)(float *p, const int16_t *target, const int16_t *left_out, int64_t count, float bce, float slope, float target_slope);
  /* training: self-distillation. */
  double (*CK_NONNULL dot)(const float *x, const float *y, int64_t count);
  float (*CK_NONNULL largest)(const float *x, int64_t count); /* NaN left out; minus infinity of nothing */
  void (*CK_NONNULL exp_scaled)(const float *x, float *y, float centre, float factor, float shift, int64_t count); /* y = e^(factor * (x - centre) + shift) */
  void (*CK_NONNULL multiply_scaled)(float *x, const float *by, float factor, int64_t count);        /* x *= by * factor */
  /* y = x / max(|x|, eps) per row; y may be x. The backward adds to dx, which is not g. */
  void (*CK_NONNULL normalize_rows)(const float *x, float *y, int64_t rows, int64_t columns, float eps);
  void (*CK_NONNULL normalize_rows_backward)(const float *x, const float *g, float *dx, int64_t rows, int64_t columns, float eps);
  /* One row against the sum q of `count` target rows: returns -sum q ln softmax(z / temperature); gradient (NULL: not wanted) is
   * factor / temperature * (softmax * sum(q) - q). */
  double (*CK_NONNULL soft_cross_entropy)(const float *z, const float *const *targets, int64_t count, int64_t columns, float inverse_temperature, float factor, float *gradient);
  /* Returns the sum of (s - t)^2 and leaves s - t in s. cuts_...: negatives count as 0; where s is cut, 0 is left. */
  double (*CK_NONNULL gram_difference)(float *s, const float *t, int64_t count, int32_t cuts_student, int32_t cuts_teacher);
} ck_kernels;

/* The table of one instruction set; NULL when it is not supported here. */
const ck_kernels *ck_kernels_for(int isa);

/* f32 GEMM through OpenBLAS on the calling thread: c[m, n] = a * b + beta * c; transposed operands as in BLAS (row-major). */
void ck_sgemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
#endif
