/* Segmentation: the same labels in every way of asking, odd inputs, options, threads, release orders. */
#include <pthread.h>
#include "tiny_model.h"

static meddino_context *context;
static meddino_model *model;

typedef struct {
  meddino_task_fn task;
  void *argument;
  int64_t begin, end, step;
} host_part;
static long host_regions;
static void *host_thread(void *raw) {
  host_part *part = raw;
  for (int64_t i = part->begin; i < part->end; i += part->step) part->task(part->argument, i);
  return NULL;
}
/* A host's parallel_for: three threads, last index first on one of them. */
static void host_parallel(void *user, int64_t count, meddino_task_fn task, void *argument) {
  pthread_t threads[3];
  host_part parts[3];
  if (user == &host_regions) host_regions++;
  for (int i = 0; i < 3; i++) {
    parts[i] = (host_part){task, argument, i, count, 3};
    if (pthread_create(&threads[i], NULL, host_thread, &parts[i]) != 0) exit(3);
  }
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}
static void host_serial(void *user, int64_t count, meddino_task_fn task, void *argument) {
  (void)user;
  for (int64_t i = count - 1; i >= 0; i--) task(argument, i);
}

static void same_bytes(void) {
  tiny_case c = tiny_phantom(44, 37, 4), d = tiny_phantom(44, 37, 4);
  OK(tiny_segment(model, &c, NULL));
  CHECK(tiny_variety(c.labels, c.count) >= 2);
  for (int threads = 1; threads <= 3; threads++) {
    meddino_context *other = tiny_context(threads);
    meddino_model *same = tiny_model(other, tiny_config, 7);
    memset(d.labels, 0xee, d.count);
    OK(tiny_segment(same, &d, NULL));
    CHECK(memcmp(c.labels, d.labels, c.count) == 0);
    OK(tiny_segment(same, &d, NULL)); /* and again */
    CHECK(memcmp(c.labels, d.labels, c.count) == 0);
    meddino_model_release(same);
    meddino_context_release(other);
  }
  for (int serial = 0; serial < 2; serial++) {
    meddino_context_options o;
    meddino_context *other = NULL;
    meddino_context_options_init(&o, sizeof o);
    o.parallel = serial ? host_serial : host_parallel;
    o.parallel_user = &host_regions;
    o.parallel_width = serial ? 5 : 3;
    NEED(meddino_context_create(&o, &other));
    meddino_model *same = tiny_model(other, tiny_config, 7);
    host_regions = 0;
    memset(d.labels, 0xee, d.count);
    OK(tiny_segment(same, &d, NULL));
    CHECK(memcmp(c.labels, d.labels, c.count) == 0);
    CHECK(serial || host_regions > 10);
    meddino_model_release(same);
    meddino_context_release(other);
  }
  /* segment_image */
  meddino_image *image = NULL, *labels = NULL;
  meddino_report *report = NULL;
  meddino_volume seen;
  NEED(meddino_image_create(context, &c.in, &image));
  NEED(meddino_segment_image(model, image, NULL, &labels, &report));
  meddino_volume_init(&seen, sizeof seen);
  OK(meddino_image_view(labels, &seen));
  CHECK(seen.dtype == MEDDINO_U8 && seen.data_bytes == c.count && memcmp(seen.data, c.labels, c.count) == 0);
  CHECK(seen.spacing[2] == 3 && seen.spacing[0] == 0.9);
  CHECK(meddino_report_label_count(report) == 3);
  int64_t counted[4] = {0};
  for (size_t i = 0; i < c.count; i++) counted[c.labels[i] & 3]++;
  for (size_t i = 0; i < 3; i++) {
    meddino_label_stats stats = {.struct_size = sizeof stats};
    OK(meddino_report_get_label(report, i, &stats));
    CHECK(stats.value == (int32_t)i + 1 && stats.voxels == counted[i + 1]);
    CHECK(fabs(stats.millilitres - (double)stats.voxels * 0.9 * 0.9 * 3 / 1000) < 1e-9);
  }
  meddino_label_stats stats = {.struct_size = sizeof stats};
  FAILS_NAMING(MEDDINO_E_INVALID, "index", meddino_report_get_label(report, 3, &stats));
  FAILS_NAMING(MEDDINO_E_INVALID, "index", meddino_report_get_label(report, SIZE_MAX, &stats));
  CHECK(meddino_report_warning(report, meddino_report_warning_count(report)) == NULL);
  CHECK(meddino_report_warning(report, SIZE_MAX) == NULL);
  meddino_report_release(report);
  meddino_image_release(labels);
  meddino_image_release(image);
  /* segment_async */
  meddino_job *job = NULL;
  const meddino_volume *channels[1] = {&d.in};
  memset(d.labels, 0xee, d.count);
  NEED(meddino_segment_async(model, channels, 1, NULL, &d.out, NULL, &job));
  OK(meddino_job_wait(job, -1));
  OK(meddino_job_wait(job, 0));
  CHECK(meddino_job_progress(job) == 1 && meddino_job_error(job, NULL, 0) == 0);
  OK(meddino_job_report(job, &report));
  CHECK(memcmp(c.labels, d.labels, c.count) == 0);
  meddino_job_release(job);
  CHECK(meddino_report_label_count(report) == 3); /* the report is the caller's own */
  meddino_report_release(report);
  tiny_free(&c), tiny_free(&d);
}

/* The same voxels as other types, other strides, other label buffers. */
static void other_views(void) {
  tiny_case c = tiny_phantom(33, 30, 3);
  OK(tiny_segment(model, &c, NULL));
  const int64_t w = 33, h = 30, n = 3;
  uint8_t *reference = malloc(c.count);
  memcpy(reference, c.labels, c.count);
  float *floats = malloc(c.count * 4);
  double *doubles = malloc(c.count * 8);
  int32_t *ints = malloc(c.count * 4);
  int64_t *longs = malloc(c.count * 8);
  int16_t *backward = malloc(c.count * 2);
  for (size_t i = 0; i < c.count; i++) {
    floats[i] = c.voxels[i], doubles[i] = c.voxels[i], ints[i] = c.voxels[i], longs[i] = c.voxels[i];
    backward[c.count - 1 - i] = c.voxels[i];
  }
  const struct { int32_t dtype; const void *data; size_t bytes; } inputs[] = {
    {MEDDINO_F32, floats, 4}, {MEDDINO_F64, doubles, 8}, {MEDDINO_I32, ints, 4}, {MEDDINO_I64, longs, 8}};
  const meddino_volume original = c.in;
  for (int i = 0; i < 4; i++) {
    c.in.dtype = inputs[i].dtype, c.in.data = inputs[i].data, c.in.data_bytes = inputs[i].bytes * c.count;
    memset(c.labels, 0xee, c.count);
    OK(tiny_segment(model, &c, NULL));
    CHECK(memcmp(reference, c.labels, c.count) == 0);
  }
  c.in = original;
  c.in.data = backward + c.count - 1;
  c.in.strides[0] = -2, c.in.strides[1] = -2 * w, c.in.strides[2] = -2 * w * h;
  memset(c.labels, 0xee, c.count);
  OK(tiny_segment(model, &c, NULL));
  CHECK(memcmp(reference, c.labels, c.count) == 0);
  c.in = original;
  const struct { int32_t dtype; size_t bytes; } outputs[] = {{MEDDINO_U8, 1}, {MEDDINO_I8, 1}, {MEDDINO_I16, 2}, {MEDDINO_U16, 2}, {MEDDINO_I32, 4}};
  for (int i = 0; i < 5; i++) { /* strided, with guard bytes between the rows */
    const size_t b = outputs[i].bytes, row = (size_t)w * b + 5, size = row * (size_t)(h * n);
    unsigned char *buffer = malloc(size);
    memset(buffer, 0xcd, size);
    meddino_volume out = c.out;
    out.dtype = outputs[i].dtype, out.writable = buffer, out.data_bytes = size;
    out.strides[0] = (int64_t)b, out.strides[1] = (int64_t)row, out.strides[2] = (int64_t)row * h;
    const meddino_volume *channels[1] = {&c.in};
    OK(meddino_segment(model, channels, 1, NULL, &out, NULL, NULL));
    long wrong = 0;
    for (int64_t at = 0; at < h * n; at++) {
      for (int64_t x = 0; x < w; x++) {
        uint32_t value = 0;
        memcpy(&value, buffer + (size_t)at * row + (size_t)x * b, b);
        wrong += value != reference[at * w + x];
      }
      for (int k = 1; k <= 5; k++) wrong += buffer[(size_t)(at + 1) * row - (size_t)k] != 0xcd;
    }
    CHECK(wrong == 0);
    free(buffer);
  }
  free(floats), free(doubles), free(ints), free(longs), free(backward), free(reference);
  tiny_free(&c);
}

static void odd_extents(void) {
  static const int64_t sizes[][3] = {{1, 1, 1}, {1, 1, 5}, {1, 40, 1}, {40, 1, 2}, {64, 64, 1}, {3, 2, 2}, {70, 33, 1}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    tiny_case c = tiny_phantom(sizes[i][0], sizes[i][1], sizes[i][2]);
    OK(tiny_segment(model, &c, NULL));
    long outside = 0;
    for (size_t at = 0; at < c.count; at++) outside += c.labels[at] > 3;
    CHECK(outside == 0);
    tiny_free(&c);
  }
  /* NaN and infinities, everywhere and here and there; a constant image; the largest numbers. */
  tiny_case c = tiny_phantom(36, 35, 2);
  float *floats = malloc(c.count * 4);
  c.in.dtype = MEDDINO_F32, c.in.data = floats, c.in.data_bytes = c.count * 4;
  for (int form = 0; form < 7; form++) {
    for (size_t i = 0; i < c.count; i++) {
      const float v = c.voxels[i];
      const float rare[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f};
      floats[i] = form == 0 ? NAN : form == 1 ? INFINITY : form == 2 ? -INFINITY : form == 3 ? (i % 97 < 5 ? rare[i % 97] : v) : form == 4 ? 0 : form == 5 ? -1024 : 3e38f;
    }
    memset(c.labels, 0xee, c.count);
    meddino_report *report = NULL;
    const meddino_volume *channels[1] = {&c.in};
    const meddino_status status = meddino_segment(model, channels, 1, NULL, &c.out, NULL, &report);
    if (form < 3) { /* nothing to normalise by */
      FAILS_NAMING(MEDDINO_E_INVALID, "finite", status);
      CHECK(report == NULL);
      continue;
    }
    if (!CHECK(status == MEDDINO_OK)) fprintf(stderr, "  form %d: %s %s\n", form, meddino_status_name(status), last_error());
    long outside = 0;
    for (size_t at = 0; at < c.count; at++) outside += c.labels[at] > 3;
    CHECK(outside == 0);
    if (form == 3) CHECK(meddino_report_warning_count(report) > 0);
    for (size_t w = 0; w < meddino_report_warning_count(report); w++) CHECK(strchr(meddino_report_warning(report, w), '\n') == NULL);
    meddino_report_release(report);
  }
  free(floats);
  /* Spacings far from the plan's: a very large resampled slice is refused or done, never a crash. */
  static const double spacings[] = {1e-300, 1e-9, 0.05, 40, 1e9, 1e300};
  tiny_case d = tiny_phantom(16, 16, 1);
  meddino_context_options o;
  meddino_context *limited = NULL;
  meddino_context_options_init(&o, sizeof o);
  o.threads = 1;
  o.max_bytes = 64 << 20;
  NEED(meddino_context_create(&o, &limited));
  meddino_model *within = tiny_model(limited, tiny_config, 7);
  for (int i = 0; i < 6; i++)
    for (int axis = 0; axis < 3; axis++) {
      d.in.spacing[0] = d.in.spacing[1] = d.in.spacing[2] = 1;
      d.in.spacing[axis] = spacings[i];
      const meddino_status status = tiny_segment(within, &d, NULL);
      CHECK(status != MEDDINO_E_INTERNAL);
      meddino_estimate estimate = {.struct_size = sizeof estimate};
      CHECK(meddino_estimate_run(within, &d.in, NULL, &estimate) != MEDDINO_E_INTERNAL);
    }
  meddino_model_release(within);
  meddino_context_release(limited);
  tiny_free(&d);
  tiny_free(&c);
}

static void options_at_work(void) {
  tiny_case c = tiny_phantom(44, 40, 4), d = tiny_phantom(44, 40, 4);
  meddino_run_options o;
  OK(tiny_segment(model, &c, NULL));
  /* A region: inside as in the whole run, outside 0. */
  static const int64_t boxes[][6] = {{10, 30, 5, 25, 1, 3}, {0, 1, 0, 1, 0, 1}, {43, 44, 39, 40, 3, 4}, {0, 44, 0, 40, 0, 4}};
  for (int i = 0; i < 4; i++) {
    meddino_run_options_init(&o, sizeof o);
    memcpy(o.roi, boxes[i], sizeof o.roi);
    memset(d.labels, 0xee, d.count);
    OK(tiny_segment(model, &d, &o));
    long wrong = 0;
    for (int64_t z = 0; z < 4; z++)
      for (int64_t y = 0; y < 40; y++)
        for (int64_t x = 0; x < 44; x++) {
          const int inside = x >= o.roi[0] && x < o.roi[1] && y >= o.roi[2] && y < o.roi[3] && z >= o.roi[4] && z < o.roi[5];
          const size_t at = (size_t)((z * 40 + y) * 44 + x);
          wrong += d.labels[at] != (inside ? c.labels[at] : 0);
        }
    CHECK(wrong == 0);
  }
  /* A subset: the other values become 0. */
  for (int32_t keep = 0; keep < 4; keep++) {
    meddino_run_options_init(&o, sizeof o);
    o.label_subset = &keep, o.label_subset_count = 1;
    OK(tiny_segment(model, &d, &o));
    long wrong = 0;
    for (size_t i = 0; i < c.count; i++) wrong += d.labels[i] != (c.labels[i] == keep ? keep : 0);
    CHECK(wrong == 0);
  }
  /* Probabilities sum to 1, agree with the labels, and do not change them. */
  float *scores = malloc(c.count * 16);
  meddino_volume p = d.out;
  p.dtype = MEDDINO_F32, p.channels = 4, p.writable = scores, p.data_bytes = c.count * 16;
  const meddino_volume *channels[1] = {&d.in};
  OK(meddino_segment(model, channels, 1, NULL, &d.out, &p, NULL));
  CHECK(memcmp(c.labels, d.labels, c.count) == 0);
  long bad_sum = 0, disagree = 0;
  for (size_t i = 0; i < c.count; i++) {
    double sum = 0;
    int best = 0;
    for (int h = 0; h < 4; h++) {
      sum += scores[(size_t)h * c.count + i];
      if (scores[(size_t)h * c.count + i] > scores[(size_t)best * c.count + i]) best = h;
    }
    bad_sum += fabs(sum - 1) > 1e-4;
    disagree += best != c.labels[i];
  }
  CHECK(bad_sum == 0);
  CHECK(disagree <= (long)c.count / 1000); /* ties after rounding */
  free(scores);
  /* Mirroring and step make a difference in the number of passes, and the estimate knows. */
  meddino_estimate all = {.struct_size = sizeof all}, plain = all;
  OK(meddino_estimate_run(model, &c.in, NULL, &all));
  meddino_run_options_init(&o, sizeof o);
  o.mirror_axes = MEDDINO_MIRROR_NONE;
  OK(meddino_estimate_run(model, &c.in, &o, &plain));
  CHECK(all.tiles == 4 * plain.tiles && all.flops > 3.9 * plain.flops && all.peak_bytes > 0);
  meddino_volume bufferless = c.in;
  bufferless.data = NULL, bufferless.data_bytes = 0;
  OK(meddino_estimate_run(model, &bufferless, NULL, &plain));
  CHECK(plain.tiles == all.tiles);
  bufferless.dims[0] = bufferless.dims[1] = bufferless.dims[2] = INT32_MAX;
  CHECK(meddino_estimate_run(model, &bufferless, NULL, &plain) != MEDDINO_E_INTERNAL);
  bufferless.dims[1] = bufferless.dims[2] = 1;
  CHECK(meddino_estimate_run(model, &bufferless, NULL, &plain) != MEDDINO_E_INTERNAL);
  /* bfloat16: same kind of result, mostly the same labels. */
  meddino_run_options_init(&o, sizeof o);
  o.precision = MEDDINO_PRECISION_BF16;
  OK(tiny_segment(model, &d, &o));
  long differing = 0;
  for (size_t i = 0; i < c.count; i++) differing += c.labels[i] != d.labels[i];
  CHECK(differing < (long)c.count / 10);
  meddino_run_options_init(&o, sizeof o);
  o.body_crop = 1, o.tile_step = 1, o.mirror_axes = MEDDINO_MIRROR_ROWS | MEDDINO_MIRROR_COLUMNS;
  OK(tiny_segment(model, &d, &o));
  tiny_free(&c), tiny_free(&d);
}

static void *run_twice(void *raw) {
  tiny_case *c = raw;
  meddino_status status = MEDDINO_OK;
  for (int i = 0; i < 3 && status == MEDDINO_OK; i++) status = tiny_segment(model, c, NULL);
  return status == MEDDINO_OK ? NULL : raw;
}
static void two_threads(void) {
  tiny_case a = tiny_phantom(40, 36, 3), b = tiny_phantom(33, 40, 2), x = tiny_phantom(40, 36, 3), y = tiny_phantom(33, 40, 2);
  OK(tiny_segment(model, &x, NULL));
  OK(tiny_segment(model, &y, NULL));
  pthread_t first, second;
  void *bad[2] = {&a, &b};
  CHECK(pthread_create(&first, NULL, run_twice, &a) == 0 && pthread_create(&second, NULL, run_twice, &b) == 0);
  pthread_join(first, &bad[0]), pthread_join(second, &bad[1]);
  CHECK(bad[0] == NULL && bad[1] == NULL);
  CHECK(memcmp(a.labels, x.labels, a.count) == 0);
  CHECK(memcmp(b.labels, y.labels, b.count) == 0);
  tiny_free(&a), tiny_free(&b), tiny_free(&x), tiny_free(&y);
}

/* Releases in every order. */
static void release_orders(void) {
  static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  tiny_case c = tiny_phantom(20, 20, 1);
  for (int i = 0; i < 6; i++) {
    meddino_context *own = tiny_context(2);
    meddino_model *net = tiny_model(own, tiny_config, 7);
    meddino_image *image = NULL, *labels = NULL;
    meddino_report *report = NULL;
    meddino_features *features = NULL;
    NEED(meddino_image_create(own, &c.in, &image));
    NEED(meddino_features_create(net, &c.in, NULL, NULL, &features));
    NEED(meddino_segment_image(net, image, NULL, &labels, &report));
    for (int k = 0; k < 3; k++) {
      if (orders[i][k] == 0) meddino_context_release(own);
      if (orders[i][k] == 1) meddino_model_release(net);
      if (orders[i][k] == 2) meddino_image_release(image);
      meddino_volume seen;
      meddino_volume_init(&seen, sizeof seen);
      OK(meddino_image_view(labels, &seen));
      CHECK(((const uint8_t *)seen.data)[0] <= 3);
      meddino_tensor tensor = {.struct_size = sizeof tensor};
      OK(meddino_features_view(features, &tensor));
      CHECK(isfinite(((const float *)tensor.data)[0]));
      CHECK(meddino_report_label_count(report) == 3);
    }
    meddino_image_release(labels);
    meddino_report_release(report);
    meddino_features_release(features);
  }
  tiny_free(&c);
}

int main(void) {
  context = tiny_context(2);
  model = tiny_model(context, tiny_config, 7);
  same_bytes();
  other_views();
  odd_extents();
  options_at_work();
  two_threads();
  release_orders();
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_segment");
}
