/* Pretrains a small backbone on CT slices without labels, in the first of the three stages.
 *   cc -std=c99 pretrain.c -o pretrain $(pkg-config --cflags --libs meddino)
 *   ./pretrain SLICES STEPS BACKBONE.safetensors        SLICES: a folder that `meddino curate` made */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <meddino.h>

/* A laptop's settings; without "preset" they are those for CT-3M. */
static const char settings[] =
    "{\"preset\": \"tiny\", \"train\": {\"batch_size_per_gpu\": 4, \"seed\": 1}, \"crops\": {\"global_crops_size\": 32, \"local_crops_size\": 16}}";

static int failed(meddino_status status, const char *what) {
  char message[1024];
  if (status == MEDDINO_OK) return 0;
  (void)meddino_last_error(message, sizeof message);
  fprintf(stderr, "%s: %s (%s)\n", what, message, meddino_status_name(status));
  return 1;
}

int main(int count, char **arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: %s SLICES STEPS BACKBONE.safetensors\n", arguments[0]);
    return 2;
  }
  meddino_context *context = NULL;
  meddino_dataset *slices = NULL;
  meddino_trainer *trainer = NULL;
  meddino_model *backbone = NULL;
  meddino_train_options options;
  meddino_metrics metrics;
  memset(&metrics, 0, sizeof metrics);
  metrics.struct_size = sizeof metrics;
  meddino_train_options_init(&options, sizeof options);
  options.objective = MEDDINO_PRETRAIN_1;
  options.settings_json = settings;
  int bad = failed(meddino_context_create(NULL, &context), "context") ||
            failed(meddino_dataset_open_slices(context, arguments[1], NULL, &slices), arguments[1]) ||
            failed(meddino_trainer_create(context, NULL, slices, &options, &trainer), "trainer");
  for (long step = 0, steps = atol(arguments[2]); !bad && step < steps && !metrics.finished; step++) {
    bad = failed(meddino_trainer_step(trainer, &metrics), "step");
    if (!bad) printf("step %ld: loss %.4f, iBOT %.4f, teacher at %.3f\n", (long)metrics.step, metrics.loss, metrics.ibot_loss, metrics.momentum);
  }
  bad = bad || failed(meddino_trainer_export(trainer, &backbone), "export") || failed(meddino_model_save(backbone, arguments[3]), arguments[3]);
  meddino_model_release(backbone);
  meddino_trainer_release(trainer);
  meddino_dataset_release(slices);
  meddino_context_release(context);
  return bad;
}
