/* The kernels for AVX2, FMA and F16C. */
#include "tables.h"
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "simd/avx2.h"
#include "body/table.h"
DEFINE_TABLE(CK_AVX2)
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const ck_kernels *const ck_table_avx2 = &table;
#else
const ck_kernels *const ck_table_avx2 = NULL;
#endif
