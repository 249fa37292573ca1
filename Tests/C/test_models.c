/* Making, saving, opening, combining models; files that are broken in every way we could think of. */
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
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  unsigned char *data = malloc(*size + 1);
  if (fread(data, 1, *size, file) != *size) exit(2);
  fclose(file);
  return data;
}
static void store(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(data, 1, size, file) != size) exit(2);
  fclose(file);
}
static int freed;
static void count_free(void *user, const void *data) {
  freed += user == (void *)&freed && data != NULL;
  free((void *)(uintptr_t)data);
}

static void described(const meddino_model *model, int32_t members) {
  meddino_model_info info = {.struct_size = sizeof info};
  OK(meddino_model_get_info(model, &info));
  CHECK(info.labels == 4 && info.heads == 4 && info.output_kind == MEDDINO_OUTPUT_LABELS && info.channels == 1);
  CHECK(info.patch == 16 && info.embed_dim == 64 && info.depth == 2 && info.members == members);
  CHECK(info.tile[0] == 32 && info.tile[1] == 32 && info.spacing[0] == 1 && info.spacing[1] == 1 && info.weights_bytes > 100000);
  static const char *const names[] = {"background", "liver", "spleen", "kidney"};
  for (int32_t i = 0; i < 4; i++) {
    meddino_label label = {.struct_size = sizeof label};
    OK(meddino_model_get_label(model, i, &label));
    CHECK(label.value == i && strcmp(label.name, names[i]) == 0);
    CHECK(label.rgba[3] == (i == 0 ? 0 : 255));
  }
  static const char *const keys[] = {"architecture", "plans", "dataset", "configuration", "provenance", "licence", "layout"};
  for (int i = 0; i < 7; i++) CHECK(meddino_model_metadata(model, keys[i]) != NULL);
  const char *configuration = meddino_model_metadata(model, "configuration");
  CHECK(configuration != NULL && strcmp(configuration, "2d") == 0);
}

static void create(meddino_context *context) {
  meddino_model *model = tiny_model(context, tiny_config, 1), *none = (void *)1;
  described(model, 1);
  meddino_model_release(model);
  static const struct { const char *text, *word; } bad[] = {
    {"", "config"}, {"{", "config"}, {"[]", "config"}, {"null", "config"}, {"{\"encoder\": 5}", "encoder"}, {"{\"encoder\": \"vit_nothing\"}", "vit_nothing"},
    {"{\"surprise\": 1}", "surprise"}, {"{\"encoder\": {\"embed_dims\": 64}}", "embed_dims"}, {"{\"encoder\": {\"embed_dim\": \"64\"}}", "embed_dim"},
    {"{\"encoder\": {\"embed_dim\": -64}}", "embed_dim"}, {"{\"encoder\": {\"embed_dim\": 9223372036854775807}}", "embed_dim"},
    {"{\"encoder\": {\"embed_dim\": 1e300}}", "embed_dim"}, {"{\"encoder\": {\"embed_dim\": 66, \"num_heads\": 4}}", "embed_dim"},
    {"{\"encoder\": {\"depth\": 0}}", "depth"}, {"{\"encoder\": {\"num_heads\": 0}}", "num_heads"}, {"{\"encoder\": {\"patch_size\": 0}}", "patch_size"},
    {"{\"encoder\": {\"ffn_ratio\": -1}}", "ffn_ratio"}, {"{\"encoder\": {\"ffn_ratio\": 1e308}}", "ffn_ratio"},
    {"{\"encoder\": {\"n_storage_tokens\": -1}}", "n_storage_tokens"}, {"{\"encoder\": {\"norm_layer\": \"batch\"}}", "norm_layer"},
    {"{\"encoder\": {\"norm_eps\": 1e300}}", "eps"}, {"{\"encoder\": {\"pos_embed_rope_base\": -1}}", "rope"}, {"{\"plans\": {}}", "dataset"},
    {"{\"dataset\": {}}", "plans"}, {"{\"dataset\": {}, \"plans\": {}}", ""},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    none = (void *)1;
    const meddino_status status = meddino_model_create(context, bad[i].text, 1, &none);
    if (!CHECK((status == MEDDINO_E_INVALID || status == MEDDINO_E_FORMAT) && none == NULL && strstr(last_error(), bad[i].word) != NULL))
      fprintf(stderr, "  %s gave %s: %s\n", bad[i].text, meddino_status_name(status), last_error());
  }
  /* Text from tiny_config with one thing broken. */
  static const struct { const char *find, *replace; } broken[] = {
    {"[32, 32]", "[32]"}, {"[32, 32]", "[-32, 32]"}, {"[32, 32]", "[0, 0]"}, {"[32, 32]", "[1e30, 32]"}, {"[32, 32]", "\"x\""}, {"[1.0, 1.0]", "[0, 1]"},
    {"[1.0, 1.0]", "[NaN, 1]"}, {"[1.0, 1.0]", "[1e999, 1]"}, {"\"taps\": [0, 1]", "\"taps\": []"}, {"\"taps\": [0, 1]", "\"taps\": [0, 0]"},
    {"\"taps\": [0, 1]", "\"taps\": [0, 2]"}, {"\"taps\": [0, 1]", "\"taps\": [-1]"}, {"\"liver\": 1", "\"liver\": 7"}, {"\"liver\": 1", "\"liver\": -1"},
    {"\"background\": 0", "\"bg\": 0"}, {"[\"CTNormalization\"]", "[\"Nothing\"]"}, {"[\"CTNormalization\"]", "[]"}, {"{\"0\": \"CT\"}", "{}"},
    {"{\"0\": \"CT\"}", "{\"0\": \"CT\", \"1\": \"PET\"}"}, {"\"transpose_forward\": [0, 1, 2]", "\"transpose_forward\": [0, 1, 1]"},
    {"\"order\": 3", "\"order\": 99"}, {"\"mean\": 50.0", "\"mean\": null"},
  };
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    char *text = malloc(sizeof tiny_config + 200);
    const char *at = strstr(tiny_config, broken[i].find);
    if (!CHECK(at != NULL)) continue;
    sprintf(text, "%.*s%s%s", (int)(at - tiny_config), tiny_config, broken[i].replace, at + strlen(broken[i].find));
    none = (void *)1;
    const meddino_status status = meddino_model_create(context, text, 1, &none);
    if (!CHECK(status != MEDDINO_OK && status != MEDDINO_E_INTERNAL && none == NULL)) fprintf(stderr, "  %s -> %s\n", broken[i].find, broken[i].replace);
    if (status == MEDDINO_OK) meddino_model_release(none);
    free(text);
  }
}

/* A saved model gives the same labels as the one it was saved from, opened by path and from memory. */
static void save_and_open(meddino_context *context) {
  meddino_model *made = tiny_model(context, tiny_config, 7), *opened = NULL, *read = NULL;
  tiny_case a = tiny_phantom(40, 36, 3), b = tiny_phantom(40, 36, 3), c = tiny_phantom(40, 36, 3);
  OK(meddino_model_save(made, path_of("m.safetensors")));
  OK(meddino_model_save(made, path_of("m.safetensors")));
  FAILS(MEDDINO_E_IO, meddino_model_save(made, "/no/such/folder/m.safetensors"));
  NEED(meddino_model_open(context, path_of("m.safetensors"), NULL, &opened));
  described(opened, 1);
  CHECK(meddino_model_metadata(opened, "sha256") != NULL && strlen(meddino_model_metadata(opened, "sha256")) == 64);
  size_t size = 0;
  unsigned char *data = load(path_of("m.safetensors"), &size);
  freed = 0;
  NEED(meddino_model_open_memory(context, data, size, count_free, &freed, &read));
  OK(tiny_segment(made, &a, NULL));
  OK(tiny_segment(opened, &b, NULL));
  OK(tiny_segment(read, &c, NULL));
  CHECK(tiny_variety(a.labels, a.count) >= 2);
  CHECK(memcmp(a.labels, b.labels, a.count) == 0);
  CHECK(memcmp(a.labels, c.labels, a.count) == 0);
  meddino_model_release(read);
  CHECK(freed == 1);
  /* Two saves of one model are byte for byte the same. */
  size_t again_size;
  OK(meddino_model_save(opened, path_of("again.safetensors")));
  data = load(path_of("m.safetensors"), &size);
  unsigned char *again = load(path_of("again.safetensors"), &again_size);
  CHECK(size > 100000 && again_size > 100000);
  free(data);
  free(again);
  /* The file may go while the model is in use. */
  meddino_model *late = NULL;
  NEED(meddino_model_open(context, path_of("again.safetensors"), NULL, &late));
  unlink(path_of("again.safetensors"));
  OK(tiny_segment(late, &b, NULL));
  CHECK(memcmp(a.labels, b.labels, a.count) == 0);
  meddino_model_release(late);
  /* Another seed: another network. */
  meddino_model *other = tiny_model(context, tiny_config, 8);
  OK(tiny_segment(other, &b, NULL));
  CHECK(memcmp(a.labels, b.labels, a.count) != 0);
  meddino_model_release(other);
  meddino_model_release(opened);
  meddino_model_release(made);
  tiny_free(&a), tiny_free(&b), tiny_free(&c);
}

/* Half-size files, their check sums, and the choice of RoPE. */
static void precisions(meddino_context *context) {
  meddino_model *made = tiny_model(context, tiny_config, 7), *half = NULL, *none = (void *)1;
  meddino_save_options o;
  meddino_save_options_init(&o, sizeof o);
  o.precision = MEDDINO_PRECISION_BF16;
  OK(meddino_model_save_with(made, path_of("half.safetensors"), &o));
  size_t size = 0, half_size = 0;
  unsigned char *whole = load(path_of("m.safetensors"), &size), *data = load(path_of("half.safetensors"), &half_size);
  CHECK(half_size > size / 3 && half_size < size * 6 / 10);
  NEED(meddino_model_open(context, path_of("half.safetensors"), NULL, &half));
  described(half, 1);
  OK(meddino_model_verify(half, NULL));
  tiny_case a = tiny_phantom(40, 36, 2), b = tiny_phantom(40, 36, 2);
  OK(tiny_segment(made, &a, NULL));
  OK(tiny_segment(half, &b, NULL));
  long differing = 0;
  for (size_t i = 0; i < a.count; i++) differing += a.labels[i] != b.labels[i];
  CHECK(differing < (long)a.count / 10);
  meddino_model_release(half);
  /* One bit of one weight: it opens, and verify says so. */
  data[half_size - 9] ^= 1;
  store(path_of("turned.safetensors"), data, half_size);
  NEED(meddino_model_open(context, path_of("turned.safetensors"), NULL, &half));
  FAILS_NAMING(MEDDINO_E_FORMAT, "SHA-256", meddino_model_verify(half, NULL));
  meddino_model_release(half);
  free(whole), free(data);
  /* A model file says its own RoPE: asking for another is refused, for the same is not. */
  meddino_model_options options;
  meddino_model_options_init(&options, sizeof options);
  int opened = 0;
  for (options.rope = MEDDINO_ROPE_BF16; options.rope <= MEDDINO_ROPE_F32; options.rope++) {
    const meddino_status status = meddino_model_open(context, path_of("m.safetensors"), &options, &none);
    opened += status == MEDDINO_OK;
    if (status != MEDDINO_OK) FAILS_NAMING(MEDDINO_E_INVALID, "rope", status);
    meddino_model_release(none);
  }
  CHECK(opened == 1);
  meddino_model_release(made);
  tiny_free(&a), tiny_free(&b);
}

/* Codes of known organs; what dataset.json says itself; what a model file carries. */
static void codes(meddino_context *context) {
  meddino_model *model = tiny_model(context, tiny_config, 1), *opened = NULL;
  static const char *const known[] = {NULL, "10200004", "78961009", "64033007"};
  OK(meddino_model_save(model, path_of("codes.safetensors")));
  NEED(meddino_model_open(context, path_of("codes.safetensors"), NULL, &opened));
  for (int32_t i = 0; i < 4; i++)
    for (int saved = 0; saved < 2; saved++) {
      meddino_label label = {.struct_size = sizeof label};
      OK(meddino_model_get_label(saved ? opened : model, i, &label));
      if (i == 0) CHECK(label.code == NULL && label.coding_scheme == NULL);
      else CHECK(label.code != NULL && strcmp(label.code, known[i]) == 0 && strcmp(label.coding_scheme, "SCT") == 0);
    }
  meddino_model_release(model), meddino_model_release(opened);
  char *text = malloc(sizeof tiny_config + 200);
  static const struct { const char *given, *liver, *spleen; } cases[] = {
    {"{\"liver\": [\"FMA\", \"7197\"], \"spleen\": null}", "7197", NULL}, {"{}", "10200004", "78961009"}};
  const char *at = strstr(tiny_config, "\"numTraining\"");
  for (int i = 0; i < 2; i++) {
    sprintf(text, "%.*s\"label_codes\": %s, %s", (int)(at - tiny_config), tiny_config, cases[i].given, at);
    model = tiny_model(context, text, 1);
    meddino_label liver = {.struct_size = sizeof liver}, spleen = liver;
    OK(meddino_model_get_label(model, 1, &liver));
    OK(meddino_model_get_label(model, 2, &spleen));
    CHECK(strcmp(liver.code, cases[i].liver) == 0 && strcmp(liver.coding_scheme, i == 0 ? "FMA" : "SCT") == 0);
    CHECK(cases[i].spleen == NULL ? spleen.code == NULL && spleen.coding_scheme == NULL : strcmp(spleen.code, cases[i].spleen) == 0);
    meddino_model_release(model);
  }
  static const char *const bad[] = {"[]", "{\"liver\": 5}", "{\"liver\": [\"SCT\"]}", "{\"liver\": [\"SCT\", 5]}", "{\"liver\": [\"\", \"5\"]}"};
  for (int i = 0; i < 5; i++) {
    sprintf(text, "%.*s\"label_codes\": %s, %s", (int)(at - tiny_config), tiny_config, bad[i], at);
    FAILS_NAMING(MEDDINO_E_FORMAT, "label_codes", meddino_model_create(context, text, 1, &model));
  }
  free(text);
}

static void combine(meddino_context *context) {
  meddino_model *one = tiny_model(context, tiny_config, 7), *two = tiny_model(context, tiny_config, 8), *both = NULL, *opened = NULL;
  meddino_model *wide = tiny_model(context, tiny_config_wide, 7), *bone = tiny_model(context, tiny_backbone, 7), *none = (void *)1;
  const meddino_model *list[2] = {one, two}, *same[2] = {one, one}, *odd[2] = {one, wide}, *mixed[2] = {one, bone};
  tiny_case a = tiny_phantom(40, 36, 2), b = tiny_phantom(40, 36, 2);
  NEED(meddino_model_combine(list, 2, &both));
  described(both, 2);
  FAILS_NAMING(MEDDINO_E_SHAPE, "models[1]", meddino_model_combine(odd, 2, &none));
  CHECK(none == NULL);
  FAILS_NAMING(MEDDINO_E_SHAPE, "models[1]", meddino_model_combine(mixed, 2, &none));
  meddino_model_release(two); /* members stay */
  OK(tiny_segment(both, &a, NULL));
  OK(meddino_model_save(both, path_of("both.safetensors")));
  NEED(meddino_model_open(context, path_of("both.safetensors"), NULL, &opened));
  described(opened, 2);
  OK(tiny_segment(opened, &b, NULL));
  CHECK(memcmp(a.labels, b.labels, a.count) == 0);
  OK(tiny_segment(one, &b, NULL));
  CHECK(memcmp(a.labels, b.labels, a.count) != 0);
  meddino_model_release(both);
  NEED(meddino_model_combine(same, 2, &both)); /* a mean of equals */
  OK(tiny_segment(both, &a, NULL));
  CHECK(memcmp(a.labels, b.labels, a.count) == 0);
  meddino_model_release(both), meddino_model_release(opened), meddino_model_release(one), meddino_model_release(wide), meddino_model_release(bone);
  tiny_free(&a), tiny_free(&b);
}

/* The status must be a refusal that names the file; the bytes are given back once in any case. */
static void hostile(meddino_context *context, const void *data, size_t size, int may_open) {
  meddino_model *model = (void *)1;
  unsigned char *copy = malloc(size + 1);
  memcpy(copy, data, size);
  freed = 0;
  const meddino_status status = meddino_model_open_memory(context, copy, size, count_free, &freed, &model);
  if (status == MEDDINO_OK) {
    CHECK(may_open && model != NULL);
    meddino_model_release(model);
  } else {
    CHECK(model == NULL && status != MEDDINO_E_INTERNAL && last_error()[0] != 0);
  }
  CHECK(freed == 1);
}
static void broken_files(meddino_context *context) {
  size_t size = 0;
  unsigned char *data = load(path_of("m.safetensors"), &size);
  uint64_t header = 0;
  memcpy(&header, data, 8);
  CHECK(header > 100 && header < size);
  for (size_t length = 0; length < size; length += length < 16 ? 1 : length < 8 + header ? header / 40 : size / 20) hostile(context, data, length, 0);
  for (size_t at = 0; at < 8 + header; at += at < 32 ? 1 : 61) { /* a byte turned over in the header */
    data[at] ^= 0x15;
    hostile(context, data, size, 1);
    data[at] ^= 0x15;
  }
  static const uint64_t lengths[] = {0, 1, 2, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7, 1 << 30};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    memcpy(data, &lengths[i], 8);
    hostile(context, data, size, 0);
  }
  memcpy(data, &header, 8);
  hostile(context, "PK\3\4", 4, 0);
  hostile(context, "PK\3\4garbage that is no archive at all", 38, 0);
  hostile(context, "PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22, 0);
  hostile(context, "\x80\x02}q\0.", 6, 0);
  unsigned char zeros[4096] = {0};
  hostile(context, zeros, sizeof zeros, 0);
  memset(zeros, 0xff, sizeof zeros);
  hostile(context, zeros, sizeof zeros, 0);

  /* As files. */
  meddino_model *none = (void *)1;
  store(path_of("cut.safetensors"), data, size - 1);
  FAILS_NAMING(MEDDINO_E_FORMAT, "cut.safetensors", meddino_model_open(context, path_of("cut.safetensors"), NULL, &none));
  CHECK(none == NULL);
  store(path_of("cut.pth"), "PK\3\4", 4);
  FAILS_NAMING(MEDDINO_E_FORMAT, "cut.pth", meddino_model_open(context, path_of("cut.pth"), NULL, &none));
  store(path_of("empty.safetensors"), "", 0);
  FAILS_NAMING(MEDDINO_E_FORMAT, "empty.safetensors", meddino_model_open(context, path_of("empty.safetensors"), NULL, &none));
  FAILS_NAMING(MEDDINO_E_IO, "nothing.safetensors", meddino_model_open(context, path_of("nothing.safetensors"), NULL, &none));
  CHECK(meddino_model_open(context, "", NULL, &none) != MEDDINO_OK);
  mkdir(path_of("bare"), 0700);
  CHECK(meddino_model_open(context, path_of("bare"), NULL, &none) != MEDDINO_OK);
  mkdir(path_of("plans"), 0700);
  store(path_of("plans/plans.json"), "{}", 2);
  CHECK(meddino_model_open(context, path_of("plans"), NULL, &none) != MEDDINO_OK);
  store(path_of("plans/dataset.json"), "{}", 2);
  FAILS_NAMING(MEDDINO_E_FORMAT, "fold_", meddino_model_open(context, path_of("plans"), NULL, &none));
  meddino_model_options options;
  meddino_model_options_init(&options, sizeof options);
  options.fold_mask = UINT64_MAX;
  FAILS_NAMING(MEDDINO_E_INVALID, "fold", meddino_model_open(context, path_of("plans"), &options, &none));
  options.checkpoint = "\xff";
  FAILS_NAMING(MEDDINO_E_INVALID, "checkpoint", meddino_model_open(context, path_of("plans"), &options, &none));
  free(data);
}

/* A failing open gives the bytes back too when the other arguments are wrong. */
static void given_back(meddino_context *context) {
  meddino_model *none;
  freed = 0;
  FAILS(MEDDINO_E_INVALID, meddino_model_open_memory(NULL, malloc(8), 8, count_free, &freed, &none));
  CHECK(freed == 1);
  FAILS(MEDDINO_E_INVALID, meddino_model_open_memory(context, malloc(8), 8, count_free, &freed, NULL));
  CHECK(freed == 2);
  FAILS(MEDDINO_E_INVALID, meddino_model_open_memory(context, malloc(8), SIZE_MAX, count_free, &freed, &none));
  CHECK(freed == 3);
}

int main(int count, char **arguments) {
  folder = count > 1 ? arguments[1] : ".";
  meddino_context *context = tiny_context(1);
  create(context);
  save_and_open(context);
  precisions(context);
  codes(context);
  combine(context);
  broken_files(context);
  given_back(context);
  /* A backbone says what it is. */
  meddino_model *bone = tiny_model(context, tiny_backbone, 3);
  meddino_context_release(context);
  meddino_model_info info = {.struct_size = sizeof info};
  OK(meddino_model_get_info(bone, &info));
  CHECK(info.output_kind == MEDDINO_OUTPUT_NONE && info.heads == 0 && info.labels == 0 && meddino_model_metadata(bone, "plans") == NULL);
  tiny_case c = tiny_phantom(8, 8, 1);
  FAILS_NAMING(MEDDINO_E_UNSUPPORTED, "decoder", tiny_segment(bone, &c, NULL));
  tiny_free(&c);
  meddino_model_release(bone);
  return check_end("test_models");
}
