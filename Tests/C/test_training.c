/* Trainers: they learn, may be stopped anywhere and go on with the same bits, are saved and resumed, run as jobs, and say what is wrong. */
#include <time.h>
#include "tiny_training.h"

static meddino_context *context;
static meddino_model *model;
static meddino_dataset *cases;
static char reference[600], other[600], saved[600]; /* files: three epochs without a stop; a model to compare; a saved run */
static meddino_metrics last_epoch;                  /* of the reference */

/* Three epochs at one go: what every other way must give. */
static void learns(void) {
  tiny_case c = tiny_labelled(48, 44, 3);
  uint8_t *before = malloc(c.count);
  meddino_trainer *trainer = tiny_trainer(context, model, cases, NULL);
  meddino_metrics m = tiny_metrics(), first = tiny_metrics();
  meddino_model *better = NULL, *again = NULL;
  meddino_run_options run;
  meddino_run_options_init(&run, sizeof run);
  c.out.data = NULL;
  NEED(tiny_segment(model, &c, &run));
  memcpy(before, c.labels, c.count);
  for (int epoch = 0; epoch < 3; epoch++) {
    OK(meddino_trainer_epoch(trainer, &m));
    CHECK(m.struct_size == sizeof m && m.epoch == epoch && m.step == 4 * (epoch + 1) && m.finished == (epoch == 2));
    CHECK(isfinite(m.loss) && fabs(m.loss - m.cross_entropy - m.dice_loss) < 1e-9 && m.dice_loss <= 0 && m.dice_loss >= -1);
    CHECK(m.gradient_norm > 0 && isfinite(m.validation_loss) && m.mean_dice >= 0 && m.mean_dice <= 1 && m.seconds > 0);
    CHECK(m.best_ema_dice >= m.ema_dice && (m.is_best != 0) == (m.best_ema_dice == m.ema_dice));
    if (epoch == 0) first = m;
  }
  CHECK(m.validation_loss < first.validation_loss && m.loss < first.loss && m.learning_rate < first.learning_rate);
  last_epoch = m;
  tiny_export(trainer, reference);
  /* The start is as before, the model that comes out is another and does not change when the trainer goes. */
  NEED(tiny_segment(model, &c, &run));
  CHECK(memcmp(before, c.labels, c.count) == 0);
  NEED(meddino_trainer_export(trainer, &better));
  NEED(tiny_segment(better, &c, &run));
  CHECK(memcmp(before, c.labels, c.count) != 0);
  memcpy(before, c.labels, c.count);
  /* The end is the end. */
  CHECK(meddino_trainer_finished(trainer) == 1 && meddino_trainer_finished(NULL) == 0);
  FAILS_NAMING(MEDDINO_E_STATE, "finished", meddino_trainer_step(trainer, NULL));
  m = tiny_metrics();
  FAILS_NAMING(MEDDINO_E_STATE, "finished", meddino_trainer_epoch(trainer, &m));
  CHECK(((unsigned char *)&m)[9] == 0x5a); /* unchanged */
  OK(meddino_trainer_validate(trainer, &m));
  CHECK(m.validation_loss > 0 && isnan(m.loss) && m.ema_dice == last_epoch.ema_dice && m.finished == 1 && m.step == 12);
  meddino_trainer_release(trainer);
  NEED(tiny_segment(better, &c, &run));
  CHECK(memcmp(before, c.labels, c.count) == 0);
  NEED(meddino_model_open(context, reference, NULL, &again));
  CHECK(strstr(meddino_model_metadata(again, "provenance"), "few_shot") != NULL);
  NEED(tiny_segment(again, &c, &run));
  CHECK(memcmp(before, c.labels, c.count) == 0);
  meddino_model_release(better), meddino_model_release(again);
  free(before);
  tiny_free(&c);
}

/* Every call stopped at every callback; what comes out in the end are the reference's bits. */
static void stopped_everywhere(void) {
  tiny_watch w;
  meddino_metrics m = tiny_metrics(), same = tiny_metrics();
  meddino_train_options o = tiny_options(TINY_SETTINGS, &w);
  meddino_trainer *trainer = tiny_stopped_create(context, model, cases, &o, &w);
  tiny_stopped_step(trainer, &w, &m);
  tiny_watch_from(&w, -1);
  OK(meddino_trainer_validate(trainer, &m));
  WATCHED_WELL(w);
  for (long k = 0, total = w.calls; k < total; k++) {
    tiny_watch_from(&w, k);
    FAILS(MEDDINO_E_CANCELLED, meddino_trainer_validate(trainer, NULL));
  }
  tiny_watch_from(&w, -1);
  OK(meddino_trainer_validate(trainer, &same));
  CHECK(same.validation_loss == m.validation_loss && same.mean_dice == m.mean_dice);
  tiny_stopped_epoch(trainer, &w, &m, 5, 4);
  tiny_stopped_save(trainer, &w, saved);
  tiny_watch_from(&w, -1);
  OK(meddino_trainer_epoch(trainer, NULL));
  OK(meddino_trainer_epoch(trainer, &m));
  CHECK(m.validation_loss == last_epoch.validation_loss && m.ema_dice == last_epoch.ema_dice && m.loss == last_epoch.loss);
  tiny_export(trainer, other);
  CHECK(tiny_same_files(reference, other));
  meddino_trainer_release(trainer);
}

/* A handle that was requested stops every call; it stays requested. */
static void stopped_by_handle(void) {
  meddino_cancel *cancel = NULL;
  meddino_trainer *trainer = NULL, *none = (void *)1;
  meddino_job *job = NULL;
  meddino_train_options o = tiny_options(TINY_SETTINGS, NULL);
  NEED(meddino_cancel_create(&cancel));
  o.cancel = cancel;
  NEED(meddino_trainer_create(context, model, cases, &o, &trainer));
  meddino_cancel_request(cancel);
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_step(trainer, NULL));
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_epoch(trainer, NULL));
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_validate(trainer, NULL));
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_save(trainer, other));
  NEED(meddino_trainer_run_async(trainer, &job));
  FAILS(MEDDINO_E_CANCELLED, meddino_job_wait(job, -1));
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_create(context, model, cases, &o, &none));
  CHECK(none == NULL);
  o.settings_json = NULL;
  none = (void *)1;
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_resume(context, saved, cases, &o, &none));
  CHECK(none == NULL);
  meddino_cancel_release(cancel); /* the trainer keeps what it needs of it */
  FAILS(MEDDINO_E_CANCELLED, meddino_trainer_step(trainer, NULL));
  meddino_job_release(job);
  meddino_trainer_release(trainer);
}

/* Saved in the middle of an epoch, everything let go, resumed in another context with another number of threads. */
static void resumed(void) {
  meddino_trainer *trainer = tiny_trainer(context, model, cases, NULL);
  OK(meddino_trainer_epoch(trainer, NULL));
  OK(meddino_trainer_step(trainer, NULL));
  OK(meddino_trainer_step(trainer, NULL));
  OK(meddino_trainer_save(trainer, saved));
  meddino_trainer_release(trainer);
  meddino_context *fresh = tiny_context(1);
  meddino_model *like = tiny_model(fresh, tiny_config, 99);
  meddino_dataset *same = tiny_dataset(like), *fewer = NULL;
  tiny_watch w;
  meddino_train_options o = tiny_options(NULL, &w);
  tiny_watch_from(&w, -1);
  OK(meddino_trainer_resume(fresh, saved, same, &o, &trainer));
  WATCHED_WELL(w);
  const long total = w.calls;
  meddino_metrics m = tiny_metrics();
  OK(meddino_trainer_epoch(trainer, &m));
  CHECK(m.epoch == 1 && m.step == 8);
  OK(meddino_trainer_epoch(trainer, &m));
  CHECK(m.loss == last_epoch.loss && m.validation_loss == last_epoch.validation_loss && m.ema_dice == last_epoch.ema_dice);
  tiny_export(trainer, other);
  CHECK(tiny_same_files(reference, other));
  meddino_trainer_release(trainer);
  for (long k = 0; k < total; k++) {
    tiny_watch_from(&w, k);
    trainer = (void *)1;
    FAILS(MEDDINO_E_CANCELLED, meddino_trainer_resume(fresh, saved, same, &o, &trainer));
    CHECK(trainer == NULL);
  }
  /* Without the dataset it exports and takes pushed batches; with another one it is refused. */
  OK(meddino_trainer_resume(fresh, saved, NULL, NULL, &trainer));
  FAILS_NAMING(MEDDINO_E_STATE, "dataset", meddino_trainer_step(trainer, NULL));
  tiny_export(trainer, other);
  meddino_trainer_release(trainer);
  tiny_case c = tiny_labelled(40, 36, 2);
  NEED(meddino_dataset_create(like, &fewer));
  NEED(tiny_add(fewer, "a", &c, NULL));
  FAILS_NAMING(MEDDINO_E_INVALID, "cases", meddino_trainer_resume(fresh, saved, fewer, NULL, &trainer));
  CHECK(trainer == NULL);
  FAILS(MEDDINO_E_FORMAT, meddino_trainer_resume(fresh, reference, same, NULL, &trainer)); /* a model, not a run */
  FAILS(MEDDINO_E_IO, meddino_trainer_resume(fresh, "/no/such/file", same, NULL, &trainer));
  o = tiny_options("{}", NULL);
  FAILS_NAMING(MEDDINO_E_INVALID, "settings_json", meddino_trainer_resume(fresh, saved, same, &o, &trainer));
  o = tiny_options(NULL, NULL);
  o.max_bytes = 100000;
  FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", meddino_trainer_resume(fresh, saved, same, &o, &trainer));
  tiny_free(&c);
  meddino_dataset_release(same), meddino_dataset_release(fewer);
  meddino_model_release(like);
  meddino_context_release(fresh);
}

static int32_t slow(void *user, double fraction, const char *stage) {
  const struct timespec pause = {0, 3000000};
  (void)fraction, (void)stage;
  ++*(volatile long *)user;
  nanosleep(&pause, NULL);
  return 0;
}
static void jobs(void) {
  long calls = 0;
  meddino_job *job = NULL, *second = (void *)1;
  meddino_report *report = (void *)1;
  meddino_model *early = (void *)1;
  meddino_metrics m = tiny_metrics();
  meddino_train_options o = tiny_options(TINY_SETTINGS, NULL);
  meddino_trainer *trainer = NULL;
  o.progress = slow, o.progress_user = &calls;
  NEED(meddino_trainer_create(context, model, cases, &o, &trainer));
  NEED(meddino_trainer_run_async(trainer, &job));
  FAILS_NAMING(MEDDINO_E_STATE, "job", meddino_trainer_step(trainer, &m));
  FAILS(MEDDINO_E_STATE, meddino_trainer_epoch(trainer, &m));
  FAILS(MEDDINO_E_STATE, meddino_trainer_validate(trainer, &m));
  FAILS(MEDDINO_E_STATE, meddino_trainer_save(trainer, other));
  FAILS(MEDDINO_E_STATE, meddino_trainer_export(trainer, &early));
  FAILS(MEDDINO_E_STATE, meddino_trainer_run_async(trainer, &second));
  CHECK(early == NULL && second == NULL);
  FAILS(MEDDINO_E_TIMEOUT, meddino_job_wait(job, 1));
  FAILS_NAMING(MEDDINO_E_STATE, "running", meddino_job_report(job, &report));
  CHECK(report == NULL);
  meddino_job_cancel(job);
  FAILS(MEDDINO_E_CANCELLED, meddino_job_wait(job, -1));
  CHECK(meddino_job_progress(job) < 1 && calls > 0);
  meddino_job_release(job);
  /* It goes on where it was stopped; the handle may go while it runs. */
  NEED(meddino_trainer_run_async(trainer, &job));
  OK(meddino_job_wait(job, -1));
  CHECK(meddino_job_progress(job) == 1);
  FAILS_NAMING(MEDDINO_E_STATE, "training", meddino_job_report(job, &report));
  CHECK(report == NULL);
  meddino_job_release(job);
  tiny_export(trainer, other);
  CHECK(tiny_same_files(reference, other));
  NEED(meddino_trainer_run_async(trainer, &job)); /* nothing is left to do */
  OK(meddino_job_wait(job, -1));
  meddino_job_release(job);
  meddino_trainer_release(trainer);
  NEED(meddino_trainer_create(context, model, cases, &o, &trainer));
  NEED(meddino_trainer_run_async(trainer, &job));
  meddino_trainer_release(trainer);
  meddino_job_release(job); /* cancels and waits */
}

/* Settings are refused by name, and nothing is made. */
static void settings(void) {
  static const struct { const char *text, *word; meddino_status status; } bad[] = {
      {"{\"epoch\": 3}", "epoch", MEDDINO_E_INVALID},          {"{\"epochs\": 0}", "epochs", MEDDINO_E_INVALID},
      {"{\"epochs\": \"three\"}", "epochs", MEDDINO_E_INVALID}, {"{\"recipe\": \"best\"}", "recipe", MEDDINO_E_INVALID},
      {"{\"adapt\": \"last:99\"}", "last", MEDDINO_E_INVALID},  {"{\"precision\": \"f8\"}", "precision", MEDDINO_E_INVALID},
      {"{\"fold\": -2}", "fold", MEDDINO_E_INVALID},            {"[1]", "settings_json", MEDDINO_E_INVALID},
      {"{\"epochs\": 3", "settings_json", MEDDINO_E_FORMAT},    {"\xff", "settings_json", MEDDINO_E_INVALID},
      {"{\"encoder\": {\"embed_dim\": 128, \"depth\": 2, \"num_heads\": 2}}", "encoder", MEDDINO_E_SHAPE}};
  meddino_trainer *trainer = (void *)1;
  meddino_train_estimate estimate, before;
  memset(&estimate, 0x5a, sizeof estimate);
  estimate.struct_size = sizeof estimate;
  before = estimate;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const meddino_train_options o = tiny_options(bad[i].text, NULL);
    trainer = (void *)1;
    FAILS_NAMING(bad[i].status, bad[i].word, meddino_trainer_create(context, model, cases, &o, &trainer));
    CHECK(trainer == NULL);
    FAILS_NAMING(bad[i].status, bad[i].word, meddino_trainer_estimate(context, model, cases, &o, &estimate));
    CHECK(memcmp(&estimate, &before, sizeof estimate) == 0);
  }
  /* A start and a dataset that do not make a run. */
  meddino_dataset *empty = NULL, *none = (void *)1;
  meddino_model *backbone = tiny_model(context, tiny_backbone, 3), *both = NULL;
  const meddino_model *pair[2] = {model, model};
  NEED(meddino_dataset_create(model, &empty));
  NEED(meddino_model_combine(pair, 2, &both));
  FAILS_NAMING(MEDDINO_E_INVALID, "no cases", meddino_trainer_create(context, model, empty, NULL, &trainer));
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "members", meddino_trainer_create(context, both, cases, NULL, &trainer));
  FAILS_NAMING(MEDDINO_E_INVALID, "start", meddino_trainer_create(context, NULL, NULL, NULL, &trainer));
  FAILS_NAMING(MEDDINO_E_INVALID, "start", meddino_trainer_create(context, backbone, NULL, NULL, &trainer));
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "decoder", meddino_dataset_create(backbone, &none));
  CHECK(none == NULL);
  meddino_dataset_release(empty);
  /* What does: a backbone and a dataset; and the estimate counts what is trained. */
  const meddino_train_options full = tiny_options(TINY_SETTINGS, NULL), frozen = tiny_options("{\"adapt\": \"frozen\", \"batch_size\": 2}", NULL);
  meddino_metrics m = tiny_metrics();
  OK(meddino_trainer_create(context, backbone, cases, &full, &trainer));
  OK(meddino_trainer_step(trainer, &m));
  CHECK(m.step == 1 && isnan(m.ema_dice) && isnan(m.validation_loss) && m.is_best == 0 && m.finished == 0);
  meddino_trainer_release(trainer);
  OK(meddino_trainer_estimate(context, model, cases, &frozen, &estimate));
  before = estimate;
  OK(meddino_trainer_estimate(context, model, cases, &full, &estimate));
  CHECK(before.peak_bytes > 100000 && estimate.peak_bytes > before.peak_bytes && estimate.step_flops > before.step_flops && before.step_flops > 1e6);
  meddino_model_release(backbone), meddino_model_release(both);
}

/* Limits of memory: too small to begin, too small for an update, enough. */
static void memory(void) {
  int none = 0, no_update = 0, enough = 0;
  for (uint64_t limit = 1 << 16; limit < (uint64_t)1 << 30 && !enough; limit += limit / 4) {
    meddino_trainer *trainer = (void *)1;
    meddino_train_options o = tiny_options(TINY_SETTINGS, NULL);
    o.max_bytes = limit;
    const meddino_status status = meddino_trainer_create(context, model, cases, &o, &trainer);
    if (status != MEDDINO_OK) {
      FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", status);
      CHECK(trainer == NULL);
      none++;
      continue;
    }
    const meddino_status step = meddino_trainer_step(trainer, NULL);
    if (step == MEDDINO_OK) {
      enough = 1;
    } else {
      FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", step);
      FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", meddino_trainer_step(trainer, NULL));
      no_update++;
    }
    meddino_trainer_release(trainer);
  }
  CHECK(none > 0 && no_update > 0 && enough);
}

/* Handles go in any order; what they made goes on working. */
static void released(void) {
  meddino_context *own = tiny_context(2);
  meddino_model *start = tiny_model(own, tiny_config, 7), *better = NULL;
  meddino_dataset *data = tiny_dataset(start);
  meddino_trainer *trainer = tiny_trainer(own, start, data, NULL);
  meddino_context_release(own);
  meddino_dataset_release(data);
  meddino_model_release(start);
  OK(meddino_trainer_step(trainer, NULL));
  NEED(meddino_trainer_export(trainer, &better));
  meddino_trainer_release(trainer);
  tiny_case c = tiny_phantom(40, 36, 2);
  OK(tiny_segment(better, &c, NULL));
  meddino_model_release(better);
  tiny_free(&c);
}

int main(int count, char **arguments) {
  const char *folder = count > 1 ? arguments[1] : ".";
  snprintf(reference, sizeof reference, "%s/training_reference.safetensors", folder);
  snprintf(other, sizeof other, "%s/training_other.safetensors", folder);
  snprintf(saved, sizeof saved, "%s/training_saved.safetensors", folder);
  context = tiny_context(2);
  model = tiny_model(context, tiny_config, 7);
  cases = tiny_dataset(model);
  learns();
  stopped_everywhere();
  stopped_by_handle();
  resumed();
  jobs();
  settings();
  memory();
  released();
  meddino_dataset_release(cases);
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_training");
}
