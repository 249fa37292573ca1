internal import Networks
internal import Platform
internal import Tensors
internal import Training
internal import WeightFiles

/// From the document to typed values. Source: model specification 6, 7, 10.3.
extension PretrainingSettings {
  private static let sizes = 1...(1 << 20)
  private static let counts = 0...(1 << 40)
  private static let finite = -1e9...1e9

  /// Forms of the official code that this library does not have, and values that only have one meaning.
  static func checkFixed(_ reader: SettingsReader) throws(MedDINOError) {
    _ = try reader.text("train.centering", oneOf: ["sinkhorn_knopp"])
    _ = try reader.text("optim.optimizer", oneOf: ["adamw"])
    _ = try reader.text("student.pos_embed_type", oneOf: ["rope"])
    _ = try reader.text("gram.global_teacher_resize_method", oneOf: ["bicubic"])
    _ = try reader.text("optim.scaling_rule", oneOf: ["sqrt_wrt_1024", "linear_wrt_256", "none"])
    for path in ["ibot.separate_head", "train.use_teacher_head"] where try !reader.flag(path) {
      throw .invalid("\(path) is false, expected true")
    }
    if let chunks = reader.value("train.chunk_schedule"), chunks != .array([]) {
      throw .invalid("train.chunk_schedule is \(chunks.text().prefix(60)), expected []")
    }
    for path in ["gram.global_teacher_resize_antialias", "train.learn_from_teacher_tokens", "student.fp8_enabled"]
    where try reader.flag(path) {
      throw .invalid("\(path) is true, expected false")
    }
    guard try reader.number("crops.teacher_to_student_resolution_scale", in: 0...100) == 1 else {
      throw .invalid("crops.teacher_to_student_resolution_scale is not 1, expected 1")
    }
  }

  static func run(_ reader: SettingsReader) throws(MedDINOError) -> RunSettings {
    let precision = try reader.text("train.precision", oneOf: ["float32", "bfloat16"])
    let recomputes = [try reader.flag("train.checkpointing"), try reader.flag("train.checkpointing_full")]
    let own = try reader.optionalText("train.previous_checkpoint")
    let official = try reader.optionalText("student.resume_from_teacher_chkpt")
    return RunSettings(
      batchSize: try reader.integer("train.batch_size_per_gpu", in: 1...65536),
      seed: UInt64(try reader.integer("train.seed", in: 0...Int.max)), workers: try reader.integer("train.num_workers", in: 0...256),
      epochs: try reader.integer("optim.epochs", in: 1...(1 << 24)),
      epochLength: try reader.integer("train.OFFICIAL_EPOCH_LENGTH", in: 1...(1 << 24)),
      recompute: recomputes.contains(true),
      precision: precision == "bfloat16" ? .bfloat16 : .float32,
      checkpointPeriod: try reader.integer("checkpointing.period", in: 1...(1 << 40)),
      checkpointsKept: try reader.integer("checkpointing.max_to_keep", in: 1...10000),
      keepEvery: try reader.integer("checkpointing.keep_every", in: 0...Int.max),
      exportPeriod: try reader.integer("evaluation.eval_period_iterations", in: counts),
      initialBackbone: try reader.optionalText("student.pretrained_weights"),
      previousStage: own == nil ? official : own,
      gramTeacher: try reader.optionalText("gram.ckpt"))
  }

  static func networks(_ reader: SettingsReader) throws(MedDINOError) -> DistillationNetworks {
    func flag(_ key: String) throws(MedDINOError) -> Bool { try reader.flag("student." + key) }
    var encoder = try EncoderConfiguration.preset(try reader.text("student.arch"))
    encoder.feedForward = try EncoderConfiguration.feedForward(named: try reader.text("student.ffn_layer"))
    let ratio = Double(encoder.hiddenDim) / Double(encoder.embedDim)
    encoder.embedDim = try reader.optionalInteger("student.embed_dim", in: 4...65536) ?? encoder.embedDim
    encoder.depth = try reader.optionalInteger("student.depth", in: 1...1024) ?? encoder.depth
    encoder.heads = try reader.optionalInteger("student.num_heads", in: 1...1024) ?? encoder.heads
    // The factory's ratio; `student.ffn_ratio` is without effect in the official code too (model specification 1.11).
    encoder.hiddenDim = EncoderConfiguration.hiddenDim(embedDim: encoder.embedDim, ratio: ratio, feedForward: encoder.feedForward)
    encoder.patchSize = try reader.integer("student.patch_size", in: 1...256)
    encoder.inputChannels = try reader.integer("student.in_chans", in: 1...1024)
    encoder.dropPathRate = try reader.number("student.drop_path_rate", in: 0...0.999)
    encoder.layerScale = try reader.optionalNumber("student.layerscale", in: 0...1e6)
    encoder.qkvBias = try flag("qkv_bias")
    encoder.projectionBias = try flag("proj_bias")
    encoder.feedForwardBias = try flag("ffn_bias")
    encoder.maskKeyBias = try flag("mask_k_bias")
    encoder.storageTokens = try reader.integer("student.n_storage_tokens", in: 0...4096)
    encoder.untieClassAndPatchNorms = try flag("untie_cls_and_patch_norms")
    encoder.untieGlobalAndLocalClassNorm = try flag("untie_global_and_local_cls_norm")
    let norm = try reader.text("student.norm_layer", oneOf: ["layernorm", "layernormbf16", "rmsnorm"])
    encoder.normalization = norm == "rmsnorm" ? .rmsNorm : .layerNorm
    encoder.normEpsilon = norm == "layernorm" ? 1e-6 : 1e-5
    try readRope(reader, &encoder)
    var networks = DistillationNetworks(encoder: encoder)
    networks.dinoHead = try head(reader, "dino")
    networks.ibotHead = try head(reader, "ibot")
    return networks
  }

  /// The rotation is in bfloat16 whatever `pos_embed_rope_dtype` says, as in the official code. Source: model specification 1.11.
  private static func readRope(_ reader: SettingsReader, _ encoder: inout EncoderConfiguration) throws(MedDINOError) {
    encoder.ropePrecision = .bfloat16
    let path = "student.pos_embed_rope_"
    let low = try reader.optionalNumber(path + "min_period", in: 1e-6...1e9)
    let high = try reader.optionalNumber(path + "max_period", in: 1e-6...1e9)
    let base = try reader.optionalNumber(path + "base", in: 1e-6...1e9)
    switch (base, low, high) {
    case (let base?, nil, nil): encoder.ropePeriods = .base(base)
    case (nil, let low?, let high?): encoder.ropePeriods = .range(min: low, max: high)
    default: throw .invalid("\(path)base, min_period and max_period: expected either the base or both periods")
    }
    let mode = try reader.text(path + "normalize_coords", oneOf: ["separate", "min", "max"])
    encoder.coordinateNormalization = .init(rawValue: mode) ?? .separate
    encoder.ropeShift = try reader.optionalNumber(path + "shift_coords", in: 0...100)
    encoder.ropeJitter = try reader.optionalNumber(path + "jitter_coords", in: 1...100)
    encoder.ropeRescale = try reader.optionalNumber(path + "rescale_coords", in: 1...100)
  }

  private static func head(_ reader: SettingsReader, _ section: String) throws(MedDINOError) -> HeadConfiguration {
    var head = HeadConfiguration()
    head.prototypes = try reader.integer(section + ".head_n_prototypes", in: sizes)
    head.bottleneck = try reader.integer(section + ".head_bottleneck_dim", in: sizes)
    head.hidden = try reader.integer(section + ".head_hidden_dim", in: sizes)
    head.layers = try reader.integer(section + ".head_nlayers", in: 1...16)
    return head
  }

  static func losses(_ reader: SettingsReader, _ run: RunSettings) throws(MedDINOError) -> DistillationOptions {
    var options = DistillationOptions()
    options.dinoWeight = try reader.number("dino.loss_weight", in: finite)
    options.ignoresDiagonal = try reader.flag("dino.global_ignore_diagonal")
    options.koLeoWeight = try reader.number("dino.koleo_loss_weight", in: finite)
    options.ibotWeight = try reader.number("ibot.loss_weight", in: finite)
    if try reader.flag("dino.koleo_loss_distributed") {
      options.isKoLeoDistributed = true
      options.koLeo.neighbours = try reader.integer("dino.koleo_topk", in: 1...65536)
      options.koLeo.groupSize = try reader.optionalInteger("dino.koleo_distributed_loss_group_size", in: 2...(1 << 20))
    }
    if try reader.flag("dino.reweight_dino_local_loss") {
      options.localWeight = try weights(reader, "dino.local_loss_weight_schedule", run)
    }
    guard try reader.flag("gram.use_loss") else { return options }
    var gram = GramAnchoring()
    gram.form.normalized = try reader.flag("gram.normalized")
    gram.form.imageLevel = try reader.flag("gram.img_level")
    gram.form.removeNegative = try reader.flag("gram.remove_neg")
    gram.form.removeTeacherNegative = try reader.flag("gram.remove_only_teacher_neg")
    gram.tokens = GramAnchoring.Tokens(rawValue: try reader.text("gram.tokens_used", oneOf: ["all", "masked", "unmasked"])) ?? .all
    gram.usesAverage = try reader.flag("gram.ema_teacher")
    gram.weight = try reader.number("gram.loss_weight", in: finite)
    gram.weightSchedule = try weights(reader, "gram.loss_weight_schedule", run)
    gram.loadsAverageAt = try reader.integer("gram.it_load_ema_teacher", in: -1...(1 << 40))
    gram.isRefreshed = try reader.flag("gram.rep_update")
    gram.updateFrequency = try reader.integer("gram.update_frequency", in: 1...(1 << 40))
    gram.firstUpdate = try reader.integer("gram.it_first_update", in: counts)
    gram.maximumUpdates = try reader.optionalInteger("gram.max_updates", in: counts)
    gram.measuresStatistics = try reader.flag("gram.compute_stats")
    options.gram = gram
    return options
  }

  /// A weight by iteration, nil where the section is null. Source: model specification 10.2.
  private static func weights(_ reader: SettingsReader, _ path: String, _ run: RunSettings) throws(MedDINOError) -> Schedule? {
    guard reader.value(path) != nil else { return nil }
    let warmup = try reader.integer(path + ".warmup_epochs", in: 0...(1 << 24))
    let cosine = try reader.optionalInteger(path + ".cosine_epochs", in: 0...(1 << 24))
    try SelfSupervisedSchedules.checkPhases(path, warmup: warmup, cosine: cosine, epochs: run.epochs)
    return try .version2(
      start: try reader.number(path + ".start", in: finite), peak: try reader.number(path + ".peak", in: finite),
      end: try reader.number(path + ".end", in: finite), steps: run.iterations, warmup: warmup * run.epochLength,
      cosine: cosine.map { $0 * run.epochLength })
  }

  static func masks(_ reader: SettingsReader) throws(MedDINOError) -> MaskOptions {
    var masks = MaskOptions()
    masks.sampleProbability = try reader.number("ibot.mask_sample_probability", in: 0...1)
    masks.ratio = try reader.range("ibot.mask_ratio_min_max", in: 0...1)
    masks.circularShift = try reader.flag("ibot.mask_random_circular_shift")
    return masks
  }

  static func optimizer(_ reader: SettingsReader) throws(MedDINOError) -> DistillationOptimizer {
    var optimizer = DistillationOptimizer()
    optimizer.beta1 = try reader.number("optim.adamw_beta1", in: 0...0.9999999)
    optimizer.beta2 = try reader.number("optim.adamw_beta2", in: 0...0.9999999)
    let clip = try reader.optionalNumber("optim.clip_grad", in: 0...1e9) ?? 0
    optimizer.maximumNorm = clip > 0 ? clip : nil
    optimizer.layerDecay = try reader.number("optim.layerwise_decay", in: 0...10)
    optimizer.patchEmbedFactor = try reader.number("optim.patch_embed_lr_mult", in: 0...10)
    return optimizer
  }
}
