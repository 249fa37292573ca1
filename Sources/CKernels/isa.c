/* Which instruction sets this processor runs, and their tables. */
#include "tables.h"

static const ck_kernels *table_of(int isa) {
  switch (isa) {
  case CK_PORTABLE: return ck_table_portable;
  case CK_AVX2: return ck_table_avx2;
  case CK_AVX512: return ck_table_avx512;
  case CK_AVX512_BF16: return ck_table_avx512_bf16;
  case CK_NEON: return ck_table_neon;
  default: return NULL;
  }
}

#if defined(__x86_64__)
/* The built-in also asks the operating system whether it saves the wide registers (XGETBV). */
static int processor_has(int isa) {
  __builtin_cpu_init();
  const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  switch (isa) {
  case CK_AVX2: return avx2;
  case CK_AVX512: return avx512;
  case CK_AVX512_BF16: return avx512 && __builtin_cpu_supports("avx512bf16");
  default: return isa == CK_PORTABLE;
  }
}
#else
static int processor_has(int isa) { return isa == CK_PORTABLE || isa == CK_NEON; } /* AArch64 always has NEON */
#endif

int ck_isa_supported(int isa) { return table_of(isa) != NULL && processor_has(isa) ? 1 : 0; }

int ck_isa_best(void) {
  static const int fastest_first[] = {CK_AVX512_BF16, CK_AVX512, CK_AVX2, CK_NEON};
  for (size_t i = 0; i < sizeof fastest_first / sizeof *fastest_first; i++)
    if (ck_isa_supported(fastest_first[i])) return fastest_first[i];
  return CK_PORTABLE;
}

const char *ck_isa_name(int isa) {
  static const char *const names[CK_ISA_COUNT] = {"portable", "avx2", "avx512", "avx512-bf16", "neon"};
  return isa >= 0 && isa < CK_ISA_COUNT ? names[isa] : "unknown";
}

const ck_kernels *ck_kernels_for(int isa) { return ck_isa_supported(isa) ? table_of(isa) : NULL; }
