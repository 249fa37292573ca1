/* Dense features, principal components and similarity. */
#include "tiny_model.h"

static meddino_context *context;
static meddino_model *model;

static void views(void) {
  tiny_case c = tiny_phantom(40, 35, 3);
  meddino_features *features = NULL, *again = NULL;
  meddino_tensor t = {.struct_size = sizeof t}, u = {.struct_size = sizeof u};
  NEED(meddino_features_create(model, &c.in, NULL, NULL, &features));
  OK(meddino_features_view(features, &t));
  const int64_t shape[5] = {3, 1, 3, 3, 64};
  CHECK(t.dtype == MEDDINO_F32 && t.ndim == 5 && memcmp(t.shape, shape, sizeof shape) == 0);
  CHECK(t.strides[4] == 4 && t.strides[3] == 256 && t.strides[0] == t.strides[1] && t.data_bytes == 3 * 9 * 64 * 4);
  long broken = 0;
  for (size_t i = 0; i < t.data_bytes / 4; i++) broken += !isfinite(((const float *)t.data)[i]);
  CHECK(broken == 0);
  /* One slice and two blocks: the second block is the last one's. */
  meddino_feature_options o;
  meddino_feature_options_init(&o, sizeof o);
  o.blocks[0] = 0, o.blocks[1] = 1, o.block_count = 2;
  o.slice_begin = 1, o.slice_end = 2;
  NEED(meddino_features_create(model, &c.in, &o, NULL, &again));
  OK(meddino_features_view(again, &u));
  CHECK(u.shape[0] == 1 && u.shape[1] == 2);
  CHECK(memcmp((const char *)u.data + u.strides[1], (const char *)t.data + t.strides[0], 9 * 64 * 4) == 0);
  CHECK(memcmp(u.data, (const char *)t.data + t.strides[0], 9 * 64 * 4) != 0);
  meddino_features_release(again);
  /* Another input size; no norm. */
  meddino_feature_options_init(&o, sizeof o);
  o.input_size[0] = 64, o.input_size[1] = 32, o.apply_norm = 0;
  NEED(meddino_features_create(model, &c.in, &o, NULL, &again));
  OK(meddino_features_view(again, &u));
  CHECK(u.shape[2] == 4 && u.shape[3] == 2);
  meddino_features_release(again);
  /* A backbone gives features. */
  meddino_model *bone = tiny_model(context, tiny_backbone, 7);
  NEED(meddino_features_create(bone, &c.in, NULL, NULL, &again));
  meddino_features_release(again);
  meddino_model_release(bone);
#define BAD(field, value, word)                                                            \
  meddino_feature_options_init(&o, sizeof o);                                              \
  o.field = (value);                                                                       \
  FAILS_NAMING(MEDDINO_E_INVALID, word, meddino_features_create(model, &c.in, &o, NULL, &again));
  BAD(block_count, -1, "block_count")
  BAD(block_count, 9, "block_count")
  BAD(block_count, 2, "blocks") /* 0, 0 */
  BAD(input_size[0], 16, "input_size")
  BAD(input_size[0], -16, "input_size")
  BAD(slice_end, 4, "slices")
  BAD(slice_end, INT64_MAX, "slices")
  BAD(slice_begin, 1, "slice")
  BAD(slice_begin, -1, "slice")
  meddino_feature_options_init(&o, sizeof o);
  o.block_count = 1, o.blocks[0] = 2;
  FAILS_NAMING(MEDDINO_E_INVALID, "blocks", meddino_features_create(model, &c.in, &o, NULL, &again));
  o.blocks[0] = -1;
  FAILS_NAMING(MEDDINO_E_INVALID, "blocks", meddino_features_create(model, &c.in, &o, NULL, &again));
  meddino_feature_options_init(&o, sizeof o);
  o.input_size[0] = 17, o.input_size[1] = 16;
  FAILS_NAMING(MEDDINO_E_INVALID, "input_size", meddino_features_create(model, &c.in, &o, NULL, &again));
  o.input_size[0] = o.input_size[1] = 65536;
  meddino_run_options run;
  meddino_run_options_init(&run, sizeof run);
  run.max_bytes = 1 << 20;
  FAILS(MEDDINO_E_NOMEM, meddino_features_create(model, &c.in, &o, &run, &again));
  CHECK(again == NULL);
  meddino_volume two = c.in;
  two.channels = 2, two.data_bytes = SIZE_MAX / 2;
  FAILS_NAMING(MEDDINO_E_SHAPE, "channels", meddino_features_create(model, &two, NULL, NULL, &again));
  /* NaN voxels do not spread into all tokens. */
  float *floats = malloc(c.count * 4);
  for (size_t i = 0; i < c.count; i++) floats[i] = i == 5 ? NAN : c.voxels[i];
  meddino_volume broken_in = c.in;
  broken_in.dtype = MEDDINO_F32, broken_in.data = floats, broken_in.data_bytes = c.count * 4;
  NEED(meddino_features_create(model, &broken_in, NULL, NULL, &again));
  OK(meddino_features_view(again, &u));
  broken = 0;
  for (size_t i = 0; i < u.data_bytes / 4; i++) broken += !isfinite(((const float *)u.data)[i]);
  CHECK(broken == 0);
  meddino_features_release(again);
  free(floats);
  meddino_features_release(features);
  tiny_free(&c);
}

static void pictures(void) {
  tiny_case c = tiny_phantom(96, 80, 2);
  c.in.origin[0] = -30, c.in.origin[1] = 12, c.in.origin[2] = 100;
  const double turn[9] = {0, 1, 0, -1, 0, 0, 0, 0, 1};
  memcpy(c.in.direction, turn, sizeof turn);
  meddino_features *features = NULL;
  NEED(meddino_features_create(model, &c.in, NULL, NULL, &features));
  enum { COLUMNS = 6, ROWS = 5, TOKENS = COLUMNS * ROWS * 2 };
  uint8_t rgb[TOKENS * 3], masked[TOKENS * 3], mask_voxels[96 * 80 * 2] = {0};
  float cosine[TOKENS];
  meddino_volume out, mask = c.in;
  meddino_volume_init(&out, sizeof out);
  out.dtype = MEDDINO_U8, out.channels = 3, out.writable = rgb, out.data_bytes = sizeof rgb;
  out.dims[0] = COLUMNS, out.dims[1] = ROWS, out.dims[2] = 2;
  OK(meddino_features_pca(features, NULL, &out));
  int low = 255, high = 0;
  for (int i = 0; i < TOKENS * 3; i++) low = rgb[i] < low ? rgb[i] : low, high = rgb[i] > high ? rgb[i] : high;
  CHECK(low == 0 && high == 255);
  mask.dtype = MEDDINO_U8, mask.data = mask_voxels, mask.data_bytes = sizeof mask_voxels;
  out.writable = masked;
  FAILS_NAMING(MEDDINO_E_SHAPE, "3", meddino_features_pca(features, &mask, &out)); /* an empty mask */
  for (int64_t y = 20; y < 60; y++)
    for (int64_t x = 20; x < 70; x++) mask_voxels[y * 96 + x] = 1;
  OK(meddino_features_pca(features, &mask, &out));
  long black = 0;
  for (int i = 0; i < TOKENS; i++) black += masked[i] == 0 && masked[TOKENS + i] == 0 && masked[2 * TOKENS + i] == 0;
  CHECK(black >= TOKENS / 2 && black < TOKENS - 3);
  mask.dims[0] = 95;
  FAILS_NAMING(MEDDINO_E_SHAPE, "mask", meddino_features_pca(features, &mask, &out));
  out.channels = 1;
  FAILS_NAMING(MEDDINO_E_SHAPE, "rgb", meddino_features_pca(features, NULL, &out));
  out.channels = 3, out.dims[0] = 5;
  FAILS_NAMING(MEDDINO_E_SHAPE, "rgb", meddino_features_pca(features, NULL, &out));
  out.dims[0] = COLUMNS, out.data_bytes--;
  FAILS_NAMING(MEDDINO_E_INVALID, "rgb.data_bytes", meddino_features_pca(features, NULL, &out));

  /* The token under a point is like itself: cosine 1 there. voxel (40, 20, 1) lies in token column 2, row 1. */
  meddino_volume_init(&out, sizeof out);
  out.writable = cosine, out.data_bytes = sizeof cosine;
  out.dims[0] = COLUMNS, out.dims[1] = ROWS, out.dims[2] = 2;
  const double along_x = 40 * 0.9, along_y = 20 * 0.9;
  double point[6] = {-30 + along_y, 12 - along_x, 103, -30 + along_y, 12 - along_x, 103};
  OK(meddino_features_similarity(features, point, 1, &out));
  CHECK(fabs(cosine[(1 * ROWS + 1) * COLUMNS + 2] - 1) < 1e-5);
  long outside = 0;
  for (int i = 0; i < TOKENS; i++) outside += !(cosine[i] >= -1.00001f && cosine[i] <= 1.00001f);
  CHECK(outside == 0);
  OK(meddino_features_similarity(features, point, 2, &out));
  CHECK(fabs(cosine[(1 * ROWS + 1) * COLUMNS + 2] - 1) < 1e-5);
  /* The same through a RAS view. */
  meddino_volume ras = c.in;
  ras.space = MEDDINO_RAS;
  ras.origin[0] = 30, ras.origin[1] = -12;
  for (int i = 0; i < 6; i++) ras.direction[i] = -ras.direction[i];
  meddino_features *same = NULL;
  float other[TOKENS];
  NEED(meddino_features_create(model, &ras, NULL, NULL, &same));
  meddino_volume out_ras = out;
  out_ras.writable = other;
  const double flipped[3] = {-point[0], -point[1], point[2]};
  OK(meddino_features_similarity(same, flipped, 1, &out_ras));
  CHECK(memcmp(cosine, other, sizeof cosine) == 0 || fabs((double)other[(1 * ROWS + 1) * COLUMNS + 2] - 1) < 1e-5);
  meddino_features_release(same);
  static const double bad[][3] = {{1e6, 0, 0}, {NAN, 0, 0}, {0, INFINITY, 0}, {-29, 11, 99}, {1e308, 1e308, -1e308}, {-1e308, 1e308, 1e308}, {-29, 11, 90}};
  for (int i = 0; i < 7; i++) {
    if (i == 3) continue; /* half a slice away is still inside */
    FAILS_NAMING(MEDDINO_E_INVALID, "points_mm[0]", meddino_features_similarity(features, bad[i], 1, &out));
  }
  memcpy(point + 3, bad[0], sizeof bad[0]);
  FAILS_NAMING(MEDDINO_E_INVALID, "points_mm[1]", meddino_features_similarity(features, point, 2, &out));
  out.dtype = MEDDINO_F64, out.data_bytes = SIZE_MAX / 2;
  FAILS_NAMING(MEDDINO_E_SHAPE, "cosine", meddino_features_similarity(features, point, 1, &out));
  meddino_features_release(features);
  /* Huge geometry: positions overflow, nothing traps. */
  meddino_volume far = c.in;
  far.origin[0] = 1e308, far.origin[1] = -1e308, far.spacing[0] = 1e-300;
  for (int i = 0; i < 9; i++) far.direction[i] *= 1e150;
  if (meddino_features_create(model, &far, NULL, NULL, &features) == MEDDINO_OK) {
    CHECK(meddino_features_similarity(features, point, 1, &out) != MEDDINO_OK);
    meddino_volume_init(&out, sizeof out);
    out.writable = cosine, out.data_bytes = sizeof cosine;
    out.dims[0] = COLUMNS, out.dims[1] = ROWS, out.dims[2] = 2;
    static const double points[][3] = {{0, 0, 0}, {1e308, -1e308, 1e308}, {-1e308, 1e308, 1e308}};
    for (int i = 0; i < 3; i++) CHECK(meddino_features_similarity(features, points[i], 1, &out) != MEDDINO_E_INTERNAL);
    meddino_features_release(features);
  }
  /* Fewer than three tokens. */
  tiny_case small = tiny_phantom(16, 32, 1);
  NEED(meddino_features_create(model, &small.in, NULL, NULL, &features));
  meddino_volume_init(&out, sizeof out);
  out.dtype = MEDDINO_U8, out.channels = 3, out.writable = rgb, out.data_bytes = sizeof rgb;
  out.dims[0] = 1, out.dims[1] = 2, out.dims[2] = 1;
  FAILS_NAMING(MEDDINO_E_SHAPE, "3", meddino_features_pca(features, NULL, &out));
  meddino_features_release(features);
  tiny_free(&small);
  tiny_free(&c);
}

int main(void) {
  context = tiny_context(2);
  model = tiny_model(context, tiny_config, 7);
  views();
  pictures();
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_features");
}
