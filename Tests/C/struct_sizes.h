/* What every struct that a caller passes in must keep to. */
#ifndef STRUCT_SIZES_H
#define STRUCT_SIZES_H
#include "check.h"

/* struct_size rules for an input struct. `storage` is a valid struct of `size` bytes; `call` uses it. */
typedef meddino_status (*use_fn)(const void *options);
static inline void struct_sizes(const char *name, const void *valid, size_t size, use_fn use) {
  unsigned char *grown = calloc(1, 2 * size + 70000);
  const size_t sizes[] = {8, 16, size / 2 / 8 * 8, size - 8, size, size + 8, size + 64};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    memset(grown, 0, 2 * size + 70000);
    memcpy(grown, valid, size);
    if (sizes[i] < size) memset(grown + sizes[i], 0xff, size - sizes[i]); /* beyond the caller's struct: must not be looked at */
    memcpy(grown, &sizes[i], sizeof sizes[i]);
    if (!OK(use(grown))) fprintf(stderr, "  (%s with struct_size %zu)\n", name, sizes[i]);
  }
  memset(grown, 0, 2 * size + 70000);
  memcpy(grown, valid, size);
  size_t longer = size + 16;
  memcpy(grown, &longer, sizeof longer);
  grown[size] = 1;
  FAILS(MEDDINO_E_UNSUPPORTED, use(grown));
  grown[size] = 0, grown[size + 15] = 1;
  FAILS(MEDDINO_E_UNSUPPORTED, use(grown));
  grown[size + 15] = 0, grown[size + 16] = 1; /* past the caller's struct */
  OK(use(grown));
  const size_t wrong[] = {0, 1, 7, 65537, (size_t)-1, (size_t)1 << 63};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    memcpy(grown, &wrong[i], sizeof wrong[i]);
    FAILS_NAMING(MEDDINO_E_INVALID, "struct_size", use(grown));
  }
  free(grown);
}
#endif
