/* ceiling THREADS: the multiply-adds that this processor can do, in GFLOP/s, an addition and a multiplication being two: nothing but
 * independent fused operations on registers. Prints one JSON object; "bf16" is null where the processor has no dot product of bf16.
 * gcc -O2 -march=native ceiling.c -o ceiling -lpthread */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
typedef float vector __attribute__((vector_size(BYTES)));
enum { CHAINS = 12, STEPS = 20000000, ROUNDS = 5 }; /* more chains than the latency of a multiply-add times the units that do them */
static volatile float sink;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *single(void *unused) {
  vector sums[CHAINS], factor, more;
  for (int lane = 0; lane < BYTES / 4; lane++) factor[lane] = 0.999f, more[lane] = 1e-3f;
  for (int i = 0; i < CHAINS; i++) sums[i] = more * (float)i;
  for (long step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * factor + more;
  }
  for (int i = 0; i < CHAINS; i++) sink = sums[i][0];
  return unused;
}

#ifdef __AVX512BF16__
static void *brain(void *unused) {
  __m512 sums[CHAINS];
  const __m512bh factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
  for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_set1_ps((float)i);
  for (long step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_dpbf16_ps(sums[i], factor, factor);
  }
  for (int i = 0; i < CHAINS; i++) sink = _mm512_reduce_add_ps(sums[i]);
  return unused;
}
#endif

/* The best of several rounds on all threads at once. */
static double rate(void *(*work)(void *), int threads, double operations) {
  double best = 0;
  pthread_t *others = malloc(sizeof *others * (size_t)threads);
  if (others == NULL) exit(1);
  for (int round = 0; round < ROUNDS; round++) {
    const double start = now();
    for (int i = 1; i < threads; i++)
      if (pthread_create(&others[i], NULL, work, NULL) != 0) exit(1);
    work(NULL);
    for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
    const double found = (double)threads * STEPS * CHAINS * operations / (now() - start) / 1e9;
    if (found > best) best = found;
  }
  free(others);
  return best;
}

int main(int count, char **arguments) {
  const int threads = count > 1 ? atoi(arguments[1]) : 1;
  if (threads < 1) return 64;
  printf("{\"threads\": %d, \"f32\": %.1f, ", threads, rate(single, threads, 2 * BYTES / 4));
#ifdef __AVX512BF16__
  printf("\"bf16\": %.1f}\n", rate(brain, threads, 4 * BYTES / 4));
#else
  printf("\"bf16\": null}\n");
#endif
  return 0;
}
