/* Checks every kernel of every instruction set that runs here against plain double-precision references, and the
 * thread pool. Last line: "N passed, N failed". Arguments: names of instruction sets to keep to (all supported by
 * default). */
#include "kernels_test.h"
#include <stdarg.h>

static long passed, failed;
static const char *table_name = "";

void check(int good, const char *format, ...) {
  if (good) {
    passed++;
    return;
  }
  failed++;
  if (failed > 40) return;
  va_list arguments;
  va_start(arguments, format);
  printf("FAILED [%s] ", table_name);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
}

static uint64_t state;
void seed(uint64_t value) { state = value; }
uint64_t random_bits(void) { /* SplitMix64 (Steele, Lea, Flood 2014) */
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
float uniform(float low, float high) { return low + (high - low) * (float)(random_bits() >> 40) * 0x1p-24f; }
float *random_floats(int64_t count, float low, float high) {
  float *x = malloc((size_t)(count > 0 ? count : 1) * sizeof *x);
  for (int64_t i = 0; i < count; i++) x[i] = uniform(low, high);
  return x;
}
void *bytes(size_t count) {
  void *p = NULL;
  if (posix_memalign(&p, 64, count ? count : 1) != 0) abort();
  memset(p, 0xFF, count);
  return p;
}

uint16_t bf16_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
  const uint32_t below = bits & 0xffff, half = 0x8000;
  uint32_t top = bits >> 16;
  if (below > half || (below == half && (top & 1))) top++;
  return (uint16_t)top;
}
float bf16_value(uint16_t half) {
  const uint32_t bits = (uint32_t)half << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
float bf16_rounded(float x) { return bf16_value(bf16_bits(x)); }
double gelu_reference(double x) { return 0.5 * x * erfc(-x * 0.70710678118654752440); }
int same_bits(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

static void test_table(int isa) {
  const ck_kernels *k = ck_kernels_for(isa);
  table_name = ck_isa_name(isa);
  check(k != NULL && k->isa == isa, "the table carries its own name");
  if (k == NULL) return;
  const long before = passed + failed;
  test_functions(k);
  test_elementwise(k);
  test_rows(k);
  test_conversions(k);
  test_gemm(k);
  test_attention(k);
  test_training(k);
  test_attention_backward(k);
  test_loss(k);
  test_distillation(k);
  printf("%s: %ld checks\n", table_name, passed + failed - before);
}

static int wanted(int isa, int count, char **names) {
  for (int i = 1; i < count; i++)
    if (strcmp(names[i], ck_isa_name(isa)) == 0) return 1;
  return count < 2;
}

int main(int count, char **names) {
  check(ck_isa_supported(CK_PORTABLE) && ck_isa_supported(ck_isa_best()), "portable and best are supported");
  check(!ck_isa_supported(-1) && !ck_isa_supported(CK_ISA_COUNT) && ck_kernels_for(99) == NULL,
        "unknown names are refused");
  printf("best: %s\n", ck_isa_name(ck_isa_best()));
  for (int isa = 0; isa < CK_ISA_COUNT; isa++)
    if (ck_isa_supported(isa) && wanted(isa, count, names)) test_table(isa);
  table_name = "";
  test_sgemm();
  test_pool();
  test_error_text();
  printf("%ld passed, %ld failed\n", passed, failed);
  return failed != 0;
}
