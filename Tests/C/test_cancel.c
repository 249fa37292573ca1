/* Stopping: at every callback, by handle, by job; waiting; letting go of what still runs. */
#include <pthread.h>
#include <time.h>
#include <unistd.h>
#include "tiny_model.h"

static meddino_context *context;
static meddino_model *model;

typedef struct {
  long calls, stop_at;
  double last;
  int backwards, outside, unnamed;
  meddino_cancel *cancel;
  meddino_job *volatile job;
  pthread_t thread;
  long sleep_us;
} watcher;
static int32_t watch(void *user, double fraction, const char *stage) {
  watcher *w = user;
  w->backwards += fraction < w->last;
  w->outside += !(fraction >= 0 && fraction <= 1);
  w->unnamed += stage == NULL || stage[0] == 0;
  w->last = fraction;
  w->thread = pthread_self();
  const long call = w->calls++;
  if (w->sleep_us > 0) usleep((useconds_t)w->sleep_us);
  if (w->cancel != NULL && call == w->stop_at) meddino_cancel_request(w->cancel);
  return w->cancel == NULL && call == w->stop_at;
}
static meddino_run_options options_for(watcher *w, long stop_at) {
  meddino_run_options o;
  meddino_run_options_init(&o, sizeof o);
  memset(w, 0, sizeof *w);
  w->stop_at = stop_at;
  o.progress = watch;
  o.progress_user = w;
  return o;
}
static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void every_callback(void) {
  tiny_case c = tiny_phantom(36, 33, 2), d = tiny_phantom(36, 33, 2);
  watcher w;
  meddino_run_options o = options_for(&w, -1);
  OK(tiny_segment(model, &c, &o));
  const long total = w.calls;
  CHECK(total > 10 && w.last == 1 && w.backwards == 0 && w.outside == 0 && w.unnamed == 0);
  CHECK(pthread_equal(w.thread, pthread_self()));
  long completed = -1;
  for (long k = 0; k < total + 2; k++) {
    meddino_report *report = (void *)1;
    const meddino_volume *channels[1] = {&d.in};
    o = options_for(&w, k);
    const meddino_status status = meddino_segment(model, channels, 1, &o, &d.out, NULL, &report);
    if (status == MEDDINO_OK) {
      CHECK(k >= total && w.calls == total);
      meddino_report_release(report);
      completed = k;
      break;
    }
    FAILS(MEDDINO_E_CANCELLED, status);
    CHECK(report == NULL && w.calls == k + 1); /* not called again after it said stop */
  }
  CHECK(completed == total);
  CHECK(memcmp(c.labels, d.labels, c.count) == 0);
  for (long k = 0; k < total; k += 1 + total / 25) { /* a handle requested inside the callback: at the next look */
    o = options_for(&w, k);
    NEED(meddino_cancel_create(&w.cancel));
    o.cancel = w.cancel;
    const meddino_status status = tiny_segment(model, &d, &o);
    if (k < total - 1) FAILS(MEDDINO_E_CANCELLED, status);
    CHECK(w.calls <= k + 2);
    meddino_cancel_release(w.cancel);
  }
  /* features */
  meddino_features *features = NULL;
  o = options_for(&w, -1);
  OK(meddino_features_create(model, &d.in, NULL, &o, &features));
  meddino_features_release(features);
  const long feature_calls = w.calls;
  CHECK(feature_calls >= 3 && w.last == 1);
  for (long k = 0; k < feature_calls; k++) {
    o = options_for(&w, k);
    features = (void *)1;
    FAILS(MEDDINO_E_CANCELLED, meddino_features_create(model, &d.in, NULL, &o, &features));
    CHECK(features == NULL);
  }
  /* images */
  meddino_image *image = NULL, *labels = (void *)1;
  NEED(meddino_image_create(context, &d.in, &image));
  o = options_for(&w, 2);
  FAILS(MEDDINO_E_CANCELLED, meddino_segment_image(model, image, &o, &labels, NULL));
  CHECK(labels == NULL);
  meddino_image_release(image);
  tiny_free(&c), tiny_free(&d);
}

static void requested_before(void) {
  tiny_case c = tiny_phantom(20, 20, 1);
  meddino_cancel *cancel = NULL;
  meddino_job *job = NULL;
  meddino_run_options o;
  const meddino_volume *channels[1] = {&c.in};
  NEED(meddino_cancel_create(&cancel));
  meddino_run_options_init(&o, sizeof o);
  o.cancel = cancel;
  OK(tiny_segment(model, &c, &o));
  meddino_cancel_request(cancel);
  meddino_cancel_request(cancel);
  FAILS(MEDDINO_E_CANCELLED, tiny_segment(model, &c, &o));
  FAILS(MEDDINO_E_CANCELLED, tiny_segment(model, &c, &o)); /* stays requested */
  NEED(meddino_segment_async(model, channels, 1, &o, &c.out, NULL, &job));
  FAILS(MEDDINO_E_CANCELLED, meddino_job_wait(job, -1));
  char text[200];
  CHECK(meddino_job_error(job, text, sizeof text) > 0 && strlen(text) > 0);
  meddino_report *report = (void *)1;
  FAILS(MEDDINO_E_STATE, meddino_job_report(job, &report));
  CHECK(report == NULL);
  meddino_job_release(job);
  meddino_cancel_release(cancel);
  OK(tiny_segment(model, &c, NULL));
  tiny_free(&c);
}

static void jobs(void) {
  tiny_case c = tiny_phantom(40, 40, 6);
  const meddino_volume *channels[1] = {&c.in};
  watcher w;
  meddino_job *job = NULL;
  meddino_run_options o = options_for(&w, -1);
  w.sleep_us = 2000;
  /* Timeouts while it runs, and the report afterwards. */
  NEED(meddino_segment_async(model, channels, 1, &o, &c.out, NULL, &job));
  FAILS(MEDDINO_E_TIMEOUT, meddino_job_wait(job, 0));
  const double start = seconds();
  FAILS(MEDDINO_E_TIMEOUT, meddino_job_wait(job, 30));
  CHECK(seconds() - start > 0.028 && seconds() - start < 5);
  meddino_report *report = (void *)1;
  FAILS(MEDDINO_E_STATE, meddino_job_report(job, &report));
  CHECK(report == NULL);
  const double early = meddino_job_progress(job);
  CHECK(early >= 0 && early < 1);
  CHECK(meddino_job_error(job, NULL, 0) == 0);
  w.sleep_us = 0;
  OK(meddino_job_wait(job, -1));
  CHECK(meddino_job_progress(job) == 1 && !pthread_equal(w.thread, pthread_self()));
  OK(meddino_job_report(job, &report));
  meddino_report_release(report);
  meddino_job_release(job);
  /* Cancelled while it runs. */
  o = options_for(&w, -1);
  w.sleep_us = 2000;
  NEED(meddino_segment_async(model, channels, 1, &o, &c.out, NULL, &job));
  usleep(10000);
  meddino_job_cancel(job);
  meddino_job_cancel(job);
  FAILS(MEDDINO_E_CANCELLED, meddino_job_wait(job, 10000));
  FAILS(MEDDINO_E_CANCELLED, meddino_job_wait(job, 0));
  meddino_job_release(job);
  /* The caller's own handle stops it too. */
  meddino_cancel *cancel = NULL;
  NEED(meddino_cancel_create(&cancel));
  o.cancel = cancel;
  NEED(meddino_segment_async(model, channels, 1, &o, &c.out, NULL, &job));
  meddino_cancel_request(cancel);
  meddino_cancel_release(cancel); /* retained for the run */
  FAILS(MEDDINO_E_CANCELLED, meddino_job_wait(job, 10000));
  meddino_job_release(job);
  /* Released while it runs: comes back only when no callback can come any more. */
  for (int delay = 0; delay < 30000; delay += 6000) {
    o = options_for(&w, -1);
    w.sleep_us = 1000;
    NEED(meddino_segment_async(model, channels, 1, &o, &c.out, NULL, &job));
    if (delay > 0) usleep((useconds_t)delay);
    meddino_job_release(job);
    const long calls = w.calls;
    usleep(5000);
    CHECK(w.calls == calls);
  }
  /* The model and the context may go while it runs. */
  meddino_context *own = tiny_context(2);
  meddino_model *net = tiny_model(own, tiny_config, 7);
  tiny_case d = tiny_phantom(40, 40, 6);
  NEED(meddino_segment_async(net, channels, 1, NULL, &d.out, NULL, &job));
  meddino_model_release(net);
  meddino_context_release(own);
  OK(meddino_job_wait(job, -1));
  meddino_job_release(job);
  OK(tiny_segment(model, &c, NULL));
  CHECK(memcmp(c.labels, d.labels, c.count) == 0);
  /* Arguments are checked before it starts. */
  meddino_volume out = c.out;
  out.data_bytes = 1;
  FAILS(MEDDINO_E_INVALID, meddino_segment_async(model, channels, 1, NULL, &out, NULL, &job));
  CHECK(job == NULL);
  out = c.out, out.dims[2]--;
  FAILS(MEDDINO_E_SHAPE, meddino_segment_async(model, channels, 1, NULL, &out, NULL, &job));
  CHECK(job == NULL);
  /* Views and options are copies: the caller's structs may change at once. */
  {
    meddino_volume in = c.in, target = d.out;
    const meddino_volume *views[1] = {&in};
    int32_t subset[1] = {1};
    o = options_for(&w, -1);
    o.label_subset = subset, o.label_subset_count = 1;
    memset(d.labels, 0xee, d.count);
    NEED(meddino_segment_async(model, views, 1, &o, &target, NULL, &job));
    memset(&in, 0xff, sizeof in), memset(&target, 0xff, sizeof target);
    memset(&o, 0xff, sizeof o);
    views[0] = NULL;
    OK(meddino_job_wait(job, -1));
    long wrong = 0;
    for (size_t i = 0; i < d.count; i++) wrong += d.labels[i] > 1;
    CHECK(wrong == 0);
    meddino_job_release(job);
  }
  /* Several jobs on one model at once. */
  meddino_job *many[4];
  tiny_case cases[4];
  for (int i = 0; i < 4; i++) {
    cases[i] = tiny_phantom(40, 40, 6);
    const meddino_volume *views[1] = {&cases[i].in};
    NEED(meddino_segment_async(model, views, 1, NULL, &cases[i].out, NULL, &many[i]));
  }
  for (int i = 3; i >= 0; i--) {
    OK(meddino_job_wait(many[i], -1));
    CHECK(memcmp(c.labels, cases[i].labels, c.count) == 0);
    meddino_job_release(many[i]);
    tiny_free(&cases[i]);
  }
  tiny_free(&c), tiny_free(&d);
}

/* Work on files: each watched from begin to end, stopped at every callback and by handle; what stood there before stays. */
static const char *folder;
static meddino_image *image;
static meddino_model *stored;
static char image_path[600], model_path[600];
static meddino_status by_read(const meddino_file_options *o) {
  meddino_image *made = (void *)1;
  const meddino_status status = meddino_image_read_with(context, image_path, o, &made);
  CHECK((status == MEDDINO_OK) == (made != NULL));
  if (status == MEDDINO_OK) meddino_image_release(made);
  return status;
}
static meddino_status by_read_for(const meddino_file_options *o) {
  meddino_image *made = (void *)1;
  const meddino_status status = meddino_image_read_for(model, image_path, o, &made);
  CHECK((status == MEDDINO_OK) == (made != NULL));
  if (status == MEDDINO_OK) meddino_image_release(made);
  return status;
}
static meddino_status by_write(const meddino_file_options *o) { return meddino_image_write_with(image, image_path, o); }
static meddino_status by_save(const meddino_file_options *o) {
  meddino_save_options s;
  meddino_save_options_init(&s, sizeof s);
  s.progress = o->progress, s.progress_user = o->progress_user, s.cancel = o->cancel;
  return meddino_model_save_with(model, model_path, &s);
}
static meddino_status by_verify(const meddino_file_options *o) { return meddino_model_verify(stored, o); }
static long file_size(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return -1;
  fseek(file, 0, SEEK_END);
  const long size = ftell(file);
  fclose(file);
  return size;
}
static void watch_files(meddino_status (*work)(const meddino_file_options *), long least) {
  watcher w;
  meddino_file_options o;
  meddino_file_options_init(&o, sizeof o);
  o.progress = watch;
  o.progress_user = &w;
  memset(&w, 0, sizeof w);
  w.stop_at = -1;
  OK(work(&o));
  const long total = w.calls, image_size = file_size(image_path), model_size = file_size(model_path);
  CHECK(total >= least && w.last == 1 && w.backwards == 0 && w.outside == 0 && w.unnamed == 0);
  for (long k = 0; k < total; k++) {
    memset(&w, 0, sizeof w);
    w.stop_at = k;
    FAILS(MEDDINO_E_CANCELLED, work(&o));
    CHECK(w.calls == k + 1);
    CHECK(file_size(image_path) == image_size && file_size(model_path) == model_size);
  }
  memset(&w, 0, sizeof w);
  w.stop_at = -1;
  NEED(meddino_cancel_create(&o.cancel));
  OK(work(&o));
  meddino_cancel_request(o.cancel);
  FAILS(MEDDINO_E_CANCELLED, work(&o));
  o.progress = NULL;
  FAILS(MEDDINO_E_CANCELLED, work(&o));
  meddino_cancel_release(o.cancel);
}
static void files(void) {
  tiny_case c = tiny_phantom(300, 300, 40);
  snprintf(image_path, sizeof image_path, "%s/cancel.nii.gz", folder);
  snprintf(model_path, sizeof model_path, "%s/cancel.safetensors", folder);
  NEED(meddino_image_create(context, &c.in, &image));
  NEED(meddino_model_save(model, model_path));
  NEED(meddino_model_open(context, model_path, NULL, &stored));
  watch_files(by_write, 20);
  watch_files(by_read, 3);
  watch_files(by_read_for, 3);
  watch_files(by_save, 40);
  watch_files(by_verify, 20);
  FAILS_NAMING(MEDDINO_E_STATE, "SHA-256", meddino_model_verify(model, NULL)); /* made, never saved */
  meddino_model_release(stored);
  meddino_image_release(image);
  tiny_free(&c);
}

int main(int count, char **arguments) {
  folder = count > 1 ? arguments[1] : ".";
  context = tiny_context(2);
  model = tiny_model(context, tiny_config, 7);
  every_callback();
  requested_before();
  jobs();
  files();
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_cancel");
}
