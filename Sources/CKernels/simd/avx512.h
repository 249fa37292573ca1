/* AVX-512 (F, BW, VL, DQ): sixteen lanes, 32 registers, masks. */
#define VL 16
#define MR 14 /* 28 accumulators, 2 + 1 operands */
#define CK_HAS_F16 1
#define CK_HAS_MASKS 1
#include "common.h"

CK_INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
CK_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
CK_INLINE vf vf_sqrt(vf x) { return (vf)_mm512_sqrt_ps(x); }
/* b when either is NaN */
CK_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
CK_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
CK_INLINE vf vf_load_n(const float *p, int lanes) {
  if (lanes == VL) return vf_load(p);
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), p);
}
CK_INLINE void vf_store_n(float *p, vf x, int lanes) {
  if (lanes == VL) vf_store(p, x);
  else _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1), x);
}
CK_INLINE vh vh_from_f32(vf x) { return (vh)_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
CK_INLINE vf vf_from_f16(vh h) { return _mm512_cvtph_ps((__m256i)h); }

#ifdef CK_HAS_DOT
/* acc + a.even * b.even + a.odd * b.odd per lane, bf16 pairs. Subnormal inputs and results count as zero (the
 * instruction's way). */
CK_INLINE vf vf_dot_bf16(vf acc, vu a, vu b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }
/* Lane i becomes the pair (low[i], high[i]) rounded to bf16, `low` in the lower half. */
CK_INLINE vu vu_pair_bf16(vf low, vf high) {
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low); /* low's 16 values, then high's */
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (vu)_mm512_permutexvar_epi16(order, both);
}
#endif
