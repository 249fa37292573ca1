/* Collective operations by MPI, for runs of several processes: libmeddino_mpi.so, built by `make mpi`.
   Source: MPI standard 3.1, chapters 5 (collective communication) and 8 (environment). */
#define _GNU_SOURCE
#include "communicator.h"
#include <mpi.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { WRONG_VERSION = -1, ALREADY_ENDED = -2 };

static MPI_Comm ranks = MPI_COMM_NULL;
static char text[MPI_MAX_ERROR_STRING + 1];
static char name[MPI_MAX_LIBRARY_VERSION_STRING + 1];
static int started_here;

/* Counts of MPI are int; and pieces of this size keep the library's buffers small. */
static const int64_t piece = (int64_t)1 << 26;

static const char *message(int32_t status) {
  if (status == WRONG_VERSION) return "libmeddino_mpi.so is of another version than meddino";
  if (status == ALREADY_ENDED) return "MPI was ended before in this process";
  int length = 0;
  if (MPI_Error_string(status, text, &length) != MPI_SUCCESS) return "unknown error of MPI";
  text[length] = 0;
  return text;
}

static int32_t sum(char *values, int64_t count, int64_t width, MPI_Datatype type) {
  for (int64_t at = 0; at < count; at += piece) {
    int part = (int)(count - at < piece ? count - at : piece);
    int status = MPI_Allreduce(MPI_IN_PLACE, values + at * width, part, type, MPI_SUM, ranks);
    if (status != MPI_SUCCESS) return status;
  }
  return 0;
}
static int32_t sum_f32(float *values, int64_t count) { return sum((char *)values, count, sizeof *values, MPI_FLOAT); }
static int32_t sum_f64(double *values, int64_t count) { return sum((char *)values, count, sizeof *values, MPI_DOUBLE); }

static int32_t gather(const void *own, void *all, int64_t bytes) {
  if (bytes <= piece) return MPI_Allgather(own, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, ranks);
  int size = 0, rank = 0;
  MPI_Comm_size(ranks, &size);
  MPI_Comm_rank(ranks, &rank);
  memcpy((char *)all + (int64_t)rank * bytes, own, (size_t)bytes);
  for (int root = 0; root < size; root++) {
    for (int64_t at = 0; at < bytes; at += piece) {
      int part = (int)(bytes - at < piece ? bytes - at : piece);
      int status = MPI_Bcast((char *)all + (int64_t)root * bytes + at, part, MPI_BYTE, root, ranks);
      if (status != MPI_SUCCESS) return status;
    }
  }
  return 0;
}

static int32_t broadcast(void *values, int64_t bytes, int32_t root) {
  for (int64_t at = 0; at < bytes; at += piece) {
    int part = (int)(bytes - at < piece ? bytes - at : piece);
    int status = MPI_Bcast((char *)values + at, part, MPI_BYTE, root, ranks);
    if (status != MPI_SUCCESS) return status;
  }
  return 0;
}

static int32_t barrier(void) { return MPI_Barrier(ranks); }

static int32_t finish(void) {
  if (ranks != MPI_COMM_NULL) MPI_Comm_free(&ranks);
  return started_here ? MPI_Finalize() : 0;
}

static void end(int32_t exit_code) { MPI_Abort(MPI_COMM_WORLD, exit_code); }

static int32_t processor_share(void) {
  MPI_Comm machine;
  if (MPI_Comm_split_type(ranks, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine) != MPI_SUCCESS) return 1;
  int size = 1;
  MPI_Comm_size(machine, &size);
  cpu_set_t own, *all = malloc((size_t)size * sizeof *all);
  CPU_ZERO(&own);
  sched_getaffinity(0, sizeof own, &own);
  double share = 0;
  /* Without memory on one rank the others would wait for it: then none of them counts. */
  int has = all != NULL, have = 0;
  if (MPI_Allreduce(&has, &have, 1, MPI_INT, MPI_MIN, machine) == MPI_SUCCESS && have
      && MPI_Allgather(&own, sizeof own, MPI_BYTE, all, sizeof own, MPI_BYTE, machine) == MPI_SUCCESS) {
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
      if (!CPU_ISSET(processor, &own)) continue;
      int users = 0;
      for (int rank = 0; rank < size; rank++) users += CPU_ISSET(processor, &all[rank]) ? 1 : 0;
      share += 1.0 / users;
    }
  }
  free(all);
  MPI_Comm_free(&machine);
  return share < 1 ? 1 : (int32_t)(share + 1e-9);
}

__attribute__((visibility("default"))) int32_t meddino_communicator_open(meddino_communicator *table) {
  table->message = message;
  if (table->version != MEDDINO_COMMUNICATOR_VERSION) return WRONG_VERSION;
  int is_started = 0, is_ended = 0, provided = 0, status;
  MPI_Initialized(&is_started);
  MPI_Finalized(&is_ended);
  if (is_ended) return ALREADY_ENDED;
  if (!is_started) {
    status = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    if (status != MPI_SUCCESS) return status;
    started_here = 1;
  }
  status = MPI_Comm_dup(MPI_COMM_WORLD, &ranks);
  if (status != MPI_SUCCESS) return status;
  /* A failure is the caller's to report, not a reason to die inside MPI. */
  MPI_Comm_set_errhandler(ranks, MPI_ERRORS_RETURN);
  int rank = 0, size = 1, length = 0;
  MPI_Comm_rank(ranks, &rank);
  MPI_Comm_size(ranks, &size);
  MPI_Get_library_version(name, &length);
  name[strcspn(name, ",\n")] = 0;
  table->rank = rank;
  table->size = size;
  table->processors = processor_share();
  table->name = name;
  table->sum_f32 = sum_f32;
  table->sum_f64 = sum_f64;
  table->gather = gather;
  table->broadcast = broadcast;
  table->barrier = barrier;
  table->finish = finish;
  table->abort = end;
  return 0;
}
