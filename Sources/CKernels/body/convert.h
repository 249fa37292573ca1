/* Conversions between float32 and the 16-bit formats, round to nearest even. */

static void f32_to_bf16(const float *x, uint16_t *y, int64_t count) {
  CK_LOOP(i, count, { vf_store_bf16_n(y + i, vf_load_n(x + i, lanes), lanes); });
}

static void bf16_to_f32(const uint16_t *x, float *y, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(y + i, vf_load_bf16_n(x + i, lanes), lanes); });
}

#ifdef CK_HAS_F16
CK_INLINE vh vh_load_n(const uint16_t *p, int lanes) {
  vh h = {0};
  memcpy(&h, p, (size_t)lanes * sizeof *p);
  return h;
}

static void f32_to_f16(const float *x, uint16_t *y, int64_t count) {
  CK_LOOP(i, count, {
    const vh h = vh_from_f32(vf_load_n(x + i, lanes));
    memcpy(y + i, &h, (size_t)lanes * sizeof *y);
  });
}

static void f16_to_f32(const uint16_t *x, float *y, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(y + i, vf_from_f16(vh_load_n(x + i, lanes)), lanes); });
}
#else
/* IEEE 754 binary16 has 10 fraction bits, exponent bias 15, subnormals of 2^-24. */
static uint16_t f16_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00 | ((size >> 13) & 0x3ff)); /* NaN, made quiet */
  if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
  if (size < 0x38800000) { /* below 2^-14: adding 0.5 puts 2^-24 at float32's last bit, and the processor rounds */
    float magnitude;
    memcpy(&magnitude, &size, sizeof magnitude);
    magnitude += 0.5f;
    memcpy(&bits, &magnitude, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000));
  }
  return (uint16_t)(sign | ((size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13));
}

static float f32_of_f16(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 0x3ff;
  if (exponent == 0) { /* zero or subnormal: a small integer times 2^-24 is exact */
    const float magnitude = (float)fraction * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  uint32_t bits = sign | (exponent + 112) << 23 | fraction << 13;
  if (exponent == 31) bits = sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0);
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void f32_to_f16(const float *x, uint16_t *y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] = f16_of(x[i]);
}

static void f16_to_f32(const uint16_t *x, float *y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] = f32_of_f16(x[i]);
}
#endif
