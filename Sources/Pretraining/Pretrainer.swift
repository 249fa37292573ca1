public import Platform
public import Tensors
internal import Training
public import WeightFiles

/// A run of self-supervised pretraining in a folder: checkpoints, metrics, exported teachers.
///
/// Everything random is keyed by the seed and the number of the iteration, so a run that is resumed goes on with the bits of one that never
/// stopped. Used by one thread at a time. Source: model specification 2.3, 6.
public final class Pretrainer {
  public let settings: PretrainingSettings
  public let trainer: DistillationTrainer
  /// nil: nothing is written but where `save(to:)` and `exportTeacher(to:)` say.
  public let folder: String?
  /// Whether the run goes on from a checkpoint.
  public let isResumed: Bool
  /// What the owner of the run keeps with its checkpoints.
  public var note = JSON.null
  let device: any TrainingDevice
  /// Those who share the run. Every rank calls the same methods; only the first one writes.
  public let ranks: any Communicator
  let checkpoints: CheckpointFolder?
  var source: any SliceSource { maker.source }
  private let tape: Tape
  let maker: CropMaker
  /// The first rank's, of a run with a folder.
  private let lock: RunLock?
  private let metrics: MetricsStream?
  /// Where it went on; 0 for a new run.
  private let resumedIteration: Int
  private var loader: BatchLoader<PretrainingBatch>?
  private var lastResolution: CropOptions.Resolution?
  /// Who looks at the teacher every `watch.every` iterations; the first rank's alone is asked.
  public var watcher: (any PretrainingWatcher)?
  /// A look at the teacher was due and is not made: kept with a checkpoint, so that a run that was stopped there makes it first.
  var owesLook = false
  static let metricsName = "metrics.jsonl"
  static let settingsName = "settings.json"
  static let checkpointName = "pretraining"

  /// Starts a run in `folder`, or goes on with the one that is there: its slices must be the same, its settings equal but for workers,
  /// paths and checkpoint periods.
  ///
  /// `given`: networks to start from that are no files. `saved`: the checkpoint to go on from; nil: the newest of the folder.
  /// Throws: `.invalid` for settings or a source that cannot be, and for a folder of another run; `.state` while another run uses the
  /// folder; `.format`, `.io`, `.outOfMemory`.
  public init(
    _ settings: PretrainingSettings, source: any SliceSource, folder: String?, given: GivenNetworks = GivenNetworks(),
    resuming saved: String? = nil, device: any TrainingDevice, ranks: any Communicator = SoloCommunicator()
  ) throws(MedDINOError) {
    guard settings.ranks == ranks.size else {
      throw .invalid("the settings are for \(settings.ranks) processes, the run has \(ranks.size)")
    }
    self.settings = settings
    self.ranks = ranks
    self.folder = folder
    self.device = device
    let encoder = settings.networks.encoder
    maker = try CropMaker(
      source, crops: settings.crops, pixels: settings.pixels, masks: settings.masks, batchSize: settings.totalBatchSize,
      channels: encoder.inputChannels, patchSize: encoder.patchSize, seed: settings.run.seed,
      items: batchShare(of: settings.totalBatchSize, rank: ranks.rank, size: ranks.size))
    lock = try folder.flatMap { (folder) throws(MedDINOError) in try RunLock.take(folder, by: ranks) }
    checkpoints = try folder.map { (folder) throws(MedDINOError) in
      try CheckpointFolder(folder, name: Self.checkpointName, keep: settings.run.checkpointsKept)
    }
    try Self.checkSource(source, ranks)
    if ranks.isRoot, let checkpoints { try Self.removeAbandoned(checkpoints) }
    var saved = saved
    if saved == nil, let checkpoints {
      saved = try Self.agreed(try checkpoints.steps().last, in: checkpoints.folder, ranks).map(checkpoints.path(step:))
    }
    isResumed = saved != nil
    let anchored = settings.losses.gram.map { !$0.usesAverage } ?? false
    let start: StartingPoint
    if let saved {
      try Self.checkRun(saved, settings, source)
      start = StartingPoint(resuming: try SafeTensorsFile(InputFile(saved)), hasGramTeacher: anchored)
    } else {
      start = try StartingPoint(settings, given, in: device.budget)
    }
    let model = try SelfDistillation(
      settings.networks, options: settings.losses, student: start.student, teacher: start.teacher, gramTeacher: start.gramTeacher,
      device: device, ranks: ranks)
    trainer = try DistillationTrainer(model, schedules: settings.schedules, options: settings.optimizer)
    tape = Tape(device, precision: settings.run.precision)
    if let saved { owesLook = try Self.restore(trainer, from: saved, settings) }
    if let broken = Self.notFinite(model) {
      throw .format("\(saved ?? "the weights to start from"): \(broken) holds values that are not finite, expected numbers")
    }
    try ranks.checkEqual(model.studentParameters)
    resumedIteration = trainer.iteration
    guard ranks.isRoot, let folder else {
      metrics = nil
      return
    }
    metrics = try MetricsStream(folder + "/" + Self.metricsName, resumedStep: saved == nil ? nil : trainer.iteration)
    if saved == nil { try AtomicFile.write(Array((settings.document.text() + "\n").utf8), to: folder + "/" + Self.settingsName) }
  }

  /// The newest checkpoint in a run's folder; nil without one. Throws: `.io`.
  public static func newestCheckpoint(in folder: String) throws(MedDINOError) -> String? {
    guard FileKind.of(folder) == .directory else { return nil }
    return try CheckpointFolder(folder, name: checkpointName).latest()
  }

  /// The run's folder of one of its numbered checkpoints; nil for another file.
  public static func runFolder(of checkpoint: String) -> String? {
    let folder = folderPath(of: checkpoint)
    let name = checkpoint.split(separator: "/").last ?? ""
    let digits = name.dropFirst(checkpointName.count + 1).prefix { ("0"..."9").contains($0) }
    let isNumbered = digits.count >= 10 && name == "\(checkpointName)_\(digits).safetensors"
    return isNumbered && FileKind.of(folder + "/" + settingsName) == .regular ? folder : nil
  }

  /// Iterations made so far.
  public var iteration: Int { trainer.iteration }
  /// Iterations at the end of what a resumed run had made that its metrics do not hold any more: the file was removed or cut.
  public var lostMetrics: Int {
    guard isResumed, let metrics, resumedIteration > 0 else { return 0 }
    return max(resumedIteration - (metrics.resumedLastStep ?? 0), 0)
  }
  public var isFinished: Bool { trainer.iteration >= settings.run.iterations }

  /// Iterates until the run is finished or `limit` iterations of the whole run are made, and saves at the end.
  ///
  /// A cancel saves what is reached and is thrown on. `report` sees every iteration. `savesAtLimit`: also at a limit before the end.
  /// Files that the last iteration of a stopped run did not come to write are written first, also when nothing else is left to do.
  /// Throws: `.cancelled`, `.state` when the loss is no number for too long or weights are not finite, `.io` when a file cannot be
  /// written, and what the source throws.
  public func run(
    until limit: Int? = nil, savesAtLimit: Bool = true, control: RunControl = RunControl(),
    report: ((DistillationTrainer.Report, _ seconds: Double) -> Void)? = nil
  ) throws(MedDINOError) {
    let end = min(limit ?? settings.run.iterations, settings.run.iterations)
    let first = trainer.iteration
    try control.begin("pretrain", from: 0, to: 1)
    if first > 0 { try catchUp(try control.agreed(at: 0, by: ranks)) }
    guard first < end else { return }
    do throws(MedDINOError) {
      while trainer.iteration < end {
        let part = Double(trainer.iteration - first) / Double(end - first)
        let shown = try control.agreed(at: part, by: ranks)
        let next = Double(trainer.iteration + 1 - first) / Double(end - first)
        let (result, seconds) = try step(shown.part(part, next))
        report?(result, seconds)
        try watch(shown.still(at: next), isLast: trainer.iteration == end)
        try keep(isLast: trainer.iteration == end && (savesAtLimit || isFinished))
      }
    } catch {
      if error.kind == .cancelled, trainer.iteration > first { try save() }
      throw error
    }
  }

  /// One iteration on the next batch, noted in the metrics. Progress goes from 0 to 1 within the control's stage; up to there a stop leaves
  /// the run as it was. Throws: as `run`.
  @discardableResult
  public func step(_ control: RunControl = RunControl()) throws(MedDINOError) -> (report: DistillationTrainer.Report, seconds: Double) {
    let start = monotonicSeconds()
    let batch = try nextBatch(control)
    let resolution = settings.crops.resolution(at: trainer.iteration)
    // Tensors of one resolution are of no use to another: kept, they would add up to the memory of all.
    if let lastResolution, lastResolution != resolution { tape.trim() }
    lastResolution = resolution
    tape.control = control
    defer { tape.control = RunControl() }
    let report: DistillationTrainer.Report
    do throws(MedDINOError) {
      report = try trainer.step(batch, seed: settings.run.seed, recompute: settings.run.recompute, on: tape) { () throws(MedDINOError) in
        try control.update(1)
      }
    } catch {
      tape.reset()
      loader = nil  // the batch is made again
      throw error
    }
    let seconds = monotonicSeconds() - start
    if let metrics {
      let record = record(report, seconds: seconds)
      try metrics.write(record)
      watcher?.note(record)
    }
    return (report, seconds)
  }

  /// Looks at the teacher when it is time to, and notes what is found.
  private func watch(_ control: RunControl, isLast: Bool) throws(MedDINOError) {
    let (every, done) = (settings.watch.every, trainer.iteration)
    guard watcher != nil, metrics != nil, every > 0, done % every == 0 || isLast && isFinished else { return }
    owesLook = true
    try look(control)
  }

  private func look(_ control: RunControl) throws(MedDINOError) {
    guard let watcher, let metrics else { return }
    let done = trainer.iteration
    let found = try watcher.observe(self, control: control)
    let record = MetricsRecord(.step, step: done, epoch: (done - 1) / settings.run.epochLength, values: found)
    try metrics.write(record)
    owesLook = false
    watcher.note(record)
    try watcher.draw(self)
  }

  /// What a run that was stopped after an iteration, but before all of its files were written, still owes of that iteration.
  private func catchUp(_ control: RunControl) throws(MedDINOError) {
    if owesLook { try look(control.still(at: 0)) }
    owesLook = false
    try keepFiles(onlyMissing: true)
  }

  private func nextBatch(_ control: RunControl) throws(MedDINOError) -> PretrainingBatch {
    if loader == nil || loader?.position != trainer.iteration {
      let (maker, budget, workers) = (maker, device.budget, source.isConcurrent ? settings.run.workers : 0)
      loader = try BatchLoader(from: trainer.iteration, to: settings.run.iterations, workers: workers, ahead: max(1, 2 * workers)) {
        (index, control) throws(MedDINOError) in try maker.batch(at: index, in: budget, control: control)
      }
    }
    do throws(MedDINOError) {
      guard let batch = try loader?.next(control) else {
        throw .state("the run is finished after \(settings.run.iterations) iterations")
      }
      return batch
    } catch {
      if loader?.hasFailed == true { loader = nil }  // it would repeat its failure for ever
      throw error
    }
  }

  private func record(_ report: DistillationTrainer.Report, seconds: Double) -> MetricsRecord {
    var values = JSONObject(report.losses.named.map { ($0.name, JSON.number($0.value)) })
    for entry in report.losses.measured { values[entry.name] = .number(entry.value) }
    for norm in report.norms { values[norm.name + "_grad_norm"] = .number(norm.value) }
    values["lr"] = .number(report.rates.learningRate)
    values["last_layer_lr"] = .number(report.rates.lastLayerLearningRate)
    values["wd"] = .number(report.rates.weightDecay)
    values["mom"] = .number(report.momentum)
    values["teacher_temp"] = .number(report.teacherTemperature)
    values["global_crops_size"] = .integer(settings.crops.resolution(at: report.iteration).global)
    values["seconds"] = .number(seconds)
    return MetricsRecord(.step, step: report.iteration + 1, epoch: report.iteration / settings.run.epochLength, values: values)
  }

  /// Saves and exports where the settings say so, after each iteration. Nothing happens without a folder. Throws: `.io`, `.outOfMemory`.
  public func keep(isLast: Bool) throws(MedDINOError) {
    guard folder != nil else { return }
    if isLast || trainer.iteration % settings.run.checkpointPeriod == 0 { try save() }
    try keepFiles(onlyMissing: false)
  }

  /// The files of an iteration besides the checkpoint that a run goes on from.
  private func keepFiles(onlyMissing: Bool) throws(MedDINOError) {
    guard let folder, ranks.isRoot else { return }
    let (run, done) = (settings.run, trainer.iteration)
    let kept = folder + "/kept_\(done).safetensors"
    if run.keepEvery > 0, done % run.keepEvery == 0, !onlyMissing || FileKind.of(kept) == .missing { try save(to: kept) }
    let isDue = isFinished || (run.exportPeriod > 0 && done % run.exportPeriod == 0)
    if isDue, !onlyMissing || !isExported { try exportTeacher() }
  }

  /// Puts the metrics on the disk, then a checkpoint. Nothing is written without a folder.
  /// Throws: `.io`, `.outOfMemory`, `.state` when the ranks have drifted apart or weights are not finite.
  public func save() throws(MedDINOError) {
    try ranks.checkEqual(trainer.model.studentParameters)
    try checkFinite()
    guard ranks.isRoot else { return }
    try metrics?.sync()
    try checkpoints?.save(state, tensors)
  }
}
