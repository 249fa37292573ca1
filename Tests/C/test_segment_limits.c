/* Segmentation: what is refused and with which words, limits of memory, results that would share memory. */
#include "tiny_model.h"

static meddino_context *context;
static meddino_model *model;

static void refusals(void) {
  tiny_case c = tiny_phantom(20, 20, 2);
  const meddino_volume *two[2] = {&c.in, &c.in}, *one[1] = {&c.in};
  meddino_volume out = c.out;
  FAILS_NAMING(MEDDINO_E_SHAPE, "channels", meddino_segment(model, two, 2, NULL, &out, NULL, NULL));
  out.dims[0] = 19;
  FAILS_NAMING(MEDDINO_E_SHAPE, "labels", meddino_segment(model, one, 1, NULL, &out, NULL, NULL));
  out = c.out;
  out.data_bytes--;
  FAILS_NAMING(MEDDINO_E_INVALID, "labels.data_bytes", meddino_segment(model, one, 1, NULL, &out, NULL, NULL));
  out = c.out;
  out.writable = NULL, out.data = c.labels;
  FAILS_NAMING(MEDDINO_E_INVALID, "labels.writable", meddino_segment(model, one, 1, NULL, &out, NULL, NULL));
  out = c.out;
  out.channels = 2, out.data_bytes = SIZE_MAX / 2;
  FAILS_NAMING(MEDDINO_E_SHAPE, "labels", meddino_segment(model, one, 1, NULL, &out, NULL, NULL));
  out = c.out;
  out.dtype = MEDDINO_F32, out.data_bytes *= 4;
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "labels", meddino_segment(model, one, 1, NULL, &out, NULL, NULL));
  float *scores = malloc(c.count * 16);
  meddino_volume p = c.out;
  p.dtype = MEDDINO_F32, p.channels = 4, p.writable = scores, p.data_bytes = c.count * 16;
  p.channels = 3;
  FAILS_NAMING(MEDDINO_E_SHAPE, "probabilities", meddino_segment(model, one, 1, NULL, &c.out, &p, NULL));
  p.channels = 4, p.data_bytes--;
  FAILS_NAMING(MEDDINO_E_INVALID, "probabilities", meddino_segment(model, one, 1, NULL, &c.out, &p, NULL));
  p.data_bytes++, p.dtype = MEDDINO_I32;
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "probabilities", meddino_segment(model, one, 1, NULL, &c.out, &p, NULL));
  free(scores);
  /* Two channels from two views, or from one. */
  meddino_model *pair = tiny_model(context, tiny_config_two, 3);
  FAILS_NAMING(MEDDINO_E_SHAPE, "channels", meddino_segment(pair, one, 1, NULL, &c.out, NULL, NULL));
  OK(meddino_segment(pair, two, 2, NULL, &c.out, NULL, NULL));
  tiny_case d = tiny_phantom(20, 20, 2);
  int16_t *both = malloc(c.count * 4);
  for (size_t i = 0; i < c.count; i++) both[2 * i] = both[2 * i + 1] = c.voxels[i];
  d.in.data = both, d.in.channels = 2, d.in.channel_stride = 2, d.in.data_bytes = c.count * 4;
  d.in.strides[0] = 4, d.in.strides[1] = 80, d.in.strides[2] = 1600;
  OK(tiny_segment(pair, &d, NULL));
  CHECK(memcmp(c.labels, d.labels, c.count) == 0);
  meddino_volume other = c.in;
  other.spacing[0] = 1.7;
  two[1] = &other;
  FAILS_NAMING(MEDDINO_E_INVALID, "spacing", meddino_segment(pair, two, 2, NULL, &c.out, NULL, NULL));
  other = c.in, other.dims[2] = 1;
  FAILS_NAMING(MEDDINO_E_SHAPE, "dims", meddino_segment(pair, two, 2, NULL, &c.out, NULL, NULL));
  free(both);
  meddino_model_release(pair);
  /* Label values that do not fit the buffer. */
  meddino_model *wide = tiny_model(context, tiny_config_wide, 3);
  FAILS_NAMING(MEDDINO_E_INVALID, "300", tiny_segment(wide, &c, NULL));
  uint16_t *words = malloc(c.count * 2);
  out = c.out;
  out.dtype = MEDDINO_U16, out.writable = words, out.data_bytes = c.count * 2;
  OK(meddino_segment(wide, one, 1, NULL, &out, NULL, NULL));
  meddino_image *image = NULL, *labels = NULL;
  meddino_volume seen;
  NEED(meddino_image_create(context, &c.in, &image));
  OK(meddino_segment_image(wide, image, NULL, &labels, NULL));
  meddino_volume_init(&seen, sizeof seen);
  OK(meddino_image_view(labels, &seen));
  CHECK(seen.dtype == MEDDINO_U16 && memcmp(seen.data, words, c.count * 2) == 0);
  meddino_image_release(image), meddino_image_release(labels);
  free(words);
  meddino_model_release(wide);
  /* Options out of range. */
  meddino_run_options o;
#define BAD(field, value, word)                      \
  meddino_run_options_init(&o, sizeof o);            \
  o.field = (value);                                 \
  FAILS_NAMING(MEDDINO_E_INVALID, word, tiny_segment(model, &c, &o));
  static const double steps[] = {-0.5, 1.01, NAN, INFINITY, 1e-300};
  for (int i = 0; i < 4; i++) { BAD(tile_step, steps[i], "tile_step") }
  BAD(mirror_axes, -2, "mirror_axes")
  BAD(mirror_axes, 4, "mirror_axes")
  BAD(precision, 3, "precision")
  BAD(precision, -1, "precision")
  BAD(reserved, 1, "reserved")
  BAD(roi[1], -1, "roi")
  BAD(roi[0], 5, "roi")
  int32_t subset[3] = {1, 4, 2};
  meddino_run_options_init(&o, sizeof o);
  o.label_subset = subset;
  FAILS_NAMING(MEDDINO_E_INVALID, "label_subset_count", tiny_segment(model, &c, &o));
  o.label_subset_count = SIZE_MAX;
  FAILS_NAMING(MEDDINO_E_INVALID, "label_subset_count", tiny_segment(model, &c, &o));
  o.label_subset_count = 3;
  FAILS_NAMING(MEDDINO_E_INVALID, "label_subset", tiny_segment(model, &c, &o));
  static const int64_t boxes[][6] = {{0, 21, 0, 20, 0, 2}, {0, 20, 0, 20, 2, 3}, {5, 5, 0, 20, 0, 2}, {6, 5, 0, 20, 0, 2}, {INT64_MIN, INT64_MAX, 0, 1, 0, 1},
                                     {0, INT64_MAX, 0, 1, 0, 1}, {-1, 1, 0, 1, 0, 1}};
  for (int i = 0; i < 7; i++) {
    meddino_run_options_init(&o, sizeof o);
    memcpy(o.roi, boxes[i], sizeof o.roi);
    FAILS_NAMING(MEDDINO_E_INVALID, "roi", tiny_segment(model, &c, &o));
  }
  tiny_free(&c), tiny_free(&d);
}

/* Every limit from nothing to plenty: NOMEM or the right labels. */
static void limits(void) {
  tiny_case c = tiny_phantom(40, 36, 2), d = tiny_phantom(40, 36, 2);
  OK(tiny_segment(model, &c, NULL));
  meddino_estimate estimate = {.struct_size = sizeof estimate};
  OK(meddino_estimate_run(model, &c.in, NULL, &estimate));
  int refused = 0, done = 0;
  for (uint64_t limit = 1; limit < estimate.peak_bytes * 4; limit = limit < 1000 ? limit * 10 : limit * 5 / 4) {
    meddino_run_options o;
    meddino_run_options_init(&o, sizeof o);
    o.max_bytes = limit;
    const meddino_status status = tiny_segment(model, &d, &o);
    if (status == MEDDINO_OK) {
      done++;
      CHECK(memcmp(c.labels, d.labels, c.count) == 0);
    } else {
      refused++;
      FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", status);
    }
    if (limit > estimate.peak_bytes && !CHECK(status == MEDDINO_OK))
      fprintf(stderr, "  limit %llu, estimate %llu: %s\n", (unsigned long long)limit, (unsigned long long)estimate.peak_bytes, last_error());
  }
  CHECK(refused > 10 && done > 0);
  meddino_context_options co;
  meddino_context_options_init(&co, sizeof co);
  co.threads = 1;
  refused = 0;
  for (uint64_t limit = 1000; limit < 1 << 24; limit *= 2) { /* the context's limit counts weights too */
    meddino_context *small = NULL;
    meddino_model *within = NULL;
    co.max_bytes = limit;
    NEED(meddino_context_create(&co, &small));
    if (meddino_model_create(small, tiny_config, 7, &within) == MEDDINO_OK) {
      const meddino_status status = tiny_segment(within, &d, NULL);
      CHECK(status == MEDDINO_OK || status == MEDDINO_E_NOMEM);
      refused += status == MEDDINO_E_NOMEM;
      if (status == MEDDINO_OK) CHECK(memcmp(c.labels, d.labels, c.count) == 0);
    }
    meddino_model_release(within);
    meddino_context_release(small);
  }
  CHECK(refused > 2);
  OK(tiny_segment(model, &d, NULL));
  CHECK(memcmp(c.labels, d.labels, c.count) == 0);
  tiny_free(&c), tiny_free(&d);
}

/* Results in memory of their own: neither an input's, nor each other's, nor one voxel in another's bytes. */
static void shared_memory(void) {
  tiny_case c = tiny_phantom(20, 18, 3);
  const meddino_volume *one[1] = {&c.in};
  const size_t n = c.count;
  meddino_volume out = c.out;
  meddino_job *job = (void *)1;
#define REFUSED(labels, scores, word)                                                                     \
  FAILS_NAMING(MEDDINO_E_INVALID, word, meddino_segment(model, one, 1, NULL, labels, scores, NULL));      \
  FAILS_NAMING(MEDDINO_E_INVALID, word, meddino_segment_async(model, one, 1, NULL, labels, scores, &job)); \
  CHECK(job == NULL);
  out.dtype = MEDDINO_I16, out.writable = c.voxels, out.data_bytes = n * 2;
  REFUSED(&out, NULL, "channels[0]")
  out = c.out;
  for (int end = 0; end < 2; end++) { /* a single byte at either end */
    out.writable = end ? (unsigned char *)c.voxels + 2 * n - 1 : (unsigned char *)c.voxels - (n - 1);
    REFUSED(&out, NULL, "channels[0]")
  }
  /* Side by side is allowed. */
  unsigned char *both = malloc(3 * n);
  memcpy(both, c.voxels, 2 * n);
  c.in.data = both;
  out.writable = both + 2 * n;
  OK(meddino_segment(model, one, 1, NULL, &out, NULL, NULL));
  OK(tiny_segment(model, &c, NULL));
  CHECK(memcmp(both + 2 * n, c.labels, n) == 0);
  free(both);
  c.in.data = c.voxels;
  /* The second channel counts too, and so do probabilities. */
  unsigned char *scores = malloc(16 * n + n);
  meddino_volume p = c.out;
  p.dtype = MEDDINO_F32, p.channels = 4, p.writable = scores, p.data_bytes = 16 * n;
  out = c.out, out.writable = scores + 16 * n - 1;
  REFUSED(&out, &p, "probabilities")
  out.writable = scores + 16 * n;
  OK(meddino_segment(model, one, 1, NULL, &out, &p, NULL));
  CHECK(memcmp(scores + 16 * n, c.labels, n) == 0);
  c.in.data = scores + 40;
  REFUSED(&c.out, &p, "channels[0]")
  c.in.data = c.voxels;
  meddino_model *pair = tiny_model(context, tiny_config_two, 3);
  tiny_case d = tiny_phantom(20, 18, 3);
  const meddino_volume *two[2] = {&c.in, &d.in};
  out = c.out, out.dtype = MEDDINO_I16, out.writable = d.voxels, out.data_bytes = n * 2;
  FAILS_NAMING(MEDDINO_E_INVALID, "channels[1]", meddino_segment(pair, two, 2, NULL, &out, NULL, NULL));
  tiny_free(&d);
  meddino_model_release(pair);
  /* Strides that put two voxels on the same bytes. */
  static const int64_t strides[][3] = {{1, 20, 0}, {0, 1, 18}, {1, 19, 360}, {1, 20, 359}, {1, 1, 1}, {2, 20, 400}, {-1, 19, 360}, {1, -1, 360}, {1, 60, 59}};
  for (size_t i = 0; i < sizeof strides / sizeof *strides; i++) {
    out = c.out, out.writable = scores + 8 * n, out.data_bytes = 8 * n;
    memcpy(out.strides, strides[i], sizeof strides[i]);
    REFUSED(&out, NULL, "labels.strides")
  }
  p.channel_stride = 4 * (int64_t)n - 4;
  REFUSED(&c.out, &p, "probabilities.strides")
  p.channel_stride = 2; /* interleaved, but narrower than a voxel */
  p.strides[0] = 8, p.strides[1] = 160, p.strides[2] = 2880;
  REFUSED(&c.out, &p, "probabilities.strides")
  p.channel_stride = 4, p.strides[0] = 16, p.strides[1] = 320, p.strides[2] = 5760;
  OK(meddino_segment(model, one, 1, NULL, &c.out, &p, NULL));
  /* Permuted and reversed axes are fine. */
  out = c.out, out.writable = scores + n - 1, out.data_bytes = n;
  out.strides[0] = -54, out.strides[1] = -3, out.strides[2] = -1;
  OK(meddino_segment(model, one, 1, NULL, &out, NULL, NULL));
  /* Colours and similarities keep the same rule. */
  meddino_features *features = NULL;
  NEED(meddino_features_create(model, &c.in, NULL, NULL, &features));
  meddino_volume_init(&out, sizeof out);
  out.dims[0] = 2, out.dims[1] = 2, out.dims[2] = 3;
  out.dtype = MEDDINO_U8, out.channels = 3, out.writable = scores, out.data_bytes = 36, out.channel_stride = 1;
  FAILS_NAMING(MEDDINO_E_INVALID, "rgb.strides", meddino_features_pca(features, NULL, &out));
  out.channel_stride = 0;
  meddino_volume mask = c.in;
  mask.dtype = MEDDINO_U8, mask.data = scores + 35, mask.data_bytes = n;
  memset(scores, 1, 2 * n);
  FAILS_NAMING(MEDDINO_E_INVALID, "mask", meddino_features_pca(features, &mask, &out));
  mask.data = scores + 36;
  OK(meddino_features_pca(features, &mask, &out));
  out.dtype = MEDDINO_F32, out.channels = 1, out.data_bytes = 48;
  out.strides[0] = 4, out.strides[1] = 4, out.strides[2] = 16;
  FAILS_NAMING(MEDDINO_E_INVALID, "cosine.strides", meddino_features_similarity(features, (double[3]){0}, 1, &out));
  meddino_features_release(features);
  free(scores);
  tiny_free(&c);
}

int main(void) {
  context = tiny_context(2);
  model = tiny_model(context, tiny_config, 7);
  refusals();
  limits();
  shared_memory();
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_segment_limits");
}
