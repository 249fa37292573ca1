/* AVX2 with FMA and F16C: eight lanes, 16 registers. */
#define VL 8
#define MR 6 /* 12 accumulators, 2 + 1 operands */
#define CK_HAS_F16 1
#define CK_HAS_MASKS 1
#include "common.h"

CK_INLINE vf vf_set1(float x) { return _mm256_set1_ps(x); }
CK_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
CK_INLINE vf vf_sqrt(vf x) { return (vf)_mm256_sqrt_ps(x); }
/* b when either is NaN */
CK_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
CK_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
CK_INLINE __m256i first_lanes(int lanes) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
CK_INLINE vf vf_load_n(const float *p, int lanes) {
  if (lanes == VL) return vf_load(p);
  return (vf)_mm256_maskload_ps(p, first_lanes(lanes));
}
CK_INLINE void vf_store_n(float *p, vf x, int lanes) {
  if (lanes == VL) vf_store(p, x);
  else _mm256_maskstore_ps(p, first_lanes(lanes), x);
}
CK_INLINE vh vh_from_f32(vf x) { return (vh)_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
CK_INLINE vf vf_from_f16(vh h) { return _mm256_cvtph_ps((__m128i)h); }
