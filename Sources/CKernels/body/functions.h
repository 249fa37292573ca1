/* exp, 2^x, log, gelu, its slope and sigmoid on vectors.
 *
 * Polynomials: minimax fits made for this library (Lawson's weighted least squares on Chebyshev nodes in double
 * precision, then rounded to float). The error given is the fit's; float arithmetic adds about 1e-7. Range reduction
 * after Cody and Waite. Long polynomials are summed in pairs (Estrin 1960): a processor that looks few instructions
 * ahead would wait for each step of Horner's rule. */

/* Adding 1.5 * 2^23 leaves round(x) in the low bits of the sum, for |x| < 2^22. */
#define ROUNDING 12582912.0f

/* p, the powers of two of `shifted` = whole + ROUNDING, whole in [-126, 127] */
CK_INLINE vf vf_power_of_two(vf shifted) { return (vf)(((vi)shifted << 23) + 0x3f800000); }

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

/* 2^t for t <= 0, with t below -125 taken as -125 (5e-38: nothing next to a softmax's 1). Relative error 9.1e-8 of
 * the fit. */
CK_INLINE vf vf_exp2_negative(vf t) {
  t = vf_max(vf_set1(-125.0f), t);
  const vf shifted = t + ROUNDING, r = t - (shifted - ROUNDING);
  const vf low = vf_fma(vf_set1(5.550733743e-02f), r, vf_set1(2.402224209e-01f));
  const vf high = vf_fma(vf_set1(1.326472712e-03f), r, vf_set1(9.671512645e-03f));
  const vf p = vf_fma(vf_fma(high, r * r, low), r, vf_set1(6.931469776e-01f));
  return vf_fma(p, r, vf_set1(1.0f)) * vf_power_of_two(shifted);
}

/* The same to 2.8e-6: for results that are rounded to bf16 at once. */
CK_INLINE vf vf_exp2_negative_coarse(vf t) {
  t = vf_max(vf_set1(-125.0f), t);
  const vf shifted = t + ROUNDING, r = t - (shifted - ROUNDING);
  vf p = vf_set1(9.582853038e-03f);
  p = vf_fma(p, r, vf_set1(5.590642468e-02f));
  p = vf_fma(p, r, vf_set1(2.402409861e-01f));
  p = vf_fma(p, r, vf_set1(6.931241934e-01f));
  return vf_fma(p, r, vf_set1(1.0f)) * vf_power_of_two(shifted);
}

/* gelu(x) = x Phi(x), the exact (erf) form: max(x, 0) - u Phi(-u) with u = |x|. Phi(-u) = 2^-Q(u), where Q is
 * smooth and nearly quadratic, so one polynomial does and small results keep their relative accuracy. Fit on [0, 12],
 * error of Phi 4.6e-8; beyond, Phi(-12) = 2e-33 stands for all. No division, no erf. */
CK_INLINE vf vf_normal_tail(vf u) {
  const vf u2 = u * u, u4 = u2 * u2;
  const vf q1 = vf_fma(vf_set1(1.151112396e+00f), u, vf_set1(9.999998673e-01f));
  const vf q3 = vf_fma(vf_set1(5.271217062e-02f), u, vf_set1(4.591429113e-01f));
  const vf q5 = vf_fma(vf_set1(4.012336893e-04f), u, vf_set1(-7.396653781e-03f));
  const vf q7 = vf_fma(vf_set1(-1.761732019e-05f), u, vf_set1(7.686770480e-05f));
  const vf q9 = vf_fma(vf_set1(-3.800121033e-08f), u, vf_set1(1.367643173e-06f));
  const vf q = vf_fma(vf_fma(q9, u4, vf_fma(q7, u2, q5)), u4, vf_fma(q3, u2, q1));
  return vf_exp2_negative(-q);
}
CK_INLINE vf vf_gelu(vf x) {
  const vf u = vf_min(vf_set1(12.0f), vf_abs(x));
  return vf_fma(-u, vf_normal_tail(u), vf_max(vf_set1(0.0f), x));
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
  const vf tail = vf_normal_tail(u), phi = 0.39894228f * vf_exp2_negative(u * u * -0.72134752f);
  const vf below = vf_select(x < 0, tail, 1.0f - tail);
  return vf_fma(x, phi, below);
}
