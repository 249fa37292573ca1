/* The kernels for AArch64 NEON. */
#include "tables.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "simd/neon.h"
#include "body/table.h"
DEFINE_TABLE(CK_NEON)

const ck_kernels *const ck_table_neon = &table;
#else
const ck_kernels *const ck_table_neon = NULL;
#endif
