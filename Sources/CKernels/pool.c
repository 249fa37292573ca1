/* The thread pool: the caller takes part, workers sleep on a condition variable between regions.
 *
 * `busy` admits one region at a time; whoever finds it set (a nested region, a second host thread) runs alone on its
 * own thread, so no region ever waits for another. A region is open from its announcement until the caller has run
 * out of work: a worker that wakes too late does not join, and the caller waits only for the workers that did. */
#include "ckernels.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

typedef struct {
  ck_task task;
  void *argument;
  int64_t count;
  _Atomic int64_t next;
} region;

struct ck_pool {
  int threads, host_width;
  ck_parallel host;
  void *user;
  _Atomic pid_t owner; /* the process whose threads these are; REMAKING while a forked child starts over */
  atomic_flag busy;
  region now;
  pthread_mutex_t mutex; /* guards what follows */
  pthread_cond_t announced, left;
  uint64_t generation;
  int open, inside, stop, workers;
  pthread_t *ids;
};
enum { REMAKING = -1 };

static void alone(int64_t count, ck_task task, void *argument) {
  for (int64_t i = 0; i < count; i++) task(argument, i);
}

static void drain(region *r) {
  for (;;) {
    const int64_t i = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
    if (i >= r->count) return;
    r->task(r->argument, i);
  }
}

static void start_over(ck_pool *pool) {
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->announced, NULL);
  pthread_cond_init(&pool->left, NULL);
  atomic_flag_clear(&pool->busy);
  pool->generation = 0;
  pool->open = pool->inside = pool->stop = pool->workers = 0;
}

/* A forked child has none of the workers, and the locks may have been held at that moment: everything starts over. */
static void remake_after_fork(ck_pool *pool) {
  const pid_t self = getpid();
  pid_t owner = atomic_load_explicit(&pool->owner, memory_order_acquire);
  while (owner != self) {
    if (owner != REMAKING && atomic_compare_exchange_strong(&pool->owner, &owner, REMAKING)) {
      start_over(pool);
      atomic_store_explicit(&pool->owner, self, memory_order_release);
      return;
    }
    sched_yield();
    owner = atomic_load_explicit(&pool->owner, memory_order_acquire);
  }
}

#ifdef _OPENMP
/* An atomic counter instead of schedule(dynamic): the latter does not link with libomp 14. */
static void run_region(ck_pool *pool) {
  region *now = &pool->now;
#pragma omp parallel num_threads(pool->threads)
  drain(now);
}
#else
static void *worker(void *argument) {
  ck_pool *pool = argument;
  uint64_t seen = 0; /* regions count from 1: a worker made for a region joins it if it comes in time */
  pthread_mutex_lock(&pool->mutex);
  for (;;) {
    while (!pool->stop && (!pool->open || pool->generation == seen)) pthread_cond_wait(&pool->announced, &pool->mutex);
    if (pool->stop) break;
    seen = pool->generation;
    pool->inside++;
    pthread_mutex_unlock(&pool->mutex);
    drain(&pool->now);
    pthread_mutex_lock(&pool->mutex);
    if (--pool->inside == 0) pthread_cond_signal(&pool->left);
  }
  pthread_mutex_unlock(&pool->mutex);
  return NULL;
}

/* With every signal blocked: the host's handlers run on the host's threads. Fewer workers than wanted is not an
 * error. */
static void hire(ck_pool *pool, int wanted) {
  if (pool->workers >= wanted) return;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (pool->workers < wanted && pthread_create(&pool->ids[pool->workers], NULL, worker, pool) == 0) pool->workers++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void run_region(ck_pool *pool) {
  const int64_t helpers = pool->now.count - 1;
  pthread_mutex_lock(&pool->mutex);
  hire(pool, helpers < pool->threads - 1 ? (int)helpers : pool->threads - 1);
  pool->generation++;
  pool->open = 1;
  pthread_cond_broadcast(&pool->announced);
  pthread_mutex_unlock(&pool->mutex);
  drain(&pool->now);
  pthread_mutex_lock(&pool->mutex);
  pool->open = 0;
  while (pool->inside > 0) pthread_cond_wait(&pool->left, &pool->mutex);
  pthread_mutex_unlock(&pool->mutex);
}
#endif

ck_pool *ck_pool_create(int threads, ck_parallel host, void *user, int host_width) {
  if (threads < 1) threads = 1;
  ck_pool *pool = calloc(1, sizeof *pool);
  if (pool == NULL) return NULL;
  pool->ids = calloc((size_t)threads, sizeof *pool->ids);
  if (pool->ids == NULL) {
    free(pool);
    return NULL;
  }
  pool->threads = threads;
  pool->host = host;
  pool->user = user;
  pool->host_width = host_width < 1 ? 1 : host_width;
  start_over(pool);
  atomic_store(&pool->owner, getpid());
  return pool;
}

void ck_pool_destroy(ck_pool *pool) {
  if (pool == NULL) return;
  if (atomic_load(&pool->owner) == getpid()) {
    pthread_mutex_lock(&pool->mutex);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->announced);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->workers; i++) pthread_join(pool->ids[i], NULL);
    pthread_cond_destroy(&pool->announced);
    pthread_cond_destroy(&pool->left);
    pthread_mutex_destroy(&pool->mutex);
  }
  free(pool->ids);
  free(pool);
}

int ck_pool_width(const ck_pool *pool) { return pool->host != NULL ? pool->host_width : pool->threads; }

void ck_pool_run(ck_pool *pool, int64_t count, ck_task task, void *argument) {
  if (count <= 1 || ck_pool_width(pool) == 1) {
    alone(count, task, argument);
    return;
  }
  remake_after_fork(pool);
  if (atomic_flag_test_and_set_explicit(&pool->busy, memory_order_acquire)) {
    alone(count, task, argument);
    return;
  }
  if (pool->host != NULL) {
    pool->host(pool->user, count, task, argument);
  } else {
    pool->now.task = task;
    pool->now.argument = argument;
    pool->now.count = count;
    atomic_store_explicit(&pool->now.next, 0, memory_order_relaxed);
    run_region(pool);
  }
  atomic_flag_clear_explicit(&pool->busy, memory_order_release);
}
