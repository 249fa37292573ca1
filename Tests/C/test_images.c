/* Reading and writing image files, good ones and bad ones. */
#include <sys/stat.h>
#include <unistd.h>
#include "tiny_model.h"

static const char *folder;
static const char *path_of(const char *name) {
  static char text[4][600];
  static int at;
  at = (at + 1) % 4;
  snprintf(text[at], sizeof text[at], "%s/%s", folder, name);
  return text[at];
}
static unsigned char *load(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return NULL;
  unsigned char *data = malloc(1 << 20);
  *size = fread(data, 1, 1 << 20, file);
  fclose(file);
  return data;
}
static void store(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(data, 1, size, file) != size) exit(2);
  fclose(file);
}

static void round_trips(meddino_context *context, const tiny_case *c) {
  static const char *const names[] = {"a.nii", "a.nii.gz"};
  for (int i = 0; i < 2; i++) {
    meddino_image *image = NULL, *back = NULL;
    meddino_volume in = c->in, seen;
    in.origin[0] = -12.5, in.origin[1] = 33.25, in.origin[2] = 1000;
    const double turn[9] = {0, -1, 0, 1, 0, 0, 0, 0, 1};
    memcpy(in.direction, turn, sizeof turn);
    NEED(meddino_image_create(context, &in, &image));
    OK(meddino_image_write(image, path_of(names[i])));
    OK(meddino_image_write(image, path_of(names[i]))); /* over itself */
    NEED(meddino_image_read(context, path_of(names[i]), &back));
    meddino_volume_init(&seen, sizeof seen);
    OK(meddino_image_view(back, &seen));
    CHECK(seen.dtype == MEDDINO_I16 && memcmp(seen.dims, in.dims, sizeof in.dims) == 0);
    for (int k = 0; k < 3; k++) CHECK(fabs(seen.origin[k] - in.origin[k]) < 1e-4 && fabs(seen.spacing[k] - in.spacing[k]) < 1e-6);
    for (int k = 0; k < 9; k++) CHECK(fabs(seen.direction[k] - turn[k]) < 1e-6);
    CHECK(seen.data_bytes == c->in.data_bytes && memcmp(seen.data, c->voxels, seen.data_bytes) == 0);
    /* The context may go first. */
    meddino_image_release(image);
    meddino_image_release(back);
  }
}

static void refused(meddino_context *context, const tiny_case *c) {
  meddino_image *image = NULL, *none = (void *)1;
  NEED(meddino_image_create(context, &c->in, &image));
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "", meddino_image_write(image, path_of("a.png")));
  FAILS(MEDDINO_E_UNSUPPORTED, meddino_image_write(image, path_of("noending")));
  FAILS(MEDDINO_E_IO, meddino_image_write(image, "/no/such/folder/a.nii.gz"));
  FAILS(MEDDINO_E_IO, meddino_image_write(image, "/proc/a.nii"));
  CHECK(access(path_of("a.png"), F_OK) != 0);
  FAILS_NAMING(MEDDINO_E_IO, "missing.nii.gz", meddino_image_read(context, path_of("missing.nii.gz"), &none));
  CHECK(none == NULL);
  CHECK(meddino_image_read(context, folder, &none) != MEDDINO_OK);
  CHECK(meddino_image_read(context, "", &none) != MEDDINO_OK);
  CHECK(meddino_image_read(context, "/dev/null", &none) != MEDDINO_OK);
  meddino_image_release(image);
}

/* Every truncation of a file is refused, or (cut behind the last voxel) read whole; nothing dies. */
static void truncated(meddino_context *context) {
  static const char *const names[] = {"a.nii", "a.nii.gz"};
  for (int i = 0; i < 2; i++) {
    size_t size = 0;
    unsigned char *data = load(path_of(names[i]), &size);
    CHECK(data != NULL && size > 352);
    const char *cut = path_of(i == 0 ? "cut.nii" : "cut.nii.gz");
    for (size_t length = 0; length < size; length += length < 400 ? 7 : size / 40) {
      meddino_image *image = (void *)1;
      store(cut, data, length);
      const meddino_status status = meddino_image_read(context, cut, &image);
      CHECK(status == MEDDINO_E_FORMAT && image == NULL);
      CHECK(strstr(last_error(), "cut.nii") != NULL);
    }
    /* Bytes turned over: some status, never a crash. */
    for (size_t at = 0; at < size && at < 352; at++) {
      meddino_image *image = NULL;
      data[at] ^= 0xff;
      store(cut, data, size);
      const meddino_status status = meddino_image_read(context, cut, &image);
      CHECK((status == MEDDINO_OK) == (image != NULL));
      meddino_image_release(image);
      data[at] ^= 0xff;
    }
    free(data);
  }
}

static void limited(const tiny_case *c) {
  meddino_context_options o;
  meddino_context *small = NULL;
  meddino_image *image = (void *)1;
  meddino_context_options_init(&o, sizeof o);
  o.threads = 1;
  o.max_bytes = c->in.data_bytes - 1;
  NEED(meddino_context_create(&o, &small));
  FAILS_NAMING(MEDDINO_E_NOMEM, "max_bytes", meddino_image_create(small, &c->in, &image));
  CHECK(image == NULL);
  FAILS(MEDDINO_E_NOMEM, meddino_image_read(small, path_of("a.nii"), &image));
  FAILS(MEDDINO_E_NOMEM, meddino_image_read(small, path_of("a.nii.gz"), &image));
  meddino_context_release(small);
}

int main(int count, char **arguments) {
  folder = count > 1 ? arguments[1] : ".";
  meddino_context *context = tiny_context(1);
  tiny_case c = tiny_phantom(20, 17, 4);
  round_trips(context, &c);
  refused(context, &c);
  truncated(context);
  limited(&c);
  meddino_image *image = NULL;
  NEED(meddino_image_create(context, &c.in, &image));
  meddino_context_release(context); /* parents first */
  OK(meddino_image_write(image, path_of("b.nii.gz")));
  meddino_image_release(image);
  tiny_free(&c);
  return check_end("test_images");
}
