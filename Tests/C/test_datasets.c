/* Data to train on: cases from memory and from folders, batches that the caller makes, and everything that is refused. */
#include <sys/stat.h>
#include "tiny_training.h"

static meddino_context *context;
static meddino_model *model;
static const char *folder;

/* Cases one by one. */
static void cases(void) {
  tiny_watch w;
  tiny_case c = tiny_labelled(48, 44, 3);
  const meddino_volume *channels[2] = {&c.in, &c.in};
  meddino_dataset *dataset = NULL;
  meddino_train_options o = tiny_options(NULL, &w);
  NEED(meddino_dataset_create(model, &dataset));
  CHECK(meddino_dataset_count(dataset) == 0 && meddino_dataset_case(dataset, 0) == NULL);
  tiny_watch_from(&w, -1);
  OK(tiny_add(dataset, "first", &c, &o));
  WATCHED_WELL(w);
  CHECK(w.last == 1 && meddino_dataset_count(dataset) == 1);
  for (long k = 0, total = w.calls; k < total; k++) {
    tiny_watch_from(&w, k);
    FAILS(MEDDINO_E_CANCELLED, tiny_add(dataset, "second", &c, &o));
    CHECK(w.calls == k + 1 && meddino_dataset_count(dataset) == 1);
  }
  const char *first = meddino_dataset_case(dataset, 0);
  OK(tiny_add(dataset, "\xc3\xa9", &c, NULL));
  OK(tiny_add(dataset, "first", &c, NULL)); /* replaced in its place */
  CHECK(meddino_dataset_count(dataset) == 2 && meddino_dataset_case(dataset, 0) == first && strcmp(first, "first") == 0);
  CHECK(strcmp(meddino_dataset_case(dataset, 1), "\xc3\xa9") == 0 && meddino_dataset_case(dataset, 2) == NULL && meddino_dataset_case(dataset, (size_t)-1) == NULL);
  /* Refused: labels, shapes, names, memory. The dataset stays as it was. */
  c.labels[100] = 7;
  FAILS_NAMING(MEDDINO_E_INVALID, "value 7", tiny_add(dataset, "bad", &c, NULL));
  c.labels[100] = 0;
  meddino_volume labels = c.out;
  labels.dims[2]--;
  FAILS_NAMING(MEDDINO_E_SHAPE, "labels", meddino_dataset_add(dataset, "bad", channels, 1, &labels, NULL));
  FAILS_NAMING(MEDDINO_E_SHAPE, "channels", meddino_dataset_add(dataset, "bad", channels, 2, &c.out, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_dataset_add(dataset, "bad", channels, 0, &c.out, NULL));
  float *fractions = calloc(c.count, sizeof *fractions);
  /* A row that does not fit the limit (strides of 0 make it cheap): a status before anything of its size is held. */
  meddino_volume row = c.in, row_labels = c.out;
  row.dims[0] = row_labels.dims[0] = 10000000, row.dims[1] = row_labels.dims[1] = row.dims[2] = row_labels.dims[2] = 1;
  row.strides[0] = row.strides[1] = row_labels.strides[0] = row_labels.strides[1] = 0;
  row.strides[2] = 2, row_labels.strides[2] = 1;
  channels[0] = &row;
  o = tiny_options(NULL, NULL);
  o.max_bytes = 4 << 20;
  FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", meddino_dataset_add(dataset, "bad", channels, 1, &row_labels, &o));
  channels[0] = &c.in;
  labels = c.out;
  labels.dtype = MEDDINO_F32, labels.data = fractions, labels.data_bytes = c.count * sizeof *fractions;
  fractions[5] = 1;
  OK(meddino_dataset_add(dataset, "floats", channels, 1, &labels, NULL));
  fractions[5] = 1.5f;
  FAILS_NAMING(MEDDINO_E_INVALID, "1.5", meddino_dataset_add(dataset, "bad", channels, 1, &labels, NULL));
  fractions[5] = NAN;
  FAILS_NAMING(MEDDINO_E_INVALID, "nan", meddino_dataset_add(dataset, "bad", channels, 1, &labels, NULL));
  free(fractions);
  FAILS_NAMING(MEDDINO_E_INVALID, "identifier", tiny_add(dataset, "", &c, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "identifier", tiny_add(dataset, "\xff", &c, NULL));
  o = tiny_options("{}", NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "settings_json", tiny_add(dataset, "bad", &c, &o));
  o = tiny_options(NULL, NULL);
  o.max_bytes = 20000;
  FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", tiny_add(dataset, "bad", &c, &o));
  CHECK(meddino_dataset_count(dataset) == 3);
  meddino_dataset_release(dataset);
  tiny_free(&c);
}

typedef struct {
  tiny_case *cases;
  int64_t stop_at, bad_at;
  long calls;
} source;
static int32_t hand_over(void *user, int64_t index, meddino_volume *channels, size_t count, meddino_volume *labels, const char **identifier) {
  source *s = user;
  CHECK(count == 1 && channels[0].struct_size == sizeof *channels && labels->struct_size == sizeof *labels && *identifier == NULL && channels[0].data == NULL);
  s->calls++;
  channels[0] = s->cases[index % 2].in;
  *labels = s->cases[index % 2].out;
  if (index == s->bad_at) labels->data_bytes = 1;
  if (index % 2 == 1) *identifier = "odd";
  return index == s->stop_at;
}
static void callback_cases(void) {
  tiny_case two[2] = {tiny_labelled(40, 36, 2), tiny_labelled(44, 40, 2)};
  source s = {two, -1, -1, 0};
  tiny_watch w;
  meddino_dataset *dataset = NULL;
  meddino_train_options o = tiny_options(NULL, &w);
  NEED(meddino_dataset_create(model, &dataset));
  tiny_watch_from(&w, -1);
  OK(meddino_dataset_add_cases(dataset, 5, hand_over, &s, &o));
  WATCHED_WELL(w);
  CHECK(s.calls == 5 && w.last == 1 && meddino_dataset_count(dataset) == 4); /* the second "odd" replaced the first */
  CHECK(strcmp(meddino_dataset_case(dataset, 0), "case_0") == 0 && strcmp(meddino_dataset_case(dataset, 1), "odd") == 0 &&
        strcmp(meddino_dataset_case(dataset, 3), "case_4") == 0);
  const long total = w.calls;
  meddino_dataset_release(dataset);
  NEED(meddino_dataset_create(model, &dataset));
  s.stop_at = 2;
  FAILS(MEDDINO_E_CANCELLED, meddino_dataset_add_cases(dataset, 5, hand_over, &s, NULL));
  CHECK(meddino_dataset_count(dataset) == 2);
  s.stop_at = -1, s.bad_at = 3;
  FAILS_NAMING(MEDDINO_E_INVALID, "data_bytes", meddino_dataset_add_cases(dataset, 5, hand_over, &s, NULL));
  CHECK(meddino_dataset_count(dataset) == 3);
  s.bad_at = -1;
  for (long k = 0; k < total; k += 3) {
    tiny_watch_from(&w, k);
    FAILS(MEDDINO_E_CANCELLED, meddino_dataset_add_cases(dataset, 5, hand_over, &s, &o));
  }
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_dataset_add_cases(dataset, 0, hand_over, &s, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_dataset_add_cases(dataset, INT64_MIN, hand_over, &s, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "next", meddino_dataset_add_cases(dataset, 1, NULL, &s, NULL));
  meddino_dataset_release(dataset);
  tiny_free(&two[0]), tiny_free(&two[1]);
}

/* A batch of two images of 32 × 32 pixels, and tensors that view it. */
enum { BATCH = 2, EDGE = 32, PIXELS = BATCH * EDGE * EDGE };
static float pixels[PIXELS];
static uint8_t targets[PIXELS];
static meddino_tensor tensor(int32_t dtype, int32_t ndim, const void *data, size_t bytes) {
  static const int64_t shape[4] = {BATCH, 1, EDGE, EDGE};
  meddino_tensor t;
  memset(&t, 0, sizeof t);
  t.struct_size = sizeof t, t.dtype = dtype, t.ndim = ndim, t.data = data, t.data_bytes = bytes;
  for (int axis = 0, from = 0; axis < ndim; axis++, from++) {
    if (ndim == 3 && axis == 1) from++;
    t.shape[axis] = shape[from];
  }
  return t;
}
static double first_loss(const meddino_tensor *images, const meddino_tensor *labels) {
  meddino_metrics m = tiny_metrics();
  meddino_trainer *trainer = tiny_trainer(context, model, NULL, NULL);
  OK(meddino_trainer_step_batch(trainer, images, labels, &m));
  meddino_trainer_release(trainer);
  return m.loss;
}
static void batches(void) {
  static double wide[PIXELS];
  static float turned[PIXELS], value_floats[PIXELS];
  static int64_t value_longs[2 * PIXELS];
  static char unaligned[4 * PIXELS + 1];
  for (int i = 0; i < PIXELS; i++) {
    const int item = i / EDGE / EDGE, row = i / EDGE % EDGE, column = i % EDGE;
    targets[i] = (uint8_t)(row > 8 && column > 6 + item ? 1 + (row > 20) : 0);
    pixels[i] = (float)targets[i] - 1 + 0.1f * (float)((i * 37) % 11);
    turned[item * EDGE * EDGE + (EDGE - 1 - column) * EDGE + row] = pixels[i];
    value_floats[i] = targets[i];
    value_longs[2 * i] = targets[i];
    wide[i] = pixels[i];
  }
  memcpy(unaligned + 1, pixels, sizeof pixels);
  const meddino_tensor images = tensor(MEDDINO_F32, 4, pixels, sizeof pixels), labels = tensor(MEDDINO_U8, 4, targets, sizeof targets);
  const double loss = first_loss(&images, &labels);
  /* The same batch in every other form. */
  meddino_tensor i = tensor(MEDDINO_F32, 4, unaligned + 1, sizeof pixels), t = tensor(MEDDINO_U8, 3, targets, sizeof targets);
  CHECK(first_loss(&i, &t) == loss);
  i = tensor(MEDDINO_F32, 4, turned + (EDGE - 1) * EDGE, sizeof turned); /* columns run backwards over rows of the buffer */
  i.strides[0] = i.strides[1] = 4 * EDGE * EDGE, i.strides[2] = 4, i.strides[3] = -4 * EDGE;
  t = tensor(MEDDINO_F32, 4, value_floats, sizeof value_floats);
  CHECK(first_loss(&i, &t) == loss);
  t = tensor(MEDDINO_I64, 3, value_longs, sizeof value_longs);
  t.strides[0] = 16 * EDGE * EDGE, t.strides[1] = 16 * EDGE, t.strides[2] = 16;
  CHECK(first_loss(&images, &t) == loss);
  /* Refused, and nothing is learned from it. */
  meddino_metrics m = tiny_metrics();
  meddino_trainer *trainer = tiny_trainer(context, model, NULL, NULL);
#define REFUSED(status, word, A, B) FAILS_NAMING(status, word, meddino_trainer_step_batch(trainer, A, B, &m))
  REFUSED(MEDDINO_E_INVALID, "images", NULL, &labels);
  REFUSED(MEDDINO_E_INVALID, "targets", &images, NULL);
  i = tensor(MEDDINO_F64, 4, wide, sizeof wide);
  REFUSED(MEDDINO_E_INVALID, "dtype", &i, &labels);
  i.dtype = 99;
  REFUSED(MEDDINO_E_INVALID, "dtype", &i, &labels);
  i = images, i.data_bytes--;
  REFUSED(MEDDINO_E_INVALID, "data_bytes", &i, &labels);
  i = images, i.data = NULL;
  REFUSED(MEDDINO_E_INVALID, "data", &i, &labels);
  i = images, i.ndim = 3;
  REFUSED(MEDDINO_E_SHAPE, "axes", &i, &labels);
  i.ndim = 9;
  REFUSED(MEDDINO_E_INVALID, "ndim", &i, &labels);
  i = images, i.shape[0] = -1;
  REFUSED(MEDDINO_E_SHAPE, "shape", &i, &labels);
  i = images, i.shape[0] = i.shape[1] = i.shape[2] = i.shape[3] = INT64_MAX / 2;
  REFUSED(MEDDINO_E_INVALID, "shape", &i, &labels);
  i.strides[3] = INT64_MIN;
  REFUSED(MEDDINO_E_INVALID, "strides", &i, &labels);
  i = images, i.shape[0] = 1;
  REFUSED(MEDDINO_E_SHAPE, "targets", &i, &labels);
  i = images, i.shape[2] = 2 * EDGE, i.shape[3] = EDGE / 2;
  REFUSED(MEDDINO_E_SHAPE, "targets", &i, &labels);
  i = images, i.shape[1] = 2, i.shape[2] = EDGE / 2, t = labels, t.shape[2] = EDGE / 2;
  REFUSED(MEDDINO_E_SHAPE, "images", &i, &t);
  i = images, i.shape[2] = EDGE / 2 - 1, t = labels, t.shape[2] = EDGE / 2 - 1;
  REFUSED(MEDDINO_E_SHAPE, "patch", &i, &t);
  targets[9] = 4;
  REFUSED(MEDDINO_E_INVALID, "value 4", &images, &labels);
  targets[9] = 0;
  value_floats[3] = 0.5f, t = tensor(MEDDINO_F32, 4, value_floats, sizeof value_floats);
  REFUSED(MEDDINO_E_INVALID, "0.5", &images, &t);
  value_longs[0] = INT64_MAX, t = tensor(MEDDINO_I64, 4, value_longs, sizeof value_longs);
  REFUSED(MEDDINO_E_INVALID, "9223372036854775807", &images, &t);
  t.dtype = MEDDINO_BF16;
  REFUSED(MEDDINO_E_INVALID, "dtype", &images, &t);
  pixels[7] = INFINITY;
  REFUSED(MEDDINO_E_INVALID, "infinity", &images, &labels);
  pixels[7] = 0.7f;
  CHECK(((unsigned char *)&m)[9] == 0x5a);
  /* Four updates make an epoch, which only the caller ends; what is not there cannot be drawn or validated. */
  FAILS_NAMING(MEDDINO_E_STATE, "dataset", meddino_trainer_step(trainer, &m));
  FAILS_NAMING(MEDDINO_E_STATE, "validation", meddino_trainer_validate(trainer, &m));
  FAILS(MEDDINO_E_STATE, meddino_trainer_epoch(trainer, &m));
  double rates[3];
  for (int epoch = 0; epoch < 3; epoch++) {
    for (int step = 0; step < 4; step++) {
      OK(meddino_trainer_step_batch(trainer, &images, &labels, &m));
      CHECK(m.epoch == epoch && m.step == 4 * epoch + step + 1);
    }
    rates[epoch] = m.learning_rate;
    OK(meddino_trainer_epoch(trainer, &m));
    CHECK(m.epoch == epoch && m.finished == (epoch == 2) && isnan(m.mean_dice) && isnan(m.ema_dice) && m.is_best == 0);
  }
  CHECK(m.loss < loss && rates[0] > rates[1] && rates[1] > rates[2] && rates[2] > 0);
  FAILS_NAMING(MEDDINO_E_STATE, "finished", meddino_trainer_step_batch(trainer, &images, &labels, &m));
  meddino_trainer_release(trainer);
}

/* A raw dataset of six cases on disk, prepared and trained on from random weights. */
static void write_raw(const char *raw) {
  char path[700];
  static const char description[] = "{\"channel_names\": {\"0\": \"CT\"}, \"labels\": {\"background\": 0, \"liver\": 1, \"spleen\": 2},"
                                    " \"numTraining\": 6, \"file_ending\": \".nii.gz\"}";
  snprintf(path, sizeof path, "%s/imagesTr", raw);
  CHECK(mkdir(raw, 0777) == 0 && mkdir(path, 0777) == 0);
  snprintf(path, sizeof path, "%s/labelsTr", raw);
  CHECK(mkdir(path, 0777) == 0);
  for (int i = 0; i < 6; i++) {
    tiny_case c = tiny_labelled(44 + 4 * (i % 2), 40, 3);
    meddino_image *image = NULL, *labels = NULL;
    NEED(meddino_image_create(context, &c.in, &image));
    NEED(meddino_image_create(context, &c.out, &labels));
    snprintf(path, sizeof path, "%s/imagesTr/case_%d_0000.nii.gz", raw, i);
    NEED(meddino_image_write(image, path));
    snprintf(path, sizeof path, "%s/labelsTr/case_%d.nii.gz", raw, i);
    NEED(meddino_image_write(labels, path));
    meddino_image_release(image), meddino_image_release(labels);
    tiny_free(&c);
  }
  snprintf(path, sizeof path, "%s/dataset.json", raw);
  FILE *file = fopen(path, "w");
  CHECK(file != NULL && fputs(description, file) >= 0 && fclose(file) == 0);
}
static void folders(void) {
  static const struct { const char *text, *word; meddino_status status; } bad[] = {
      {"{\"upscales\": 32}", "upscales", MEDDINO_E_INVALID},           {"{\"upscale\": 33}", "upscale", MEDDINO_E_INVALID},
      {"{\"configuration\": [1]}", "configuration", MEDDINO_E_INVALID}, {"{\"configuration\": \"3d\"}", "3d", MEDDINO_E_INVALID},
      {"{\"gpu_memory_target\": 0}", "gpu_memory_target", MEDDINO_E_INVALID}, {"{\"jobs\": -1}", "jobs", MEDDINO_E_INVALID},
      {"{\"preprocess\": 1}", "preprocess", MEDDINO_E_INVALID},         {"{", "settings_json", MEDDINO_E_FORMAT}};
  char raw[600], prepared[600], path[800], output[700], settings[1200];
  tiny_watch w;
  snprintf(raw, sizeof raw, "%s/Dataset007_Tiny", folder);
  snprintf(prepared, sizeof prepared, "%s/prepared", folder);
  write_raw(raw);
  meddino_train_options o;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    o = tiny_options(bad[i].text, NULL);
    FAILS_NAMING(bad[i].status, bad[i].word, meddino_dataset_prepare(context, raw, prepared, &o));
  }
  FAILS(MEDDINO_E_IO, meddino_dataset_prepare(context, "/no/such/folder", prepared, NULL));
  o = tiny_options("{\"upscale\": 32}", &w);
  long stops = 0, k = 0;
  for (; k < 2000; k = 2 * k + 1) { /* an interrupted call goes on where it stopped */
    tiny_watch_from(&w, k);
    const meddino_status status = meddino_dataset_prepare(context, raw, prepared, &o);
    WATCHED_WELL(w);
    if (status == MEDDINO_OK) break;
    FAILS(MEDDINO_E_CANCELLED, status);
    stops++;
  }
  CHECK(stops > 2 && w.last == 1);
  o = tiny_options("{\"verify_only\": true}", NULL);
  o.max_bytes = 1000;
  FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", meddino_dataset_prepare(context, raw, prepared, &o));
  meddino_dataset *dataset = (void *)1;
  snprintf(path, sizeof path, "%s/Dataset007_Tiny", prepared);
  FAILS(MEDDINO_E_IO, meddino_dataset_open(context, raw, NULL, &dataset));
  CHECK(dataset == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "3d", meddino_dataset_open(context, path, "3d", &dataset));
  OK(meddino_dataset_open(context, path, "2d_32", &dataset));
  meddino_dataset_release(dataset);
  OK(meddino_dataset_open(context, path, NULL, &dataset));
  CHECK(meddino_dataset_count(dataset) == 6 && strcmp(meddino_dataset_case(dataset, 5), "case_5") == 0);
  tiny_case c = tiny_labelled(40, 36, 2);
  source s = {&c, -1, -1, 0};
  FAILS_NAMING(MEDDINO_E_STATE, "folder", tiny_add(dataset, "x", &c, NULL));
  FAILS_NAMING(MEDDINO_E_STATE, "folder", meddino_dataset_add_cases(dataset, 1, hand_over, &s, NULL));
  /* Random weights, an output folder, the best and the last model; a segmenter of other labels is a start too. */
  snprintf(output, sizeof output, "%s/run", folder);
  snprintf(settings, sizeof settings, "{\"encoder\": " TINY_ENCODER ", \"taps\": [0, 1], \"epochs\": 1, \"iterations\": 2, \"validation_iterations\": 1,"
           " \"batch_size\": 1, \"output\": \"%s\"}", output);
  meddino_trainer *trainer = NULL;
  meddino_metrics m = tiny_metrics();
  o = tiny_options(settings, NULL);
  OK(meddino_trainer_create(context, NULL, dataset, &o, &trainer));
  OK(meddino_trainer_epoch(trainer, &m));
  CHECK(m.finished == 1 && m.step == 2 && isfinite(m.validation_loss));
  meddino_trainer_release(trainer);
  meddino_model *made = NULL;
  meddino_model_info info;
  info.struct_size = sizeof info;
  snprintf(path, sizeof path, "%s/model_final.safetensors", output);
  OK(meddino_model_open(context, path, NULL, &made));
  OK(meddino_model_get_info(made, &info));
  CHECK(info.labels == 3 && info.tile[0] == 32 && info.depth == 2 && meddino_model_verify(made, NULL) == MEDDINO_OK);
  meddino_model_release(made);
  o = tiny_options("{\"fold\": \"last\"}", NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "fold", meddino_trainer_create(context, model, dataset, &o, &trainer));
  o = tiny_options(TINY_SETTINGS, NULL);
  OK(meddino_trainer_create(context, model, dataset, &o, &trainer));
  OK(meddino_trainer_step(trainer, NULL));
  meddino_trainer_release(trainer);
  meddino_dataset_release(dataset);
  tiny_free(&c);
  /* A raw folder with a fault: one message, which names the case. */
  snprintf(path, sizeof path, "%s/labelsTr/case_3.nii.gz", raw);
  remove(path);
  FAILS_NAMING(MEDDINO_E_FORMAT, "case_3", meddino_dataset_prepare(context, raw, prepared, NULL));
}

int main(int count, char **arguments) {
  folder = count > 1 ? arguments[1] : ".";
  context = tiny_context(2);
  model = tiny_model(context, tiny_config, 7);
  cases();
  callback_cases();
  batches();
  folders();
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_datasets");
}
