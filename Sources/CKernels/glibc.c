/* Linked with --wrap=hypotf: Swift's Glibc overlay mentions hypotf, whose newest version is from glibc 2.35, and nothing here calls
 * it. With this the library loads on glibc 2.34. */
#ifdef CK_STATIC_OPENBLAS
#include <math.h>

float __wrap_hypotf(float x, float y);
float __wrap_hypotf(float x, float y) {
  if (isinf(x) || isinf(y)) return INFINITY;
  return (float)sqrt((double)x * x + (double)y * y);
}
#else
typedef int ck_glibc_unused;
#endif
