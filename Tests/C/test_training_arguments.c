/* Every function of the training section with NULL, and its structs short, cut, long, and long with a tail in use. */
#include "struct_sizes.h"
#include "tiny_training.h"

static meddino_context *context;
static meddino_model *model;
static meddino_dataset *dataset;
static meddino_trainer *trainer;
static char saved[600];

static int32_t no_case(void *user, int64_t index, meddino_volume *channels, size_t count, meddino_volume *labels, const char **identifier) {
  (void)user, (void)index, (void)channels, (void)count, (void)labels, (void)identifier;
  return 1;
}
static void null_arguments(void) {
  tiny_case c = tiny_labelled(8, 8, 1);
  const meddino_volume *channels[1] = {&c.in};
  meddino_dataset *d = (void *)1;
  meddino_trainer *t = (void *)1;
  meddino_model *m = (void *)1;
  meddino_job *job = (void *)1;
  meddino_train_estimate estimate = {.struct_size = sizeof estimate};
  meddino_metrics metrics = tiny_metrics();
  meddino_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  meddino_train_options_init(NULL, 64);
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_dataset_prepare(NULL, "a", "b", NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "raw_folder", meddino_dataset_prepare(context, NULL, "b", NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "prepared_folder", meddino_dataset_prepare(context, "a", NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "UTF-8", meddino_dataset_prepare(context, "\xff", "b", NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_dataset_open(NULL, "a", NULL, &d));
  CHECK(d == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "folder", meddino_dataset_open(context, NULL, NULL, &d));
  FAILS_NAMING(MEDDINO_E_INVALID, "configuration", meddino_dataset_open(context, "a", "\xff", &d));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_dataset_open(context, "a", NULL, NULL));
  d = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "like", meddino_dataset_create(NULL, &d));
  CHECK(d == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_dataset_create(model, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "dataset", meddino_dataset_add(NULL, "a", channels, 1, &c.out, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "identifier", meddino_dataset_add(dataset, NULL, channels, 1, &c.out, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "channels", meddino_dataset_add(dataset, "a", NULL, 1, &c.out, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "labels", meddino_dataset_add(dataset, "a", channels, 1, NULL, NULL));
  channels[0] = NULL;
  FAILS_NAMING(MEDDINO_E_INVALID, "channels[0]", meddino_dataset_add(dataset, "a", channels, 1, &c.out, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "dataset", meddino_dataset_add_cases(NULL, 1, no_case, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "next", meddino_dataset_add_cases(dataset, 1, NULL, NULL, NULL));
  CHECK(meddino_dataset_count(NULL) == 0 && meddino_dataset_case(NULL, 0) == NULL);
  meddino_dataset_release(NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_trainer_create(NULL, model, dataset, NULL, &t));
  CHECK(t == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_create(context, model, dataset, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_trainer_estimate(NULL, model, dataset, NULL, &estimate));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_estimate(context, model, dataset, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "trainer", meddino_trainer_step(NULL, &metrics));
  FAILS_NAMING(MEDDINO_E_INVALID, "trainer", meddino_trainer_step_batch(NULL, &tensor, &tensor, &metrics));
  FAILS_NAMING(MEDDINO_E_INVALID, "images", meddino_trainer_step_batch(trainer, NULL, &tensor, &metrics));
  FAILS_NAMING(MEDDINO_E_INVALID, "images.struct_size", meddino_trainer_step_batch(trainer, &tensor, &tensor, &metrics));
  FAILS_NAMING(MEDDINO_E_INVALID, "trainer", meddino_trainer_epoch(NULL, &metrics));
  FAILS_NAMING(MEDDINO_E_INVALID, "trainer", meddino_trainer_validate(NULL, &metrics));
  FAILS_NAMING(MEDDINO_E_INVALID, "trainer", meddino_trainer_run_async(NULL, &job));
  CHECK(job == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_run_async(trainer, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "trainer", meddino_trainer_save(NULL, "a"));
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_trainer_save(trainer, NULL));
  t = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_trainer_resume(NULL, "a", dataset, NULL, &t));
  CHECK(t == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_trainer_resume(context, NULL, dataset, NULL, &t));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_resume(context, "a", dataset, NULL, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "trainer", meddino_trainer_export(NULL, &m));
  CHECK(m == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_export(trainer, NULL));
  meddino_trainer_release(NULL);
  tiny_free(&c);
}

static meddino_status use_create(const void *options) {
  meddino_trainer *made = NULL;
  const meddino_status status = meddino_trainer_create(context, model, dataset, options, &made);
  meddino_trainer_release(made);
  return status;
}
static meddino_status use_estimate(const void *options) {
  meddino_train_estimate out = {.struct_size = sizeof out};
  return meddino_trainer_estimate(context, model, dataset, options, &out);
}
static meddino_status use_resume(const void *options) {
  meddino_trainer *made = NULL;
  const meddino_status status = meddino_trainer_resume(context, saved, dataset, options, &made);
  meddino_trainer_release(made);
  return status;
}
static meddino_status use_add(const void *options) {
  tiny_case c = tiny_labelled(8, 8, 1);
  const meddino_status status = tiny_add(dataset, "again", &c, options);
  tiny_free(&c);
  return status;
}
static float pixels[32 * 32];
static uint8_t values[32 * 32];
static meddino_tensor images, targets;
static meddino_status use_images(const void *tensor) { return meddino_trainer_step_batch(trainer, tensor, &targets, NULL); }
static meddino_status use_targets(const void *tensor) { return meddino_trainer_step_batch(trainer, &images, tensor, NULL); }

static void input_structs(void) {
  meddino_train_options options;
  meddino_train_options_init(&options, sizeof options);
  CHECK(options.struct_size == sizeof options && options.settings_json == NULL && options.max_bytes == 0 && options.progress == NULL && options.cancel == NULL);
  struct_sizes("train_options of create", &options, sizeof options, use_create);
  struct_sizes("train_options of estimate", &options, sizeof options, use_estimate);
  struct_sizes("train_options of resume", &options, sizeof options, use_resume);
  struct_sizes("train_options of add", &options, sizeof options, use_add);
  for (size_t size = 0; size < 100; size += size < 8 ? 1 : 4) {
    unsigned char bytes[160];
    memset(bytes, 0xab, sizeof bytes);
    meddino_train_options_init((meddino_train_options *)(void *)bytes, size);
    int outside = 0;
    for (size_t at = size; at < sizeof bytes; at++) outside += bytes[at] != 0xab;
    CHECK(outside == 0);
  }
  /* A tensor's fields all matter: only the whole struct and longer ones do. */
  const size_t wrong[] = {0, 7, 65537, (size_t)-1};
  meddino_tensor *both[2] = {&images, &targets};
  meddino_status (*const uses[2])(const void *) = {use_images, use_targets};
  for (int which = 0; which < 2; which++) {
    struct { meddino_tensor tensor; unsigned char more[32]; } longer;
    memset(&longer, 0, sizeof longer);
    longer.tensor = *both[which];
    OK(uses[which](both[which]));
    longer.tensor.struct_size = sizeof longer;
    OK(uses[which](&longer));
    longer.more[31] = 1;
    FAILS(MEDDINO_E_UNSUPPORTED, uses[which](&longer));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
      longer.tensor.struct_size = wrong[i];
      FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", uses[which](&longer));
    }
    longer.tensor.struct_size = 16; /* no shape */
    FAILS(MEDDINO_E_SHAPE, uses[which](&longer));
  }
}

/* Output structs: no byte past struct_size is written, and a wrong size is noticed before any work. */
static void output_structs(void) {
  meddino_metrics whole = {.struct_size = sizeof whole}, cut;
  NEED(meddino_trainer_validate(trainer, &whole));
  for (size_t size = 8; size <= sizeof cut; size += 8) {
    memset(&cut, 0x5a, sizeof cut);
    cut.struct_size = size;
    OK(meddino_trainer_validate(trainer, &cut));
    int touched = 0;
    for (size_t at = size; at < sizeof cut; at++) touched += ((unsigned char *)&cut)[at] != 0x5a;
    CHECK(touched == 0 && cut.struct_size == size);
    if (size >= offsetof(meddino_metrics, mean_dice)) CHECK(cut.validation_loss == whole.validation_loss);
  }
  const int64_t before = whole.step;
  cut.struct_size = 4;
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_trainer_step(trainer, &cut));
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_trainer_step_batch(trainer, &images, &targets, &cut));
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_trainer_epoch(trainer, &cut));
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_trainer_validate(trainer, &cut));
  NEED(meddino_trainer_validate(trainer, &whole));
  CHECK(whole.step == before);
  meddino_train_estimate estimate = {.struct_size = 16, .step_flops = -5};
  OK(meddino_trainer_estimate(context, model, dataset, NULL, &estimate));
  CHECK(estimate.peak_bytes > 0 && estimate.step_flops == -5);
  estimate.struct_size = 2;
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_trainer_estimate(context, model, dataset, NULL, &estimate));
}

int main(int count, char **arguments) {
  const char *folder = count > 1 ? arguments[1] : ".";
  snprintf(saved, sizeof saved, "%s/training_arguments.safetensors", folder);
  context = tiny_context(1);
  model = tiny_model(context, tiny_config, 1);
  dataset = tiny_dataset(model);
  trainer = tiny_trainer(context, model, dataset, NULL);
  NEED(meddino_trainer_save(trainer, saved));
  images.struct_size = targets.struct_size = sizeof images;
  images.dtype = MEDDINO_F32, images.ndim = 4, images.data = pixels, images.data_bytes = sizeof pixels;
  images.shape[0] = images.shape[1] = 1, images.shape[2] = images.shape[3] = 32;
  targets.dtype = MEDDINO_U8, targets.ndim = 3, targets.data = values, targets.data_bytes = sizeof values;
  targets.shape[0] = 1, targets.shape[1] = targets.shape[2] = 32;
  null_arguments();
  input_structs();
  output_structs();
  meddino_trainer_release(trainer);
  meddino_dataset_release(dataset);
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_training_arguments");
}
