/* Cases to learn from, trainers on them, and what they have learned as bytes that can be compared. */
#ifndef TINY_TRAINING_H
#define TINY_TRAINING_H
#include "tiny_model.h"

/* Three epochs of four updates; large rates, so that a few updates show. */
#define TINY_SETTINGS                                                                                                              \
  "{\"recipe\": \"few-shot\", \"epochs\": 3, \"iterations\": 4, \"validation_iterations\": 2, \"batch_size\": 2, \"seed\": 5,"          \
  " \"decoder_lr\": 3e-3, \"encoder_lr\": 1e-3, \"drop_path\": 0.1}"

/* Counts callbacks, and stops at one of them. */
typedef struct {
  long calls, stop_at;
  double last;
  int backwards, outside, unnamed;
} tiny_watch;
static inline int32_t tiny_watched(void *user, double fraction, const char *stage) {
  tiny_watch *w = user;
  w->backwards += fraction < w->last;
  w->outside += !(fraction >= 0 && fraction <= 1);
  w->unnamed += stage == NULL || stage[0] == 0;
  w->last = fraction;
  return w->calls++ == w->stop_at;
}
static inline void tiny_watch_from(tiny_watch *w, long stop_at) {
  memset(w, 0, sizeof *w);
  w->stop_at = stop_at;
}
#define WATCHED_WELL(w) CHECK((w).calls > 0 && (w).backwards == 0 && (w).outside == 0 && (w).unnamed == 0)

static inline meddino_train_options tiny_options(const char *settings, tiny_watch *watch) {
  meddino_train_options o;
  meddino_train_options_init(&o, sizeof o);
  o.settings_json = settings;
  if (watch != NULL) o.progress = tiny_watched, o.progress_user = watch;
  return o;
}

/* A phantom with labels: 1 the organ, 2 the rest of the body. */
static inline tiny_case tiny_labelled(int64_t width, int64_t height, int64_t depth) {
  tiny_case c = tiny_phantom(width, height, depth);
  for (size_t i = 0; i < c.count; i++) c.labels[i] = c.voxels[i] > 100 ? 1 : c.voxels[i] > -500 ? 2 : 0;
  c.out.data = c.labels;
  return c;
}
static inline meddino_status tiny_add(meddino_dataset *dataset, const char *name, const tiny_case *c, const meddino_train_options *options) {
  const meddino_volume *channels[1] = {&c->in};
  return meddino_dataset_add(dataset, name, channels, 1, &c->out, options);
}
/* Two cases in memory. */
static inline meddino_dataset *tiny_dataset(const meddino_model *like) {
  meddino_dataset *dataset = NULL;
  tiny_case a = tiny_labelled(48, 44, 3), b = tiny_labelled(40, 36, 2);
  NEED(meddino_dataset_create(like, &dataset));
  NEED(tiny_add(dataset, "a", &a, NULL));
  NEED(tiny_add(dataset, "b", &b, NULL));
  tiny_free(&a), tiny_free(&b);
  return dataset;
}
static inline meddino_trainer *tiny_trainer(meddino_context *context, const meddino_model *start, meddino_dataset *dataset, tiny_watch *watch) {
  meddino_trainer *trainer = NULL;
  const meddino_train_options o = tiny_options(TINY_SETTINGS, watch);
  NEED(meddino_trainer_create(context, start, dataset, &o, &trainer));
  return trainer;
}

/* A file's bytes, to be freed. */
static inline unsigned char *tiny_bytes(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  *count = 0;
  if (file == NULL) return NULL;
  fseek(file, 0, SEEK_END);
  *count = (size_t)ftell(file);
  rewind(file);
  unsigned char *bytes = malloc(*count + 1);
  const size_t got = fread(bytes, 1, *count, file);
  fclose(file);
  CHECK(got == *count);
  return bytes;
}
static inline int tiny_same_files(const char *a, const char *b) {
  size_t i, j;
  unsigned char *x = tiny_bytes(a, &i), *y = tiny_bytes(b, &j);
  const int same = x != NULL && y != NULL && i == j && memcmp(x, y, i) == 0;
  free(x), free(y);
  return same;
}
/* The model as it stands, as a file. */
static inline void tiny_export(const meddino_trainer *trainer, const char *path) {
  meddino_model *model = NULL;
  NEED(meddino_trainer_export(trainer, &model));
  NEED(meddino_model_save(model, path));
  meddino_model_release(model);
}
static inline meddino_metrics tiny_metrics(void) {
  meddino_metrics m;
  memset(&m, 0x5a, sizeof m);
  m.struct_size = sizeof m;
  return m;
}

/* A call stopped at every callback and then let through: the same for every kind of trainer. */
static inline meddino_trainer *tiny_stopped_create(meddino_context *context, const meddino_model *start, meddino_dataset *dataset,
                                                   const meddino_train_options *o, tiny_watch *w) {
  meddino_trainer *trainer = (void *)1;
  tiny_watch_from(w, -1);
  OK(meddino_trainer_create(context, start, dataset, o, &trainer));
  WATCHED_WELL(*w);
  meddino_trainer_release(trainer);
  for (long k = 0, total = w->calls; k < total; k++) {
    tiny_watch_from(w, k);
    FAILS(MEDDINO_E_CANCELLED, meddino_trainer_create(context, start, dataset, o, &trainer));
    CHECK(trainer == NULL && w->calls == k + 1);
  }
  tiny_watch_from(w, -1);
  NEED(meddino_trainer_create(context, start, dataset, o, &trainer));
  return trainer;
}
/* The first update. */
static inline void tiny_stopped_step(meddino_trainer *trainer, tiny_watch *w, meddino_metrics *m) {
  for (long k = 0; k < 1000; k++) {
    tiny_watch_from(w, k);
    const meddino_status status = meddino_trainer_step(trainer, m);
    WATCHED_WELL(*w);
    if (status == MEDDINO_OK) {
      CHECK(k > 10 && w->calls == k && w->last == 1 && m->step == 1);
      break;
    }
    FAILS(MEDDINO_E_CANCELLED, status);
    CHECK(w->calls == k + 1 && ((unsigned char *)m)[9] == 0x5a);
  }
}
/* The rest of the first epoch, which ends at `step`; stopped every `stride` callbacks further. */
static inline void tiny_stopped_epoch(meddino_trainer *trainer, tiny_watch *w, meddino_metrics *m, long stride, int64_t step) {
  long stops = 0;
  for (long k = 1; k < 1000; k += stride) {
    tiny_watch_from(w, k);
    const meddino_status status = meddino_trainer_epoch(trainer, m);
    WATCHED_WELL(*w);
    if (status == MEDDINO_OK) break;
    FAILS(MEDDINO_E_CANCELLED, status);
    stops++;
  }
  CHECK(stops > 4 && m->epoch == 0 && m->step == step);
}
/* An earlier file stays. */
static inline void tiny_stopped_save(meddino_trainer *trainer, tiny_watch *w, const char *path) {
  tiny_watch_from(w, -1);
  OK(meddino_trainer_save(trainer, path));
  WATCHED_WELL(*w);
  size_t size, now;
  unsigned char *before = tiny_bytes(path, &size);
  for (long k = 0, total = w->calls; k < total; k++) {
    tiny_watch_from(w, k);
    FAILS(MEDDINO_E_CANCELLED, meddino_trainer_save(trainer, path));
    unsigned char *bytes = tiny_bytes(path, &now);
    CHECK(now == size && memcmp(bytes, before, size) == 0);
    free(bytes);
  }
  free(before);
}
#endif
