/* A model that fits in a test: 2 blocks of width 64 and 32 × 32 tiles, made from a text; and phantoms to run it on. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H
#include "check.h"

#define TINY_ENCODER "{\"embed_dim\": 64, \"depth\": 2, \"num_heads\": 2, \"n_storage_tokens\": 2, \"layerscale_init\": 1.0}"
#define TINY_ENCODER_TWO "{\"in_chans\": 2, \"embed_dim\": 64, \"depth\": 2, \"num_heads\": 2, \"n_storage_tokens\": 2, \"layerscale_init\": 1.0}"
#define TINY_PLANS(SCHEMES, MASKS)                                                                                                     \
  "{\"dataset_name\": \"Dataset001_Tiny\", \"plans_name\": \"nnUNetPlans\", \"image_reader_writer\": \"SimpleITKIO\","                  \
  " \"transpose_forward\": [0, 1, 2], \"transpose_backward\": [0, 1, 2],"                                                              \
  " \"configurations\": {\"2d\": {\"data_identifier\": \"nnUNetPlans_2d\", \"batch_size\": 2, \"patch_size\": [32, 32],"                \
  "  \"spacing\": [1.0, 1.0], \"normalization_schemes\": " SCHEMES ", \"use_mask_for_norm\": " MASKS ","                                \
  "  \"resampling_fn_data\": \"resample_data_or_seg_to_shape\","                                                                       \
  "  \"resampling_fn_data_kwargs\": {\"is_seg\": false, \"order\": 3, \"order_z\": 0, \"force_separate_z\": null},"                    \
  "  \"batch_dice\": true}},"                                                                                                          \
  " \"foreground_intensity_properties_per_channel\": {"                                                                                \
  "  \"0\": {\"max\": 900, \"mean\": 50.0, \"median\": 60, \"min\": -900, \"percentile_00_5\": -500, \"percentile_99_5\": 500, \"std\": 200},"  \
  "  \"1\": {\"max\": 900, \"mean\": 50.0, \"median\": 60, \"min\": -900, \"percentile_00_5\": -500, \"percentile_99_5\": 500, \"std\": 200}}}"
#define TINY_CONFIG(ENCODER, SCHEMES, MASKS, CHANNELS, LABELS)                                                                                  \
  "{\"encoder\": " ENCODER ", \"taps\": [0, 1], \"plans\": " TINY_PLANS(SCHEMES, MASKS) ","                                        \
  " \"dataset\": {\"channel_names\": " CHANNELS ", \"labels\": " LABELS ", \"numTraining\": 4, \"file_ending\": \".nii.gz\"}}"

#define TINY_LABELS "{\"background\": 0, \"liver\": 1, \"spleen\": 2, \"kidney\": 3}"
/* One CT channel, three organs. */
static const char tiny_config[] = TINY_CONFIG(TINY_ENCODER, "[\"CTNormalization\"]", "[false]", "{\"0\": \"CT\"}", TINY_LABELS);
/* Two channels. */
static const char tiny_config_two[] = TINY_CONFIG(TINY_ENCODER_TWO, "[\"CTNormalization\", \"ZScoreNormalization\"]", "[false, false]", "{\"0\": \"CT\", \"1\": \"PET\"}", TINY_LABELS);
/* A label value that needs 16 bits. */
static const char tiny_config_wide[] = "{\"encoder\": " TINY_ENCODER ", \"taps\": [0, 1], \"plans\": " TINY_PLANS("[\"CTNormalization\"]", "[false]") ","
  " \"dataset\": {\"channel_names\": {\"0\": \"CT\"}, \"labels\": {\"background\": 0, \"a\": [1, 2], \"b\": 2}, \"regions_class_order\": [1, 300],"
  " \"numTraining\": 4, \"file_ending\": \".nii.gz\"}}";
/* A backbone without a decoder. */
static const char tiny_backbone[] = "{\"encoder\": " TINY_ENCODER "}";

static inline void tiny_unused(void) { (void)tiny_config, (void)tiny_config_two, (void)tiny_config_wide, (void)tiny_backbone, (void)tiny_unused; }

static inline meddino_context *tiny_context(int threads) {
  meddino_context_options options;
  meddino_context *context = NULL;
  meddino_context_options_init(&options, sizeof options);
  options.threads = threads;
  NEED(meddino_context_create(&options, &context));
  return context;
}
static inline meddino_model *tiny_model(meddino_context *context, const char *config, uint64_t seed) {
  meddino_model *model = NULL;
  NEED(meddino_model_create(context, config, seed, &model));
  return model;
}

/* A phantom: ellipses of soft tissue in air, with a little texture; packed int16 Hounsfield units. */
typedef struct {
  int64_t dims[3];
  size_t count;
  int16_t *voxels;
  uint8_t *labels;
  meddino_volume in, out;
} tiny_case;

static inline tiny_case tiny_phantom(int64_t width, int64_t height, int64_t depth) {
  tiny_case c;
  memset(&c, 0, sizeof c);
  c.dims[0] = width, c.dims[1] = height, c.dims[2] = depth;
  c.count = (size_t)(width * height * depth);
  c.voxels = malloc(c.count * sizeof *c.voxels);
  c.labels = malloc(c.count);
  uint32_t state = 12345;
  size_t i = 0;
  for (int64_t z = 0; z < depth; z++)
    for (int64_t y = 0; y < height; y++)
      for (int64_t x = 0; x < width; x++, i++) {
        const double u = (x + 0.5) / width - 0.5, v = (y + 0.5) / height - 0.5;
        state = state * 1664525u + 1013904223u;
        const int noise = (int)(state >> 27) - 16;
        const int inside = u * u + v * v < 0.2;
        const int organ = (u - 0.1) * (u - 0.1) + (v + 0.05) * (v + 0.05) < 0.02 + 0.002 * (double)z;
        c.voxels[i] = (int16_t)((inside ? (organ ? 180 : 20) : -950) + noise);
      }
  memset(c.labels, 0xee, c.count);
  meddino_volume_init(&c.in, sizeof c.in);
  memcpy(c.in.dims, c.dims, sizeof c.dims);
  c.in.dtype = MEDDINO_I16;
  c.in.modality = MEDDINO_MODALITY_CT;
  c.in.spacing[0] = c.in.spacing[1] = 0.9;
  c.in.spacing[2] = 3;
  c.in.data = c.voxels;
  c.in.data_bytes = c.count * sizeof *c.voxels;
  c.out = c.in;
  c.out.dtype = MEDDINO_U8;
  c.out.data = NULL;
  c.out.writable = c.labels;
  c.out.data_bytes = c.count;
  return c;
}
static inline void tiny_free(tiny_case *c) {
  free(c->voxels);
  free(c->labels);
}
/* Segments the case into its label buffer. */
static inline meddino_status tiny_segment(const meddino_model *model, tiny_case *c, const meddino_run_options *options) {
  const meddino_volume *channels[1] = {&c->in};
  return meddino_segment(model, channels, 1, options, &c->out, NULL, NULL);
}
/* How many different values a label buffer holds. */
static inline int tiny_variety(const uint8_t *labels, size_t count) {
  int seen[256] = {0}, variety = 0;
  for (size_t i = 0; i < count; i++) variety += seen[labels[i]]++ == 0;
  return variety;
}
#endif
