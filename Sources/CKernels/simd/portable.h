/* Four lanes of plain vector arithmetic: the compiler's baseline (SSE2, NEON). No fused multiply-add. */
#define VL 4
#define MR 4 /* rows of a register tile: MR x 2 accumulators, 2 + 1 operands in 16 registers */
#include "common.h"

CK_INLINE vf vf_set1(float x) { return (vf){x, x, x, x}; }
CK_INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
CK_INLINE vf vf_sqrt(vf x) { return (vf){sqrtf(x[0]), sqrtf(x[1]), sqrtf(x[2]), sqrtf(x[3])}; }
/* As on x86: b when either is NaN. */
CK_INLINE vf vf_max(vf a, vf b) { return vf_select(a > b, a, b); }
CK_INLINE vf vf_min(vf a, vf b) { return vf_select(a < b, a, b); }
