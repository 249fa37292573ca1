internal import FineTuning
internal import Networks
public import Platform
internal import Tensors
internal import Training
internal import WeightFiles

extension Trainer {
  /// Writes everything that a resume needs: whole or not at all. Throws: `.io`, `.outOfMemory`, `.cancelled`, `.state`.
  public func save(to path: String, control: RunControl = RunControl()) throws(MedDINOError) {
    try exclusively { () throws(MedDINOError) in try write(to: path, control: control) }
  }

  /// Writes the run folder's latest checkpoint now, also amid an epoch. Throws: `.state` without a folder, `.io`, `.outOfMemory`.
  public func saveLatest() throws(MedDINOError) {
    try exclusively { () throws(MedDINOError) in
      try context.ranks.checkEqual(tuner.network.parameters.list)
      guard context.ranks.isRoot else { return }
      guard let folder else { throw .state("the run has no folder, expected one in \"output\"") }
      try folder.keep(self)
    }
  }

  /// The same from inside a call.
  func write(to path: String, control: RunControl = RunControl()) throws(MedDINOError) {
    try tuner.save(to: path, architecture: architecture, owner: owner, control: control)
  }

  /// Goes on from a saved run: what follows has the bits of a run that was never stopped.
  ///
  /// dataset: as at the start, with the same cases. output: the run's folder, nil for the one it had (if any).
  /// Throws: `.format`, `.shape`, `.invalid`, `.io`, `.outOfMemory`, `.state` while another run uses the folder.
  public static func resume(
    _ path: String, dataset: TrainingDataset?, context: Context, maxBytes: Int? = nil, output: String? = nil,
    control: RunControl = RunControl()
  ) throws(MedDINOError) -> Trainer {
    try control.begin("resume", from: 0, to: 1)
    let place: String?
    if let output { place = output } else { place = try outputFolder(of: path) }
    let lock = try lock(place, context)
    // Read once nobody writes it any more.
    let checkpoint = try TrainingCheckpoint(path)
    let owner = FineTuner.owner(of: checkpoint)
    func text(_ key: String) throws(MedDINOError) -> String {
      guard let value = owner[key]?.stringValue else { throw .format("\(path): checkpoint without \(key)") }
      return value
    }
    guard let settingsJSON = owner["settings"], let start = owner["start"] else {
      throw .format("\(path): checkpoint without settings or start")
    }
    let settings = try RunSettings(settingsJSON.text())
    let loop = settings.loop
    let task = try ModelText.task(
      plans: text("plans"), dataset: text("dataset"), configuration: text("configuration"), taps: loop.recipe.taps,
      mirrorAxes: owner["mirror_axes"]?.arrayValue?.compactMap(\.intValue) ?? [0, 1], in: context.budget)
    if let dataset { try check(dataset, task, owner, settings.fold, path) }
    let configuration = Primus.Configuration(encoder: loop.recipe.encoder, taps: loop.recipe.taps, classes: task.scheme.heads.count)
    let device = context.device.limited(to: MemoryBudget(limit: maxBytes, parent: context.budget))
    let network = try TrainablePrimus(
      configuration, parameters: CheckpointParameters(checkpoint: checkpoint), device: device, adaptation: loop.adaptation, seed: loop.seed)
    try control.update(0.5)
    let tuner = try make(network, loop, task, dataset, settings.fold, device, context.ranks)
    try control.update(0.8)
    let origin = Origin(licence: try text("licence"), start: start, dataset: task.plan.datasetName)
    let trainer = Trainer(context: context, settings: loop, task: task, tuner: tuner, origin: origin)
    trainer.fold = settings.fold
    try trainer.remember(dataset)
    try tuner.restore(checkpoint, architecture: trainer.architecture)
    try context.ranks.checkEqual(network.parameters.list)
    try trainer.open(place, lock, resumedStep: checkpoint.state.step)
    try control.update(1)
    return trainer
  }

  /// Where a saved run was writing: the folder of its latest checkpoint, also where that was moved to; for a checkpoint that was saved
  /// elsewhere the folder that the run had. Throws: `.format`, `.io`, `.unsupported`.
  private static func outputFolder(of path: String) throws(MedDINOError) -> String? {
    let owner = FineTuner.owner(of: try TrainingCheckpoint(path))
    guard let noted = owner["settings"]?["output"]?.stringValue else { return nil }
    let own = folderPath(of: path)
    let isLatest = path.split(separator: "/").last == "checkpoint_latest.safetensors" && FileKind.of(own + "/settings.json") == .regular
    return isLatest ? own : noted
  }

  /// The configuration of the plan that a saved run trains with. Throws: `.format`, `.io`, `.unsupported`.
  public static func configuration(ofCheckpoint path: String) throws(MedDINOError) -> String {
    guard let name = FineTuner.owner(of: try TrainingCheckpoint(path))["configuration"]?.stringValue else {
      throw .format("\(path): checkpoint without configuration")
    }
    return name
  }

  /// A run goes on only with the data it began with. Throws: `.invalid`, `.format`, `.io`.
  private static func check(
    _ dataset: TrainingDataset, _ task: Model.Task, _ owner: JSON, _ fold: DatasetSplits.Fold, _ path: String
  ) throws(MedDINOError) {
    guard dataset.configuration.name == task.configuration.name else {
      throw .invalid("\(path): the run has the configuration \"\(task.configuration.name)\", the dataset \"\(dataset.configuration.name)\"")
    }
    guard dataset.configuration == task.configuration, dataset.scheme == task.scheme else {
      throw .invalid("\(path): the run has another plan or other labels than the dataset")
    }
    let before = owner["cases"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let now = dataset.identifiers
    guard before.isEmpty || before == now else {
      let missing = before.first { !now.contains($0) } ?? now.first { !before.contains($0) } ?? "their order"
      throw .invalid("\(path): the run began with \(before.count) cases, the dataset has \(now.count); they differ in \(missing)")
    }
    // Runs of earlier versions have none.
    guard let kept = owner["case_samples"]?.arrayValue, kept.count == before.count else { return }
    for (text, one) in zip(kept, dataset.cases) {
      guard let sample = CaseSample(text) else { throw .format("\(path): checkpoint case_samples holds \(text.text().prefix(80))") }
      guard try sample.agrees(with: CaseSample(one)) else {
        throw .invalid("\(path): the run began with another dataset: the case \(one.identifier) has other voxels")
      }
    }
  }

  /// What must be equal for a resume.
  var architecture: JSON {
    .object(
      ("encoder", encoder.json), ("taps", .integers(task.taps)), ("classes", .integer(task.scheme.heads.count)),
      ("adapt", .string(settings.adaptation.text)))
  }

  private var owner: JSON {
    var run = RunSettings(settings, fold: fold, output: folder?.path)
    run.namesNetwork = true
    return .object(
      ("settings", run.json), ("plans", .string(task.plansText)), ("dataset", .string(task.datasetText)),
      ("configuration", .string(task.configuration.name)), ("mirror_axes", .integers(task.mirrorAxes)),
      ("licence", .string(origin.licence)), ("start", origin.start), ("cases", .array(caseNames.map(JSON.string))),
      ("case_samples", .array(caseSamples.map(\.json))))
  }

  /// The model as it stands: weights copied, low-rank factors merged; usable at once. Throws: `.outOfMemory`, `.state` while another call
  /// runs.
  public func export() throws(MedDINOError) -> Model { try exclusively { () throws(MedDINOError) in try model() } }

  func model() throws(MedDINOError) -> Model {
    let table = try tuner.network.exported()
    var copied = ParameterTable()
    for name in table.names {
      guard let tensor = table.tensors[name] else { continue }
      let copy = try Tensor(tensor.shape, tensor.dtype, in: context.budget, name)
      copy.copy(from: tensor)
      copied.add(name, copy)
    }
    var plain = encoder
    plain.dropPathRate = 0
    let provenance = JSON.object(
      ("trained_by", .string("meddino \(Build.version)")), ("recipe", .string(settings.recipe.name)), ("dataset", .string(origin.dataset)),
      ("fold", .string(fold.description)), ("steps", .integer(tuner.step)), ("epochs", .integer(tuner.epoch)),
      ("adapt", .string(settings.adaptation.text)), ("seed", .string(String(settings.seed))), ("start", origin.start))
    let model = Model(
      context: context, encoder: plain, task: task, labels: try ModelText.labels(task, stored: nil),
      metadata: ModelText.metadata(plain, task, layout: "meddino", licence: origin.licence, provenance: provenance.text()),
      members: [copied])
    try model.checkFit()
    return model
  }
}

/// The weights and buffers of a saved run, by the names of the network.
struct CheckpointParameters: ParameterSource {
  let checkpoint: TrainingCheckpoint
  func contains(_ name: String) -> Bool { stored(name) != nil }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard let stored = stored(name) else { throw .format("\(checkpoint.path): checkpoint lacks \(name)") }
    let tensor = try checkpoint.tensor(stored, in: budget)
    guard tensor.shape == shape else { throw .format("\(checkpoint.path): \(name) has shape \(tensor.shape), expected \(shape)") }
    return try tensor.asFloat32(in: budget)
  }
  private func stored(_ name: String) -> String? { ["weights." + name, "extra." + name].first(where: checkpoint.contains) }
}
