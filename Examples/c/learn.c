/* Learns from a corrected segmentation: goes on training a model with one image and its labels, and segments the image again.
 *
 *   gcc -std=c99 learn.c -o learn $(pkg-config --cflags --libs meddino)
 *   ./learn organs.safetensors ct.nii.gz corrected.nii.gz 20 better.safetensors */
#include <meddino.h>
#include <stdio.h>
#include <stdlib.h>

/* The failed call's status and message; the program's exit status. */
static int failed(const char *what, meddino_status status) {
  char message[1024];
  meddino_last_error(message, sizeof message);
  fprintf(stderr, "%s: %s: %s\n", what, meddino_status_name(status), message);
  return 1;
}

/* Segments the image and compares with the correction: the mean Dice of the structures that are there. */
static meddino_status agreement(meddino_context *context, const meddino_model *model, const meddino_image *image, const meddino_volume *corrected, double *mean) {
  meddino_image *labels = NULL;
  meddino_evaluation *scores = NULL;
  meddino_volume found;
  meddino_evaluation_options options;
  size_t i, count = 0;
  meddino_status status;
  found.struct_size = sizeof found;
  meddino_evaluation_options_init(&options, sizeof options);
  options.distances = 0; /* only the Dice is looked at; surfaces take most of the time */
  *mean = 0;
  if ((status = meddino_segment_image(model, image, NULL, &labels, NULL)) == MEDDINO_OK && (status = meddino_image_view(labels, &found)) == MEDDINO_OK &&
      (status = meddino_evaluate(context, corrected, &found, &options, &scores)) == MEDDINO_OK) {
    for (i = 0; i < meddino_evaluation_count(scores) && status == MEDDINO_OK; i++) {
      meddino_structure_scores s;
      s.struct_size = sizeof s;
      status = meddino_evaluation_get(scores, i, &s);
      if (status == MEDDINO_OK && s.dice == s.dice) *mean += s.dice, count++; /* NaN: in neither */
    }
    if (count > 0) *mean /= (double)count;
  }
  meddino_evaluation_release(scores);
  meddino_image_release(labels);
  return status;
}

int main(int argc, char **argv) {
  meddino_context *context = NULL;
  meddino_model *model = NULL, *better = NULL;
  meddino_image *image = NULL, *labels = NULL;
  meddino_dataset *cases = NULL;
  meddino_trainer *trainer = NULL;
  meddino_train_options options;
  meddino_metrics metrics;
  meddino_volume voxels, corrected;
  const meddino_volume *channels[1];
  meddino_status status;
  double before, after;
  int code = 0, step, steps = argc == 6 ? atoi(argv[4]) : 0;
  if (argc != 6 || steps < 1) {
    fprintf(stderr, "usage: %s MODEL IMAGE.nii.gz CORRECTED_LABELS.nii.gz STEPS BETTER.safetensors\n", argv[0]);
    return 2;
  }
  metrics.struct_size = sizeof metrics;
  voxels.struct_size = corrected.struct_size = sizeof voxels;
  channels[0] = &voxels;
  meddino_train_options_init(&options, sizeof options);
  options.settings_json = "{\"recipe\": \"few-shot\", \"epochs\": 1, \"drop_path\": 0}";
  if ((status = meddino_context_create(NULL, &context)) != MEDDINO_OK) code = failed("context", status);
  else if ((status = meddino_model_open(context, argv[1], NULL, &model)) != MEDDINO_OK) code = failed("model", status);
  else if ((status = meddino_image_read_for(model, argv[2], NULL, &image)) != MEDDINO_OK) code = failed("image", status);
  else if ((status = meddino_image_read_for(model, argv[3], NULL, &labels)) != MEDDINO_OK) code = failed("labels", status);
  else if ((status = meddino_image_view(image, &voxels)) != MEDDINO_OK) code = failed("image", status);
  else if ((status = meddino_image_view(labels, &corrected)) != MEDDINO_OK) code = failed("labels", status);
  else if ((status = meddino_dataset_create(model, &cases)) != MEDDINO_OK) code = failed("dataset", status);
  else if ((status = meddino_dataset_add(cases, "corrected", channels, 1, &corrected, NULL)) != MEDDINO_OK) code = failed("case", status);
  else if ((status = meddino_trainer_create(context, model, cases, &options, &trainer)) != MEDDINO_OK) code = failed("trainer", status);
  for (step = 0; code == 0 && step < steps; step++) {
    if ((status = meddino_trainer_step(trainer, &metrics)) != MEDDINO_OK) code = failed("step", status);
    else printf("step %d: loss %.4f\n", (int)metrics.step, metrics.loss);
  }
  if (code == 0) {
    if ((status = meddino_trainer_export(trainer, &better)) != MEDDINO_OK) code = failed("export", status);
    else if ((status = agreement(context, model, image, &corrected, &before)) != MEDDINO_OK) code = failed("comparison", status);
    else if ((status = agreement(context, better, image, &corrected, &after)) != MEDDINO_OK) code = failed("comparison", status);
    else if ((status = meddino_model_save(better, argv[5])) != MEDDINO_OK) code = failed("save", status);
    else printf("mean Dice with the correction: %.4f before, %.4f after\n", before, after);
  }
  meddino_model_release(better);
  meddino_trainer_release(trainer);
  meddino_dataset_release(cases);
  meddino_image_release(labels);
  meddino_image_release(image);
  meddino_model_release(model);
  meddino_context_release(context);
  return code;
}
