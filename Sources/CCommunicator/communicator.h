/* What a library of collective operations gives to meddino: one function that fills a table.
   libmeddino_mpi.so (MPI/meddino_mpi.c) is the one that is built here; it is loaded only when a run has several processes. */
#ifndef MEDDINO_COMMUNICATOR_H
#define MEDDINO_COMMUNICATOR_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEDDINO_COMMUNICATOR_VERSION 1

/* Every function that gives an int32_t gives 0, or a status that `message` explains. All ranks call the same functions in the same order
   with the same counts, each from the one thread that opened the table. Results are in place, and the same bits on every rank. */
typedef struct meddino_communicator {
  int32_t version;
  int32_t rank, size;
  /* Of those that this rank may use, its share: each is divided by the ranks of this machine that may use it too. At least 1. */
  int32_t processors;
  /* "Open MPI v4.1.4": static. */
  const char *name;
  int32_t (*sum_f32)(float *values, int64_t count);
  int32_t (*sum_f64)(double *values, int64_t count);
  /* `all` has size * bytes: the ranks' bytes in the order of the ranks. */
  int32_t (*gather)(const void *own, void *all, int64_t bytes);
  int32_t (*broadcast)(void *values, int64_t bytes, int32_t root);
  int32_t (*barrier)(void);
  /* Ends communication; nothing may be called afterwards but `message`. */
  int32_t (*finish)(void);
  /* Ends all ranks; does not return. */
  void (*abort)(int32_t exit_code);
  /* Valid until the next call. */
  const char *(*message)(int32_t status);
} meddino_communicator;

/* The library's only symbol. `table->version` is what the caller was built with; 0, or a status with `table->message` set. */
typedef int32_t (*meddino_communicator_open_function)(meddino_communicator *table);
#define MEDDINO_COMMUNICATOR_OPEN "meddino_communicator_open"

#ifdef __cplusplus
}
#endif
#endif
