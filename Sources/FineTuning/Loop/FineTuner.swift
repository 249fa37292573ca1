public import Networks
public import Platform
public import Segmentation
public import Tensors
public import Training

/// The nnU-Net fine-tuning loop of one network: updates, validation, epochs.
///
/// Everything random is keyed by the seed and the number of the update, so a restored run goes on with the bits of one that never stopped,
/// whatever the number of threads. Used by one thread at a time. Source: pipeline specification 6 to 9.
public final class FineTuner {
  public let network: TrainablePrimus
  public let settings: FineTuningSettings
  public let scheme: LabelScheme
  public let optimizer: AdamW
  let device: any TrainingDevice
  /// Those who share the run: every rank calls the same methods, and makes its part of every batch.
  public let ranks: any Communicator
  let tape: Tape
  let training: BatchMaker?
  let validation: BatchMaker?
  private let lossOptions: SegmentationLossOptions
  private var loader: BatchLoader<TrainingBatch>?
  /// The first batches that were taken for an update which has not come about yet.
  private var pending: [TrainingBatch] = []
  /// More of them are made again instead of kept.
  private static let keptBatches = 1
  /// Of decoder-only training; nil computes features every time.
  public internal(set) var featureCache: FeatureCache?
  /// Of this process; starts with its first update.
  private var clock: TimeBudget?
  /// Several ranks must stop at the same update, so they agree on it after each.
  private var isTimeSpent: Bool { ranks.isSolo ? clock?.isSpent ?? false : hasAgreedOnTime }
  private var hasAgreedOnTime = false
  var state = LoopState()

  /// `training`, `validation`: nil leaves only `step(images:targets:)`, and epochs without validation.
  /// Throws: `.invalid`, `.shape` for a network with other outputs than the labels, `.outOfMemory`.
  public init(
    _ network: TrainablePrimus, settings: FineTuningSettings, scheme: LabelScheme, batchDice: Bool, training: BatchMaker?,
    validation: BatchMaker?, device: any TrainingDevice, ranks: any Communicator = SoloCommunicator()
  ) throws(MedDINOError) {
    try settings.validate()
    self.ranks = ranks
    guard network.configuration.classes == scheme.heads.count else {
      throw .shape("the network has \(network.configuration.classes) outputs, the labels need \(scheme.heads.count)")
    }
    self.network = network
    self.settings = settings
    self.scheme = scheme
    self.device = device
    self.training = training
    self.validation = validation
    tape = Tape(device, precision: settings.precision)
    var loss = SegmentationLossOptions()
    loss.regions = scheme.hasRegions
    loss.batchDice = batchDice
    loss.ignoreLabel = scheme.ignoreLabel
    lossOptions = loss
    let recipe = settings.recipe
    let depth = network.configuration.encoder.depth
    let rules = FineTuningRules(
      decoderRate: recipe.decoderRate, encoderRate: recipe.encoderRate, weightDecay: recipe.weightDecay,
      layerDecay: settings.layerDecay.map { LayerDecay(depth: depth, factor: $0) })
    optimizer = try AdamW(
      network.parameters.list,
      options: AdamW.Options(beta1: recipe.beta1, beta2: recipe.beta2, epsilon: recipe.epsilon, maximumNorm: recipe.clip),
      device: device, rule: rules.rule)
    state.early = EarlyStop(patience: settings.patience)
  }

  /// Updates made so far, and the epoch that the next one belongs to.
  public var step: Int { state.step }
  public var epoch: Int { state.epoch }
  /// Updates of the current epoch made so far.
  public var stepInEpoch: Int { state.sums.count }
  public var history: MetricsHistory { state.history }
  /// Moving average of the mean Dice, and the best so far; NaN before the first validation of an epoch.
  public var movingDice: Double { state.moving.average ?? .nan }
  public var bestMovingDice: Double { state.early.best ?? .nan }
  /// What the run's buffers come from.
  public var budget: MemoryBudget { device.budget }
  /// All epochs are done, the score has not improved for long enough, or the time is used up.
  public var isFinished: Bool { state.epoch >= settings.recipe.epochs || state.early.shouldStop || isTimeSpent }

  /// Goes on from another position: batches that were prepared are made again.
  func restart(_ other: LoopState) {
    state = other
    loader = nil
    pending = []
  }

  // MARK: updates

  /// One update on the next batches of the training cases. An epoch that has all its updates ends first, without validation.
  ///
  /// Throws: `.state` without cases or when the run is finished, `.cancelled` and `.outOfMemory` (weights and position are then those of
  /// before), and what the cases throw.
  public func step(_ control: RunControl = RunControl()) throws(MedDINOError) -> StepMetrics {
    guard let training else { throw .state("the trainer has no dataset, expected one or batches from the caller") }
    return try inItsEpoch { () throws(MedDINOError) in
      let result = try update(control) { (index, control) throws(MedDINOError) in try next(training, index, control) }
      state.position += settings.accumulate
      pending = []
      return result
    }
  }

  /// One update on the caller's batch, which is not augmented. It counts as one of its epoch's; the last epoch has no end.
  ///
  /// Shapes: images float32 [batch, channels, H, W] with H and W multiples of the patch; targets int16 as `TargetEncoding` makes them.
  /// Throws: `.shape`, `.format` for a value that no label has, `.state` when the run is finished, `.cancelled`, `.outOfMemory`.
  public func step(images: Tensor, targets: Tensor, _ control: RunControl = RunControl()) throws(MedDINOError) -> StepMetrics {
    try inItsEpoch { () throws(MedDINOError) in
      try update(control, batches: 1) { (_, _) in TrainingBatch(step: 0, images: images, targets: targets) }
    }
  }

  /// Counts an update that comes about, in the epoch that it belongs to.
  private func inItsEpoch(_ update: () throws(MedDINOError) -> StepMetrics) throws(MedDINOError) -> StepMetrics {
    let before = state
    let isLast = state.epoch + 1 >= settings.recipe.epochs
    if stepInEpoch >= settings.recipe.iterations, !isLast || training != nil { _ = state.endEpoch(nil, settings) }
    do throws(MedDINOError) {
      guard !isFinished || stepInEpoch > 0 else { throw .state("the run is finished after \(state.epoch) epochs") }
      let result = try update()
      state.sums.add(result)
      return result
    } catch {
      state = before
      throw error
    }
  }

  private func update(
    _ control: RunControl, batches: Int? = nil, _ batch: (Int, RunControl) throws(MedDINOError) -> TrainingBatch
  ) throws(MedDINOError) -> StepMetrics {
    let start = monotonicSeconds()
    if clock == nil { clock = TimeBudget(seconds: settings.timeBudget) }
    let count = batches ?? settings.accumulate
    defer { tape.control = RunControl() }
    network.parameters.zeroGradients()
    let control = try control.begun("train", by: ranks)
    var loss = SegmentationLoss(total: 0, crossEntropy: 0, dice: 0)
    do throws(MedDINOError) {
      for index in 0..<count {
        let share = control.part(Double(index) / Double(count), Double(index + 1) / Double(count))
        let one = try gradients(try batch(index, share), group: index, share)
        loss.add(one, weight: 1 / Double(count))
      }
      try control.update(1)
      try ranks.sumGradients(of: network.parameters.list, device: device)
    } catch {
      tape.reset()
      network.parameters.zeroGradients()
      throw error
    }
    let factor = settings.recipe.rateFactor(epoch: state.epoch)
    let report = try optimizer.step(AdamW.Rates(learningRate: factor), accumulated: count)
    state.step += 1
    try agreeOnTime()
    return StepMetrics(
      step: state.step, epoch: state.epoch, loss: loss, gradientNorm: report.norms.first ?? 0,
      learningRate: factor * settings.recipe.decoderRate, isUpdated: report.isUpdated, seconds: monotonicSeconds() - start)
  }

  private func agreeOnTime() throws(MedDINOError) {
    if ranks.isSolo || settings.timeBudget == nil { return }
    hasAgreedOnTime = try ranks.isAny(clock?.isSpent ?? false)
  }

  /// A backward takes about twice as long as its forward.
  private static let forwardShare = 0.35

  private func gradients(_ batch: TrainingBatch, group: Int, _ control: RunControl) throws(MedDINOError) -> SegmentationLoss {
    let encoder = network.configuration.encoder
    let random = TrainingRandomness(seed: settings.seed, step: UInt64(state.step), group: UInt64(group), rank: ranks.rank)
    tape.control = control.part(0, Self.forwardShare)
    let draws = random.draws(encoder, batch: batch.images.shape[0])
    let logits = try logits(batch.images, draws: draws)
    let loss = try tape.segmentationLoss(logits, targets: batch.targets, lossOptions, ranks: ranks)
    tape.control = control.part(Self.forwardShare, 1)
    try tape.backward()
    return loss
  }

  private func logits(_ images: Tensor, draws: VisionTransformer.TrainingDraws?) throws(MedDINOError) -> Variable {
    guard settings.adaptation == .decoderOnly else {
      return try network.logits(Variable(images), draws: draws, on: tape, recompute: settings.recompute)
    }
    let grid = network.encoder.grid(height: images.shape[2], width: images.shape[3])
    let taps = try roundedFeatures(images)
    return try network.logits(
      taps: taps.map { Variable($0) }, rows: grid.rows, columns: grid.columns, on: tape, recompute: settings.recompute)
  }

  /// Batch `index` of the update, taken from the loader once: after an update that did not come about it is there again.
  private func next(_ maker: BatchMaker, _ index: Int, _ control: RunControl) throws(MedDINOError) -> TrainingBatch {
    if index < pending.count { return pending[index] }
    if loader == nil || loader?.position != state.position + index {
      loader = try BatchLoader(from: state.position + index, workers: settings.workers, ahead: max(1, 2 * settings.workers)) {
        (number, _) throws(MedDINOError) in try maker.make(step: UInt64(number))
      }
    }
    do throws(MedDINOError) {
      guard let batch = try loader?.next(control) else { throw .cancelled }
      if index < Self.keptBatches { pending.append(batch) }
      return batch
    } catch {
      // A loader repeats its failure for ever; the next update may find the disk or the memory that this one lacked.
      if error.kind != .cancelled { loader = nil }
      throw error
    }
  }

  // MARK: validation and epochs

  /// Loss and pseudo Dice over the validation batches of an epoch; nothing of the run changes.
  ///
  /// Throws: `.state` without validation cases, `.cancelled`, `.outOfMemory`, and what the cases throw.
  public func validate(_ control: RunControl = RunControl()) throws(MedDINOError) -> ValidationMetrics {
    guard let validation else { throw .state("the trainer has no validation cases") }
    var dice = PseudoDice(heads: scheme.heads.count, regions: scheme.hasRegions, ignoreLabel: scheme.ignoreLabel)
    var sum = 0.0
    let count = settings.recipe.validationIterations
    defer { tape.control = RunControl() }
    let control = try control.begun("validate", by: ranks)
    // Whole batches are spread over the ranks.
    for index in stride(from: ranks.rank, to: count, by: ranks.size) {
      tape.control = control.part(Double(index) / Double(count), Double(index + 1) / Double(count))
      let batch = try validation.make(step: UInt64(state.epoch * count + index))
      try tape.withoutRecording { () throws(MedDINOError) in
        let logits = try logits(batch.images, draws: nil)
        sum += try tape.segmentationLoss(logits, targets: batch.targets, lossOptions).total
        try dice.add(logits: logits.value, targets: batch.targets)
      }
    }
    try dice.sum(over: ranks)
    sum = try ranks.sums([sum])[0]
    try agreeOnTime()
    return ValidationMetrics(loss: count == 0 ? .nan : sum / Double(count), dice: dice.scores, meanDice: dice.mean)
  }

  /// The updates that the current epoch still lacks, then validation and the epoch's bookkeeping. Without training cases the caller's
  /// own updates must fill the epoch before.
  ///
  /// Stages are "train" and "validate". After a cancel the epoch goes on where it stopped. Throws: as `step` and `validate`.
  public func finishEpoch(_ control: RunControl = RunControl()) throws(MedDINOError) -> EpochMetrics {
    let total = Double(settings.recipe.iterations + (validation == nil ? 0 : settings.recipe.validationIterations))
    while state.sums.count < settings.recipe.iterations, state.sums.count == 0 || !isTimeSpent {
      let done = Double(state.sums.count)
      _ = try step(control.span(done / total, (done + 1) / total))
    }
    var result: ValidationMetrics?
    if validation != nil, settings.recipe.validationIterations > 0 {
      let start = monotonicSeconds()
      result = try validate(control.span(Double(settings.recipe.iterations) / total, 1))
      state.sums.seconds += monotonicSeconds() - start
    }
    var metrics = state.endEpoch(result, settings)
    if isTimeSpent { metrics.isFinished = true }
    return metrics
  }
}
