/* A program that finds meddino by pkg-config or CMake: the library that runs must be the one of the header. */
#include <meddino.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  const uint32_t expected = MEDDINO_VERSION_MAJOR << 16 | MEDDINO_VERSION_MINOR << 8 | MEDDINO_VERSION_PATCH;
  meddino_context *context = NULL;
  meddino_model *model = NULL;
  char text[256];
  if (meddino_version() != expected) return fprintf(stderr, "version %x, expected %x\n", meddino_version(), expected), 1;
  if (meddino_context_create(NULL, &context)) return fprintf(stderr, "no context\n"), 1;
  if (meddino_model_open(context, "no-such-file", NULL, &model) != MEDDINO_E_IO) return fprintf(stderr, "a model of nothing\n"), 1;
  meddino_last_error(text, sizeof text);
  if (!strstr(text, "no-such-file")) return fprintf(stderr, "error: %s\n", text), 1;
  meddino_context_release(context);
  puts("C");
  return 0;
}
