/* The kernels without any instruction set beyond the compiler's baseline: runs everywhere. */
#include "tables.h"
#include <math.h>
#include <string.h>

#include "simd/portable.h"
#include "body/table.h"
DEFINE_TABLE(CK_PORTABLE)

const ck_kernels *const ck_table_portable = &table;
