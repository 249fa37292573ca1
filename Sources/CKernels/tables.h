/* The tables the isa_*.c files offer to isa.c. Each is NULL when this build is for another architecture. */
#ifndef CK_TABLES_H
#define CK_TABLES_H
#include "ckernels.h"

extern const ck_kernels *const ck_table_portable;
extern const ck_kernels *const ck_table_avx2;
extern const ck_kernels *const ck_table_avx512;
extern const ck_kernels *const ck_table_avx512_bf16;
extern const ck_kernels *const ck_table_neon;
#endif
