/* Helpers of the CKernels test program: a counted check, seeded numbers, reference formulas in double precision. */
#ifndef KERNELS_TEST_H
#define KERNELS_TEST_H
#include "ckernels.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check(int good, const char *format, ...) __attribute__((format(printf, 2, 3)));

void seed(uint64_t value);
uint64_t random_bits(void);
float uniform(float low, float high);
/* exactly count floats: the sanitizer sees the first byte beyond */
float *random_floats(int64_t count, float low, float high);
void *bytes(size_t count);                                  /* 64-byte aligned, every float and bf16 in it a NaN */

float bf16_rounded(float x); /* by the definition, independent of the kernels */
uint16_t bf16_bits(float x);
float bf16_value(uint16_t bits);
double gelu_reference(double x);
int same_bits(float a, float b);
/* The larger error; a NaN is the worst of all (fmax would pass over it). */
static inline double worse(double worst, double error) { return error <= worst
                                                        ? worst : isnan(error) ? INFINITY : error; }

#define SENTINEL 12345.0f /* what the gaps between strided rows hold, before and after */

void test_rows(const ck_kernels *k);
void test_elementwise(const ck_kernels *k);
void test_functions(const ck_kernels *k);
void test_conversions(const ck_kernels *k);
void test_gemm(const ck_kernels *k);
void test_attention(const ck_kernels *k);
void test_training(const ck_kernels *k);
void test_attention_backward(const ck_kernels *k);
void test_loss(const ck_kernels *k);
void test_distillation(const ck_kernels *k);
void test_sgemm(void);
void test_pool(void);
void test_error_text(void);
#endif
