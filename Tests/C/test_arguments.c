/* Every function with NULL, and every struct short, cut, long, and long with a tail in use. */
#include "struct_sizes.h"
#include "tiny_model.h"

static meddino_context *context;
static meddino_model *model;

static void null_arguments(void) {
  meddino_image *image = (void *)1;
  meddino_model *m = (void *)1;
  meddino_cancel *cancel = NULL;
  meddino_job *job = (void *)1;
  meddino_report *report = (void *)1;
  meddino_features *features = (void *)1;
  meddino_volume volume;
  meddino_tensor tensor;
  meddino_model_info info;
  meddino_label label;
  meddino_label_stats stats;
  meddino_estimate estimate;
  const meddino_volume *channels[1] = {&volume};
  meddino_volume_init(&volume, sizeof volume);
  tensor.struct_size = sizeof tensor, info.struct_size = sizeof info, label.struct_size = sizeof label;
  stats.struct_size = sizeof stats, estimate.struct_size = sizeof estimate;

  meddino_context_options_init(NULL, 64);
  meddino_volume_init(NULL, 64);
  meddino_model_options_init(NULL, 64);
  meddino_run_options_init(NULL, 64);
  meddino_feature_options_init(NULL, 64);
  meddino_file_options_init(NULL, 64);
  meddino_save_options_init(NULL, 64);
  image = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_image_read_with(NULL, "a.nii", NULL, &image));
  CHECK(image == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_image_read_with(context, NULL, NULL, &image));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_image_read_with(context, "a.nii", NULL, NULL));
  image = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_image_read_for(NULL, "a.nii", NULL, &image));
  CHECK(image == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_image_read_for(model, NULL, NULL, &image));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_image_read_for(model, "a.nii", NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "image", meddino_image_write_with(NULL, "a.nii", NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_model_save_with(NULL, "a", NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_model_save_with(model, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_model_verify(NULL, NULL));
  image = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_context_create(NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "volume", meddino_volume_check(NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_image_read(NULL, "a.nii", &image));
  CHECK(image == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_image_read(context, NULL, &image));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_image_read(context, "a.nii", NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "UTF-8", meddino_image_read(context, "\xff\xfe.nii", &image));
  image = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_image_create(NULL, &volume, &image));
  CHECK(image == NULL);
  FAILS(MEDDINO_E_INVALID, meddino_image_create(context, NULL, &image));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_image_create(context, &volume, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "image", meddino_image_view(NULL, &volume));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_image_view(NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "image", meddino_image_write(NULL, "a.nii"));
  meddino_image_release(NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_model_open(NULL, "a", NULL, &m));
  CHECK(m == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_model_open(context, NULL, NULL, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_model_open(context, "a", NULL, NULL));
  m = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "data", meddino_model_open_memory(context, NULL, 8, NULL, NULL, &m));
  CHECK(m == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_model_open_memory(NULL, "x", 1, NULL, NULL, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_model_open_memory(context, "x", 1, NULL, NULL, NULL));
  FAILS(MEDDINO_E_INVALID, meddino_model_open_memory(context, "x", (size_t)-1, NULL, NULL, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_model_create(NULL, "{}", 1, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "config_json", meddino_model_create(context, NULL, 1, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_model_create(context, "{}", 1, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "models", meddino_model_combine(NULL, 1, &m));
  const meddino_model *list[2] = {model, NULL};
  FAILS_NAMING(MEDDINO_E_INVALID, "models[1]", meddino_model_combine(list, 2, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_model_combine(list, 0, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_model_combine(list, (size_t)-1, &m));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_model_combine(list, 1, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_model_save(NULL, "a"));
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_model_save(model, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_model_get_info(NULL, &info));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_model_get_info(model, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_model_get_label(NULL, 0, &label));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_model_get_label(model, 0, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "index", meddino_model_get_label(model, -1, &label));
  FAILS_NAMING(MEDDINO_E_INVALID, "index", meddino_model_get_label(model, 4, &label));
  CHECK(meddino_model_metadata(NULL, "plans") == NULL);
  CHECK(meddino_model_metadata(model, NULL) == NULL);
  CHECK(meddino_model_metadata(model, "no such key") == NULL);
  meddino_model_release(NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_cancel_create(NULL));
  meddino_cancel_request(NULL);
  meddino_cancel_release(cancel);
  FAILS_NAMING(MEDDINO_E_INVALID, "job", meddino_job_wait(NULL, 0));
  CHECK(isnan(meddino_job_progress(NULL)));
  meddino_job_cancel(NULL);
  char text[8] = "x";
  CHECK(meddino_job_error(NULL, text, sizeof text) == 0 && text[0] == 0);
  CHECK(meddino_job_error(NULL, NULL, 0) == 0);
  FAILS_NAMING(MEDDINO_E_INVALID, "job", meddino_job_report(NULL, &report));
  CHECK(report == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_job_report(NULL, NULL));
  meddino_job_release(NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_estimate_run(NULL, &volume, NULL, &estimate));
  FAILS_NAMING(MEDDINO_E_INVALID, "in", meddino_estimate_run(model, NULL, NULL, &estimate));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_estimate_run(model, &volume, NULL, NULL));
  report = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_segment(NULL, channels, 1, NULL, &volume, NULL, &report));
  CHECK(report == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "channels", meddino_segment(model, NULL, 1, NULL, &volume, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_segment(model, channels, 0, NULL, &volume, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_segment(model, channels, (size_t)-1, NULL, &volume, NULL, NULL));
  channels[0] = NULL;
  FAILS_NAMING(MEDDINO_E_INVALID, "channels[0]", meddino_segment(model, channels, 1, NULL, &volume, NULL, NULL));
  tiny_case c = tiny_phantom(8, 8, 1);
  channels[0] = &c.in;
  FAILS_NAMING(MEDDINO_E_INVALID, "labels", meddino_segment(model, channels, 1, NULL, NULL, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_segment_async(model, channels, 1, NULL, &c.out, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_segment_async(NULL, channels, 1, NULL, &c.out, NULL, &job));
  CHECK(job == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "labels", meddino_segment_async(model, channels, 1, NULL, NULL, NULL, &job));
  image = (void *)1, report = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_segment_image(NULL, NULL, NULL, &image, &report));
  CHECK(image == NULL && report == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "image", meddino_segment_image(model, NULL, NULL, &image, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "labels", meddino_segment_image(model, NULL, NULL, NULL, NULL));
  CHECK(meddino_report_label_count(NULL) == 0);
  CHECK(meddino_report_warning_count(NULL) == 0);
  CHECK(meddino_report_warning(NULL, 0) == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "report", meddino_report_get_label(NULL, 0, &stats));
  meddino_report_release(NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "model", meddino_features_create(NULL, &c.in, NULL, NULL, &features));
  CHECK(features == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "in", meddino_features_create(model, NULL, NULL, NULL, &features));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_features_create(model, &c.in, NULL, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "features", meddino_features_view(NULL, &tensor));
  FAILS_NAMING(MEDDINO_E_INVALID, "features", meddino_features_pca(NULL, NULL, &volume));
  FAILS_NAMING(MEDDINO_E_INVALID, "features", meddino_features_similarity(NULL, (double[3]){0}, 1, &volume));
  NEED(meddino_features_create(model, &c.in, NULL, NULL, &features));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_features_view(features, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "rgb", meddino_features_pca(features, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "points_mm", meddino_features_similarity(features, NULL, 1, &volume));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_features_similarity(features, (double[3]){0}, 0, &volume));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_features_similarity(features, (double[3]){0}, (size_t)-1, &volume));
  FAILS_NAMING(MEDDINO_E_INVALID, "cosine", meddino_features_similarity(features, (double[3]){0}, 1, NULL));
  meddino_features_release(features);
  meddino_features_release(NULL);
  meddino_context_release(NULL);
  tiny_free(&c);
}

static tiny_case small;
static meddino_status use_context(const void *options) {
  meddino_context *made = NULL;
  const meddino_status status = meddino_context_create(options, &made);
  meddino_context_release(made);
  return status;
}
static char model_path[256];
static meddino_status use_model(const void *options) {
  meddino_model *made = NULL;
  const meddino_status status = meddino_model_open(context, model_path, options, &made);
  meddino_model_release(made);
  return status;
}
static char image_path[256], written_path[256];
static meddino_status use_read(const void *options) {
  meddino_image *made = NULL;
  const meddino_status status = meddino_image_read_with(context, image_path, options, &made);
  meddino_image_release(made);
  return status;
}
static meddino_status use_read_for(const void *options) {
  meddino_image *made = NULL;
  const meddino_status status = meddino_image_read_for(model, image_path, options, &made);
  meddino_image_release(made);
  return status;
}
static meddino_image *written;
static meddino_status use_write(const void *options) { return meddino_image_write_with(written, image_path, options); }
static meddino_status use_save(const void *options) { return meddino_model_save_with(model, written_path, options); }
static meddino_model *stored;
static meddino_status use_verify(const void *options) { return meddino_model_verify(stored, options); }
static meddino_status use_run(const void *options) { return tiny_segment(model, &small, options); }
static meddino_status use_estimate(const void *options) {
  meddino_estimate out = {.struct_size = sizeof out};
  return meddino_estimate_run(model, &small.in, options, &out);
}
static meddino_status use_features(const void *options) {
  meddino_features *made = NULL;
  const meddino_status status = meddino_features_create(model, &small.in, options, NULL, &made);
  meddino_features_release(made);
  return status;
}
static void init_functions(void) {
  void (*const inits[])(void *, size_t) = {
    (void (*)(void *, size_t))(void (*)(void))meddino_context_options_init, (void (*)(void *, size_t))(void (*)(void))meddino_volume_init,
    (void (*)(void *, size_t))(void (*)(void))meddino_model_options_init, (void (*)(void *, size_t))(void (*)(void))meddino_run_options_init,
    (void (*)(void *, size_t))(void (*)(void))meddino_feature_options_init, (void (*)(void *, size_t))(void (*)(void))meddino_file_options_init,
    (void (*)(void *, size_t))(void (*)(void))meddino_save_options_init,
  };
  for (size_t i = 0; i < sizeof inits / sizeof *inits; i++) {
    for (size_t size = 0; size < 300; size += size < 8 ? 1 : 4) {
      unsigned char bytes[400];
      memset(bytes, 0xab, sizeof bytes);
      inits[i](bytes, size);
      int outside = 0;
      for (size_t at = size; at < sizeof bytes; at++) outside += bytes[at] != 0xab;
      CHECK(outside == 0);
      size_t stored;
      memcpy(&stored, bytes, sizeof stored);
      CHECK(size < 8 || stored == size);
    }
  }
  meddino_volume v;
  meddino_volume_init(&v, sizeof v);
  CHECK(v.dtype == MEDDINO_F32 && v.channels == 1 && v.space == MEDDINO_LPS && v.modality == MEDDINO_MODALITY_UNKNOWN);
  CHECK(v.spacing[0] == 1 && v.spacing[2] == 1 && v.origin[1] == 0 && v.direction[0] == 1 && v.direction[1] == 0 && v.direction[8] == 1);
  meddino_run_options r;
  meddino_run_options_init(&r, sizeof r);
  CHECK(r.mirror_axes == MEDDINO_MIRROR_MODEL && r.precision == MEDDINO_PRECISION_MODEL && r.tile_step == 0 && r.cancel == NULL);
  meddino_feature_options f;
  meddino_feature_options_init(&f, sizeof f);
  CHECK(f.apply_norm == 1 && f.block_count == 0);
}

/* Output structs: no byte past struct_size is written. */
static void outputs(void) {
  meddino_model_info whole = {.struct_size = sizeof whole}, cut;
  NEED(meddino_model_get_info(model, &whole));
  for (size_t size = 8; size <= sizeof cut; size += 4) {
    memset(&cut, 0x5a, sizeof cut);
    cut.struct_size = size;
    OK(meddino_model_get_info(model, &cut));
    CHECK(cut.struct_size == size);
    CHECK(memcmp((char *)&cut + 8, (char *)&whole + 8, size - 8) == 0);
    int touched = 0;
    for (size_t at = size; at < sizeof cut; at++) touched += ((unsigned char *)&cut)[at] != 0x5a;
    CHECK(touched == 0);
  }
  struct { meddino_model_info info; unsigned char more[32]; } big;
  memset(&big, 0x5a, sizeof big);
  big.info.struct_size = sizeof big;
  OK(meddino_model_get_info(model, &big.info));
  CHECK(big.info.depth == 2 && big.more[0] == 0x5a);
  cut.struct_size = 4;
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_model_get_info(model, &cut));
  meddino_label label = {.struct_size = 16};
  label.name = (void *)1;
  OK(meddino_model_get_label(model, 1, &label));
  CHECK(label.value == 1);
  CHECK(label.name == (void *)1);
  meddino_estimate estimate = {.struct_size = 16, .tiles = -5};
  OK(meddino_estimate_run(model, &small.in, NULL, &estimate));
  CHECK(estimate.peak_bytes > 0 && estimate.tiles == -5);
  /* A failed call leaves an output struct alone. */
  memset(&estimate, 0x5a, sizeof estimate);
  estimate.struct_size = sizeof estimate;
  meddino_volume bad = small.in;
  bad.dims[0] = 0;
  FAILS_NAMING(MEDDINO_E_INVALID, "dims", meddino_estimate_run(model, &bad, NULL, &estimate));
  CHECK(((unsigned char *)&estimate)[9] == 0x5a);
}

static void file_options(const char *folder) {
  meddino_file_options file_valid;
  meddino_save_options save_valid;
  meddino_file_options_init(&file_valid, sizeof file_valid);
  meddino_save_options_init(&save_valid, sizeof save_valid);
  CHECK(file_valid.progress == NULL && file_valid.cancel == NULL && save_valid.precision == MEDDINO_PRECISION_MODEL);
  snprintf(image_path, sizeof image_path, "%s/arguments.nii.gz", folder);
  snprintf(written_path, sizeof written_path, "%s/arguments_saved.safetensors", folder);
  NEED(meddino_image_create(context, &small.in, &written));
  NEED(meddino_model_open(context, model_path, NULL, &stored));
  struct_sizes("write options", &file_valid, sizeof file_valid, use_write);
  struct_sizes("read options", &file_valid, sizeof file_valid, use_read);
  struct_sizes("read_for options", &file_valid, sizeof file_valid, use_read_for);
  struct_sizes("verify options", &file_valid, sizeof file_valid, use_verify);
  struct_sizes("save options", &save_valid, sizeof save_valid, use_save);
  save_valid.precision = 3;
  FAILS_NAMING(MEDDINO_E_INVALID, "precision", use_save(&save_valid));
  save_valid.precision = 0, save_valid.reserved = 1;
  FAILS_NAMING(MEDDINO_E_INVALID, "reserved", use_save(&save_valid));
  meddino_model_options o;
  meddino_model_options_init(&o, sizeof o);
  o.rope = 3;
  FAILS_NAMING(MEDDINO_E_INVALID, "rope", use_model(&o));
  o.rope = -1;
  FAILS_NAMING(MEDDINO_E_INVALID, "rope", use_model(&o));
  o.rope = 0, o.reserved = 1;
  FAILS_NAMING(MEDDINO_E_INVALID, "reserved", use_model(&o));
  meddino_image_release(written);
  meddino_model_release(stored);
}

int main(int count, char **arguments) {
  const char *folder = count > 1 ? arguments[1] : ".";
  context = tiny_context(1);
  model = tiny_model(context, tiny_config, 1);
  small = tiny_phantom(8, 8, 1);
  snprintf(model_path, sizeof model_path, "%s/arguments.safetensors", folder);
  NEED(meddino_model_save(model, model_path));
  null_arguments();
  init_functions();
  meddino_context_options context_valid;
  meddino_model_options model_valid;
  meddino_run_options run_valid;
  meddino_feature_options features_valid;
  meddino_context_options_init(&context_valid, sizeof context_valid);
  meddino_model_options_init(&model_valid, sizeof model_valid);
  meddino_run_options_init(&run_valid, sizeof run_valid);
  meddino_feature_options_init(&features_valid, sizeof features_valid);
  struct_sizes("context_options", &context_valid, sizeof context_valid, use_context);
  struct_sizes("model_options", &model_valid, sizeof model_valid, use_model);
  struct_sizes("run_options", &run_valid, sizeof run_valid, use_run);
  struct_sizes("run_options", &run_valid, sizeof run_valid, use_estimate);
  struct_sizes("feature_options", &features_valid, sizeof features_valid, use_features);
  file_options(folder);
  outputs();
  tiny_free(&small);
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_arguments");
}
