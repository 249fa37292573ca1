/* Every kernel body, compiled for the instruction set whose simd/<isa>.h was included before, and their table. */
#include "functions.h"
#include "elementwise.h"
#include "convert.h"
#include "rows.h"
#include "transpose.h"
#include "micro.h"
#include "gemm.h"
#include "attention_pack.h"
#include "attention_rows.h"
#include "attention_backward.h"
#include "elementwise_backward.h"
#include "rows_backward.h"
#include "loss.h"
#include "distillation.h"

#define DEFINE_TABLE(ISA)                         \
  static const ck_kernels table = {               \
      .isa = ISA,                                 \
      .packed_bf16_bytes = bf16_packed_bytes,     \
      .pack_bf16 = pack_bf16,                     \
      .gemm_bf16 = bf16_gemm,                     \
      .gemm_bf16_scratch = bf16_scratch,          \
      .gemm_rows = GEMM_ROWS,                     \
      .attention_bytes = attention_bytes,         \
      .attention_scratch = attention_scratch,     \
      .attention_block = attention_block,         \
      .attention_pack = attention_pack,           \
      .attention_rows = attention_rows,           \
      .layer_norm = layer_norm,                   \
      .rms_norm = rms_norm,                       \
      .layer_norm_gelu = layer_norm_gelu,         \
      .bias_gelu = bias_gelu,                     \
      .bias_add = bias_add,                       \
      .swiglu = swiglu,                           \
      .residual = residual,                       \
      .softmax_rows = softmax_rows,               \
      .sigmoid = sigmoid,                         \
      .exp_f32 = exp_f32,                         \
      .scale = scale,                             \
      .add = add,                                 \
      .weighted_accumulate = weighted_accumulate, \
      .divide = divide,                           \
      .argmax_planes = argmax_planes,             \
      .f32_to_bf16 = f32_to_bf16,                 \
      .bf16_to_f32 = bf16_to_f32,                 \
      .f32_to_f16 = f32_to_f16,                   \
      .f16_to_f32 = f16_to_f32,                   \
      .packed_f32_bytes = f32_packed_bytes,       \
      .pack_f32 = pack_f32,                       \
      .gemm_f32 = f32_gemm,                       \
      .gemm_f32_scratch = f32_scratch,            \
      .pack_f32_columns = pack_f32_columns,       \
      .pack_bf16_columns = pack_bf16_columns,     \
      .gelu = gelu,                               \
      .gelu_backward = gelu_backward,             \
      .swiglu_backward = swiglu_backward,         \
      .residual_backward = residual_backward,     \
      .fill = fill,                               \
      .add_scaled = add_scaled,                   \
      .interpolate = interpolate,                 \
      .adamw = adamw,                             \
      .sum_of_squares = sum_of_squares,           \
      .column_sums = column_sums,                 \
      .layer_norm_backward = layer_norm_backward, \
      .rms_norm_backward = rms_norm_backward,     \
      .layer_norm_gelu_backward = layer_norm_gelu_backward, \
      .attention_backward_bytes = attention_backward_bytes, \
      .attention_backward_scratch = attention_backward_scratch, \
      .attention_backward_pack = attention_backward_pack, \
      .attention_backward_keys = attention_backward_keys, \
      .attention_backward_queries = attention_backward_queries, \
      .label_loss_scratch = label_loss_scratch,   \
      .label_loss_sums = label_loss_sums,         \
      .label_loss_gradient = label_loss_gradient, \
      .region_loss_sums = region_loss_sums,       \
      .region_loss_gradient = region_loss_gradient, \
      .dot = dot,                                 \
      .largest = largest,                         \
      .exp_scaled = exp_scaled,                   \
      .multiply_scaled = multiply_scaled,         \
      .normalize_rows = normalize_rows,           \
      .normalize_rows_backward = normalize_rows_backward, \
      .soft_cross_entropy = soft_cross_entropy,   \
      .gram_difference = gram_difference,         \
  };
