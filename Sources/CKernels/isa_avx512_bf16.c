/* The kernels for AVX-512 with its bf16 dot product. */
#include "tables.h"
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c"))), \
                              apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")
#endif
#define CK_HAS_DOT 1
#include "simd/avx512.h"
#include "body/table.h"
DEFINE_TABLE(CK_AVX512_BF16)
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const ck_kernels *const ck_table_avx512_bf16 = &table;
#else
const ck_kernels *const ck_table_avx512_bf16 = NULL;
#endif
