/* Vectors of VL floats for the kernel bodies. The including simd/<isa>.h defines VL first, and vf_set1, vf_fma,
 * vf_max, vf_min and the masked load and store after this file's types. Arithmetic and comparisons are the operators
 * of the GNU vector extension, which clang and gcc both have: a comparison yields -1 or 0 per lane. */
typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));

#define CK_INLINE static inline __attribute__((always_inline, unused))
#ifdef __clang__
#define CK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CK_UNROLL _Pragma("GCC unroll 16")
#endif

/* BODY once for every whole vector of [0, count) and once for the rest, with `lanes` the number of valid lanes. */
#define CK_LOOP(i, count, ...)                                              \
  do {                                                                      \
    int64_t i = 0;                                                          \
    for (; i + VL <= (count); i += VL) { enum { lanes = VL }; __VA_ARGS__ } \
    if (i < (count)) { const int lanes = (int)((count) - i); __VA_ARGS__ }  \
  } while (0)

CK_INLINE vf vf_load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
CK_INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
CK_INLINE vu vu_load(const void *p) { vu v; memcpy(&v, p, sizeof v); return v; }
CK_INLINE void vu_store(void *p, vu v) { memcpy(p, &v, sizeof v); }
CK_INLINE vf vf_select(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }
CK_INLINE vf vf_abs(vf x) { return (vf)((vi)x & 0x7fffffff); }

/* The lanes as bf16, round to nearest even, each in the upper half of its lane; a NaN stays one (its quiet bit is
 * set). */
CK_INLINE vu vu_round_bf16(vf x) {
  const vu bits = (vu)x;
  const vu rounded = bits + 0x7fff + ((bits >> 16) & 1);
  const vu nan = (vu)(x != x);
  return ((rounded & ~nan) | ((bits | 0x400000) & nan)) & 0xffff0000u;
}
CK_INLINE vf vf_round_bf16(vf x) { return (vf)vu_round_bf16(x); }
CK_INLINE vf vf_load_bf16(const uint16_t *p) {
  vh h;
  memcpy(&h, p, sizeof h);
  return (vf)(__builtin_convertvector(h, vu) << 16);
}
CK_INLINE void vf_store_bf16(uint16_t *p, vf x) {
  const vh h = __builtin_convertvector(vu_round_bf16(x) >> 16, vh);
  memcpy(p, &h, sizeof h);
}
CK_INLINE vf vf_load_bf16_n(const uint16_t *p, int lanes) {
  if (lanes == VL) return vf_load_bf16(p);
  uint16_t whole[VL] = {0};
  for (int i = 0; i < lanes; i++) whole[i] = p[i];
  return vf_load_bf16(whole);
}
CK_INLINE void vf_store_bf16_n(uint16_t *p, vf x, int lanes) {
  if (lanes == VL) { vf_store_bf16(p, x); return; }
  uint16_t whole[VL];
  vf_store_bf16(whole, x);
  for (int i = 0; i < lanes; i++) p[i] = whole[i];
}

#ifndef CK_HAS_MASKS
CK_INLINE vf vf_load_n(const float *p, int lanes) {
  if (lanes == VL) return vf_load(p);
  float whole[VL] = {0};
  for (int i = 0; i < lanes; i++) whole[i] = p[i];
  return vf_load(whole);
}
CK_INLINE void vf_store_n(float *p, vf x, int lanes) {
  if (lanes == VL) { vf_store(p, x); return; }
  float whole[VL];
  vf_store(whole, x);
  for (int i = 0; i < lanes; i++) p[i] = whole[i];
}
#endif

CK_INLINE float vf_sum(vf v) { /* pairwise, so that every instruction set of one width adds in one order */
  float lane[VL];
  vf_store(lane, v);
  CK_UNROLL
  for (int width = VL / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}
CK_INLINE float vf_largest(vf v) {
  float lane[VL], best;
  vf_store(lane, v);
  best = lane[0];
  for (int i = 1; i < VL; i++) best = lane[i] > best ? lane[i] : best;
  return best;
}
