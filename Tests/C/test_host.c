/* What a host may rely on: nothing printed, no handler, no environment, no locale, no thread or file left behind, fork works. */
#include <dirent.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tiny_model.h"

extern char **environ;
static const char *folder;

static int entries(const char *path) {
  DIR *directory = opendir(path);
  int count = 0;
  if (directory == NULL) return -1;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count;
}
/* Threads that are on their way out after a join may still be listed for a moment. */
static int settled(const char *path, int expected) {
  int count = entries(path);
  for (int i = 0; i < 200 && count != expected; i++) {
    usleep(5000);
    count = entries(path);
  }
  return count;
}
static int blocked_everywhere = 1, logged, log_lines;
static void note(void *user, int32_t level, const char *message) {
  (void)user;
  logged++;
  log_lines += level >= MEDDINO_LOG_ERROR && level <= MEDDINO_LOG_DEBUG && message != NULL && strchr(message, '\n') == NULL;
}
static int32_t on_job(void *user, double fraction, const char *stage) {
  sigset_t mask;
  (void)user, (void)fraction, (void)stage;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  if (!sigismember(&mask, SIGINT) || !sigismember(&mask, SIGUSR1)) blocked_everywhere = 0;
  return 0;
}

/* One of everything, released. */
static void use_everything(uint8_t *labels, int child) {
  meddino_context_options o;
  meddino_context *context = NULL;
  meddino_context_options_init(&o, sizeof o);
  o.threads = 3;
  o.log = note, o.log_level = MEDDINO_LOG_DEBUG;
  NEED(meddino_context_create(&o, &context));
  meddino_model *model = tiny_model(context, tiny_config, 7), *opened = NULL, *none = NULL;
  char path[600];
  snprintf(path, sizeof path, "%s/host%d.safetensors", folder, child);
  OK(meddino_model_save(model, path));
  NEED(meddino_model_open(context, path, NULL, &opened));
  tiny_case c = tiny_phantom(40, 37, 3);
  OK(tiny_segment(opened, &c, NULL));
  if (labels != NULL) memcpy(labels, c.labels, c.count);
  snprintf(path, sizeof path, "%s/host%d.nii.gz", folder, child);
  meddino_image *image = NULL, *read = NULL, *made = NULL;
  meddino_report *report = NULL;
  NEED(meddino_image_create(context, &c.in, &image));
  OK(meddino_image_write(image, path));
  NEED(meddino_image_read(context, path, &read));
  NEED(meddino_segment_image(opened, read, NULL, &made, &report));
  meddino_job *job = NULL;
  meddino_run_options run;
  const meddino_volume *channels[1] = {&c.in};
  meddino_run_options_init(&run, sizeof run);
  run.progress = on_job;
  NEED(meddino_segment_async(opened, channels, 1, &run, &c.out, NULL, &job));
  OK(meddino_job_wait(job, -1));
  meddino_job_release(job);
  NEED(meddino_segment_async(opened, channels, 1, &run, &c.out, NULL, &job));
  meddino_job_release(job);
  meddino_features *features = NULL;
  NEED(meddino_features_create(opened, &c.in, NULL, NULL, &features));
  meddino_features_release(features);
  /* Failures leave nothing either. */
  FAILS(MEDDINO_E_IO, meddino_model_open(context, "/no/such/file", NULL, &none));
  snprintf(path, sizeof path, "%s/host_bad.safetensors", folder);
  FILE *file = fopen(path, "wb");
  fputs("not a model at all", file);
  fclose(file);
  CHECK(meddino_model_open(context, path, NULL, &none) != MEDDINO_OK);
  meddino_image *unread = NULL;
  CHECK(meddino_image_read(context, path, &unread) != MEDDINO_OK && unread == NULL);
  meddino_report_release(report);
  meddino_image_release(made);
  meddino_image_release(read);
  meddino_image_release(image);
  meddino_model_release(opened);
  meddino_model_release(model);
  meddino_context_release(context);
  tiny_free(&c);
}

static void forks(void) {
  /* Everything used here, then in a child: old handles and new ones. */
  meddino_context *context = tiny_context(3);
  meddino_model *model = tiny_model(context, tiny_config, 7);
  tiny_case c = tiny_phantom(40, 37, 3), d = tiny_phantom(40, 37, 3);
  OK(tiny_segment(model, &c, NULL));
  for (int round = 0; round < 4; round++) {
    memset(d.labels, 0xee, d.count);
    const pid_t child = fork();
    if (child == 0) {
      alarm(150);
      const long before = checks_failed;
      OK(tiny_segment(model, &d, NULL));
      CHECK(memcmp(c.labels, d.labels, c.count) == 0);
      if (round & 1) use_everything(NULL, 1);
      meddino_model_release(model);
      meddino_context_release(context);
      if (round == 2) exit(checks_failed == before ? 0 : 9); /* with exit handlers and destructors */
      _exit(checks_failed == before ? 0 : 9);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(tiny_segment(model, &d, NULL)); /* the parent goes on */
    CHECK(memcmp(c.labels, d.labels, c.count) == 0);
  }
  meddino_model_release(model);
  meddino_context_release(context);
  tiny_free(&c), tiny_free(&d);
}

int main(int count, char **arguments) {
  folder = count > 1 ? arguments[1] : ".";
  /* stdout and stderr go to a file that must stay empty. */
  char path[600];
  snprintf(path, sizeof path, "%s/host_output.txt", folder);
  fflush(NULL);
  const int out = dup(1), err = dup(2), sink = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
  check_out = fdopen(err, "w");
  setvbuf(check_out, NULL, _IONBF, 0);
  dup2(sink, 1), dup2(sink, 2);

  static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "nl_NL.UTF-8", "es_ES.UTF-8"};
  const char *comma = NULL;
  for (int i = 0; i < 5 && comma == NULL; i++) comma = setlocale(LC_ALL, locales[i]);
  char locale_before[300];
  snprintf(locale_before, sizeof locale_before, "%s", setlocale(LC_ALL, NULL));

  signal(SIGUSR1, SIG_IGN);
  struct sigaction before[NSIG], after;
  memset(before, 0, sizeof before);
  for (int s = 1; s < NSIG; s++) (void)sigaction(s, NULL, &before[s]);
  sigset_t mask_before, mask_after;
  pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
  size_t variables = 0;
  for (char **at = environ; *at != NULL; at++) variables++;
  char **copies = malloc((variables + 1) * sizeof *copies);
  for (size_t i = 0; i < variables; i++) copies[i] = strdup(environ[i]);
  char directory_before[600], directory_after[600];
  CHECK(getcwd(directory_before, sizeof directory_before) != NULL);
  const mode_t umask_before = umask(022);
  umask(umask_before);
  const int rounding = fegetround();
  const int floating = fetestexcept(FE_ALL_EXCEPT);
  (void)floating;

  static uint8_t first[40 * 37 * 3], second[40 * 37 * 3];
  use_everything(first, 0);
  const int files = entries("/proc/self/fd"), threads = settled("/proc/self/task", 3); /* ".", "..", this one */
  CHECK(threads == 3);
  for (int i = 0; i < 5; i++) {
    use_everything(second, 0);
    CHECK(memcmp(first, second, sizeof first) == 0);
  }
  CHECK(entries("/proc/self/fd") == files);
  CHECK(settled("/proc/self/task", 3) == 3);
  CHECK(blocked_everywhere);
  CHECK(logged > 0 && logged == log_lines);
  forks();
  CHECK(entries("/proc/self/fd") == files);
  CHECK(settled("/proc/self/task", 3) == 3);

  for (int s = 1; s < NSIG; s++) {
    memset(&after, 0, sizeof after);
    (void)sigaction(s, NULL, &after);
    CHECK(before[s].sa_handler == after.sa_handler && before[s].sa_flags == after.sa_flags);
  }
  pthread_sigmask(SIG_BLOCK, NULL, &mask_after);
  for (int s = 1; s < NSIG; s++) CHECK(sigismember(&mask_before, s) == sigismember(&mask_after, s));
  size_t now = 0;
  for (char **at = environ; *at != NULL; at++, now++) CHECK(now < variables && strcmp(*at, copies[now]) == 0);
  CHECK(now == variables);
  CHECK(strcmp(setlocale(LC_ALL, NULL), locale_before) == 0);
  CHECK(getcwd(directory_after, sizeof directory_after) != NULL && strcmp(directory_before, directory_after) == 0);
  CHECK(umask(umask_before) == umask_before);
  CHECK(fegetround() == rounding);
  for (size_t i = 0; i < variables; i++) free(copies[i]);
  free(copies);

  fflush(NULL);
  struct stat written;
  CHECK(fstat(sink, &written) == 0 && written.st_size == 0);
  dup2(out, 1);
  dup2(err, 2);
  if (comma == NULL) printf("skipped: no locale with a decimal comma is installed\n");
  return check_end("test_host");
}
