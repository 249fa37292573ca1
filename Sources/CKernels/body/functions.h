/* exp, 2^x, log, gelu, its slope and sigmoid on vectors.
 *
 * Polynomials: minimax fits made for this library (Lawson's weighted least squares on Chebyshev nodes in double
 * precision, then rounded to float). The error given is the fit's; float arithmetic adds about 1e-7. Range reduction
 * after Cody and Waite. Long polynomials are summed in pairs (Estrin 1960): a processor that looks few instructions
 * ahead would wait for each step of Horner's rule. */

/* Adding 1.5 * 2^23 leaves round(x) in the low bits of the sum, for |x| < 2^22. */
#define ROUNDING 12582912.0f

/* e^x. Relative error below 2e-7; overflows to infinity, underflows gradually to 0; NaN stays NaN (it is the
 * second operand). */
CK_INLINE vf vf_exp(vf x) {
  x = vf_min(vf_set1(89.5f), vf_max(vf_set1(-104.5f), x));
  const vf shifted = vf_fma(x, vf_set1(1.44269504f), vf_set1(ROUNDING));
  const vf whole = shifted - ROUNDING;
  vf r = vf_fma(whole, vf_set1(-0.693359375f), x); /* ln 2's upper part has few bits: the product is exact */
  r = vf_fma(whole, vf_set1(2.12194440e-4f), r);
  /* e^r = 1 + r + r^2 P(r) on |r| <= ln(2)/2, relative error 3.1e-9 */
  vf p = vf_set1(1.381461313e-03f);
  p = vf_fma(p, r, vf_set1(8.368709828e-03f));
  p = vf_fma(p, r, vf_set1(4.166838736e-02f));
  p = vf_fma(p, r, vf_set1(1.666652069e-01f));
  p = vf_fma(p, r, vf_set1(4.999999345e-01f));
  p = vf_fma(p, r * r, r) + 1.0f;
  /* 2^whole in two steps, each a normal number: the result itself may be subnormal or infinite */
  const vi n = (vi)shifted - (vi)vf_set1(ROUNDING), half = n >> 1;
  return p * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
}

/* Several vectors through one function, step by step: a processor waits for one step of all of them, where vector
 * after vector it would wait for every step of each. `n` is a constant. */
#define FOR_N CK_UNROLL for (int i = 0; i < n; i++)
enum { AT_ONCE = 3 }; /* more would not fit the registers of the narrower instruction sets */

/* The same plus an exponent's bias: the sum, shifted into place, is 2^round(x) for round(x) in [-126, 127]. A product
 * with that keeps a NaN, which a sum of exponents would not. */
#define ROUNDING_BIASED (ROUNDING + 127.0f)
CK_INLINE vf vf_power_of_two(vf shifted) { return (vf)((vi)shifted << 23); }

/* t becomes 2^t for t <= 0, with t below -125 taken as -125 (5e-38: nothing next to a softmax's 1). Relative error
 * 9.1e-8 of the fit. */
CK_INLINE void vf_exp2_negative_n(const int n, vf *t) {
  vf shifted[n], r[n], low[n], p[n];
  FOR_N t[i] = vf_max(vf_set1(-125.0f), t[i]);
  FOR_N shifted[i] = t[i] + ROUNDING_BIASED;
  FOR_N r[i] = t[i] - (shifted[i] - ROUNDING_BIASED);
  FOR_N low[i] = vf_fma(vf_set1(5.550733743e-02f), r[i], vf_set1(2.402224209e-01f));
  FOR_N p[i] = vf_fma(vf_set1(1.326472712e-03f), r[i], vf_set1(9.671512645e-03f));
  FOR_N p[i] = vf_fma(p[i], r[i] * r[i], low[i]);
  FOR_N p[i] = vf_fma(p[i], r[i], vf_set1(6.931469776e-01f));
  FOR_N p[i] = vf_fma(p[i], r[i], vf_set1(1.0f));
  FOR_N t[i] = p[i] * vf_power_of_two(shifted[i]);
}
CK_INLINE vf vf_exp2_negative(vf t) {
  vf_exp2_negative_n(1, &t);
  return t;
}

/* The same to 2.8e-6: for results that are rounded to bf16 at once. */
CK_INLINE void vf_exp2_negative_coarse_n(const int n, vf *t) {
  vf shifted[n], r[n], p[n];
  FOR_N t[i] = vf_max(vf_set1(-125.0f), t[i]);
  FOR_N shifted[i] = t[i] + ROUNDING_BIASED;
  FOR_N r[i] = t[i] - (shifted[i] - ROUNDING_BIASED);
  FOR_N p[i] = vf_fma(vf_set1(9.582853038e-03f), r[i], vf_set1(5.590642468e-02f));
  FOR_N p[i] = vf_fma(p[i], r[i], vf_set1(2.402409861e-01f));
  FOR_N p[i] = vf_fma(p[i], r[i], vf_set1(6.931241934e-01f));
  FOR_N p[i] = vf_fma(p[i], r[i], vf_set1(1.0f));
  FOR_N t[i] = p[i] * vf_power_of_two(shifted[i]);
}
CK_INLINE vf vf_exp2_negative_coarse(vf t) {
  vf_exp2_negative_coarse_n(1, &t);
  return t;
}

/* gelu(x) = x Phi(x), the exact (erf) form: max(x, 0) - u Phi(-u) with u = |x|. Phi(-u) = 2^-Q(u), where Q is
 * smooth and nearly quadratic, so one polynomial does and small results keep their relative accuracy. Fit on [0, 12],
 * error of Phi 4.6e-8; beyond, Phi(-12) = 2e-33 stands for all. No division, no erf. */
CK_INLINE void vf_normal_tail_n(const int n, const vf *u, vf *tail) {
  vf u2[n], low[n], high[n];
  FOR_N u2[i] = u[i] * u[i];
  FOR_N low[i] = vf_fma(vf_set1(1.151112396e+00f), u[i], vf_set1(9.999998673e-01f));
  FOR_N low[i] = vf_fma(vf_fma(vf_set1(5.271217062e-02f), u[i], vf_set1(4.591429113e-01f)), u2[i], low[i]);
  FOR_N high[i] = vf_fma(vf_set1(4.012336893e-04f), u[i], vf_set1(-7.396653781e-03f));
  FOR_N high[i] = vf_fma(vf_fma(vf_set1(-1.761732019e-05f), u[i], vf_set1(7.686770480e-05f)), u2[i], high[i]);
  FOR_N u2[i] = u2[i] * u2[i];
  FOR_N high[i] = vf_fma(vf_fma(vf_set1(-3.800121033e-08f), u[i], vf_set1(1.367643173e-06f)), u2[i], high[i]);
  FOR_N tail[i] = -vf_fma(high[i], u2[i], low[i]);
  vf_exp2_negative_n(n, tail);
}
CK_INLINE void vf_gelu_n(const int n, vf *x) {
  vf u[n], tail[n];
  FOR_N u[i] = vf_min(vf_set1(12.0f), vf_abs(x[i]));
  vf_normal_tail_n(n, u, tail);
  FOR_N x[i] = vf_fma(-u[i], tail[i], vf_max(vf_set1(0.0f), x[i]));
}
CK_INLINE vf vf_gelu(vf x) {
  vf_gelu_n(1, &x);
  return x;
}

CK_INLINE vf vf_sigmoid(vf x) { return 1.0f / (vf_exp(-x) + 1.0f); }

/* ln x of a positive normal number. x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); ln(1 + f) = f - f^2/2 + f^3 P(f),
 * relative error 5.8e-9 of the fit. */
CK_INLINE vf vf_log(vf x) {
  const vi shifted = (vi)x - 0x3f3504f3; /* sqrt(1/2) */
  const vi n = shifted >> 23;
  const vf f = (vf)((shifted & 0x7fffff) + 0x3f3504f3) - 1.0f;
  vf p = vf_set1(-7.634497758e-02f);
  p = vf_fma(p, f, vf_set1(1.276157754e-01f));
  p = vf_fma(p, f, vf_set1(-1.316018216e-01f));
  p = vf_fma(p, f, vf_set1(1.420175792e-01f));
  p = vf_fma(p, f, vf_set1(-1.662335736e-01f));
  p = vf_fma(p, f, vf_set1(2.000122688e-01f));
  p = vf_fma(p, f, vf_set1(-2.500082103e-01f));
  p = vf_fma(p, f, vf_set1(3.333333171e-01f));
  const vf square = f * f;
  p = vf_fma(p * f, square, -0.5f * square);
  const vf whole = __builtin_convertvector(n, vf);
  return vf_fma(whole, vf_set1(0.693359375f), vf_fma(whole, vf_set1(-2.12194440e-4f), p) + f);
}

/* gelu'(x) = Phi(x) + x phi(x); Phi as in vf_gelu. */
CK_INLINE vf vf_gelu_slope(vf x) {
  const vf u = vf_min(vf_set1(12.0f), vf_abs(x));
  vf tail;
  vf_normal_tail_n(1, &u, &tail);
  const vf phi = 0.39894228f * vf_exp2_negative(u * u * -0.72134752f);
  const vf below = vf_select(x < 0, tail, 1.0f - tail);
  return vf_fma(x, phi, below);
}
