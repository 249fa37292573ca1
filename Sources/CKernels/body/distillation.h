/* Training: self-distillation. Rows are long (tens of thousands of prototypes), so sums run in VL lanes of float32 over
 * a strip and in double precision over the strips. */
#define SPAN 1024

static double dot(const float *x, const float *y, int64_t count) {
  double total = 0;
  for (int64_t at = 0; at < count; at += SPAN) {
    const int64_t some = count - at < SPAN ? count - at : SPAN;
    vf sum = vf_set1(0);
    CK_LOOP(i, some, { sum = vf_fma(vf_load_n(x + at + i, lanes), vf_load_n(y + at + i, lanes), sum); });
    total += (double)vf_sum(sum);
  }
  return total;
}

/* A NaN never wins: it compares as not greater, whatever the instruction set's maximum does with it. */
static float largest(const float *x, int64_t count) {
  vf best = vf_set1(-INFINITY);
  int64_t i = 0;
  for (; i + VL <= count; i += VL) {
    const vf v = vf_load(x + i);
    best = vf_select(v > best, v, best);
  }
  float top = vf_largest(best);
  for (; i < count; i++) top = x[i] > top ? x[i] : top;
  return top;
}

static void exp_scaled(const float *x, float *y, float centre, float factor, float shift, int64_t count) {
  CK_LOOP(i, count, {
    vf_store_n(y + i, vf_exp(vf_fma(vf_load_n(x + i, lanes) - centre, vf_set1(factor), vf_set1(shift))), lanes);
  });
}

static void multiply_scaled(float *x, const float *by, float factor, int64_t count) {
  CK_LOOP(i, count, { vf_store_n(x + i, vf_load_n(x + i, lanes) * vf_load_n(by + i, lanes) * factor, lanes); });
}

static void normalize_rows(const float *x, float *y, int64_t rows, int64_t columns, float eps) {
  for (int64_t r = 0; r < rows; r++, x += columns, y += columns) {
    const float norm = (float)sqrt(dot(x, x, columns)), divisor = norm < eps ? eps : norm;
    const vf by = vf_set1(1.0f / divisor);
    CK_LOOP(i, columns, { vf_store_n(y + i, vf_load_n(x + i, lanes) * by, lanes); });
  }
}

/* With n = |x|: dx += (g - x (g x) / n^2) / n, or g / eps for rows that are shorter than eps. */
static void normalize_rows_backward(const float *x, const float *g, float *dx, int64_t rows, int64_t columns,
                                    float eps) {
  for (int64_t r = 0; r < rows; r++, x += columns, g += columns, dx += columns) {
    const double square = dot(x, x, columns), norm = sqrt(square);
    const int tiny = norm < (double)eps;
    const vf along = vf_set1(tiny ? 0.0f : (float)(dot(x, g, columns) / square));
    const vf by = vf_set1(tiny ? 1.0f / eps : (float)(1.0 / norm));
    CK_LOOP(i, columns, {
      const vf d = vf_fma(-along, vf_load_n(x + i, lanes), vf_load_n(g + i, lanes));
      vf_store_n(dx + i, vf_fma(d, by, vf_load_n(dx + i, lanes)), lanes);
    });
  }
}

CK_INLINE vf target_sum(const float *const *targets, int64_t count, int64_t at, int lanes) {
  vf q = vf_set1(0);
  for (int64_t t = 0; t < count; t++) q += vf_load_n(targets[t] + at, lanes);
  return q;
}

/* -sum_k q_k ln softmax(z / temperature)_k with q the sum of the targets; the gradient, if wanted, is
 * factor / temperature * (softmax * sum q - q). */
static double soft_cross_entropy(const float *z, const float *const *targets, int64_t count, int64_t columns,
                                 float inverse_temperature, float factor, float *gradient) {
  const float top = largest(z, columns);
  const vf inverse = vf_set1(inverse_temperature), t = vf_set1(top);
  double sum = 0, mass = 0, cross = 0;
  for (int64_t at = 0; at < columns; at += SPAN) {
    const int64_t some = columns - at < SPAN ? columns - at : SPAN;
    vf partial = vf_set1(0), own = vf_set1(0), along = vf_set1(0);
    CK_LOOP(i, some, {
      const vf d = (vf_load_n(z + at + i, lanes) - t) * inverse;
      const vf q = target_sum(targets, count, at + i, lanes); /* 0 in lanes past the end */
      own += q;
      along = vf_fma(q, d, along);
      float whole[VL];
      vf e = vf_exp(d);
      if (lanes < VL) {
        vf_store(whole, e);
        for (int l = lanes; l < VL; l++) whole[l] = 0;
        e = vf_load(whole);
      }
      partial += e;
    });
    sum += (double)vf_sum(partial);
    mass += (double)vf_sum(own);
    cross += (double)vf_sum(along);
  }
  if (gradient != NULL) {
    const vf share = vf_set1((float)(mass / sum)), scaled = vf_set1(factor * inverse_temperature);
    CK_LOOP(i, columns, {
      const vf e = vf_exp((vf_load_n(z + i, lanes) - t) * inverse);
      const vf q = target_sum(targets, count, i, lanes);
      vf_store_n(gradient + i, vf_fma(e, share, -q) * scaled, lanes);
    });
  }
  return mass * log(sum) - cross;
}

/* s becomes s - t, and 0 where s is cut off; the sum of the squares of what the loss sees. */
static double gram_difference(float *s, const float *t, int64_t count, int32_t cuts_student, int32_t cuts_teacher) {
  const vf zero = vf_set1(0);
  double total = 0;
  for (int64_t at = 0; at < count; at += SPAN) {
    const int64_t some = count - at < SPAN ? count - at : SPAN;
    vf sum = zero;
    CK_LOOP(i, some, {
      const vf a = vf_load_n(s + at + i, lanes);
      vf b = vf_load_n(t + at + i, lanes);
      if (cuts_teacher) b = vf_select(b < 0, zero, b);
      const vi below = a < 0;
      const vf d = (cuts_student ? vf_select(below, zero, a) : a) - b;
      sum = vf_fma(d, d, sum);
      vf_store_n(s + at + i, cuts_student ? vf_select(below, zero, d) : d, lanes);
    });
    total += (double)vf_sum(sum);
  }
  return total;
}
