/* Pretraining: the three stages learn from a callback's slices and from shards, may be stopped anywhere and go on with the same bits, are
 * saved and resumed, run as jobs; what comes out gives features and is the start of fine-tuning. */
#include <sys/stat.h>
#include "tiny_pretraining.h"

static meddino_context *context;
static tiny_slices *source;
static meddino_dataset *slices;
static char reference[600], other[600], saved[600], whole[600], folder_of_run[600], shards[600];

static meddino_trainer *first_stage(tiny_watch *watch) {
  meddino_trainer *trainer = NULL;
  const meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, watch);
  NEED(meddino_trainer_create(context, NULL, slices, &o, &trainer));
  return trainer;
}

/* Two epochs at one go: what every other way must give. */
static void learns(void) {
  meddino_metrics m = tiny_metrics(), first;
  meddino_trainer *trainer = first_stage(NULL);
  CHECK(meddino_dataset_count(slices) == 5 && meddino_dataset_case(slices, 0) == NULL && source->calls == 0);
  OK(meddino_trainer_epoch(trainer, &m));
  CHECK(m.struct_size == sizeof m && m.epoch == 0 && m.step == 3 && m.finished == 0 && m.is_best == 0 && m.seconds > 0);
  CHECK(m.dino_local_loss > 0 && m.dino_global_loss > 0 && m.ibot_loss > 0 && isfinite(m.koleo_loss) && isfinite(m.loss));
  CHECK(isnan(m.gram_loss) && isnan(m.gram_weight) && isnan(m.cross_entropy) && isnan(m.mean_dice) && isnan(m.ema_dice) && isnan(m.validation_loss));
  CHECK(m.gradient_norm > 0 && m.weight_decay == 0.04 && m.momentum == 0.99 && m.teacher_temperature >= 0.04 && m.last_layer_learning_rate > 0);
  /* At most the logarithm of the prototypes: 24 and 20. */
  CHECK(m.teacher_entropy > 0 && m.teacher_entropy <= log(24) + 1e-6);
  CHECK(m.teacher_patch_entropy > 0 && m.teacher_patch_entropy <= log(20) + 1e-6);
  first = m;
  OK(meddino_trainer_epoch(trainer, &m));
  CHECK(m.epoch == 1 && m.step == 6 && m.finished == 1 && m.learning_rate != first.learning_rate && m.loss != first.loss);
  CHECK(source->calls == source->done && source->calls == 12); /* six iterations of two images, each handed over once */
  FAILS_NAMING(MEDDINO_E_STATE, "finished", meddino_trainer_step(trainer, &m));
  FAILS_NAMING(MEDDINO_E_STATE, "finished", meddino_trainer_epoch(trainer, NULL));
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "validation", meddino_trainer_validate(trainer, NULL));
  meddino_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.struct_size = sizeof tensor;
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "batches", meddino_trainer_step_batch(trainer, &tensor, &tensor, NULL));
  OK(meddino_trainer_save(trainer, whole));
  tiny_export(trainer, reference);
  meddino_trainer_release(trainer);
}

/* The exported backbone gives features, opens again, and fine-tuning starts from it. */
static void used(void) {
  meddino_model *backbone = NULL, *segmenter = tiny_model(context, tiny_config, 7), *better = NULL;
  meddino_model_info info = {.struct_size = sizeof info};
  meddino_features *features = NULL;
  meddino_tensor view = {.struct_size = sizeof view};
  meddino_dataset *cases = tiny_dataset(segmenter);
  meddino_trainer *trainer = NULL;
  const meddino_train_options o = tiny_options("{\"epochs\": 1, \"iterations\": 2, \"validation_iterations\": 1, \"batch_size\": 1}", NULL);
  NEED(meddino_model_open(context, reference, NULL, &backbone));
  OK(meddino_model_get_info(backbone, &info));
  CHECK(info.output_kind == MEDDINO_OUTPUT_NONE && info.embed_dim == 16 && info.depth == 2 && info.patch == 8 && info.members == 1);
  CHECK(strstr(meddino_model_metadata(backbone, "provenance"), "pretraining stage 1") != NULL);
  OK(meddino_features_create(backbone, &source->phantom.in, NULL, NULL, &features));
  if (features != NULL) {
    OK(meddino_features_view(features, &view));
    CHECK(view.shape[0] == 5 && view.shape[view.ndim - 1] == 16);
    const float *values = view.data;
    CHECK(isfinite(values[0]) && values[0] != values[1]);
  }
  NEED(meddino_trainer_create(context, backbone, cases, &o, &trainer));
  OK(meddino_trainer_epoch(trainer, NULL));
  NEED(meddino_trainer_export(trainer, &better));
  CHECK(strstr(meddino_model_metadata(better, "provenance"), "pretraining stage 1") != NULL);
  OK(tiny_segment(better, &source->phantom, NULL));
  meddino_features_release(features);
  meddino_trainer_release(trainer), meddino_dataset_release(cases);
  meddino_model_release(backbone), meddino_model_release(segmenter), meddino_model_release(better);
}

/* Every call stopped at every callback; what comes out in the end are the reference's bits. */
static void stopped_everywhere(void) {
  tiny_watch w;
  meddino_metrics m = tiny_metrics();
  const meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, &w);
  meddino_trainer *trainer = tiny_stopped_create(context, NULL, slices, &o, &w);
  tiny_stopped_step(trainer, &w, &m);
  source->stop_at = (int)source->calls; /* the source stops it */
  tiny_watch_from(&w, -1);
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_step(trainer, NULL));
  source->stop_at = -1;
  tiny_stopped_epoch(trainer, &w, &m, 7, 3);
  tiny_stopped_save(trainer, &w, saved);
  tiny_watch_from(&w, -1);
  OK(meddino_trainer_epoch(trainer, &m));
  tiny_export(trainer, other);
  CHECK(m.finished == 1 && tiny_same_files(reference, other));
  meddino_trainer_release(trainer);
}

/* From the file of the run that was stopped so often, at every of its callbacks. */
static void resumed(void) {
  tiny_watch w;
  meddino_trainer *trainer = (void *)1;
  meddino_metrics m = tiny_metrics();
  meddino_train_options o = tiny_options(NULL, &w);
  tiny_watch_from(&w, -1);
  OK(meddino_trainer_resume(context, saved, slices, &o, &trainer));
  WATCHED_WELL(w);
  const long total = w.calls;
  OK(meddino_trainer_epoch(trainer, &m));
  CHECK(m.step == 6 && m.epoch == 1 && m.finished == 1);
  tiny_export(trainer, other);
  CHECK(tiny_same_files(reference, other));
  OK(meddino_trainer_save(trainer, other));
  CHECK(tiny_same_files(whole, other));
  meddino_trainer_release(trainer);
  for (long k = 0; k < total; k++) {
    tiny_watch_from(&w, k);
    FAILS(MEDDINO_E_CANCELLED, meddino_trainer_resume(context, saved, slices, &o, &trainer));
    CHECK(trainer == NULL);
  }
  tiny_watch_from(&w, -1);
  meddino_dataset *resampled = tiny_slice_dataset(context, source, 1.3);
  FAILS_NAMING(MEDDINO_E_INVALID, "other slices", meddino_trainer_resume(context, saved, resampled, NULL, &trainer));
  FAILS_NAMING(MEDDINO_E_INVALID, "dataset", meddino_trainer_resume(context, saved, NULL, NULL, &trainer));
  FAILS_NAMING(MEDDINO_E_FORMAT, "checkpoint", meddino_trainer_resume(context, reference, slices, NULL, &trainer));
  o.objective = MEDDINO_PRETRAIN_1;
  FAILS_NAMING(MEDDINO_E_INVALID, "objective", meddino_trainer_resume(context, saved, slices, &o, &trainer));
  meddino_dataset_release(resampled);
}

/* As a job, stopped and gone on with; a call meanwhile fails. */
static void jobs(void) {
  meddino_job *job = NULL;
  meddino_trainer *trainer = first_stage(NULL);
  NEED(meddino_trainer_run_async(trainer, &job));
  meddino_status busy = meddino_trainer_step(trainer, NULL);
  CHECK(busy == MEDDINO_E_STATE); /* also when the job is done by now: the run is finished then */
  OK(meddino_job_wait(job, -1));
  CHECK(meddino_job_progress(job) == 1);
  meddino_job_release(job);
  tiny_export(trainer, other);
  CHECK(tiny_same_files(reference, other));
  meddino_trainer_release(trainer);
  trainer = first_stage(NULL);
  NEED(meddino_trainer_run_async(trainer, &job));
  meddino_job_cancel(job);
  const meddino_status status = meddino_job_wait(job, -1);
  CHECK(status == MEDDINO_E_CANCELLED || status == MEDDINO_OK);
  meddino_job_release(job);
  NEED(meddino_trainer_run_async(trainer, &job));
  OK(meddino_job_wait(job, -1));
  meddino_job_release(job);
  tiny_export(trainer, other);
  CHECK(tiny_same_files(reference, other));
  meddino_trainer_release(trainer);
}

/* The second and the third stage: from the first one's file, or from models in memory. */
static void later_stages(void) {
  char settings[3000];
  meddino_trainer *trainer = NULL;
  meddino_model *backbone = NULL;
  meddino_metrics m = tiny_metrics(), given = tiny_metrics();
  NEED(meddino_model_open(context, reference, NULL, &backbone));
  meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_2, TINY_ANCHORED, NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "gram.ckpt", meddino_trainer_create(context, NULL, slices, &o, &trainer));
  o.gram_teacher = backbone;
  OK(meddino_trainer_create(context, backbone, slices, &o, &trainer));
  OK(meddino_trainer_step(trainer, &given));
  CHECK(given.gram_loss > 0 && given.gram_weight == 2);
  meddino_trainer_release(trainer);
  snprintf(settings, sizeof settings, TINY_ANCHORED_FROM(", \"previous_checkpoint\": \"%s\""), whole);
  o = tiny_stage(MEDDINO_PRETRAIN_3, settings, NULL);
  OK(meddino_trainer_create(context, NULL, slices, &o, &trainer));
  OK(meddino_trainer_step(trainer, &m));
  CHECK(m.gram_loss == given.gram_loss); /* the same encoder and anchor; the heads are those of the first stage here */
  CHECK(m.dino_global_loss != given.dino_global_loss);
  meddino_trainer_release(trainer);
  FAILS_NAMING(MEDDINO_E_INVALID, "start", meddino_trainer_create(context, backbone, slices, &o, &trainer));
  o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_ANCHORED, NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "gram.use_loss", meddino_trainer_create(context, NULL, slices, &o, &trainer));
  o = tiny_stage(MEDDINO_PRETRAIN_2, TINY_PRETRAINING, NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "gram.use_loss", meddino_trainer_create(context, NULL, slices, &o, &trainer));
  meddino_model *segmenter = tiny_model(context, tiny_config, 7);
  o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, NULL);
  FAILS_NAMING(MEDDINO_E_SHAPE, "cls_token", meddino_trainer_create(context, segmenter, slices, &o, &trainer));
  meddino_model_release(segmenter), meddino_model_release(backbone);
}

/* A run's folder: checkpoints and exports appear, it is not begun twice, and a saved run goes on in it. */
static void in_a_folder(void) {
  char settings[3000], path[700];
  struct stat found;
  meddino_trainer *trainer = NULL;
  snprintf(settings, sizeof settings, "{\"output\": \"%s\", \"checkpointing\": {\"period\": 2}, %s", folder_of_run, TINY_PRETRAINING + 1);
  const meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, settings, NULL);
  NEED(meddino_trainer_create(context, NULL, slices, &o, &trainer));
  meddino_trainer *second = NULL;
  FAILS_NAMING(MEDDINO_E_STATE, "another run", meddino_trainer_create(context, NULL, slices, &o, &second));
  for (int i = 0; i < 2; i++) OK(meddino_trainer_step(trainer, NULL));
  meddino_trainer_release(trainer);
  snprintf(path, sizeof path, "%s/pretraining_0000000002.safetensors", folder_of_run);
  CHECK(stat(path, &found) == 0);
  FAILS_NAMING(MEDDINO_E_INVALID, "pretraining_0000000002", meddino_trainer_create(context, NULL, slices, &o, &trainer));
  NEED(meddino_trainer_resume(context, path, slices, NULL, &trainer));
  for (int i = 0; i < 2; i++) OK(meddino_trainer_epoch(trainer, NULL));
  tiny_export(trainer, other);
  CHECK(tiny_same_files(reference, other));
  meddino_trainer_release(trainer);
  const char *const files[] = {"metrics.jsonl", "settings.json", "pretraining_0000000006.safetensors", "eval/training_6/backbone.safetensors"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    snprintf(path, sizeof path, "%s/%s", folder_of_run, files[i]);
    if (!CHECK(stat(path, &found) == 0)) fprintf(stderr, "  (%s)\n", path);
  }
}

/* Kinds of slices: floats are as good, another spacing is not the same, and what is wrong is named. */
static void handed_over(void) {
  meddino_trainer *trainer = NULL;
  meddino_metrics m = tiny_metrics(), same = tiny_metrics(), coarse = tiny_metrics();
  const meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, NULL);
  const struct { int wrong; meddino_status status; const char *word; } faults[] = {
      {1, MEDDINO_E_INVALID, "NaN"}, {2, MEDDINO_E_SHAPE, "2 slices"}, {3, MEDDINO_E_INVALID, "data is NULL"}};
  trainer = first_stage(NULL);
  for (size_t i = 0; i < 3; i++) {
    source->wrong = faults[i].wrong;
    FAILS_NAMING(faults[i].status, faults[i].word, meddino_trainer_step(trainer, NULL));
    FAILS_NAMING(faults[i].status, "slice ", meddino_trainer_step(trainer, NULL));
  }
  source->wrong = 0;
  OK(meddino_trainer_step(trainer, &m)); /* none of them is remembered */
  meddino_trainer_release(trainer);
  source->as_float = 1;
  trainer = first_stage(NULL);
  OK(meddino_trainer_step(trainer, &same));
  CHECK(m.loss == same.loss && m.gradient_norm == same.gradient_norm);
  meddino_trainer_release(trainer);
  source->as_float = 0;
  meddino_dataset *resampled = tiny_slice_dataset(context, source, 1.8);
  NEED(meddino_trainer_create(context, NULL, resampled, &o, &trainer));
  OK(meddino_trainer_step(trainer, &coarse));
  CHECK(isfinite(coarse.loss) && coarse.loss != m.loss);
  meddino_trainer_release(trainer), meddino_dataset_release(resampled);
  /* Several threads may ask: the phantom's voxels do not change. */
  meddino_slice_options so;
  meddino_slice_options_init(&so, sizeof so);
  so.concurrent = 1;
  meddino_dataset *concurrent = NULL;
  tiny_slices *own = tiny_slices_new();
  NEED(meddino_dataset_from_slices(context, 5, tiny_next, own, &so, &concurrent));
  NEED(meddino_trainer_create(context, NULL, concurrent, &o, &trainer));
  OK(meddino_trainer_step(trainer, &same));
  CHECK(m.loss == same.loss);
  meddino_dataset_release(concurrent), meddino_trainer_release(trainer);
  tiny_slices_free(own);
}

/* A slice set on disk, where the script made one. */
static void from_shards(void) {
  struct stat found;
  meddino_dataset *set = (void *)1;
  FAILS(MEDDINO_E_IO, meddino_dataset_open_slices(context, "/no/such/set", NULL, &set));
  CHECK(set == NULL);
  if (stat(shards, &found) != 0) {
    printf("skipped: no slice set in %s\n", shards);
    return;
  }
  meddino_trainer *trainer = NULL;
  const meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, NULL);
  NEED(meddino_dataset_open_slices(context, shards, NULL, &set));
  CHECK(meddino_dataset_count(set) > 2);
  NEED(meddino_trainer_create(context, NULL, set, &o, &trainer));
  meddino_dataset_release(set);
  OK(meddino_trainer_epoch(trainer, NULL));
  meddino_trainer_release(trainer);
  FAILS_NAMING(MEDDINO_E_INVALID, "slices without labels", meddino_dataset_open(context, shards, NULL, &set));
}

/* The estimate bounds what a run takes, and a limit below it is kept. */
static void memory(void) {
  meddino_train_estimate estimate = {.struct_size = sizeof estimate};
  meddino_trainer *trainer = (void *)1;
  meddino_train_options o = tiny_stage(MEDDINO_PRETRAIN_1, TINY_PRETRAINING, NULL);
  OK(meddino_trainer_estimate(context, NULL, NULL, &o, &estimate));
  CHECK(estimate.peak_bytes > 100000 && estimate.peak_bytes < 100000000 && estimate.step_flops > 1e6);
  int none = 0, no_update = 0, enough = 0;
  for (uint64_t limit = 1 << 14; limit < (uint64_t)1 << 30 && !enough; limit += limit / 4) {
    o.max_bytes = limit;
    const meddino_status status = meddino_trainer_create(context, NULL, slices, &o, &trainer);
    if (status != MEDDINO_OK) {
      FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", status);
      none += trainer == NULL;
      continue;
    }
    const meddino_status step = meddino_trainer_step(trainer, NULL);
    enough = step == MEDDINO_OK;
    if (!enough) FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", step), no_update++;
    meddino_trainer_release(trainer);
  }
  CHECK(none > 0 && no_update > 0 && enough);
}

int main(int count, char **arguments) {
  const char *folder = count > 1 ? arguments[1] : ".";
  snprintf(reference, sizeof reference, "%s/pretraining_reference.safetensors", folder);
  snprintf(other, sizeof other, "%s/pretraining_other.safetensors", folder);
  snprintf(saved, sizeof saved, "%s/pretraining_saved.safetensors", folder);
  snprintf(whole, sizeof whole, "%s/pretraining_whole.safetensors", folder);
  snprintf(folder_of_run, sizeof folder_of_run, "%s/pretraining_run", folder);
  snprintf(shards, sizeof shards, "%s/slices", folder);
  context = tiny_context(2);
  source = tiny_slices_new();
  slices = tiny_slice_dataset(context, source, 0);
  learns();
  used();
  stopped_everywhere();
  resumed();
  jobs();
  later_stages();
  in_a_folder();
  handed_over();
  from_shards();
  memory();
  meddino_dataset_release(slices);
  meddino_context_release(context);
  tiny_slices_free(source);
  return check_end("test_pretraining");
}
