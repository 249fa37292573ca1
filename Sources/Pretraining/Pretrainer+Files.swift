internal import Networks
public import Platform
internal import Tensors
internal import Training
public import WeightFiles

/// Checkpoints and exports of a run. Source: model specification 2.2, 2.3.
extension Pretrainer {
  /// Settings that may change when a run goes on: they do not change its numbers.
  private static let free = [
    "train.num_workers", "train.output_dir", "train.dataset_path", "train.previous_checkpoint", "train.checkpointing",
    "train.checkpointing_full", "train.saveckp_freq", "student.pretrained_weights", "student.resume_from_teacher_chkpt", "gram.ckpt",
    "checkpointing", "evaluation",
    "watch",
  ]

  private static let method = "self-distillation"

  /// The step of the checkpoint that all ranks see. Throws: `.invalid` when they see different ones, `.state`.
  static func agreed(_ step: Int?, in folder: String, _ ranks: any Communicator) throws(MedDINOError) -> Int? {
    let all = try ranks.gather(Double(step ?? -1))
    guard let other = all.firstIndex(where: { $0 != all[0] }) else { return step }
    func text(_ step: Double) -> String { step < 0 ? "no checkpoint" : "iteration \(Int(step))" }
    throw .invalid(
      "\(folder): rank 0 finds \(text(all[0])), rank \(other) \(text(all[other])), expected one folder that all ranks share")
  }

  /// Removes what killed runs left half written in the folder of the checkpoints, its exports and its pictures. Throws: `.io`.
  static func removeAbandoned(_ checkpoints: CheckpointFolder) throws(MedDINOError) {
    let folder = checkpoints.folder
    try checkpoints.removeAbandoned()
    try AtomicFile.removeAbandoned(in: folder) { $0 == settingsName || $0.hasSuffix(".png") }
    if FileKind.of(folder + "/watch") == .directory { try AtomicFile.removeAbandoned(in: folder + "/watch") { $0.hasSuffix(".png") } }
    guard FileKind.of(folder + "/eval") == .directory else { return }
    for export in try folderEntries(folder + "/eval") where export.hasPrefix("training_") {
      try AtomicFile.removeAbandoned(in: "\(folder)/eval/\(export)") { $0.hasPrefix("backbone.") || $0.hasPrefix("teacher_checkpoint.") }
    }
  }

  /// What must be equal for a restore: the batch is that of all ranks, however many they are.
  static func architecture(_ settings: PretrainingSettings) -> JSON {
    var sections = settings.document.objectValue ?? JSONObject()
    for path in free {
      let parts = path.split(separator: ".").map(String.init)
      guard parts.count == 2 else {
        sections[parts[0]] = nil
        continue
      }
      var section = sections[parts[0]]?.objectValue ?? JSONObject()
      section[parts[1]] = nil
      sections[parts[0]] = .object(section)
    }
    var training = sections["train"]?.objectValue ?? JSONObject()
    training["batch_size_per_gpu"] = .integer(settings.totalBatchSize)
    if settings.ranks > 1, settings.dependsOnRanks { training["ranks"] = .integer(settings.ranks) }
    sections["train"] = .object(training)
    return .object(("method", .string(method)), ("settings", .object(sections)))
  }

  var state: CheckpointState {
    var state = CheckpointState(architecture: Self.architecture(settings))
    state.step = trainer.iteration
    state.epoch = trainer.iteration / settings.run.epochLength
    state.seed = settings.run.seed
    state.dataPosition = trainer.iteration
    var owner = JSONObject([
      ("gram_updates", .integer(trainer.gramUpdates)), ("undefined_in_row", .integer(trainer.undefinedInRow)),
      ("source", .string(source.fingerprint)), ("settings", settings.document), ("note", note),
    ])
    if owesLook { owner["owes_look"] = .bool(true) }
    state.owner = .object(owner)
    return state
  }

  var tensors: CheckpointTensors { Self.tensors(trainer) }

  private static func tensors(_ trainer: DistillationTrainer) -> CheckpointTensors {
    let model = trainer.model
    let learned = Set(model.studentParameters.map(\.name))
    var extra = model.studentState.filter { !learned.contains($0.name) }
    for entry in model.gramTeacherState ?? [] where learned.contains(entry.name) { extra.append(("gram." + entry.name, entry.tensor)) }
    return CheckpointTensors(
      parameters: model.studentParameters, optimizer: trainer.optimizer, average: trainer.average, extra: extra)
  }

  /// Before networks are made: a wrong folder should say what differs, not which tensor does not fit. Throws: `.invalid`, `.format`, `.io`.
  static func checkRun(_ path: String, _ settings: PretrainingSettings, _ source: any SliceSource) throws(MedDINOError) {
    let saved = try TrainingCheckpoint(path).state
    guard saved.architecture["method"]?.stringValue == method else {
      throw .invalid("\(path): a checkpoint of another kind of training, expected one of pretraining")
    }
    if let difference = firstDifference(saved.architecture["settings"] ?? .null, architecture(settings)["settings"] ?? .null, "") {
      throw .invalid("\(path): the run in this folder has other settings: \(difference)")
    }
    guard saved.owner["source"]?.stringValue == source.fingerprint else {
      throw .invalid("\(path): the run in this folder saw other slices than these \(source.count), expected the same in the same order")
    }
  }

  private static func firstDifference(_ saved: JSON, _ own: JSON, _ path: String) -> String? {
    if saved == own { return nil }
    if let a = saved.objectValue, let b = own.objectValue {
      for key in b.keys + a.keys.filter({ b[$0] == nil }) {
        let place = path.isEmpty ? key : path + "." + key
        if let found = firstDifference(a[key] ?? .null, b[key] ?? .null, place) { return found }
      }
      return nil  // the same keys in another order
    }
    // 1 and 1.0 are one number.
    if let a = saved.doubleValue, let b = own.doubleValue, a == b { return nil }
    return "\(path) is \(own.text().prefix(80)), the run has \(saved.text().prefix(80))"
  }

  /// Returns whether the run owes a look at the teacher.
  static func restore(
    _ trainer: DistillationTrainer, from path: String, _ settings: PretrainingSettings
  ) throws(MedDINOError) -> Bool {
    let checkpoint = try TrainingCheckpoint(path)
    let saved = checkpoint.state
    guard let updates = CheckpointState.count(saved.owner["gram_updates"]),
      let undefined = CheckpointState.count(saved.owner["undefined_in_row"])
    else { throw .format("\(path): checkpoint without the state of a pretraining run") }
    guard saved.step <= settings.run.iterations else {
      throw .format("\(path): checkpoint step is \(saved.step), expected at most the run's \(settings.run.iterations)")
    }
    try checkpoint.restore(tensors(trainer), architecture: saved.architecture)
    trainer.iteration = saved.step
    trainer.gramUpdates = updates
    trainer.undefinedInRow = undefined
    return saved.owner["owes_look"]?.boolValue ?? false
  }

  /// The name of the first weight of student or teacher that is not finite everywhere; nil without one.
  static func notFinite(_ model: SelfDistillation) -> String? {
    let learned = model.studentParameters.map { (name: $0.name, tensor: $0.value) } + model.teacherAverages
    for entry in learned {
      defer { withExtendedLifetime(entry.tensor) {} }
      if entry.tensor.floats.contains(where: { !$0.isFinite }) { return entry.name }
    }
    return nil
  }

  /// A file of such weights could not be gone on from, and might replace one that can. Throws: `.state`.
  func checkFinite() throws(MedDINOError) {
    guard let broken = Self.notFinite(trainer.model) else { return }
    throw .state(
      "\(broken) is not finite after \(trainer.iteration) iterations: nothing is saved any more, expected finite weights "
        + "(a lower learning rate, or slices without extreme values)")
  }

  /// Ranks that read other slices would train on batches that no one rank could make. Throws: `.invalid` on all ranks.
  static func checkSource(_ source: any SliceSource, _ ranks: any Communicator) throws(MedDINOError) {
    if ranks.isSolo { return }
    var hash = SHA256()
    Array("\(source.count) \(source.fingerprint)".utf8).withUnsafeBytes { hash.update($0) }
    let digest = hash.finish()
    // 48 bits are exact in double precision.
    let all = try ranks.gather(digest.prefix(6).reduce(0.0) { $0 * 256 + Double($1) })
    let counts = try ranks.gather(Double(source.count))
    guard let other = all.firstIndex(where: { $0 != all[0] }) else { return }
    throw .invalid(
      "rank \(other) has other slices (\(Int(counts[other]))) than rank 0 (\(Int(counts[0]))), expected the same on all ranks")
  }

  /// A checkpoint under any name: everything that a resume needs, whole or not at all. Throws: `.io`, `.outOfMemory`, `.cancelled`,
  /// `.state` for weights that are not finite.
  public func save(to path: String, control: RunControl = RunControl()) throws(MedDINOError) {
    try checkFinite()
    try TrainingCheckpoint.save(state, tensors, to: path, control: control)
  }

  /// The settings that a saved run began with, and what its owner noted with them; nil for a checkpoint of another kind of training.
  /// Throws: `.format`, `.io`, `.unsupported`.
  public static func savedSettings(_ path: String) throws(MedDINOError) -> (document: JSON, note: JSON)? {
    let state = try TrainingCheckpoint(path).state
    guard state.architecture["method"]?.stringValue == method else { return nil }
    guard let document = state.owner["settings"] else { throw .format("\(path): checkpoint without the settings of its run") }
    return (document, state.owner["note"] ?? .null)
  }

  /// Writes the teacher as it is now into `eval/training_<iteration>`: `teacher_checkpoint.safetensors` with the official names
  /// `teacher.backbone.…`, `teacher.dino_head.…`, `teacher.ibot_head.…`, `teacher_checkpoint.pth` with the same for PyTorch (a mapping
  /// "teacher"), and `backbone.safetensors` with the bare names of a released backbone.
  ///
  /// Returns the folder. Throws: `.state` for a run without a folder or weights that are not finite, `.io`, `.outOfMemory`.
  @discardableResult
  public func exportTeacher() throws(MedDINOError) -> String {
    guard let folder else { throw .state("the run has no folder to export to") }
    let target = exportFolder(in: folder)
    try makeFolder(folder + "/eval")
    try makeFolder(target)
    try exportTeacher(to: target)
    return target
  }

  private func exportFolder(in folder: String) -> String { "\(folder)/eval/training_\(trainer.iteration)" }
  private static let exportNames = ["teacher_checkpoint.safetensors", "teacher_checkpoint.pth", "backbone.safetensors"]

  /// Whether all files of the export of this iteration are there; each of them is written whole or not at all.
  var isExported: Bool {
    guard let folder else { return false }
    return Self.exportNames.allSatisfy { FileKind.of(exportFolder(in: folder) + "/" + $0) == .regular }
  }

  /// The same into a folder that exists.
  public func exportTeacher(to target: String) throws(MedDINOError) {
    try checkFinite()
    let named = Dictionary(trainer.model.teacherState.map { ($0.name, $0.tensor) }, uniquingKeysWith: { first, _ in first })
    let prefix = "backbone."
    let metadata = [
      ("architecture", settings.networks.encoder.json.text()), ("iteration", String(trainer.iteration)),
      ("normalization", settings.pixels.normalization.rawValue),
    ]
    let backbone = settings.networks.encoder.parameters.compactMap { spec in named[prefix + spec.name].map { (spec.name, $0) } }
    let teacher = backbone.map { (prefix + $0.0, $0.1) } + trainer.model.teacherState.filter { !$0.name.hasPrefix(prefix) }
    try SafeTensorsWriter.write(
      teacher.map { ("teacher." + $0.0, $0.1) }, metadata: metadata, to: target + "/teacher_checkpoint.safetensors")
    try TorchArchiveWriter.write([.init("teacher", teacher.map { ($0.0, $0.1) })], to: target + "/teacher_checkpoint.pth")
    try SafeTensorsWriter.write(backbone, metadata: metadata, to: target + "/backbone.safetensors")
  }
}
