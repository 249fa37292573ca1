/* The pool: every index once, nesting, two host threads, fork, a host's own parallel-for; and the error text. */
#include "kernels_test.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
  ck_pool *pool;
  atomic_int *counts;
  int64_t inner;
} work;

static void count_task(void *argument, int64_t i) { atomic_fetch_add(&((work *)argument)->counts[i], 1); }
static void nested_task(void *argument, int64_t i) {
  work *w = argument;
  work inner = {w->pool, w->counts + i * w->inner, 0};
  ck_pool_run(w->pool, w->inner, count_task, &inner);
}
static int all_ones(const atomic_int *counts, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (counts[i] != 1) return 0;
  return 1;
}

static int region_is_complete(ck_pool *pool, int64_t n) {
  atomic_int *counts = calloc((size_t)n + 1, sizeof *counts);
  work w = {pool, counts, 0};
  ck_pool_run(pool, n, count_task, &w);
  const int good = all_ones(counts, n) && counts[n] == 0;
  free(counts);
  return good;
}

static void counting(void) {
  for (int threads = 1; threads <= 9; threads += 2) {
    ck_pool *pool = ck_pool_create(threads, NULL, NULL, 0);
    check(pool != NULL && ck_pool_width(pool) == threads, "width %d", threads);
    int good = 1;
    for (int64_t n = 0; n < 40; n++) good &= region_is_complete(pool, n);
    for (int i = 0; i < 300; i++) good &= region_is_complete(pool, 7);
    good &= region_is_complete(pool, 20000);
    check(good, "every index exactly once, %d threads", threads);
    ck_pool_destroy(pool);
  }
  ck_pool *unused = ck_pool_create(4, NULL, NULL, 0);
  ck_pool_destroy(unused);
  ck_pool_destroy(NULL);
  ck_pool *clamped = ck_pool_create(-3, NULL, NULL, 0);
  check(ck_pool_width(clamped) == 1 && region_is_complete(clamped, 9), "fewer than one thread means the caller alone");
  ck_pool_destroy(clamped);
}

static void nesting(void) {
  enum { OUTER = 33, INNER = 17 };
  ck_pool *pool = ck_pool_create(4, NULL, NULL, 0);
  atomic_int counts[OUTER * INNER] = {0};
  work w = {pool, counts, INNER};
  ck_pool_run(pool, OUTER, nested_task, &w);
  check(all_ones(counts, OUTER * INNER), "nested regions run every index once");
  ck_pool_destroy(pool);
}

static void *host_thread(void *argument) {
  ck_pool *pool = argument;
  intptr_t good = 1;
  for (int i = 0; i < 400; i++) good &= region_is_complete(pool, 1 + i % 60);
  return (void *)good;
}
static void two_hosts(void) {
  ck_pool *pool = ck_pool_create(3, NULL, NULL, 0);
  pthread_t other;
  void *theirs = NULL;
  pthread_create(&other, NULL, host_thread, pool);
  void *ours = host_thread(pool);
  pthread_join(other, &theirs);
  check(ours != NULL && theirs != NULL, "two host threads on one pool");
  ck_pool_destroy(pool);
}

/* Do several threads take part? Two tasks that wait for each other (at most 5 s) can only meet on two threads. */
typedef struct {
  pthread_t caller;
  atomic_int here, missed, finished;
} meeting;
static void meet(void *argument, int64_t i) {
  (void)i;
  meeting *m = argument;
  atomic_fetch_add(&m->here, 1);
  for (int waits = 0; m->here < 2 && waits < 5000; waits++) usleep(1000);
  if (m->here < 2) atomic_store(&m->missed, 1);
  if (!pthread_equal(pthread_self(), m->caller)) usleep(30000); /* long after the caller ran out of work */
  atomic_fetch_add(&m->finished, 1);
}
static int threads_meet(ck_pool *pool) {
  meeting m = {.caller = pthread_self()};
  ck_pool_run(pool, 2, meet, &m);
  return !m.missed && m.finished == 2;
}
static void in_parallel(void) {
  ck_pool *pool = ck_pool_create(2, NULL, NULL, 0);
  check(threads_meet(pool), "two tasks run at the same time, and the region ends after the slower one");
  ck_pool_destroy(pool);
}

/* qemu's user mode aborts when a forked child starts threads: MEDDINO_TEST_NO_FORK=1 leaves this out there. */
static void forking(void) {
  if (getenv("MEDDINO_TEST_NO_FORK") != NULL) {
    printf("skipped: fork\n");
    return;
  }
  ck_pool *pool = ck_pool_create(3, NULL, NULL, 0);
  check(region_is_complete(pool, 50), "before the fork");
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60); /* a pool that waits for the parent's threads would hang */
    int good = 1;
    for (int i = 0; i < 50; i++) good &= region_is_complete(pool, 50);
    good &= threads_meet(pool);
    ck_pool_destroy(pool);
    _exit(good ? 0 : 1);
  }
  const pid_t idle = fork();
  if (idle == 0) {
    alarm(60);
    ck_pool_destroy(pool); /* never used in this child: nothing to join */
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the pool works in a forked child (status %x)",
        (unsigned)status);
  waitpid(idle, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "destroy in a forked child (status %x)", (unsigned)status);
  check(region_is_complete(pool, 50), "and in the parent after it");
  ck_pool_destroy(pool);
}

static int host_calls;
static void host_parallel(void *user, int64_t count, ck_task task, void *argument) {
  host_calls += *(int *)user;
  for (int64_t i = count - 1; i >= 0; i--) task(argument, i);
}
static void hosted(void) {
  int one = 1;
  ck_pool *pool = ck_pool_create(2, host_parallel, &one, 6);
  check(ck_pool_width(pool) == 6, "the host's width is the pool's");
  check(region_is_complete(pool, 25) && host_calls == 1, "a region goes to the host");
  enum { OUTER = 5, INNER = 4 };
  atomic_int counts[OUTER * INNER] = {0};
  work w = {pool, counts, INNER};
  ck_pool_run(pool, OUTER, nested_task, &w);
  check(all_ones(counts, OUTER * INNER) && host_calls == 2, "a nested region does not go to the host again");
  ck_pool_destroy(pool);
}

/* A signal sent to the process must be handled on the host's thread: workers block all signals. */
static void read_mask(void *argument, int64_t i) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  const pthread_t caller = *(pthread_t *)((int *)argument + 2);
  ((int *)argument)[i] = pthread_equal(pthread_self(), caller) ? -1 : sigismember(&mask, SIGUSR1);
  usleep(20000);
}
static void signals(void) {
#ifndef _OPENMP
  ck_pool *pool = ck_pool_create(2, NULL, NULL, 0);
  struct { int seen[2]; pthread_t caller; } s = {{-2, -2}, pthread_self()};
  ck_pool_run(pool, 2, read_mask, &s);
  check((s.seen[0] == -1 || s.seen[0] == 1) && (s.seen[1] == -1 || s.seen[1] == 1), "workers block signals: %d %d",
        s.seen[0], s.seen[1]);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  check(sigismember(&mask, SIGUSR1) == 0, "and the caller's mask is as it was");
  ck_pool_destroy(pool);
#else
  (void)read_mask;
#endif
}

void test_pool(void) {
  counting();
  nesting();
  two_hosts();
  in_parallel();
  forking();
  hosted();
  signals();
}

static void *other_thread(void *unused) {
  (void)unused;
  return (void *)(intptr_t)(ck_last_error()[0] == '\0');
}
void test_error_text(void) {
  ck_set_last_error("bad spacing");
  check(strcmp(ck_last_error(), "bad spacing") == 0, "the text comes back");
  pthread_t thread;
  void *empty = NULL;
  pthread_create(&thread, NULL, other_thread, NULL);
  pthread_join(thread, &empty);
  check(empty != NULL, "another thread has its own");
  for (size_t offset = 0; offset < 3; offset++) { /* a three-byte character across the limit, in each position */
    char longer[2000];
    memset(longer, 'a', sizeof longer);
    for (size_t i = offset; i + 3 < sizeof longer - 1; i += 3) memcpy(longer + i, "\xe2\x82\xac", 3);
    longer[sizeof longer - 4 + offset] = '\0';
    ck_set_last_error(longer);
    const size_t length = strlen(ck_last_error());
    check(length <= 1023 && length > 1020 && (length - offset) % 3 == 0 && memcmp(longer, ck_last_error(), length) == 0,
          "cut at a character: %zu bytes", length);
  }
  ck_set_last_error(ck_last_error());
  check(strlen(ck_last_error()) > 1020, "its own text is a fine argument");
  ck_set_last_error(NULL);
  check(ck_last_error()[0] == '\0', "NULL clears");
}
