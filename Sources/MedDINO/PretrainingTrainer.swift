internal import Networks
public import Platform
public import Pretraining
internal import Tensors
internal import Training
internal import WeightFiles

/// One run of self-supervised pretraining: student, teachers, slices, and the folder that shows how it goes.
///
/// Used by one thread at a time; a call that comes while another runs fails with `.state`. Models it started from do not change.
public final class PretrainingTrainer: @unchecked Sendable {
  public let context: Context
  public let stage: PretrainingStage
  /// Memory that the trainer may hold.
  public let budget: MemoryBudget
  /// The run itself; use it only where nobody else uses the trainer.
  let pretrainer: Pretrainer
  let origin: Origin
  private let exclusion = Exclusion()
  /// Iterations of the current epoch made by this trainer.
  private var epochMetrics: [PretrainingMetrics] = []

  /// Where weights came from, for the model that comes out.
  struct Origin: Equatable, Sendable {
    var licence: String
    /// What the start model says of itself; null for weights from files or random ones.
    var start: JSON
  }

  init(_ pretrainer: Pretrainer, stage: PretrainingStage, origin: Origin, budget: MemoryBudget, context: Context) {
    (self.pretrainer, self.stage, self.origin, self.budget, self.context) = (pretrainer, stage, origin, budget, context)
    // From the root: a resume may come from a process in another folder.
    let output = pretrainer.folder.map { (try? absolutePath($0)) ?? $0 }
    pretrainer.note = .object(
      ("stage", .integer(stage.rawValue)), ("output", output.map(JSON.string) ?? .null),
      ("licence", .string(origin.licence)), ("start", origin.start))
  }

  public var settings: PretrainingSettings { pretrainer.settings }
  public var folder: String? { pretrainer.folder }
  /// Whether the run goes on from a checkpoint.
  public var isResumed: Bool { pretrainer.isResumed }
  /// Iterations made so far; the epoch that the next one belongs to.
  public var step: Int { pretrainer.iteration }
  public var epoch: Int { pretrainer.iteration / settings.run.epochLength }
  public var isFinished: Bool { pretrainer.isFinished }
  /// The same for any thread: false while a call runs.
  public var hasEnded: Bool { (try? exclusively { isFinished }) ?? false }

  func exclusively<T>(_ body: () throws(MedDINOError) -> T) throws(MedDINOError) -> T { try exclusion.run(body) }

  /// What is left of the run, for another thread: from now on, until this is let go, other calls fail.
  /// Throws: `.state` while another call runs.
  public func reserve() throws(MedDINOError) -> ReservedRun {
    try ReservedRun(exclusion) { [self] (control) throws(MedDINOError) in
      try pretrainer.run(control: control) { report, seconds in self.note(report, seconds) }
    }
  }

  /// One iteration on the next batch, and what the run's folder keeps after it.
  /// Throws: `.state` after the end or when the loss is no number for too long, `.cancelled`, `.outOfMemory`, `.io`, and what the source
  /// throws. After a cancel and `.outOfMemory` the run is as it was before.
  public func step(control: RunControl = RunControl()) throws(MedDINOError) -> PretrainingMetrics {
    try exclusively { () throws(MedDINOError) in
      try checkUnfinished(control)
      try control.begin("pretrain", from: 0, to: 1)
      let result = try pretrainer.step(control)
      let metrics = note(result.report, result.seconds)
      try pretrainer.keep(isLast: pretrainer.isFinished)
      return metrics
    }
  }

  /// The rest of the epoch. Its means are over the iterations that this trainer made of it; after a cancel it goes on where it stopped.
  /// Throws: as `step`.
  public func epoch(control: RunControl = RunControl()) throws(MedDINOError) -> PretrainingMetrics {
    try exclusively { () throws(MedDINOError) in
      try checkUnfinished(control)
      let end = (epoch + 1) * settings.run.epochLength
      try pretrainer.run(until: end, savesAtLimit: false, control: control) { report, seconds in self.note(report, seconds) }
      guard let mean = PretrainingMetrics.mean(epochMetrics) else { throw MedDINOError(.internal, "an epoch without iterations") }
      return mean
    }
  }

  /// Everything that is left, or up to `limit` iterations of the whole run; saved in the run's folder at the end and on a cancel.
  /// Throws: as `step`.
  public func run(
    until limit: Int? = nil, control: RunControl = RunControl(), each: ((PretrainingMetrics) -> Void)? = nil
  ) throws(MedDINOError) {
    try exclusively { () throws(MedDINOError) in
      try pretrainer.run(until: limit, control: control) { report, seconds in
        let metrics = self.note(report, seconds)
        each?(metrics)
      }
    }
  }

  /// A finished run makes up for files that a stop cut off. Throws: `.state` when it is finished, and as `run`.
  private func checkUnfinished(_ control: RunControl) throws(MedDINOError) {
    guard isFinished else { return }
    try pretrainer.run(control: control)
    throw .state("the run is finished after \(step) iterations")
  }

  @discardableResult
  private func note(_ report: DistillationTrainer.Report, _ seconds: Double) -> PretrainingMetrics {
    let metrics = PretrainingMetrics(report, seconds: seconds, epochLength: settings.run.epochLength)
    if epochMetrics.last?.epoch != metrics.epoch { epochMetrics = [] }
    epochMetrics.append(metrics)
    return metrics
  }
}
