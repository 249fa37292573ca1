/* The smallest test harness that serves: every check counts, a failed one says where and what. */
#ifndef CHECK_H
#define CHECK_H
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "meddino.h"

static long checks_passed, checks_failed;
static FILE *check_out; /* where failures go; NULL: stderr */

static inline int check_result(int holds, const char *file, int line, const char *text) {
  if (holds) {
    checks_passed++;
    return 1;
  }
  checks_failed++;
  fprintf(check_out != NULL ? check_out : stderr, "%s:%d: failed: %s\n", file, line, text);
  return 0;
}
static inline const char *last_error(void) {
  static char text[4][512];
  static int at;
  at = (at + 1) % 4;
  (void)meddino_last_error(text[at], sizeof text[at]);
  return text[at];
}
static inline int check_status(meddino_status got, meddino_status expected, const char *word, const char *file, int line, const char *call) {
  char message[1024];
  const char *error = last_error();
  const int cleared = got != MEDDINO_OK || error[0] == 0;
  const int said = got == MEDDINO_OK || (error[0] != 0 && strchr(error, '\n') == NULL);
  const int named = word == NULL || strstr(error, word) != NULL;
  snprintf(message, sizeof message, "%.300s gave %s, expected %s%s%s; error: \"%.400s\"", call, meddino_status_name(got), meddino_status_name(expected),
           word != NULL ? " naming " : "", word != NULL ? word : "", error);
  return check_result(got == expected && cleared && said && named, file, line, message);
}
#define CHECK(condition) check_result((condition) != 0, __FILE__, __LINE__, #condition)
/* The call succeeds and clears this thread's error. */
#define OK(call) check_status((call), MEDDINO_OK, NULL, __FILE__, __LINE__, #call)
/* The call fails with this status and one line of explanation. */
#define FAILS(expected, call) check_status((call), (expected), NULL, __FILE__, __LINE__, #call)
/* The same, and the explanation holds `word`. */
#define FAILS_NAMING(expected, word, call) check_status((call), (expected), (word), __FILE__, __LINE__, #call)
/* For steps without which nothing else makes sense. */
#define NEED(call)                                                                     \
  do {                                                                                 \
    if (!OK(call)) { printf("0 passed, 1 failed (cannot go on)\n"); exit(1); }         \
  } while (0)

static inline int check_end(const char *name) {
  printf("%s: %ld passed, %ld failed\n", name, checks_passed, checks_failed);
  return checks_failed == 0 ? 0 : 1;
}
#endif
