/* Comparing label volumes: known scores, every kind of bad argument, struct sizes, limits, stopping. */
#include "tiny_model.h"

enum { W = 12, H = 10, D = 8, COUNT = W * H * D };
static uint8_t reference_voxels[COUNT], prediction_voxels[COUNT];
static meddino_context *context;
static meddino_volume reference, prediction;

static void box(uint8_t *voxels, int x0, int x1, int y0, int y1, int z0, int z1, int value) {
  for (int z = z0; z < z1; z++)
    for (int y = y0; y < y1; y++)
      for (int x = x0; x < x1; x++) voxels[(z * H + y) * W + x] = (uint8_t)value;
}
static meddino_volume view(const void *voxels, size_t bytes, int32_t dtype) {
  meddino_volume v;
  meddino_volume_init(&v, sizeof v);
  v.dtype = dtype;
  v.dims[0] = W, v.dims[1] = H, v.dims[2] = D;
  v.spacing[0] = 1, v.spacing[1] = 2, v.spacing[2] = 3;
  v.data = voxels, v.data_bytes = bytes;
  return v;
}
static meddino_evaluation_options defaults(void) {
  meddino_evaluation_options o;
  meddino_evaluation_options_init(&o, sizeof o);
  return o;
}
static meddino_structure_scores get(const meddino_evaluation *evaluation, size_t index) {
  meddino_structure_scores s;
  memset(&s, 0, sizeof s);
  s.struct_size = sizeof s;
  OK(meddino_evaluation_get(evaluation, index, &s));
  return s;
}

/* 1: shifted by two voxels along x (2 mm). 2: missed. 3: false alarm. 5: equal. */
static void make_volumes(void) {
  box(reference_voxels, 1, 5, 1, 4, 1, 4, 1);
  box(prediction_voxels, 3, 7, 1, 4, 1, 4, 1);
  box(reference_voxels, 8, 11, 1, 3, 0, 2, 2);
  box(prediction_voxels, 0, 2, 7, 9, 5, 7, 3);
  box(reference_voxels, 8, 12, 6, 10, 5, 8, 5);
  box(prediction_voxels, 8, 12, 6, 10, 5, 8, 5);
  reference = view(reference_voxels, sizeof reference_voxels, MEDDINO_U8);
  prediction = view(prediction_voxels, sizeof prediction_voxels, MEDDINO_U8);
}

static void known_scores(void) {
  meddino_evaluation *found = NULL;
  NEED(meddino_evaluate(context, &reference, &prediction, NULL, &found));
  CHECK(meddino_evaluation_count(found) == 4);
  const meddino_structure_scores shifted = get(found, 0), missed = get(found, 1), alarm = get(found, 2), equal = get(found, 3);
  CHECK(shifted.value == 1 && shifted.values == 1);
  CHECK(shifted.true_positives == 18 && shifted.false_positives == 18 && shifted.false_negatives == 18);
  CHECK(shifted.true_positives + shifted.false_positives + shifted.false_negatives + shifted.true_negatives == COUNT);
  CHECK(shifted.dice == 0.5 && fabs(shifted.iou - 1.0 / 3) < 1e-15 && shifted.hd95_mm == 2);
  CHECK(shifted.nsd > 0 && shifted.nsd < 1);
  CHECK(missed.value == 2 && missed.dice == 0 && missed.iou == 0 && missed.nsd == 0 && isnan(missed.hd95_mm));
  CHECK(alarm.value == 3 && alarm.dice == 0 && isnan(alarm.nsd) && isnan(alarm.hd95_mm) && alarm.false_positives == 8);
  CHECK(equal.value == 5 && equal.dice == 1 && equal.iou == 1 && equal.nsd == 1 && equal.hd95_mm == 0);
  meddino_evaluation_release(found);

  /* Regions, a label that nobody holds, a tolerance, no distances, the ignore label. */
  static const int32_t values[] = {1, 2, 77, 5, 3}, counts[] = {2, 1, 2};
  meddino_evaluation_options o = defaults();
  o.values = values, o.counts = counts, o.structures = 3, o.tolerance_mm = 2;
  NEED(meddino_evaluate(context, &reference, &prediction, &o, &found));
  CHECK(meddino_evaluation_count(found) == 3);
  CHECK(get(found, 0).values == 2 && get(found, 0).value == 1 && get(found, 0).false_negatives == 18 + 12);
  CHECK(isnan(get(found, 1).dice) && isnan(get(found, 1).nsd) && get(found, 1).true_negatives == COUNT);
  CHECK(get(found, 2).true_positives == 48 && get(found, 2).false_positives == 8);
  meddino_evaluation_release(found);
  o.counts = NULL, o.structures = 1;
  NEED(meddino_evaluate(context, &reference, &prediction, &o, &found));
  CHECK(get(found, 0).nsd == 1 && get(found, 0).values == 1); /* 2 mm is within 2 mm */
  meddino_evaluation_release(found);
  o.distances = 0, o.ignore_label = 2;
  NEED(meddino_evaluate(context, &reference, &prediction, &o, &found));
  CHECK(isnan(get(found, 0).nsd) && isnan(get(found, 0).hd95_mm) && get(found, 0).dice == 0.5);
  CHECK(get(found, 0).true_negatives == COUNT - 18 * 3 - 12);
  meddino_evaluation_release(found);
}

/* Another type, strides and threads give the same scores. */
static void same_scores(void) {
  static double wide[COUNT * 2];
  for (int i = 0; i < COUNT; i++) wide[2 * i] = reference_voxels[i], wide[2 * i + 1] = -1;
  meddino_volume strided = view(wide, sizeof wide, MEDDINO_F64);
  strided.strides[0] = 16, strided.strides[1] = 16 * W, strided.strides[2] = 16 * W * H;
  meddino_evaluation *a = NULL, *b = NULL;
  meddino_context *other = tiny_context(3);
  NEED(meddino_evaluate(context, &reference, &prediction, NULL, &a));
  NEED(meddino_evaluate(other, &strided, &prediction, NULL, &b));
  meddino_context_release(other); /* parents first */
  CHECK(meddino_evaluation_count(a) == meddino_evaluation_count(b));
  for (size_t i = 0; i < meddino_evaluation_count(a); i++) {
    const meddino_structure_scores x = get(a, i), y = get(b, i);
    CHECK(memcmp(&x, &y, sizeof x) == 0);
  }
  meddino_evaluation_release(a);
  meddino_evaluation_release(b);
}

static void refused(void) {
  meddino_evaluation *found = (void *)1;
  meddino_structure_scores scores = {.struct_size = sizeof scores};
  meddino_evaluation_options_init(NULL, 64);
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_evaluate(NULL, &reference, &prediction, NULL, &found));
  CHECK(found == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "reference", meddino_evaluate(context, NULL, &prediction, NULL, &found));
  FAILS_NAMING(MEDDINO_E_INVALID, "prediction", meddino_evaluate(context, &reference, NULL, NULL, &found));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_evaluate(context, &reference, &prediction, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "evaluation", meddino_evaluation_get(NULL, 0, &scores));
  CHECK(meddino_evaluation_count(NULL) == 0);
  meddino_evaluation_release(NULL);
  meddino_volume bad = prediction;
  bad.dims[2] = D - 1;
  found = (void *)1;
  FAILS_NAMING(MEDDINO_E_SHAPE, "prediction", meddino_evaluate(context, &reference, &bad, NULL, &found));
  CHECK(found == NULL);
  bad = prediction, bad.channels = 2, bad.dims[2] = D / 2;
  meddino_volume half = reference;
  half.dims[2] = D / 2;
  FAILS_NAMING(MEDDINO_E_SHAPE, "channels", meddino_evaluate(context, &half, &bad, NULL, &found));
  bad = prediction, bad.data_bytes = COUNT - 1;
  FAILS_NAMING(MEDDINO_E_INVALID, "data_bytes", meddino_evaluate(context, &reference, &bad, NULL, &found));
  static float fractions[COUNT];
  bad = view(fractions, sizeof fractions, MEDDINO_F32);
  const float odd[] = {0.5f, NAN, INFINITY, 1e20f};
  for (int i = 0; i < 4; i++) {
    fractions[7] = odd[i];
    FAILS_NAMING(MEDDINO_E_INVALID, "prediction", meddino_evaluate(context, &reference, &bad, NULL, &found));
  }
  static const int32_t values[] = {1, 0, 5}, counts[] = {1, 0, -3};
  meddino_evaluation_options o = defaults();
  o.values = values;
  FAILS_NAMING(MEDDINO_E_INVALID, "structures", meddino_evaluate(context, &reference, &prediction, &o, &found));
  o.structures = (size_t)-1;
  FAILS_NAMING(MEDDINO_E_INVALID, "structures", meddino_evaluate(context, &reference, &prediction, &o, &found));
  o.structures = 2;
  FAILS_NAMING(MEDDINO_E_INVALID, "values", meddino_evaluate(context, &reference, &prediction, &o, &found));
  o.counts = counts;
  FAILS_NAMING(MEDDINO_E_INVALID, "counts[1]", meddino_evaluate(context, &reference, &prediction, &o, &found));
  const double tolerances[] = {-1, NAN, INFINITY};
  for (int i = 0; i < 3; i++) {
    o = defaults();
    o.tolerance_mm = tolerances[i];
    FAILS_NAMING(MEDDINO_E_INVALID, "tolerance_mm", meddino_evaluate(context, &reference, &prediction, &o, &found));
  }
  o = defaults(), o.ignore_label = -2;
  FAILS_NAMING(MEDDINO_E_INVALID, "ignore_label", meddino_evaluate(context, &reference, &prediction, &o, &found));
  o = defaults(), o.max_bytes = 100;
  FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", meddino_evaluate(context, &reference, &prediction, &o, &found));
  CHECK(found == NULL);
}

/* struct_size: short, cut, long, long with a tail in use; outputs are written no further than asked. */
static void struct_sizes(void) {
  meddino_evaluation *found = NULL;
  unsigned char grown[sizeof(meddino_evaluation_options) + 96];
  const size_t size = sizeof(meddino_evaluation_options);
  const meddino_evaluation_options valid = defaults();
  CHECK(valid.struct_size == size && valid.tolerance_mm == 1 && valid.distances == 1 && valid.ignore_label == MEDDINO_NO_LABEL);
  for (size_t given = 8; given <= size + 64; given += 8) {
    memset(grown, 0, sizeof grown);
    memcpy(grown, &valid, size);
    if (given < size) memset(grown + given, 0xff, size - given); /* beyond the caller's struct: must not be looked at */
    memcpy(grown, &given, sizeof given);
    OK(meddino_evaluate(context, &reference, &prediction, (const void *)grown, &found));
    CHECK(meddino_evaluation_count(found) == 4 && get(found, 0).hd95_mm == 2);
    meddino_evaluation_release(found);
  }
  const size_t longer = size + 16, wrong[] = {0, 7, 65537, (size_t)-1};
  memcpy(grown, &longer, sizeof longer);
  grown[size + 15] = 1;
  FAILS(MEDDINO_E_UNSUPPORTED, meddino_evaluate(context, &reference, &prediction, (const void *)grown, &found));
  for (int i = 0; i < 4; i++) {
    memcpy(grown, &wrong[i], sizeof wrong[i]);
    FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_evaluate(context, &reference, &prediction, (const void *)grown, &found));
  }
  unsigned char bytes[160];
  for (size_t given = 0; given < 120; given += 4) {
    memset(bytes, 0xab, sizeof bytes);
    meddino_evaluation_options_init((void *)bytes, given);
    int outside = 0;
    for (size_t at = given; at < sizeof bytes; at++) outside += bytes[at] != 0xab;
    CHECK(outside == 0);
  }
  NEED(meddino_evaluate(context, &reference, &prediction, NULL, &found));
  const meddino_structure_scores whole = get(found, 0);
  for (size_t given = 8; given <= sizeof whole; given += 4) {
    memset(bytes, 0x5a, sizeof bytes);
    memcpy(bytes, &given, sizeof given);
    OK(meddino_evaluation_get(found, 0, (void *)bytes));
    CHECK(memcmp(bytes + 8, (const char *)&whole + 8, given - 8) == 0);
    int touched = 0;
    for (size_t at = given; at < sizeof bytes; at++) touched += bytes[at] != 0x5a;
    CHECK(touched == 0);
  }
  meddino_structure_scores scores = {.struct_size = 4};
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_evaluation_get(found, 0, &scores));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_evaluation_get(found, 0, NULL));
  scores.struct_size = sizeof scores, scores.dice = -7;
  FAILS_NAMING(MEDDINO_E_INVALID, "index", meddino_evaluation_get(found, 4, &scores));
  FAILS_NAMING(MEDDINO_E_INVALID, "index", meddino_evaluation_get(found, (size_t)-1, &scores));
  CHECK(scores.dice == -7);
  meddino_evaluation_release(found);
}

typedef struct { int calls, stop_at; double last; int fell; } watch;
static int32_t progress(void *user, double fraction, const char *stage) {
  watch *w = user;
  CHECK(stage != NULL && stage[0] != 0);
  w->fell += fraction < w->last;
  w->last = fraction;
  return ++w->calls == w->stop_at;
}
static void stopped(void) {
  meddino_evaluation_options o = defaults();
  meddino_evaluation *found = NULL;
  watch all = {0, 0, 0, 0};
  o.progress = progress, o.progress_user = &all;
  NEED(meddino_evaluate(context, &reference, &prediction, &o, &found));
  meddino_evaluation_release(found);
  CHECK(all.calls > 4 && all.last == 1 && all.fell == 0);
  for (int at = 1; at <= all.calls; at++) {
    watch w = {0, at, 0, 0};
    o.progress_user = &w;
    found = (void *)1;
    FAILS(MEDDINO_E_CANCELLED, meddino_evaluate(context, &reference, &prediction, &o, &found));
    CHECK(found == NULL && w.calls == at);
  }
  o = defaults();
  NEED(meddino_cancel_create(&o.cancel));
  OK(meddino_evaluate(context, &reference, &prediction, &o, &found));
  meddino_evaluation_release(found);
  meddino_cancel_request(o.cancel);
  FAILS(MEDDINO_E_CANCELLED, meddino_evaluate(context, &reference, &prediction, &o, &found));
  meddino_cancel_release(o.cancel);
}

int main(void) {
  context = tiny_context(2);
  make_volumes();
  known_scores();
  same_scores();
  refused();
  struct_sizes();
  stopped();
  meddino_context_release(context);
  return check_end("test_evaluation");
}
