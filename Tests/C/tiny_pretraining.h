/* Slices to pretrain on, handed over by a callback that counts, and trainers of the three stages. */
#ifndef TINY_PRETRAINING_H
#define TINY_PRETRAINING_H
#include "tiny_training.h"

/* Two epochs of three iterations on two images. */
#define TINY_STUDENT "\"student\": {\"embed_dim\": 16, \"depth\": 2, \"num_heads\": 2, \"drop_path_rate\": 0.3, \"layerscale\": 1.0}"
#define TINY_HEADS                                                                                            \
  "\"dino\": {\"head_n_prototypes\": 24, \"head_bottleneck_dim\": 8, \"head_hidden_dim\": 12},"               \
  "\"ibot\": {\"head_n_prototypes\": 20, \"head_bottleneck_dim\": 8, \"head_hidden_dim\": 12},"               \
  "\"optim\": {\"epochs\": 2},"                                                                               \
  "\"schedules\": {\"lr\": {\"warmup_epochs\": 1, \"freeze_last_layer_epochs\": 0}, \"teacher_temp\": {\"warmup_epochs\": 1}}"
#define TINY_CROPS "\"global_crops_size\": 32, \"local_crops_size\": 16, \"local_crops_number\": 2"
#define TINY_TRAIN "\"batch_size_per_gpu\": 2, \"OFFICIAL_EPOCH_LENGTH\": 3, \"num_workers\": 2, \"seed\": 5"
#define TINY_PRETRAINING "{\"preset\": \"tiny\", " TINY_STUDENT ", " TINY_HEADS ", \"crops\": {" TINY_CROPS "}, \"train\": {" TINY_TRAIN "}}"
/* Anchored, with larger crops for the Gram teacher. MORE: further keys of "train". */
#define TINY_ANCHORED TINY_ANCHORED_FROM("")
#define TINY_ANCHORED_FROM(MORE)                                                                                        \
  "{\"preset\": \"tiny\", " TINY_STUDENT ", " TINY_HEADS ", \"train\": {" TINY_TRAIN MORE "},"                     \
  " \"crops\": {" TINY_CROPS ", \"gram_teacher_crops_size\": 48},"                                            \
  " \"gram\": {\"use_loss\": true, \"img_level\": true, \"loss_weight\": 2, \"update_frequency\": 2, \"max_updates\": 1}}"

/* What a callback hands over, and what became of it. */
typedef struct {
  tiny_case phantom; /* five slices */
  int as_float, stop_at; /* the call that stops; -1: none */
  long calls, done;
  int wrong; /* 1: NaN, 2: two slices, 3: nothing */
  float plane[48 * 44];
} tiny_slices;

static inline int32_t tiny_next(void *user, int64_t index, meddino_volume *slice) {
  tiny_slices *s = user;
  const size_t area = 48 * 44;
  CHECK(index >= 0 && index < 5 && slice->struct_size == sizeof *slice && slice->channels == 1);
  if (s->calls++ == s->stop_at) return 1;
  slice->dims[0] = 48, slice->dims[1] = 44;
  slice->spacing[0] = slice->spacing[1] = 0.9;
  slice->dtype = MEDDINO_I16;
  slice->data = s->phantom.voxels + (size_t)index * area;
  slice->data_bytes = area * sizeof(int16_t);
  if (s->as_float || s->wrong == 1) {
    for (size_t i = 0; i < area; i++) s->plane[i] = s->phantom.voxels[(size_t)index * area + i];
    if (s->wrong == 1) s->plane[7] = NAN;
    slice->dtype = MEDDINO_F32;
    slice->data = s->plane;
    slice->data_bytes = sizeof s->plane;
  }
  if (s->wrong == 2) slice->dims[1] = 22, slice->dims[2] = 2;
  if (s->wrong == 3) slice->data = NULL;
  return 0;
}
static inline void tiny_done(void *user, int64_t index) {
  (void)index;
  ((tiny_slices *)user)->done++;
}
static inline tiny_slices *tiny_slices_new(void) {
  tiny_slices *s = calloc(1, sizeof *s);
  s->phantom = tiny_phantom(48, 44, 5);
  s->stop_at = -1;
  return s;
}
static inline void tiny_slices_free(tiny_slices *s) {
  tiny_free(&s->phantom);
  free(s);
}
static inline meddino_dataset *tiny_slice_dataset(meddino_context *context, tiny_slices *s, double spacing) {
  meddino_dataset *dataset = NULL;
  meddino_slice_options o;
  meddino_slice_options_init(&o, sizeof o);
  o.spacing = spacing;
  o.done = tiny_done;
  NEED(meddino_dataset_from_slices(context, 5, tiny_next, s, &o, &dataset));
  return dataset;
}
static inline meddino_train_options tiny_stage(int32_t objective, const char *settings, tiny_watch *watch) {
  meddino_train_options o = tiny_options(settings, watch);
  o.objective = objective;
  return o;
}
#endif
