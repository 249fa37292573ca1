/* Every function of the pretraining section with NULL, and its structs short, cut, long, and long with a tail in use. */
#include "struct_sizes.h"
#include "tiny_pretraining.h"

static meddino_context *context;
static tiny_slices *source;
static meddino_dataset *slices;
static meddino_trainer *trainer;
static meddino_model *model;
static char saved[600];

static void null_arguments(void) {
  meddino_dataset *d = (void *)1;
  meddino_trainer *t = (void *)1;
  meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, NULL);
  meddino_slice_options_init(NULL, 32);
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_dataset_open_slices(NULL, "a", NULL, &d));
  CHECK(d == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "folder", meddino_dataset_open_slices(context, NULL, NULL, &d));
  FAILS_NAMING(MEDDINO_E_INVALID, "UTF-8", meddino_dataset_open_slices(context, "\xff", NULL, &d));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_dataset_open_slices(context, "a", NULL, NULL));
  d = (void *)1;
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_dataset_from_slices(NULL, 1, tiny_next, source, NULL, &d));
  CHECK(d == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "next", meddino_dataset_from_slices(context, 1, NULL, source, NULL, &d));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_dataset_from_slices(context, 1, tiny_next, source, NULL, NULL));
  const int64_t counts[] = {0, -1, INT64_MIN, INT64_MAX};
  for (size_t i = 0; i < 4; i++) FAILS_NAMING(MEDDINO_E_INVALID, "count", meddino_dataset_from_slices(context, counts[i], tiny_next, source, NULL, &d));
  FAILS_NAMING(MEDDINO_E_INVALID, "context", meddino_trainer_create(NULL, NULL, slices, &o, &t));
  FAILS_NAMING(MEDDINO_E_INVALID, "dataset", meddino_trainer_create(context, NULL, NULL, &o, &t));
  CHECK(t == NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_create(context, NULL, slices, &o, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_run_async(trainer, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "path", meddino_trainer_save(trainer, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "out", meddino_trainer_export(trainer, NULL));
}

/* The two kinds of datasets and of training are not mixed up. */
static void kinds(void) {
  meddino_trainer *t = (void *)1;
  meddino_dataset *cases = tiny_dataset(model), *d = NULL;
  tiny_case c = tiny_labelled(8, 8, 1);
  meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, NULL);
  meddino_train_estimate estimate = {.struct_size = sizeof estimate};
  FAILS_NAMING(MEDDINO_E_INVALID, "expected slices", meddino_trainer_create(context, NULL, cases, &o, &t));
  FAILS_NAMING(MEDDINO_E_INVALID, "expected slices", meddino_trainer_resume(context, saved, cases, NULL, &t));
  FAILS_NAMING(MEDDINO_E_INVALID, "expected labelled cases", meddino_trainer_create(context, model, slices, NULL, &t));
  FAILS_NAMING(MEDDINO_E_INVALID, "expected labelled cases", tiny_add(slices, "a", &c, NULL));
  CHECK(t == NULL);
  const int32_t objectives[] = {-1, 4, INT32_MAX};
  for (size_t i = 0; i < 3; i++) {
    o.objective = objectives[i];
    FAILS_NAMING(MEDDINO_E_INVALID, "objective", meddino_trainer_create(context, NULL, slices, &o, &t));
    FAILS_NAMING(MEDDINO_E_INVALID, "objective", meddino_trainer_estimate(context, NULL, slices, &o, &estimate));
  }
  for (int32_t objective = MEDDINO_FINETUNE; objective <= MEDDINO_PRETRAIN_1; objective++) {
    o.objective = objective;
    o.gram_teacher = model;
    FAILS_NAMING(MEDDINO_E_INVALID, "gram_teacher", meddino_trainer_create(context, NULL, slices, &o, &t));
  }
  o = tiny_stage(MEDDINO_PRETRAIN_1, "{\"optim\": {\"learning_rate\": 1}}", NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "optim.learning_rate", meddino_trainer_create(context, NULL, slices, &o, &t));
  /* Valid settings whose products exceed 64 bits: the largest number, no trap. */
  o.settings_json =
      "{\"preset\": \"tiny\", \"student\": {\"patch_size\": 1}, \"train\": {\"batch_size_per_gpu\": 65536},"
      " \"crops\": {\"global_crops_size\": 16384, \"local_crops_size\": 16384, \"local_crops_number\": 256}}";
  OK(meddino_trainer_estimate(context, NULL, NULL, &o, &estimate));
  CHECK(estimate.peak_bytes == (uint64_t)INT64_MAX && estimate.step_flops > 1e18);
  o.settings_json = "{\"preset\": \"huge\"}";
  FAILS_NAMING(MEDDINO_E_INVALID, "huge", meddino_trainer_create(context, NULL, slices, &o, &t));
  o.settings_json = "{\"output\": 3}";
  FAILS_NAMING(MEDDINO_E_INVALID, "output", meddino_trainer_create(context, NULL, slices, &o, &t));
  o.settings_json = "{";
  FAILS(MEDDINO_E_FORMAT, meddino_trainer_create(context, NULL, slices, &o, &t));
  meddino_slice_options so;
  meddino_slice_options_init(&so, sizeof so);
  so.concurrent = 2;
  FAILS_NAMING(MEDDINO_E_INVALID, "concurrent", meddino_dataset_from_slices(context, 1, tiny_next, source, &so, &d));
  so.concurrent = 0, so.skip_damaged = 1;
  FAILS_NAMING(MEDDINO_E_INVALID, "skip_damaged", meddino_dataset_from_slices(context, 1, tiny_next, source, &so, &d));
  const double spacings[] = {-1, NAN, INFINITY, 1e-9, 1e9};
  for (size_t i = 0; i < 5; i++) {
    so.skip_damaged = 0, so.spacing = spacings[i];
    FAILS_NAMING(MEDDINO_E_INVALID, "spacing", meddino_dataset_from_slices(context, 1, tiny_next, source, &so, &d));
    FAILS_NAMING(MEDDINO_E_INVALID, "spacing", meddino_dataset_open_slices(context, "a", &so, &d));
  }
  meddino_dataset_release(cases);
  tiny_free(&c);
}

static meddino_status use_create(const void *options) {
  meddino_trainer *made = NULL;
  const meddino_status status = meddino_trainer_create(context, NULL, slices, options, &made);
  meddino_trainer_release(made);
  return status;
}
static meddino_status use_slices(const void *options) {
  meddino_dataset *made = NULL;
  const meddino_status status = meddino_dataset_from_slices(context, 5, tiny_next, source, options, &made);
  meddino_dataset_release(made);
  return status;
}
static void structs(void) {
  meddino_slice_options options;
  meddino_slice_options_init(&options, sizeof options);
  CHECK(options.struct_size == sizeof options && options.skip_damaged == 0 && options.concurrent == 0 && options.spacing == 0 && options.done == NULL);
  struct_sizes("slice_options", &options, sizeof options, use_slices);
  /* Cut before the objective it is fine-tuning, which slices are not for; from there on it is as good as the whole. */
  meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, NULL);
  for (size_t size = 8; size <= sizeof o; size += 8) {
    o.struct_size = size;
    if (size >= 56) OK(use_create(&o));
    else FAILS(MEDDINO_E_INVALID, use_create(&o));
  }
  struct { meddino_train_options options; unsigned char more[16]; } longer;
  memset(&longer, 0, sizeof longer);
  longer.options = o;
  longer.options.struct_size = sizeof longer;
  OK(use_create(&longer));
  longer.more[15] = 1;
  FAILS(MEDDINO_E_UNSUPPORTED, use_create(&longer));
  meddino_metrics cut;
  for (size_t size = 8; size <= sizeof cut; size += 8) {
    memset(&cut, 0x5a, sizeof cut);
    cut.struct_size = size;
    if (!OK(meddino_trainer_step(trainer, &cut))) break;
    int touched = 0;
    for (size_t at = size; at < sizeof cut; at++) touched += ((unsigned char *)&cut)[at] != 0x5a;
    CHECK(touched == 0 && cut.struct_size == size && (size < 16 || cut.step == (int64_t)(size / 8)));
  }
  cut.struct_size = 4;
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_trainer_step(trainer, &cut));
  FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", meddino_trainer_epoch(trainer, &cut));
}

int main(int count, char **arguments) {
  const char *folder = count > 1 ? arguments[1] : ".";
  snprintf(saved, sizeof saved, "%s/pretraining_arguments.safetensors", folder);
  context = tiny_context(1);
  source = tiny_slices_new();
  slices = tiny_slice_dataset(context, source, 0);
  model = tiny_model(context, tiny_config, 1);
  const char settings[] = "{\"preset\": \"tiny\", " TINY_STUDENT ", \"crops\": {" TINY_CROPS "}, \"train\": {" TINY_TRAIN "}}";
  const meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, settings, NULL);
  NEED(meddino_trainer_create(context, NULL, slices, &o, &trainer));
  NEED(meddino_trainer_save(trainer, saved));
  null_arguments();
  kinds();
  structs();
  meddino_trainer_release(trainer);
  meddino_dataset_release(slices);
  meddino_model_release(model);
  meddino_context_release(context);
  tiny_slices_free(source);
  return check_end("test_pretraining_arguments");
}
