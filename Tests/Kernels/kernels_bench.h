/* What the benchmark programs share: memory, numbers, the best of several calls. */
#ifndef KERNELS_BENCH_H
#define KERNELS_BENCH_H
#include "ckernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Time this thread had a processor: other work on the machine does not count. */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void *room(size_t count) {
  void *p = NULL;
  if (posix_memalign(&p, 64, count) != 0) exit(1);
  memset(p, 0, count);
  return p;
}
static float *noise(int64_t count) {
  static uint32_t state = 1;
  float *x = room((size_t)count * sizeof *x);
  for (int64_t i = 0; i < count; i++) x[i] = (float)((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1.0f;
  return x;
}

typedef void (*timed)(void *argument);
/* The best of several calls: the shared machine's pauses are not ours. */
static double best_time(timed call, void *argument) {
  double best = 1e9, begun = now();
  for (int i = 0; i < 3 || now() - begun < 0.4; i++) {
    const double start = now();
    call(argument);
    const double took = now() - start;
    if (took < best) best = took;
  }
  return best;
}
#endif
