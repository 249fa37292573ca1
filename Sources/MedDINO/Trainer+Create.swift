public import FineTuning
public import Networks
public import Platform
internal import Tensors
internal import Training
public import WeightFiles

extension Trainer {
  /// Starts a run.
  ///
  /// start: a segmenter goes on from its weights (a decoder for other labels starts fresh as far as it does not fit), a backbone gives
  /// the encoder; nil: random weights. dataset: nil for batches from the caller, with the plan and labels of `start`.
  /// maxBytes: of all that the trainer holds.
  /// Throws: `.invalid` naming the key of the settings, `.shape`, `.unsupported`, `.format`, `.io`, `.outOfMemory`.
  public static func create(
    start: Model?, dataset: TrainingDataset?, settings: RunSettings, context: Context, maxBytes: Int? = nil,
    control: RunControl = RunControl()
  ) throws(MedDINOError) -> Trainer {
    try control.begin("create", from: 0, to: 1)
    if let output = settings.output { try RunFolder.checkFree(output) }
    let lock = try lock(settings.output, context)
    let network = try NetworkChoice(start: start, dataset: dataset, settings: settings, context: context)
    let budget = MemoryBudget(limit: maxBytes, parent: context.budget)
    let device = context.device.limited(to: budget)
    let loop = network.settings
    let trainable = try TrainablePrimus(
      network.configuration, parameters: network.parameters(seed: loop.seed), device: device, adaptation: loop.adaptation, seed: loop.seed)
    try control.update(0.7)
    let origin = Origin(
      licence: start?.metadata["licence"] ?? "unspecified", start: network.startText, dataset: network.task.plan.datasetName)
    let tuner = try make(trainable, loop, network.task, dataset, settings.fold, device, context.ranks)
    let trainer = Trainer(context: context, settings: loop, task: network.task, tuner: tuner, origin: origin)
    trainer.fold = settings.fold
    try trainer.remember(dataset)
    try context.ranks.checkEqual(trainable.parameters.list)
    try trainer.open(settings.output, lock, resumedStep: nil)
    try control.update(1)
    return trainer
  }

  /// Keeps what a resume recognises the cases by. Throws: `.io`, `.format`.
  func remember(_ dataset: TrainingDataset?) throws(MedDINOError) {
    let cases = dataset?.cases ?? []
    caseNames = cases.map(\.identifier)
    caseSamples = []
    for one in cases { caseSamples.append(try CaseSample(one)) }
  }

  /// The right to write into the run's folder; nil without one, and for other ranks than the first. Throws: `.state`, `.io`.
  static func lock(_ output: String?, _ context: Context) throws(MedDINOError) -> RunLock? {
    guard let output else { return nil }
    return try RunLock.take(output, by: context.ranks)
  }

  /// Opens the run's folder, of which other ranks than the first only keep features. Throws: `.invalid`, `.state`, `.io`, `.format`.
  func open(_ output: String?, _ lock: RunLock?, resumedStep: Int?) throws(MedDINOError) {
    if let lock {
      let opened = try RunFolder(lock, resumedStep: resumedStep)
      if resumedStep == nil { try opened.begin(RunSettings(settings, fold: fold, output: opened.path)) }
      folder = opened
    }
    guard settings.featureCacheBytes > 0 else { return }
    guard let output else { throw .invalid("feature_cache needs the folder of a run, but output is not given") }
    try makeFolder(output)
    try tuner.keepFeatures(in: RunFolder.features(output, rank: context.ranks.rank), patch: task.configuration.patchSize)
  }

  static func make(
    _ network: TrainablePrimus, _ settings: FineTuningSettings, _ task: Model.Task, _ dataset: TrainingDataset?, _ fold: DatasetSplits.Fold,
    _ device: any TrainingDevice, _ ranks: any Communicator
  ) throws(MedDINOError) -> FineTuner {
    var makers: (training: BatchMaker?, validation: BatchMaker?) = (nil, nil)
    if let dataset {
      let split = try dataset.split(fold)
      let size = settings.batchSize ?? task.configuration.batchSize
      guard size >= ranks.size else {
        throw .invalid("batch_size is \(size), expected at least \(ranks.size): an image for each process")
      }
      func maker(_ role: BatchMaker.Role, _ cases: [any TrainingCase]) throws(MedDINOError) -> BatchMaker {
        try BatchMaker(
          role, cases: cases, configuration: task.configuration, scheme: task.scheme,
          augmentation: settings.augmentation(mirroring: task.mirrorAxes), foregroundShare: settings.recipe.oversampling,
          batchSize: size, seed: settings.seed, items: role == .training ? batchShare(of: size, rank: ranks.rank, size: ranks.size) : nil,
          in: device.budget)
      }
      makers = (try maker(.training, split.train), split.validation.isEmpty ? nil : try maker(.validation, split.validation))
    }
    return try FineTuner(
      network, settings: settings, scheme: task.scheme, batchDice: task.configuration.batchDice, training: makers.training,
      validation: makers.validation, device: device, ranks: ranks)
  }

  /// Memory and arithmetic of one update on one rank, from shapes alone. Throws: as `create`.
  public static func estimate(
    start: Model?, dataset: TrainingDataset?, settings: RunSettings, context: Context
  ) throws(MedDINOError) -> TrainingCost {
    let network = try NetworkChoice(start: start, dataset: dataset, settings: settings, context: context)
    let patch = network.task.configuration.patchSize
    return TrainingCost(
      network.configuration, adaptation: network.settings.adaptation,
      batch: 1 + (max(network.settings.batchSize ?? network.task.configuration.batchSize, 1) - 1) / context.ranks.size,
      height: patch[0], width: patch[1],
      recompute: network.settings.recompute,
      threads: context.pool.width)
  }
}

/// Settings of a run with what belongs to this machine: which fold, and where to write.
public struct RunSettings: Equatable, Sendable {
  public var loop: FineTuningSettings
  public var fold: DatasetSplits.Fold
  /// Folder for checkpoints, metrics and plots; nil: nothing is written.
  public var output: String?
  /// The settings name an encoder or taps, which a start model must then have.
  public var namesNetwork = false

  public init(_ loop: FineTuningSettings, fold: DatasetSplits.Fold = .number(0), output: String? = nil) {
    self.loop = loop
    self.fold = fold
    self.output = output
  }

  public var json: JSON {
    var object = loop.json.objectValue ?? JSONObject()
    object["fold"] = .string(fold.description)
    object["output"] = output.map(JSON.string) ?? .null
    return .object(object)
  }

  /// From one JSON text with the keys of `meddino finetune --print-config`; nil: the recipe's defaults.
  /// Throws: `.invalid` naming the key, `.format` for text that is no JSON.
  public init(_ text: String?) throws(MedDINOError) {
    let json = try text.map { text throws(MedDINOError) in try JSON.parse(text, source: "settings_json") } ?? .object(JSONObject())
    guard var object = json.objectValue else { throw .invalid("settings_json is not a JSON object") }
    var chosen = DatasetSplits.Fold.number(0)
    if let value = object["fold"], !value.isNull { chosen = try DatasetSplits.Fold(value.stringValue ?? value.text()) }
    var folder: String?
    if let value = object["output"], !value.isNull {
      guard let path = value.stringValue, !path.isEmpty else { throw .invalid("output is \(value.text()), expected a folder") }
      folder = path
    }
    object["fold"] = nil
    object["output"] = nil
    self.init(try FineTuningSettings(.object(object)), fold: chosen, output: folder)
    namesNetwork = ["encoder", "taps"].contains { object[$0].map { !$0.isNull } ?? false }
  }

  /// What other settings ask for and these do not have, key by key of `given`, an object as `init(_:)` reads it.
  ///
  /// Of an encoder only the keys that it names count; the folder of the run does not. Throws: as `init(_:)`.
  public func differences(from given: JSON) throws(MedDINOError) -> [(key: String, asked: JSON, own: JSON)] {
    guard let named = given.objectValue else { throw .invalid("the settings are not a JSON object") }
    let (asked, own) = (try RunSettings(given.text()).json, json)
    var found: [(key: String, asked: JSON, own: JSON)] = []
    for (key, value) in named.entries where key != "output" && !value.isNull {
      let (a, b) = (asked[key] ?? .null, own[key] ?? .null)
      guard key == "encoder", let inner = value.objectValue else {
        if a != b { found.append((key, a, b)) }
        continue
      }
      for part in inner.keys where a[part] != b[part] { found.append(("encoder.\(part)", a[part] ?? .null, b[part] ?? .null)) }
    }
    return found
  }
}
