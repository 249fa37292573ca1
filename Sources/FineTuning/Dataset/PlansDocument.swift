public import Platform
internal import Segmentation
public import WeightFiles

/// `nnUNetPlans.json` as planning writes it, in nnU-Net's schema.
///
/// Source: pipeline specification 3.5, 3.6.
public struct PlansDocument: Equatable, Sendable {
  public static let plansName = "nnUNetPlans"
  public static let fileName = plansName + ".json"
  public private(set) var json: JSON

  /// `previous`: an earlier plans file, whose configurations are kept where this one has no other of that name.
  public init(
    _ planner: ExperimentPlanner, fingerprint: DatasetFingerprint, datasetName: String, reader: String, previous: JSON? = nil
  ) {
    var configurations = JSONObject([("2d", Self.configuration(planner))])
    for (name, value) in previous?["configurations"]?.objectValue?.entries ?? [] where configurations[name] == nil {
      configurations[name] = value
    }
    json = .object(
      ("dataset_name", .string(datasetName)), ("plans_name", .string(Self.plansName)),
      ("original_median_spacing_after_transp", .numbers(planner.originalMedianSpacing)),
      ("original_median_shape_after_transp", .integers(planner.originalMedianShape)),
      ("image_reader_writer", .string(reader)), ("transpose_forward", .integers(planner.transposeForward)),
      ("transpose_backward", .integers(planner.transposeBackward)), ("configurations", .object(configurations)),
      ("experiment_planner_used", .string("ExperimentPlanner")), ("label_manager", .string("LabelManager")),
      ("foreground_intensity_properties_per_channel", fingerprint.intensitiesJSON))
  }

  /// Adds "2d_<size>": the same field of view in patches of `size` × `size` pixels. Returns its name.
  /// Throws: `.invalid` for a size that is no multiple of 16.
  public mutating func addUpscaled(_ size: Int) throws(MedDINOError) -> String {
    try Self.checkUpscaled(size)
    let plan = try Plan(json)
    let base = try plan.configuration("2d")
    let name = "2d_\(size)"
    let spacing = (0..<2).map { base.spacing[$0] * Double(base.patchSize[$0]) / Double(size) }
    guard var root = json.objectValue, var configurations = root["configurations"]?.objectValue else {
      throw .format("plans: configurations is missing")
    }
    configurations[name] = .object(
      ("inherits_from", .string("2d")), ("data_identifier", .string("\(Self.plansName)_\(name)")),
      ("preprocessor_name", .string("DefaultPreprocessor")), ("patch_size", .integers([size, size])), ("spacing", .numbers(spacing)))
    root["configurations"] = .object(configurations)
    json = .object(root)
    return name
  }

  /// Throws: `.invalid` for a patch size that no configuration can have.
  static func checkUpscaled(_ size: Int) throws(MedDINOError) {
    guard size > 0, size <= 8192, size % 16 == 0 else {
      throw .invalid("upscaled patch size is \(size), expected a multiple of 16 up to 8192")
    }
  }

  private static func configuration(_ planner: ExperimentPlanner) -> JSON {
    let function = JSON.string("resample_data_or_seg_to_shape")
    func arguments(isLabel: Bool, order: Int) -> JSON {
      .object(("is_seg", .bool(isLabel)), ("order", .integer(order)), ("order_z", .integer(0)), ("force_separate_z", .null))
    }
    return .object(
      ("data_identifier", .string(plansName + "_2d")), ("preprocessor_name", .string("DefaultPreprocessor")),
      ("batch_size", .integer(planner.batchSize)), ("patch_size", .integers(planner.patchSize)),
      ("median_image_size_in_voxels", .numbers(Array(planner.medianShape.dropFirst()))), ("spacing", .numbers(planner.spacing)),
      ("normalization_schemes", .array(planner.normalization.map { .string($0.rawValue) })),
      ("use_mask_for_norm", .array(planner.useMaskForNorm.map(JSON.bool))),
      ("resampling_fn_data", function), ("resampling_fn_seg", function),
      ("resampling_fn_data_kwargs", arguments(isLabel: false, order: 3)),
      ("resampling_fn_seg_kwargs", arguments(isLabel: true, order: 1)), ("resampling_fn_probabilities", function),
      ("resampling_fn_probabilities_kwargs", arguments(isLabel: false, order: 1)),
      ("architecture", architecture(planner.topology)), ("batch_dice", .bool(true)))
  }

  /// nnU-Net's own network for this patch, so that the official tools can train from the same plans.
  private static func architecture(_ topology: UNetTopology) -> JSON {
    let arguments = JSON.object(
      ("n_stages", .integer(topology.stages)), ("features_per_stage", .integers(topology.features)),
      ("conv_op", .string("torch.nn.modules.conv.Conv2d")), ("kernel_sizes", .array(topology.kernels.map(JSON.integers))),
      ("strides", .array(topology.strides.map(JSON.integers))),
      ("n_conv_per_stage", .integers(topology.strides.map { _ in 2 })),
      ("n_conv_per_stage_decoder", .integers(topology.strides.dropFirst().map { _ in 2 })), ("conv_bias", .bool(true)),
      ("norm_op", .string("torch.nn.modules.instancenorm.InstanceNorm2d")),
      ("norm_op_kwargs", .object(("eps", .number(1e-5)), ("affine", .bool(true)))), ("dropout_op", .null),
      ("dropout_op_kwargs", .null), ("nonlin", .string("torch.nn.LeakyReLU")), ("nonlin_kwargs", .object(("inplace", .bool(true)))))
    return .object(
      ("network_class_name", .string("dynamic_network_architectures.architectures.unet.PlainConvUNet")), ("arch_kwargs", arguments),
      ("_kw_requires_import", .array(["conv_op", "norm_op", "dropout_op", "nonlin"].map(JSON.string))))
  }
}
