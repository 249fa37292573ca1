/* Segments a volume (NIfTI, NRRD or MetaImage) with the C API.
 *
 *   gcc -std=c99 segment.c -o segment $(pkg-config --cflags --libs meddino)
 *   ./segment organs.safetensors ct.nii.gz labels.nii.gz */
#define _POSIX_C_SOURCE 200112L /* isatty */
#include <meddino.h>
#include <stdio.h>
#include <unistd.h>

/* The failed call's status and message; the program's exit status. */
static int failed(const char *what, meddino_status status) {
  char message[1024];
  meddino_last_error(message, sizeof message);
  fprintf(stderr, "%s: %s: %s\n", what, meddino_status_name(status), message);
  return 1;
}

/* A line on stderr that is drawn over itself, at a terminal. Returning anything but 0 would cancel the run. */
static int32_t show(void *user, double fraction, const char *stage) {
  int *drawn = user, percent = (int)(fraction * 100);
  if (percent != *drawn && isatty(STDERR_FILENO)) {
    char bar[41];
    int i;
    for (i = 0; i < 40; i++) bar[i] = i < percent * 40 / 100 ? '#' : '.';
    bar[40] = 0;
    fprintf(stderr, "\r[%s] %3d %% %-10s", bar, percent, stage);
    *drawn = percent;
  }
  return 0;
}

static void print_report(const meddino_model *model, const meddino_report *report) {
  size_t i, count = meddino_report_label_count(report);
  meddino_model_info info;
  info.struct_size = sizeof info;
  if (meddino_model_get_info(model, &info) != MEDDINO_OK) return;
  for (i = 0; i < count; i++) {
    meddino_label_stats stats;
    meddino_label label;
    const char *name = "?";
    int32_t k;
    stats.struct_size = sizeof stats;
    label.struct_size = sizeof label;
    if (meddino_report_get_label(report, i, &stats) != MEDDINO_OK) continue;
    for (k = 0; k < info.labels; k++)
      if (meddino_model_get_label(model, k, &label) == MEDDINO_OK && label.value == stats.value) name = label.name;
    printf("%5d  %-24s %12lld voxels %10.2f ml%s\n", (int)stats.value, name, (long long)stats.voxels, stats.millilitres,
           stats.touches_border ? "  touches the border" : "");
  }
  for (i = 0; i < meddino_report_warning_count(report); i++) fprintf(stderr, "warning: %s\n", meddino_report_warning(report, i));
}

int main(int argc, char **argv) {
  meddino_context *context = NULL;
  meddino_model *model = NULL;
  meddino_image *image = NULL, *labels = NULL;
  meddino_report *report = NULL;
  meddino_run_options options;
  meddino_status status;
  int code = 0, drawn = -1;
  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL INPUT.nii.gz LABELS.nii.gz\n", argv[0]);
    return 2;
  }
  meddino_run_options_init(&options, sizeof options);
  options.progress = show;
  options.progress_user = &drawn;
  if ((status = meddino_context_create(NULL, &context)) != MEDDINO_OK) code = failed("context", status);
  else if ((status = meddino_model_open(context, argv[1], NULL, &model)) != MEDDINO_OK) code = failed("model", status);
  else if ((status = meddino_image_read_for(model, argv[2], NULL, &image)) != MEDDINO_OK) code = failed("input", status);
  else if ((status = meddino_segment_image(model, image, &options, &labels, &report)) != MEDDINO_OK) code = failed("segmentation", status);
  else if ((status = meddino_image_write(labels, argv[3])) != MEDDINO_OK) code = failed("output", status);
  else {
    fputc('\n', stderr);
    print_report(model, report);
  }
  meddino_report_release(report);
  meddino_image_release(labels);
  meddino_image_release(image);
  meddino_model_release(model);
  meddino_context_release(context);
  return code;
}
