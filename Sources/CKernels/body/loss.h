/* Training: probabilities, the sums of soft Dice and cross entropy, and their gradient, on planar logits.
 *
 * Pixels go in strips: a strip of every class is copied side by side first, because planes lie a large power of two
 * apart and would share cache sets. Sums run in VL lanes of float32 within a strip, then in double precision. */
#define STRIP 256
#define STRIP_ROOM (STRIP + 16)

static size_t label_loss_scratch(int64_t classes) { return (size_t)((classes + 3) * STRIP_ROOM) * sizeof(float); }

/* The labels of a strip as floats, -1 where left out, and 1 or 0 for counted. Returns how many are counted. */
static int64_t strip_labels(const int16_t *target, int32_t ignore, int64_t count, float *labels, float *counted) {
  int64_t total = 0;
  for (int64_t i = 0; i < count; i++) {
    const int out = target[i] == ignore;
    labels[i] = out ? -1.0f : (float)target[i];
    counted[i] = out ? 0.0f : 1.0f;
    total += !out;
  }
  return total;
}

/* Logits of a strip, [classes][STRIP_ROOM], become probabilities; returns the sum of -ln p at the labels. */
static double strip_softmax(float *x, int64_t classes, int64_t count, const float *labels, const float *counted) {
  vf total = vf_set1(0);
  CK_LOOP(i, count, {
    vf best = vf_load_n(x + i, lanes), sum = vf_set1(0), own = vf_set1(0);
    const vf label = vf_load_n(labels + i, lanes);
    for (int64_t c = 1; c < classes; c++) best = vf_max(best, vf_load_n(x + c * STRIP_ROOM + i, lanes));
    for (int64_t c = 0; c < classes; c++) {
      const vf d = vf_load_n(x + c * STRIP_ROOM + i, lanes) - best, e = vf_exp(d);
      own = vf_select(label == (float)c, d, own);
      vf_store_n(x + c * STRIP_ROOM + i, e, lanes);
      sum += e;
    }
    total = vf_fma(vf_log(sum) - own, vf_load_n(counted + i, lanes), total);
    const vf inverse = 1.0f / sum;
    for (int64_t c = 0; c < classes; c++)
      vf_store_n(x + c * STRIP_ROOM + i, vf_load_n(x + c * STRIP_ROOM + i, lanes) * inverse, lanes);
  });
  return vf_sum(total);
}

/* Adds a strip's sums of p y, p and y of one class. */
static void strip_class_sums(const float *p, float c, int64_t count, const float *labels, const float *counted,
                             double *sums, int64_t classes) {
  const vf zero = vf_set1(0), one = vf_set1(1);
  vf hit = zero, all = zero, own = zero;
  CK_LOOP(i, count, {
    const vf v = vf_load_n(p + i, lanes);
    vf here = vf_select(vf_load_n(labels + i, lanes) == c, one, zero);
    const vf inside = vf_load_n(counted + i, lanes); /* lanes past the end hold 0 */
    here *= inside;
    hit = vf_fma(here, v, hit);
    all = vf_fma(inside, v, all);
    own += here;
  });
  sums[0] += (double)vf_sum(hit);
  sums[classes] += (double)vf_sum(all);
  sums[2 * classes] += (double)vf_sum(own);
}

static void label_loss_sums(const float *x, int64_t plane, const int16_t *target, int32_t ignore, int64_t classes,
                            int64_t count, float *p, double *sums, void *scratch) {
  float *labels = scratch, *counted = labels + STRIP_ROOM, *strip = counted + STRIP_ROOM;
  for (int64_t at = 0; at < count; at += STRIP) {
    const int64_t some = count - at < STRIP ? count - at : STRIP;
    const size_t size = (size_t)some * sizeof(float);
    for (int64_t c = 0; c < classes; c++) memcpy(strip + c * STRIP_ROOM, x + c * plane + at, size);
    sums[3 * classes + 1] += (double)strip_labels(target + at, ignore, some, labels, counted);
    sums[3 * classes] += strip_softmax(strip, classes, some, labels, counted);
    for (int64_t c = 0; c < classes; c++) {
      strip_class_sums(strip + c * STRIP_ROOM, (float)c, some, labels, counted, sums + c, classes);
      if (p != NULL) memcpy(p + c * plane + at, strip + c * STRIP_ROOM, size);
    }
  }
}

static void label_loss_gradient(float *p, int64_t plane, const int16_t *target, int32_t ignore, int64_t classes,
                                int64_t count, float ce, const float *slope, const float *target_slope) {
  float labels[STRIP_ROOM], counted[STRIP_ROOM], mean[STRIP_ROOM];
  const vf zero = vf_set1(0), one = vf_set1(1);
  for (int64_t at = 0; at < count; at += STRIP, p += STRIP, target += STRIP) {
    const int64_t some = count - at < STRIP ? count - at : STRIP;
    strip_labels(target, ignore, some, labels, counted);
    memset(mean, 0, sizeof mean);
    for (int64_t c = 0; c < classes; c++)
      CK_LOOP(i, some, {
        const vf here = vf_select(vf_load_n(labels + i, lanes) == (float)c, one, zero);
        const vf d = vf_fma(here, vf_set1(target_slope[c]), vf_set1(slope[c]));
        vf_store_n(mean + i, vf_fma(d, vf_load_n(p + c * plane + i, lanes), vf_load_n(mean + i, lanes)), lanes);
      });
    for (int64_t c = 0; c < classes; c++)
      CK_LOOP(i, some, {
        const vf here = vf_select(vf_load_n(labels + i, lanes) == (float)c, one, zero);
        const vf d = vf_fma(here, vf_set1(target_slope[c]), vf_set1(slope[c])) - vf_load_n(mean + i, lanes);
        const vf v = vf_load_n(p + c * plane + i, lanes);
        const vf g = vf_fma(v, d, (v - here) * ce) * vf_load_n(counted + i, lanes);
        vf_store_n(p + c * plane + i, g, lanes);
      });
  }
}

/* 0 and 1 of a strip as floats; `inside` is 1 where nothing is left out. */
static void strip_region(const int16_t *target, const int16_t *left_out, int64_t count, float *y, float *inside) {
  for (int64_t i = 0; i < count; i++) {
    y[i] = (float)target[i];
    inside[i] = left_out != NULL ? 1.0f - (float)left_out[i] : 1.0f;
  }
}

static void region_loss_sums(const float *x, const int16_t *target, const int16_t *left_out, int64_t count, float *p,
                             double *sums) {
  float y[STRIP_ROOM], inside[STRIP_ROOM];
  for (int64_t at = 0; at < count; at += STRIP) {
    const int64_t some = count - at < STRIP ? count - at : STRIP;
    vf hit = vf_set1(0), all = vf_set1(0), own = vf_set1(0), entropy = vf_set1(0);
    strip_region(target + at, left_out != NULL ? left_out + at : NULL, some, y, inside);
    CK_LOOP(i, some, {
      const vf v = vf_load_n(x + at + i, lanes), t = vf_load_n(y + i, lanes), m = vf_load_n(inside + i, lanes);
      const vf e = vf_exp(-vf_abs(v)), inverse = 1.0f / (e + 1.0f);
      const vf s = vf_select(v < 0, e * inverse, inverse);
      /* max(v, 0) - v t + ln(1 + e^-|v|) */
      const vf bce = vf_fma(-v, t, vf_max(vf_set1(0), v)) + vf_log(e + 1.0f);
      entropy = vf_fma(bce, m, entropy);
      hit = vf_fma(s * t, m, hit);
      all = vf_fma(s, m, all);
      own = vf_fma(t, m, own);
      if (p != NULL) vf_store_n(p + at + i, s, lanes);
    });
    sums[0] += (double)vf_sum(hit);
    sums[1] += (double)vf_sum(all);
    sums[2] += (double)vf_sum(own);
    sums[3] += (double)vf_sum(entropy);
  }
}

static void region_loss_gradient(float *p, const int16_t *target, const int16_t *left_out, int64_t count, float bce,
                                 float slope, float target_slope) {
  float y[STRIP_ROOM], inside[STRIP_ROOM];
  for (int64_t at = 0; at < count; at += STRIP) {
    const int64_t some = count - at < STRIP ? count - at : STRIP;
    strip_region(target + at, left_out != NULL ? left_out + at : NULL, some, y, inside);
    CK_LOOP(i, some, {
      const vf v = vf_load_n(p + at + i, lanes), t = vf_load_n(y + i, lanes);
      const vf d = vf_fma(t, vf_set1(target_slope), vf_set1(slope)) * v * (1.0f - v);
      vf_store_n(p + at + i, vf_fma(v - t, vf_set1(bce), d) * vf_load_n(inside + i, lanes), lanes);
    });
  }
}
