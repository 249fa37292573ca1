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
  static const char *const names[] = {"a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
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

/* tiny_config with another reader in its plan. */
static meddino_model *reading(meddino_context *context, const char *reader) {
  char *text = malloc(sizeof tiny_config + 100);
  const char *at = strstr(tiny_config, "SimpleITKIO");
  sprintf(text, "%.*s%s%s", (int)(at - tiny_config), tiny_config, reader, at + strlen("SimpleITKIO"));
  meddino_model *model = tiny_model(context, text, 7);
  free(text);
  return model;
}
/* A file whose x runs to the front, y to the feet and z to the left: NibabelIOWithReorient turns it, its labels come back turned. */
static void model_readers(meddino_context *context, const tiny_case *c) {
  meddino_volume in = c->in, seen, straight;
  const double axes[9] = {0, 0, 1, -1, 0, 0, 0, -1, 0}; /* columns are the directions of x, y, z in LPS */
  memcpy(in.direction, axes, sizeof axes);
  in.spacing[0] = 1.5, in.spacing[1] = 1.25, in.spacing[2] = 2;
  meddino_image *image = NULL, *read = NULL, *turned = NULL, *labels = NULL, *back = NULL, *expected = NULL;
  NEED(meddino_image_create(context, &in, &image));
  OK(meddino_image_write(image, path_of("odd.nii.gz")));
  meddino_model *itk = reading(context, "SimpleITKIO"), *nibabel = reading(context, "NibabelIO");
  meddino_model *reorient = reading(context, "NibabelIOWithReorient"), *bone = tiny_model(context, tiny_backbone, 7);
  meddino_model *natural = reading(context, "NaturalImage2DIO");
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "NaturalImage2DIO", meddino_image_read_for(natural, path_of("odd.nii.gz"), NULL, &read));
  CHECK(read == NULL);
  meddino_volume_init(&seen, sizeof seen);
  meddino_model *const plain[3] = {itk, nibabel, bone};
  for (int i = 0; i < 3; i++) {
    NEED(meddino_image_read_for(plain[i], path_of("odd.nii.gz"), NULL, &read));
    OK(meddino_image_view(read, &seen));
    CHECK(memcmp(seen.dims, in.dims, sizeof in.dims) == 0 && memcmp(seen.data, c->voxels, c->in.data_bytes) == 0);
    meddino_image_release(read);
  }
  /* Turned: x = R is the file's -z, y = A its x, z = S its -y. */
  NEED(meddino_image_read_for(reorient, path_of("odd.nii.gz"), NULL, &turned));
  OK(meddino_image_view(turned, &seen));
  OK(meddino_volume_check(&seen));
  CHECK(seen.dims[0] == in.dims[2] && seen.dims[1] == in.dims[0] && seen.dims[2] == in.dims[1]);
  CHECK(seen.spacing[0] == 2 && seen.spacing[1] == 1.5 && seen.spacing[2] == 1.25);
  CHECK(fabs(seen.direction[0] + 1) < 1e-6 && fabs(seen.direction[4] + 1) < 1e-6 && fabs(seen.direction[8] - 1) < 1e-6);
  long wrong = 0;
  int16_t *copy = malloc(c->in.data_bytes), *to = copy;
  for (int64_t z = 0; z < seen.dims[2]; z++)
    for (int64_t y = 0; y < seen.dims[1]; y++)
      for (int64_t x = 0; x < seen.dims[0]; x++, to++) {
        memcpy(to, (const char *)seen.data + x * seen.strides[0] + y * seen.strides[1] + z * seen.strides[2], sizeof *to);
        wrong += *to != c->voxels[y + in.dims[0] * ((in.dims[1] - 1 - z) + in.dims[1] * (in.dims[2] - 1 - x))];
      }
  CHECK(wrong == 0);
  OK(meddino_image_write(turned, path_of("turned.nii.gz"))); /* as it was read */
  NEED(meddino_image_read(context, path_of("turned.nii.gz"), &read));
  OK(meddino_image_view(read, &seen));
  CHECK(memcmp(seen.dims, in.dims, sizeof in.dims) == 0 && memcmp(seen.data, c->voxels, c->in.data_bytes) == 0);
  for (int k = 0; k < 9; k++) CHECK(fabs(seen.direction[k] - axes[k]) < 1e-6);
  meddino_image_release(read);
  /* The labels: those of the turned voxels as a volume of their own, in a file on the axes of the input. */
  meddino_volume_init(&straight, sizeof straight);
  OK(meddino_image_view(turned, &straight));
  straight.data = copy, straight.data_bytes = c->in.data_bytes;
  memset(straight.strides, 0, sizeof straight.strides);
  NEED(meddino_image_create(context, &straight, &read));
  NEED(meddino_segment_image(reorient, read, NULL, &expected, NULL));
  NEED(meddino_segment_image(reorient, turned, NULL, &labels, NULL));
  meddino_volume a = seen, b = seen;
  OK(meddino_image_view(expected, &a));
  OK(meddino_image_view(labels, &b));
  CHECK(a.data_bytes == c->count && b.data_bytes == c->count && memcmp(a.data, b.data, c->count) == 0);
  CHECK(tiny_variety(a.data, c->count) >= 2);
  OK(meddino_image_write(labels, path_of("odd_labels.nii.gz")));
  NEED(meddino_image_read(context, path_of("odd_labels.nii.gz"), &back));
  OK(meddino_image_view(back, &b));
  CHECK(memcmp(b.dims, in.dims, sizeof in.dims) == 0);
  wrong = 0;
  const uint8_t *from = a.data;
  for (int64_t z = 0; z < a.dims[2]; z++)
    for (int64_t y = 0; y < a.dims[1]; y++)
      for (int64_t x = 0; x < a.dims[0]; x++, from++)
        wrong += *from != ((const uint8_t *)b.data)[y + in.dims[0] * ((in.dims[1] - 1 - z) + in.dims[1] * (in.dims[2] - 1 - x))];
  CHECK(wrong == 0);
  for (int k = 0; k < 9; k++) CHECK(fabs(b.direction[k] - axes[k]) < 1e-6);
  OK(meddino_model_save(reorient, path_of("reorient.safetensors"))); /* for the examples */
  free(copy);
  meddino_image_release(read), meddino_image_release(back), meddino_image_release(labels), meddino_image_release(expected);
  meddino_image_release(turned), meddino_image_release(image);
  /* Where the readers give other values: a slope of 0 leaves an intercept that only ITK adds. */
  size_t size = 0;
  unsigned char *data = load(path_of("a.nii"), &size);
  const float scaling[2] = {0, 100};
  memcpy(data + 112, scaling, sizeof scaling);
  store(path_of("scaled.nii"), data, size);
  free(data);
  for (int i = 0; i < 2; i++) {
    NEED(meddino_image_read_for(plain[i], path_of("scaled.nii"), NULL, &read));
    OK(meddino_image_view(read, &seen));
    if (i == 0) CHECK(seen.dtype == MEDDINO_F32 && *(const float *)seen.data == (float)c->voxels[0] + 100);
    else CHECK(seen.dtype == MEDDINO_I16 && *(const int16_t *)seen.data == c->voxels[0]);
    meddino_image_release(read);
  }
  meddino_model_release(itk), meddino_model_release(nibabel), meddino_model_release(reorient), meddino_model_release(bone);
  meddino_model_release(natural);
}

/* A two-dimensional file gives a two-dimensional label map. */
static void planes(meddino_context *context) {
  tiny_case c = tiny_phantom(20, 17, 1);
  meddino_image *image = NULL, *labels = NULL;
  NEED(meddino_image_create(context, &c.in, &image));
  OK(meddino_image_write(image, path_of("plane.nii")));
  meddino_image_release(image);
  size_t size = 0;
  unsigned char *data = load(path_of("plane.nii"), &size);
  data[40] = 2; /* dim[0] */
  store(path_of("plane.nii"), data, size);
  free(data);
  meddino_model *model = tiny_model(context, tiny_config, 7);
  NEED(meddino_image_read_for(model, path_of("plane.nii"), NULL, &image));
  NEED(meddino_segment_image(model, image, NULL, &labels, NULL));
  OK(meddino_image_write(labels, path_of("plane_labels.nii")));
  data = load(path_of("plane_labels.nii"), &size);
  CHECK(size == 352 + 20 * 17 && data[40] == 2 && data[42] == 20 && data[44] == 17);
  free(data);
  meddino_image_release(image), meddino_image_release(labels);
  meddino_model_release(model);
  tiny_free(&c);
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
  meddino_volume vast = c->in; /* more voxels than bytes can be counted, by strides of 0 */
  vast.dims[0] = vast.dims[1] = INT32_MAX, vast.dims[2] = 2;
  vast.strides[0] = vast.strides[1] = 0, vast.strides[2] = 2;
  FAILS(MEDDINO_E_NOMEM, meddino_image_create(small, &vast, &image));
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
  model_readers(context, &c);
  planes(context);
  meddino_image *image = NULL;
  NEED(meddino_image_create(context, &c.in, &image));
  meddino_context_release(context); /* parents first */
  OK(meddino_image_write(image, path_of("b.nii.gz")));
  meddino_image_release(image);
  tiny_free(&c);
  return check_end("test_images");
}
