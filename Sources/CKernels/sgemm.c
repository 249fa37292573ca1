/* f32 GEMM: OpenBLAS, one thread per call. Our pool splits the work; OpenBLAS's own threads would fight it. */
#include "ckernels.h"

#ifdef CK_NO_BLAS
/* For builds without a BLAS (cross compiled tests): a plain loop, right but slow. */
void ck_sgemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
              int64_t ldb, float beta, float *c, int64_t ldc) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      float sum = 0;
      for (int64_t p = 0; p < k; p++)
        sum += (trans_a ? a[p * lda + i] : a[i * lda + p]) * (trans_b ? b[j * ldb + p] : b[p * ldb + j]);
      c[i * ldc + j] = beta == 0 ? sum : sum + beta * c[i * ldc + j];
    }
}
#else
#include <cblas.h>

#ifdef CK_STATIC_OPENBLAS
/* Linked with --wrap=openblas_num_threads_env: the archive in libmeddino.so then starts no threads when it is
 * loaded. */
int __wrap_openblas_num_threads_env(void);
int __wrap_openblas_num_threads_env(void) { return 1; }
static void single_thread(void) {}
#else
#include <pthread.h>
static void set_single_thread(void) { openblas_set_num_threads(1); }
static void single_thread(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, set_single_thread);
}
#endif

void ck_sgemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
              int64_t ldb, float beta, float *c, int64_t ldc) {
  single_thread();
  cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
              (int)k, 1.0f, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}
#endif
