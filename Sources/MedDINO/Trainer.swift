public import FineTuning
internal import Networks
public import Platform
public import Tensors
internal import Training
internal import WeightFiles

/// One fine-tuning run: a network that learns, its data, and the folder that shows how it goes.
///
/// Used by one thread at a time; a call that comes while another runs fails with `.state`. The model it started from and the dataset do
/// not change.
public final class Trainer: @unchecked Sendable {
  public let context: Context
  public let settings: FineTuningSettings
  /// Plan and labels of the model that comes out.
  let task: Model.Task
  let encoder: EncoderConfiguration
  let tuner: FineTuner
  let origin: Origin
  var folder: RunFolder?
  public internal(set) var fold = DatasetSplits.Fold.number(0)
  /// Of the dataset, in its order; empty without one.
  var caseNames: [String] = []
  /// One per name.
  var caseSamples: [CaseSample] = []
  private let exclusion = Exclusion()

  /// Where weights and settings came from, for the model that comes out.
  struct Origin: Equatable, Sendable {
    var licence: String
    /// What the start model says of itself; null for random weights.
    var start: JSON
    var dataset: String
  }

  init(
    context: Context, settings: FineTuningSettings, task: Model.Task, tuner: FineTuner, origin: Origin
  ) {
    self.context = context
    self.settings = settings
    self.task = task
    encoder = tuner.network.configuration.encoder
    self.tuner = tuner
    self.origin = origin
  }

  /// Updates made so far; the epoch that the next one belongs to.
  public var step: Int { tuner.step }
  public var epoch: Int { tuner.epoch }
  public var isFinished: Bool { tuner.isFinished }
  /// `isFinished` for any thread: false while a call runs.
  public var hasEnded: Bool { (try? exclusively { isFinished }) ?? false }
  /// Moving average of the mean Dice, and the best so far; NaN before the first validation of an epoch.
  public var movingDice: Double { tuner.movingDice }
  public var bestMovingDice: Double { tuner.bestMovingDice }
  /// Memory that the trainer may hold.
  public var budget: MemoryBudget { tuner.budget }

  /// One caller at a time. Throws: `.state` while another call runs.
  func exclusively<T>(_ body: () throws(MedDINOError) -> T) throws(MedDINOError) -> T { try exclusion.run(body) }

  /// Every epoch that is left, for one run on another thread: from now on, until this is let go, other calls fail.
  /// Throws: `.state` while another call runs.
  public func reserve() throws(MedDINOError) -> ReservedRun {
    try ReservedRun(exclusion) { [self] (control) throws(MedDINOError) in try everyEpoch(control) { _ in } }
  }

  // MARK: steps

  /// One update on the next batch. Throws: `.state` without a dataset or after the end, `.cancelled`, `.outOfMemory`, `.io`.
  public func step(control: RunControl = RunControl()) throws(MedDINOError) -> StepMetrics {
    try exclusively { () throws(MedDINOError) in try tuner.step(control) }
  }

  /// One update on the caller's batch, not augmented. It counts as an update of the epoch.
  ///
  /// Shapes: images float32 [batch, channels, rows, columns], normalised; labels int16 [batch, 1, rows, columns] with the values of label
  /// maps.
  /// Throws: `.shape`, `.invalid` for a value that no label has, `.state` after the end, `.cancelled`, `.outOfMemory`.
  public func step(images: Tensor, labels: Tensor, control: RunControl = RunControl()) throws(MedDINOError) -> StepMetrics {
    try exclusively { () throws(MedDINOError) in
      try tuner.step(images: try checked(images), targets: try encoded(labels, images), control)
    }
  }

  /// The rest of the epoch, with validation and what the run folder keeps. Throws: as `step`.
  public func epoch(control: RunControl = RunControl()) throws(MedDINOError) -> EpochMetrics {
    try exclusively { () throws(MedDINOError) in try oneEpoch(control) }
  }

  /// Every epoch that is left. Throws: as `step`; what was done until then stays, in memory and in the run folder.
  public func run(control: RunControl = RunControl(), each: (EpochMetrics) -> Void = { _ in }) throws(MedDINOError) {
    try exclusively { () throws(MedDINOError) in try everyEpoch(control, each: each) }
  }

  private func everyEpoch(_ control: RunControl, each: (EpochMetrics) -> Void) throws(MedDINOError) {
    let total = Double(settings.recipe.epochs)
    while !tuner.isFinished {
      let done = Double(tuner.epoch)
      each(try oneEpoch(control.span(done / total, (done + 1) / total)))
    }
  }

  /// Loss and pseudo Dice over the validation batches; nothing changes. Throws: `.state` without validation cases.
  public func validate(control: RunControl = RunControl()) throws(MedDINOError) -> ValidationMetrics {
    try exclusively { () throws(MedDINOError) in try tuner.validate(control) }
  }

  private func oneEpoch(_ control: RunControl) throws(MedDINOError) -> EpochMetrics {
    guard !tuner.isFinished else { throw .state("the run is finished after \(tuner.epoch) epochs") }
    let metrics = try tuner.finishEpoch(control)
    context.log(.info, "epoch \(metrics.epoch): loss \(DecimalText.fixed(metrics.trainingLoss.total, digits: 4))")
    try context.ranks.checkEqual(tuner.network.parameters.list)
    try folder?.note(metrics, self)
    return metrics
  }

  // MARK: batches from the caller

  private func checked(_ images: Tensor) throws(MedDINOError) -> Tensor {
    let channels = task.configuration.normalization.count
    let patch = encoder.patchSize
    guard images.dtype == .float32, images.shape.rank == 4, images.shape[0] > 0, images.shape[1] == channels else {
      throw .shape("images are \(images.dtype.rawValue) \(images.shape), expected float32 [batch, \(channels), rows, columns]")
    }
    guard images.shape[2] > 0, images.shape[3] > 0, images.shape[2] % patch == 0, images.shape[3] % patch == 0 else {
      throw .shape("images are \(images.shape), expected rows and columns that are multiples of the patch size \(patch)")
    }
    let values = images.floats
    guard values.allSatisfy(\.isFinite) else { throw .invalid("images hold NaN or infinity") }
    return images
  }

  /// Label values as the loss wants them. Throws: `.shape`, `.invalid`.
  private func encoded(_ labels: Tensor, _ images: Tensor) throws(MedDINOError) -> Tensor {
    let (batch, rows, columns) = (images.shape[0], images.shape[2], images.shape[3])
    guard labels.dtype == .int16, labels.shape.extents == [batch, 1, rows, columns] else {
      throw .shape("targets are \(labels.dtype.rawValue) \(labels.shape), expected [\(batch), 1, \(rows), \(columns)]")
    }
    let known = Set(task.scheme.allLabels + (task.scheme.ignoreLabel.map { [$0] } ?? []))
    for value in labels.elements(Int16.self) where !known.contains(Int(value)) {
      throw .invalid("targets hold the value \(value), expected \(known.sorted().map(String.init).joined(separator: ", "))")
    }
    let encoding = TargetEncoding(task.scheme)
    guard encoding.regions != nil else { return labels }
    let targets = try Tensor([batch, encoding.channels, rows, columns], .int16, in: budget, "targets")
    for image in 0..<batch {
      try encoding.encode(
        labels.rows(image..<image + 1).reshaped([1, rows, columns]),
        into: targets.rows(image..<image + 1).reshaped([encoding.channels, rows, columns]))
    }
    return targets
  }
}
