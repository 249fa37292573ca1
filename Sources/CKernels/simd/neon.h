/* AArch64 NEON: four lanes, fused multiply-add, 32 registers. */
#define VL 4
#define MR 12
#define CK_HAS_F16 1
#include "common.h"

CK_INLINE vf vf_set1(float x) { return (vf)vdupq_n_f32(x); }
CK_INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
CK_INLINE vf vf_sqrt(vf x) { return (vf)vsqrtq_f32((float32x4_t)x); }
/* NaN when either is: stronger than the "b when either is NaN" that the bodies need. */
CK_INLINE vf vf_max(vf a, vf b) { return (vf)vmaxq_f32((float32x4_t)a, (float32x4_t)b); }
CK_INLINE vf vf_min(vf a, vf b) { return (vf)vminq_f32((float32x4_t)a, (float32x4_t)b); }
CK_INLINE vh vh_from_f32(vf x) { return (vh)vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x)); }
CK_INLINE vf vf_from_f16(vh h) { return (vf)vcvt_f32_f16(vreinterpret_f16_u16((uint16x4_t)h)); }
