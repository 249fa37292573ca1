#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ckprocessors.h"
#include <sched.h>
#include <unistd.h>

int ck_usable_processors(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}
