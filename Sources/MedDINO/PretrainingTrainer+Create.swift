internal import Networks
public import Platform
public import Pretraining
internal import Tensors
internal import WeightFiles

extension PretrainingTrainer {
  /// Starts a run.
  ///
  /// start: a model whose encoder the student and the teacher begin with, under new heads; nil: what the settings name, or random weights.
  /// gramTeacher: a model whose encoder is the anchor of a later stage; nil: what the settings name. maxBytes: of all that the trainer
  /// holds. goesOn: a folder that holds a run already goes on with it; without, that is refused.
  /// Throws: `.invalid`, `.shape` naming the tensor, `.unsupported`, `.format`, `.io`, `.outOfMemory`, `.cancelled`.
  public static func create(
    start: Model? = nil, gramTeacher: Model? = nil, dataset: PretrainingDataset, settings: PretrainingRunSettings, stage: PretrainingStage,
    context: Context, maxBytes: Int? = nil, goesOn: Bool = false, control: RunControl = RunControl()
  ) throws(MedDINOError) -> PretrainingTrainer {
    try control.begin("create", from: 0, to: 1)
    if !goesOn, let output = settings.output, let found = try Pretrainer.newestCheckpoint(in: output) {
      throw .invalid("\(found) is there already, expected a folder without a run, or a resume")
    }
    let loop = settings.loop
    if !loop.unused.isEmpty { context.log(.warning, "settings without effect: \(loop.unused.joined(separator: ", "))") }
    let encoder = loop.networks.encoder
    if start != nil, loop.run.previousStage != nil || loop.run.initialBackbone != nil {
      throw .invalid("start is given and the settings name weights to start from, expected one of both")
    }
    if gramTeacher != nil, loop.losses.gram == nil || loop.losses.gram?.usesAverage == true {
      throw .invalid("gram_teacher is given, but the settings anchor to no network of its own (gram.use_loss, gram.ema_teacher)")
    }
    let given = GivenNetworks(
      backbone: try start.map { (model) throws(MedDINOError) in try StartEncoder(model, as: encoder, "start") },
      gramTeacher: try gramTeacher.map { (model) throws(MedDINOError) in try StartEncoder(model, as: encoder, "gram_teacher") })
    let budget = MemoryBudget(limit: maxBytes, parent: context.budget)
    try control.update(0.2)
    let pretrainer = try Pretrainer(
      loop, source: dataset.source, folder: settings.output, given: given, device: context.device.limited(to: budget), ranks: context.ranks)
    try watch(pretrainer, control)
    let origin = Origin(licence: start?.metadata["licence"] ?? "unspecified", start: start.map(\.originText) ?? .null)
    try control.update(1)
    return PretrainingTrainer(pretrainer, stage: stage, origin: origin, budget: budget, context: context)
  }

  /// What the settings want to see of the run goes into its folder.
  private static func watch(_ pretrainer: Pretrainer, _ control: RunControl) throws(MedDINOError) {
    guard pretrainer.folder != nil, pretrainer.ranks.isRoot, pretrainer.settings.watch.every > 0 else { return }
    pretrainer.watcher = try PretrainingWatch(pretrainer, control: control.still(at: 0.9))
  }

  /// Memory and arithmetic of one iteration, from the settings alone. Throws: as `create` for a start that does not fit.
  public static func estimate(
    start: Model? = nil, settings: PretrainingRunSettings, context: Context
  ) throws(MedDINOError) -> PretrainingCost {
    if let start { _ = try StartEncoder(start, as: settings.loop.networks.encoder, "start") }
    return PretrainingCost(settings.loop, threads: context.pool.width)
  }

  /// Whether a file is a checkpoint of pretraining; false for one of fine-tuning.
  /// Throws: `.format` for a file that is no training checkpoint, `.io`, `.unsupported`.
  public static func isCheckpoint(_ path: String) throws(MedDINOError) -> Bool { try Pretrainer.savedSettings(path) != nil }

  /// Goes on from a saved run: what follows has the bits of a run that was never stopped. Its folder is the one that the checkpoint lies
  /// in, also where that was moved to, or for a checkpoint that was saved elsewhere the one that the run had.
  ///
  /// dataset: as at the start. Throws: `.invalid` for other slices, `.format`, `.shape`, `.io`, `.outOfMemory`, `.cancelled`.
  public static func resume(
    _ path: String, dataset: PretrainingDataset, context: Context, maxBytes: Int? = nil, control: RunControl = RunControl()
  ) throws(MedDINOError) -> PretrainingTrainer {
    try control.begin("resume", from: 0, to: 1)
    guard let saved = try Pretrainer.savedSettings(path) else { throw .format("\(path): no checkpoint of pretraining") }
    let settings = try PretrainingSettings(saved.document, ranks: context.ranks.size)
    let stage = saved.note["stage"]?.intValue.flatMap(PretrainingStage.init) ?? settings.likelyStage
    let budget = MemoryBudget(limit: maxBytes, parent: context.budget)
    try control.update(0.2)
    let pretrainer = try Pretrainer(
      settings, source: dataset.source, folder: saved.note["output"]?.stringValue.map { Pretrainer.runFolder(of: path) ?? $0 },
      resuming: path,
      device: context.device.limited(to: budget), ranks: context.ranks)
    try watch(pretrainer, control)
    try control.update(1)
    let origin = Origin(licence: saved.note["licence"]?.stringValue ?? "unspecified", start: saved.note["start"] ?? .null)
    return PretrainingTrainer(pretrainer, stage: stage, origin: origin, budget: budget, context: context)
  }

  /// Writes everything that a resume needs: whole or not at all. Throws: `.io`, `.outOfMemory`, `.cancelled`, `.state`.
  public func save(to path: String, control: RunControl = RunControl()) throws(MedDINOError) {
    try exclusively { () throws(MedDINOError) in try pretrainer.save(to: path, control: control) }
  }

  /// The teacher's backbone as it stands, as a model: weights copied, usable at once. Throws: `.outOfMemory`, `.state` while another call
  /// runs.
  public func export() throws(MedDINOError) -> Model {
    try exclusively { () throws(MedDINOError) in
      let prefix = "backbone."
      var copied = ParameterTable()
      for entry in pretrainer.trainer.model.teacherState where entry.name.hasPrefix(prefix) {
        let copy = try Tensor(entry.tensor.shape, entry.tensor.dtype, in: context.budget, entry.name)
        copy.copy(from: entry.tensor)
        copied.add(String(entry.name.dropFirst(prefix.count)), copy)
      }
      var encoder = settings.networks.encoder
      encoder.dropPathRate = 0
      let provenance = JSON.object(
        ("trained_by", .string("meddino \(Build.version)")), ("objective", .string("pretraining stage \(stage.rawValue)")),
        ("iterations", .integer(step)), ("seed", .string(String(settings.run.seed))),
        ("normalization", .string(settings.pixels.normalization.rawValue)), ("start", origin.start))
      return Model(
        context: context, encoder: encoder, task: nil, labels: [],
        metadata: ModelText.metadata(encoder, nil, layout: "meddino", licence: origin.licence, provenance: provenance.text()),
        members: [copied])
    }
  }
}

extension PretrainingSettings {
  /// Of a run that did not note its stage: by the anchor and the number of resolutions.
  fileprivate var likelyStage: PretrainingStage {
    losses.gram == nil ? .distillation : crops.resolutions.count > 1 ? .highResolution : .anchoring
  }
}

/// The encoder of a model by the names of a released backbone.
struct StartEncoder: ParameterSource {
  private let member: any ParameterSource
  private let prefix: String

  /// Throws: `.unsupported` for an ensemble, `.shape` naming the first tensor that the settings' encoder has otherwise.
  init(_ model: Model, as encoder: EncoderConfiguration, _ name: String) throws(MedDINOError) {
    guard model.memberCount == 1 else {
      throw .unsupported("\(name) has \(model.memberCount) members, expected a model of one")
    }
    member = model.members[0]
    prefix = model.task == nil ? "" : "dino_encoder."
    let found = Dictionary(model.encoder.parameters.map { ($0.name, $0.shape) }, uniquingKeysWith: { first, _ in first })
    for spec in encoder.parameters where !spec.isBuffer && found[spec.name] != spec.shape {
      let own = found[spec.name].map { "is \($0)" } ?? "is missing"
      throw .shape("\(name): \(spec.name) \(own), the settings' encoder has \(spec.shape) (student.arch and what follows it)")
    }
  }

  func contains(_ name: String) -> Bool { member.contains(prefix + name) }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    try member.parameter(prefix + name, shape, in: budget)
  }
}

extension Model {
  /// What a model says of itself, for those that start from it.
  var originText: JSON {
    .object(
      ("kind", .string(task == nil ? "backbone" : "segmenter")), ("layout", .string(metadata["layout"] ?? "")),
      ("provenance", .string(metadata["provenance"] ?? "")), ("sha256", metadata["sha256"].map(JSON.string) ?? .null))
  }
}
