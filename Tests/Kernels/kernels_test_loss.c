/* The loss kernels against the formula in double precision. */
#include "kernels_test.h"

static void label_case(const ck_kernels *t, int64_t classes, int64_t count, int32_t ignore) {
  const int64_t plane = count + 5;
  float *x = random_floats(classes * plane, -9, 9), *p = random_floats(classes * plane, SENTINEL, SENTINEL);
  float *slope = random_floats(classes, -1, 1), *target_slope = random_floats(classes, -1, 1);
  int16_t *target = malloc((size_t)count * sizeof *target);
  double *sums = malloc((size_t)(3 * classes + 2) * sizeof *sums), *want = malloc((size_t)(3 * classes + 2) * sizeof *want);
  double *q = malloc((size_t)(classes * count) * sizeof *q), worst = 0, error = 0;
  for (int64_t i = 0; i < count; i++) {
    target[i] = (int16_t)(random_bits() % (uint64_t)classes);
    if (ignore > -40000 && random_bits() % 4 == 0) target[i] = (int16_t)ignore;
  }
  for (int64_t i = 0; i < 3 * classes + 2; i++) sums[i] = want[i] = 1;
  for (int64_t i = 0; i < count; i++) {
    double top = -INFINITY, sum = 0;
    for (int64_t c = 0; c < classes; c++) top = x[c * plane + i] > top ? x[c * plane + i] : top;
    for (int64_t c = 0; c < classes; c++) sum += q[c * count + i] = exp(x[c * plane + i] - top);
    for (int64_t c = 0; c < classes; c++) q[c * count + i] /= sum;
    if (target[i] == ignore) continue;
    for (int64_t c = 0; c < classes; c++) {
      want[c] += c == target[i] ? q[c * count + i] : 0;
      want[classes + c] += q[c * count + i];
      want[2 * classes + c] += c == target[i];
    }
    want[3 * classes] -= log(q[target[i] * count + i]);
    want[3 * classes + 1] += 1;
  }
  void *scratch = bytes(t->label_loss_scratch(classes));
  t->label_loss_sums(x, plane, target, ignore, classes, count, p, sums, scratch);
  for (int64_t i = 0; i < 3 * classes + 2; i++) worst = worse(worst, fabs(sums[i] - want[i]) / (1 + fabs(want[i])));
  for (int64_t i = 0; i < classes * count; i++)
    error = worse(error, fabs(p[i / count * plane + i % count] - q[i]));
  check(worst < 2e-6 && error < 1e-6, "label sums classes %ld count %ld: %g, p %g", (long)classes, (long)count, worst,
        error);
  check(p[classes * plane - 1] == SENTINEL, "label_loss_sums writes only its pixels");
  t->label_loss_gradient(p, plane, target, ignore, classes, count, 0.5f, slope, target_slope);
  worst = 0;
  for (int64_t i = 0; i < count; i++) {
    double mean = 0;
    for (int64_t c = 0; c < classes; c++) mean += q[c * count + i] * (slope[c] + (c == target[i]) * target_slope[c]);
    for (int64_t c = 0; c < classes; c++) {
      const double v = q[c * count + i], hit = c == target[i];
      const double g = 0.5 * (v - hit) + v * (slope[c] + hit * target_slope[c] - mean);
      worst = worse(worst, fabs(p[c * plane + i] - (target[i] == ignore ? 0 : g)));
    }
  }
  check(worst < 2e-6, "label gradient classes %ld count %ld: %g", (long)classes, (long)count, worst);
  free(x), free(p), free(slope), free(target_slope), free(target), free(sums), free(want), free(q), free(scratch);
}

static void region_case(const ck_kernels *t, int64_t count, int masked) {
  float *x = random_floats(count, -30, 30), *p = random_floats(count, 0, 0);
  int16_t *target = malloc((size_t)count * sizeof *target), *left_out = malloc((size_t)count * sizeof *target);
  double sums[4] = {1, 1, 1, 1}, want[4] = {1, 1, 1, 1}, worst = 0, error = 0;
  for (int64_t i = 0; i < count; i++) {
    target[i] = random_bits() & 1;
    left_out[i] = masked && random_bits() % 3 == 0;
    const double s = 1 / (1 + exp(-(double)x[i])), m = 1 - left_out[i];
    want[0] += s * target[i] * m;
    want[1] += s * m;
    want[2] += target[i] * m;
    want[3] += m * (log1p(exp(-fabs(x[i]))) + (x[i] > 0 ? x[i] : 0) - x[i] * target[i]);
  }
  t->region_loss_sums(x, target, masked ? left_out : NULL, count, p, sums);
  for (int i = 0; i < 4; i++) worst = worse(worst, fabs(sums[i] - want[i]) / (1 + fabs(want[i])));
  t->region_loss_gradient(p, target, masked ? left_out : NULL, count, 0.5f, 0.3f, -2.0f);
  for (int64_t i = 0; i < count; i++) {
    const double s = 1 / (1 + exp(-(double)x[i]));
    const double g = 0.5 * (s - target[i]) + s * (1 - s) * (0.3 - 2.0 * target[i]);
    error = worse(error, fabs(p[i] - (1 - left_out[i]) * g));
  }
  check(worst < 2e-6 && error < 1e-6, "regions count %ld masked %d: %g, gradient %g", (long)count, masked, worst, error);
  free(x), free(p), free(target), free(left_out);
}

void test_loss(const ck_kernels *t) {
  seed(73);
  static const int64_t counts[] = {1, 3, 8, 17, 255, 256, 257, 1000};
  for (int i = 0; i < 8; i++) {
    for (int64_t classes = 1; classes < 20; classes += 6) {
      label_case(t, classes, counts[i], INT32_MIN);
      label_case(t, classes, counts[i], (int32_t)classes);
      label_case(t, classes, counts[i], -1);
    }
    region_case(t, counts[i], 0);
    region_case(t, counts[i], 1);
  }
}
