/* meddino_volume_check and what images make of strided views. */
#include <limits.h>
#include "tiny_model.h"

static const struct { int32_t code; size_t size; } types[] = {
  {MEDDINO_U8, 1}, {MEDDINO_I8, 1}, {MEDDINO_I16, 2}, {MEDDINO_U16, 2}, {MEDDINO_F16, 2}, {MEDDINO_BF16, 2},
  {MEDDINO_I32, 4}, {MEDDINO_U32, 4}, {MEDDINO_F32, 4}, {MEDDINO_F64, 8}, {MEDDINO_I64, 8}, {MEDDINO_U64, 8},
};
static unsigned char bytes[1 << 16];

static meddino_volume view(int32_t dtype, size_t size, int64_t x, int64_t y, int64_t z) {
  meddino_volume v;
  meddino_volume_init(&v, sizeof v);
  v.dtype = dtype;
  v.dims[0] = x, v.dims[1] = y, v.dims[2] = z;
  v.data = bytes;
  v.data_bytes = size * (size_t)(x * y * z);
  return v;
}

static void extents(void) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    const int64_t size = (int64_t)types[i].size;
    meddino_volume v = view(types[i].code, types[i].size, 5, 4, 3);
    OK(meddino_volume_check(&v));
    v.data_bytes--;
    FAILS_NAMING(MEDDINO_E_INVALID, "data_bytes", meddino_volume_check(&v));
    v.channels = 3;
    v.data_bytes = types[i].size * 5 * 4 * 3 * 3;
    OK(meddino_volume_check(&v));
    v.data_bytes--;
    FAILS_NAMING(MEDDINO_E_INVALID, "data_bytes", meddino_volume_check(&v));
    v.channels = 1;
    /* rows padded */
    v.strides[0] = size, v.strides[1] = 7 * size, v.strides[2] = 40 * size;
    v.data_bytes = (size_t)(size * (4 + 3 * 7 + 2 * 40 + 1));
    OK(meddino_volume_check(&v));
    v.data_bytes--;
    FAILS_NAMING(MEDDINO_E_INVALID, "data_bytes", meddino_volume_check(&v));
    /* every axis backwards */
    v.strides[0] = -size, v.strides[1] = -5 * size, v.strides[2] = -20 * size;
    v.data = bytes + size * 59;
    v.data_bytes = types[i].size * 60;
    OK(meddino_volume_check(&v));
    v.data_bytes--;
    FAILS_NAMING(MEDDINO_E_INVALID, "data_bytes", meddino_volume_check(&v));
    /* interleaved channels */
    v = view(types[i].code, types[i].size, 5, 4, 3);
    v.channels = 2;
    v.strides[0] = 2 * size, v.strides[1] = 10 * size, v.strides[2] = 40 * size;
    v.channel_stride = size;
    v.data_bytes = types[i].size * 120;
    OK(meddino_volume_check(&v));
    v.data_bytes--;
    FAILS(MEDDINO_E_INVALID, meddino_volume_check(&v));
    /* one stride 0: the same voxel again and again is a legal input */
    v = view(types[i].code, types[i].size, 5, 1, 1);
    v.strides[1] = size;
    v.data_bytes = types[i].size;
    OK(meddino_volume_check(&v));
  }
}

static void fields(void) {
  meddino_volume v;
#define RESET v = view(MEDDINO_F32, 4, 5, 4, 3)
#define BAD(field, value, word)                                         \
  RESET;                                                                \
  v.field = (value);                                                    \
  FAILS_NAMING(MEDDINO_E_INVALID, word, meddino_volume_check(&v));
  static const double lengths[] = {0, -1, NAN, INFINITY, -INFINITY, -0.0};
  for (int axis = 0; axis < 3; axis++) {
    for (int i = 0; i < 6; i++) { BAD(spacing[axis], lengths[i], "spacing") }
    BAD(origin[axis], NAN, "origin")
    BAD(origin[axis], INFINITY, "origin")
    BAD(dims[axis], 0, "dims")
    BAD(dims[axis], -1, "dims")
    BAD(dims[axis], INT64_MAX, "dims")
    BAD(dims[axis], INT64_MIN, "dims")
    BAD(dims[axis], (int64_t)1 << 31, "dims")
    BAD(dims[axis], INT32_MAX, "data_bytes")
    BAD(strides[axis], INT64_MAX, "stride")
    BAD(strides[axis], INT64_MIN, "stride")
  }
  for (int i = 0; i < 9; i++) {
    BAD(direction[i], NAN, "direction")
    BAD(direction[i], INFINITY, "direction")
  }
  BAD(direction[0], 0, "direction")
  RESET;
  memset(v.direction, 0, sizeof v.direction);
  FAILS_NAMING(MEDDINO_E_INVALID, "direction", meddino_volume_check(&v));
  RESET;
  v.direction[0] = v.direction[1] = v.direction[3] = v.direction[4] = 1; /* two axes alike */
  FAILS_NAMING(MEDDINO_E_INVALID, "direction", meddino_volume_check(&v));
  RESET;
  for (int i = 0; i < 9; i++) v.direction[i] = 1e308;
  FAILS_NAMING(MEDDINO_E_INVALID, "direction", meddino_volume_check(&v));
  RESET;
  for (int i = 0; i < 9; i++) v.direction[i] = 5e-324;
  FAILS_NAMING(MEDDINO_E_INVALID, "direction", meddino_volume_check(&v));
  static const int32_t codes[] = {0, -1, 13, 255, INT32_MAX, INT32_MIN};
  for (int i = 0; i < 6; i++) { BAD(dtype, codes[i], "dtype") }
  BAD(channels, 0, "channels")
  BAD(channels, -1, "channels")
  BAD(channels, INT32_MAX, "channels")
  BAD(channels, 2, "data_bytes")
  BAD(space, 0, "space")
  BAD(space, 3, "space")
  BAD(data, NULL, "data")
  BAD(data_bytes, 0, "data_bytes")
  BAD(data_bytes, 239, "data_bytes")
  RESET;
  v.channels = 65536, v.channel_stride = INT64_MAX;
  FAILS(MEDDINO_E_INVALID, meddino_volume_check(&v));
  RESET;
  v.dims[0] = v.dims[1] = v.dims[2] = INT32_MAX;
  v.data_bytes = SIZE_MAX;
  FAILS(MEDDINO_E_INVALID, meddino_volume_check(&v));
  RESET;
  v.data_bytes = SIZE_MAX;
  FAILS_NAMING(MEDDINO_E_INVALID, "data_bytes", meddino_volume_check(&v));
  RESET;
  v.space = MEDDINO_RAS;
  OK(meddino_volume_check(&v));
  v.direction[0] = -1; /* left-handed */
  OK(meddino_volume_check(&v));
  v.data = NULL, v.writable = bytes;
  OK(meddino_volume_check(&v));
}

/* A strided view and its packed copy hold the same voxels. */
static void copies(meddino_context *context) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    const int64_t size = (int64_t)types[i].size;
    for (size_t at = 0; at < sizeof bytes; at++) bytes[at] = (unsigned char)(at * 7 + at / 251);
    for (int form = 0; form < 4; form++) {
      meddino_volume v = view(types[i].code, types[i].size, 5, 4, 3);
      v.channels = form == 2 ? 2 : 1;
      v.data_bytes = sizeof bytes;
      v.origin[0] = 12.5, v.spacing[2] = 2.25;
      if (form == 1) { /* x and z backwards, rows padded */
        v.strides[0] = -size, v.strides[1] = 9 * size, v.strides[2] = -50 * size;
        v.data = bytes + size * 120;
      } else if (form == 2) { /* interleaved, axes swapped */
        v.strides[0] = 24 * size, v.strides[1] = 2 * size, v.strides[2] = 8 * size;
        v.channel_stride = size;
      } else if (form == 3) { /* unaligned */
        v.data = bytes + 1;
      }
      if (form == 1) v.data_bytes = (size_t)(size * (120 + 3 * 9 + 5));
      meddino_image *image = NULL;
      if (!OK(meddino_image_create(context, &v, &image))) continue;
      meddino_volume seen;
      meddino_volume_init(&seen, sizeof seen);
      OK(meddino_image_view(image, &seen));
      CHECK(seen.dtype == v.dtype && seen.channels == v.channels && seen.writable == NULL && seen.data != NULL);
      CHECK(memcmp(seen.dims, v.dims, sizeof v.dims) == 0 && seen.origin[0] == 12.5 && seen.spacing[2] == 2.25);
      OK(meddino_volume_check(&seen));
      int64_t strides[3] = {v.strides[0], v.strides[1], v.strides[2]};
      if (strides[0] == 0) strides[0] = size, strides[1] = 5 * size, strides[2] = 20 * size;
      long differing = 0;
      for (int64_t c = 0; c < v.channels; c++)
        for (int64_t z = 0; z < 3; z++)
          for (int64_t y = 0; y < 4; y++)
            for (int64_t x = 0; x < 5; x++)
              differing += memcmp((const char *)v.data + c * v.channel_stride + z * strides[2] + y * strides[1] + x * strides[0],
                                  (const char *)seen.data + c * seen.channel_stride + z * seen.strides[2] + y * seen.strides[1] + x * seen.strides[0],
                                  types[i].size) != 0;
      CHECK(differing == 0);
      meddino_image_release(image);
    }
  }
  /* RAS in, LPS out: the same points. */
  meddino_volume v = view(MEDDINO_U8, 1, 2, 2, 2), seen;
  v.space = MEDDINO_RAS;
  v.origin[0] = 10, v.origin[1] = -20, v.origin[2] = 30;
  meddino_image *image = NULL;
  NEED(meddino_image_create(context, &v, &image));
  meddino_volume_init(&seen, sizeof seen);
  OK(meddino_image_view(image, &seen));
  CHECK(seen.space == MEDDINO_LPS && seen.origin[0] == -10 && seen.origin[1] == 20 && seen.origin[2] == 30);
  CHECK(seen.direction[0] == -1 && seen.direction[4] == -1 && seen.direction[8] == 1);
  meddino_image_release(image);
}

int main(void) {
  meddino_context *context = tiny_context(1);
  extents();
  fields();
  copies(context);
  meddino_context_release(context);
  tiny_unused();
  return check_end("test_volumes");
}
