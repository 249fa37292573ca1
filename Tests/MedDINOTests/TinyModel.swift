import MedDINO
import Platform
import WeightFiles

/// A model small enough for any test, as `meddino init` would make it.
enum TinyModel {
  static func plans(patch: Int = 32, spacing: Double = 1) -> JSON {
    let resample = { (seg: Bool, order: Int) in
      JSON.object(("is_seg", .bool(seg)), ("order", .integer(order)), ("order_z", .integer(0)), ("force_separate_z", .null))
    }
    let configuration = JSON.object(
      ("data_identifier", .string("nnUNetPlans_2d")), ("preprocessor_name", .string("DefaultPreprocessor")), ("batch_size", .integer(2)),
      ("patch_size", .integers([patch, patch])), ("median_image_size_in_voxels", .integers([patch, patch])),
      ("spacing", .numbers([spacing, spacing])), ("normalization_schemes", .array([.string("CTNormalization")])),
      ("use_mask_for_norm", .array([.bool(false)])), ("resampling_fn_data", .string("resample_data_or_seg_to_shape")),
      ("resampling_fn_seg", .string("resample_data_or_seg_to_shape")),
      ("resampling_fn_probabilities", .string("resample_data_or_seg_to_shape")), ("resampling_fn_data_kwargs", resample(false, 3)),
      ("resampling_fn_seg_kwargs", resample(true, 1)), ("resampling_fn_probabilities_kwargs", resample(false, 1)),
      ("batch_dice", .bool(true)))
    let intensities = JSON.object(
      ("mean", .number(40)), ("std", .number(60)), ("percentile_00_5", .number(-200)), ("percentile_99_5", .number(300)))
    return .object(
      ("dataset_name", .string("Dataset900_Tiny")), ("plans_name", .string("nnUNetPlans")),
      ("image_reader_writer", .string("SimpleITKIO")), ("transpose_forward", .integers([0, 1, 2])),
      ("transpose_backward", .integers([0, 1, 2])), ("configurations", .object(("2d", configuration))),
      ("foreground_intensity_properties_per_channel", .object(("0", intensities))))
  }

  static let dataset = JSON.object(
    ("channel_names", .object(("0", .string("CT")))),
    ("labels", .object(("background", .integer(0)), ("liver", .integer(1)), ("spleen", .integer(2)))), ("numTraining", .integer(1)),
    ("file_ending", .string(".nii.gz")))

  static let encoder = JSON.object(
    ("patch_size", .integer(8)), ("embed_dim", .integer(32)), ("depth", .integer(2)), ("num_heads", .integer(2)),
    ("n_storage_tokens", .integer(2)), ("layerscale_init", .number(0.5)))

  static func segmenter(_ context: Context, seed: UInt64 = 1, patch: Int = 32) throws -> Model {
    let text = JSON.object(("encoder", encoder), ("taps", .integers([0, 1])), ("plans", plans(patch: patch)), ("dataset", dataset))
    return try Model.create(text.text(), seed: seed, context: context)
  }
  static func backbone(_ context: Context) throws -> Model {
    try Model.create(JSON.object(("encoder", encoder)).text(), seed: 1, context: context)
  }
}
