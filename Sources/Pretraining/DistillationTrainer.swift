public import Platform
public import Tensors
public import Training

/// The optimiser's part of a run. Source: model specification 9, 10.3.
public struct DistillationOptimizer: Equatable, Sendable {
  public var beta1 = 0.9
  public var beta2 = 0.999
  /// Largest gradient norm of each of backbone, DINO head and iBOT head; nil does not clip.
  public var maximumNorm: Double? = 3
  public var layerDecay = 0.9
  public var patchEmbedFactor = 0.2
  public init() {}
}

/// Iterations of self-distillation: schedules, losses, clipping, AdamW, moving average, Gram teacher.
///
/// Used by one thread at a time. Source: model specification 6.
public final class DistillationTrainer {
  public let model: SelfDistillation
  public let schedules: SelfSupervisedSchedules
  public let optimizer: AdamW
  public let average: ParameterAverage
  /// The next iteration, counted from 0: the position in all schedules.
  public internal(set) var iteration = 0
  /// How often the Gram teacher was taken anew from the moving average.
  public internal(set) var gramUpdates = 0
  /// Losses in a row that were no numbers.
  public internal(set) var undefinedInRow = 0
  /// More than so many end the run. Source: model specification 6.
  static let undefinedLimit = 2

  /// Throws: `.invalid`, `.outOfMemory`.
  public init(
    _ model: SelfDistillation, schedules: SelfSupervisedSchedules, options: DistillationOptimizer = DistillationOptimizer()
  ) throws(MedDINOError) {
    let rules = SelfSupervisedRules(
      depth: model.networks.encoder.depth, layerDecay: options.layerDecay, patchEmbedFactor: options.patchEmbedFactor)
    self.model = model
    self.schedules = schedules
    optimizer = try AdamW(
      model.studentParameters,
      options: .init(beta1: options.beta1, beta2: options.beta2, maximumNorm: options.maximumNorm, nonFinite: .update),
      device: model.device
    ) { rules.rule($0) }
    average = try ParameterAverage(of: model.studentParameters, in: model.teacherAverages, device: model.device)
  }

  /// What one iteration did.
  public struct Report: Equatable, Sendable {
    public var iteration: Int
    public var losses: DistillationLosses
    /// Gradient norms before clipping, by sub-module.
    public var norms: [(name: String, value: Double)]
    public var rates: AdamW.Rates
    public var momentum: Double
    public var teacherTemperature: Double

    public static func == (a: Report, b: Report) -> Bool {
      a.iteration == b.iteration && a.losses == b.losses && a.norms.map(\.name) == b.norms.map(\.name)
        && a.norms.map(\.value) == b.norms.map(\.value) && a.rates == b.rates && a.momentum == b.momentum
        && a.teacherTemperature == b.teacherTemperature
    }
  }

  /// One iteration on the batch, of which every rank has its part: gradients and losses are the mean over the ranks. `seed`: of stochastic depth and coordinate augmentation; nil: without.
  ///
  /// `inspect` sees the student's gradients before they are clipped.
  /// Throws: `.state` after too many losses in a row that are no numbers, and what `SelfDistillation.accumulate` throws; after a cancel
  /// nothing has changed but gradients.
  @discardableResult
  public func step(
    _ batch: PretrainingBatch, seed: UInt64?, recompute: Bool = false, on tape: Tape, inspect: (() throws(MedDINOError) -> Void)? = nil
  ) throws(MedDINOError) -> Report {
    let gram = model.options.gram
    if let gram, !gram.usesAverage, iteration == gram.loadsAverageAt { try model.refreshGramTeacher() }
    let rates = AdamW.Rates(
      learningRate: schedules.learningRate.value(at: iteration),
      lastLayerLearningRate: schedules.lastLayerLearningRate.value(at: iteration),
      weightDecay: schedules.weightDecay.value(at: iteration))
    let (momentum, temperature) = (schedules.momentum.value(at: iteration), schedules.teacherTemperature.value(at: iteration))
    optimizer.zeroGradients()
    var losses = try model.accumulate(
      batch,
      .init(
        iteration: iteration, teacherTemperature: temperature, randomness: seed.map { ($0, UInt64(iteration)) }, recompute: recompute),
      on: tape)
    let ranks = model.ranks
    try ranks.sumGradients(of: model.studentParameters, factor: 1 / Double(ranks.size), device: model.device)
    try losses.average(over: ranks)
    try inspect?()
    undefinedInRow = losses.total.isNaN ? undefinedInRow + 1 : 0
    guard undefinedInRow <= Self.undefinedLimit else {
      throw .state("the loss is not a number for \(undefinedInRow) iterations in a row (up to \(iteration)), expected finite losses")
    }
    let norms = try optimizer.step(rates).norms
    average.update(momentum: momentum)
    if let gram, gram.refreshes(after: iteration, made: gramUpdates) {
      try model.refreshGramTeacher()
      gramUpdates += 1
    }
    let report = Report(
      iteration: iteration, losses: losses, norms: Array(zip(optimizer.clipGroups, norms).map { (name: $0, value: $1) }), rates: rates,
      momentum: momentum, teacherTemperature: temperature)
    iteration += 1
    return report
  }
}
