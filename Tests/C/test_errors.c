/* What goes wrong and how it is said: status names, the thread's last error, context options. */
#include <pthread.h>
#include "tiny_model.h"

static meddino_context *context;
static meddino_model *model;
static tiny_case small;

static void status_names(void) {
  static const char *const names[] = {"MEDDINO_OK", "MEDDINO_E_INVALID", "MEDDINO_E_CANCELLED", "MEDDINO_E_NOMEM", "MEDDINO_E_IO", "MEDDINO_E_FORMAT",
                                      "MEDDINO_E_SHAPE", "MEDDINO_E_UNSUPPORTED", "MEDDINO_E_STATE", "MEDDINO_E_TIMEOUT", "MEDDINO_E_INTERNAL"};
  for (int32_t i = 0; i <= MEDDINO_E_INTERNAL; i++) CHECK(strcmp(meddino_status_name(i), names[i]) == 0);
  CHECK(meddino_status_name(-1) != NULL && meddino_status_name(11) != NULL && meddino_status_name(INT32_MIN) != NULL);
  CHECK(meddino_version() == (MEDDINO_VERSION_MAJOR << 16 | MEDDINO_VERSION_MINOR << 8 | MEDDINO_VERSION_PATCH));
  CHECK(meddino_build_info() != NULL && strstr(meddino_build_info(), "kernels") != NULL && strchr(meddino_build_info(), '\n') == NULL);
  CHECK(meddino_build_info() == meddino_build_info());
}

static void *other_thread(void *unused) {
  char text[64] = "x";
  (void)unused;
  CHECK(meddino_last_error(text, sizeof text) == 0 && text[0] == 0);
  FAILS_NAMING(MEDDINO_E_INVALID, "job", meddino_job_wait(NULL, 0));
  return NULL;
}
static void last_errors(void) {
  meddino_volume v;
  char text[512], cut[512];
  meddino_volume_init(&v, sizeof v);
  v.channels = -7;
  FAILS(MEDDINO_E_INVALID, meddino_volume_check(&v));
  const size_t length = meddino_last_error(text, sizeof text);
  CHECK(length == strlen(text) && length > 20);
  CHECK(strstr(text, "-7") != NULL);
  CHECK(meddino_last_error(NULL, 0) == length);
  for (size_t capacity = 1; capacity <= length + 2; capacity++) {
    memset(cut, 'Z', sizeof cut);
    CHECK(meddino_last_error(cut, capacity) == length);
    const size_t kept = strlen(cut);
    CHECK(kept < capacity && strncmp(cut, text, kept) == 0 && cut[kept + 1] == 'Z');
    CHECK(kept == (capacity - 1 < length ? capacity - 1 : length));
  }
  cut[0] = 'Z';
  CHECK(meddino_last_error(cut, 0) == length && cut[0] == 'Z');
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
  pthread_join(thread, NULL);
  CHECK(meddino_last_error(cut, sizeof cut) == length && strcmp(cut, text) == 0); /* the other thread's failure is its own */
  OK(meddino_volume_check(&small.in));
  CHECK(meddino_last_error(cut, sizeof cut) == 0 && cut[0] == 0);
  /* Cut on a character, not inside one. */
  meddino_image *image;
  FAILS_NAMING(MEDDINO_E_IO, "\xc3\xa9", meddino_image_read(context, "/nowhere/\xc3\xa9\xe2\x82\xac.nii", &image));
  const size_t whole = meddino_last_error(text, sizeof text);
  for (size_t capacity = 1; capacity <= whole; capacity++) {
    (void)meddino_last_error(cut, capacity);
    CHECK(strlen(cut) + 3 >= capacity - 1 && ((unsigned char)text[strlen(cut)] & 0xc0) != 0x80);
  }
  /* A path with line breaks gives one line. */
  FAILS(MEDDINO_E_IO, meddino_image_read(context, "/nowhere/a\nb\tc.nii", &image));
}

static void context_options(void) {
  meddino_context_options o;
  meddino_context *made = NULL;
  meddino_context_options_init(&o, sizeof o);
  static const int32_t bad_threads[] = {-1, 1025, INT32_MIN, INT32_MAX};
  for (int i = 0; i < 4; i++) {
    o.threads = bad_threads[i];
    FAILS_NAMING(MEDDINO_E_INVALID, "threads", meddino_context_create(&o, &made));
    CHECK(made == NULL);
  }
  o.threads = 1024;
  OK(meddino_context_create(&o, &made));
  meddino_context_release(made);
  o.threads = 1;
  o.log_level = 5;
  FAILS_NAMING(MEDDINO_E_INVALID, "log_level", meddino_context_create(&o, &made));
  o.log_level = -1;
  FAILS_NAMING(MEDDINO_E_INVALID, "log_level", meddino_context_create(&o, &made));
  o.log_level = 0;
  o.parallel = (meddino_parallel_fn)(void (*)(void))abort;
  FAILS_NAMING(MEDDINO_E_INVALID, "parallel_width", meddino_context_create(&o, &made));
  o.parallel_width = INT32_MAX;
  FAILS_NAMING(MEDDINO_E_INVALID, "parallel_width", meddino_context_create(&o, &made));
}

/* A host may call the library from its callback, and that call may fail: the outer call's success is success all the same. */
static int32_t call_and_fail(void *user, double fraction, const char *stage) {
  meddino_model *none = (void *)1;
  (void)fraction, (void)stage;
  FAILS(MEDDINO_E_IO, meddino_model_open(context, "/no/such/model", NULL, &none));
  ++*(long *)user;
  return 0;
}
static void failing_calls_inside(void) {
  tiny_case c = tiny_phantom(20, 20, 1);
  long calls = 0;
  char text[64];
  meddino_run_options o;
  meddino_run_options_init(&o, sizeof o);
  o.progress = call_and_fail;
  o.progress_user = &calls;
  OK(tiny_segment(model, &c, &o));
  CHECK(calls > 0 && meddino_last_error(text, sizeof text) == 0 && text[0] == 0);
  tiny_free(&c);
}

/* A path longer than a message does not push the reason out of it. */
static void long_paths(void) {
  char path[1500], text[2000];
  meddino_model *none = NULL;
  strcpy(path, "/tmp");
  while (strlen(path) < 1400) strcat(path, "/d");
  FAILS(MEDDINO_E_IO, meddino_model_open(context, path, NULL, &none));
  const size_t length = meddino_last_error(text, sizeof text);
  CHECK(length <= 1023 && strlen(text) == length && strncmp(text, "/tmp/d/d", 8) == 0);
  CHECK(strstr(text, "\xe2\x80\xa6") != NULL && strstr(text, "No such file") != NULL);
}

int main(void) {
  context = tiny_context(1);
  model = tiny_model(context, tiny_config, 1);
  small = tiny_phantom(8, 8, 1);
  status_names();
  last_errors();
  context_options();
  failing_calls_inside();
  long_paths();
  tiny_free(&small);
  meddino_model_release(model);
  meddino_context_release(context);
  return check_end("test_errors");
}
