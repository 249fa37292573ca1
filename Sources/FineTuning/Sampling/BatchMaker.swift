internal import Imaging
public import Platform
public import Segmentation
public import Tensors

/// Makes the batches of training or validation: batch `step` is a pure function of (seed, step, cases, options), whoever makes it.
///
/// Safe to share between threads: every call brings its own scratch.
/// Source: pipeline specification 6, 7.
public struct BatchMaker: Sendable {
  public enum Role: Sendable {
    /// Larger boxes, augmented.
    case training
    /// The patch itself, as it is.
    case validation
  }
  public let role: Role
  public let cases: [any TrainingCase]
  public let sampler: PatchSampler
  public let augmentation: Augmentation
  public let targets: TargetEncoding
  public let channels: Int
  /// The samples of every batch that are made here.
  public let items: Range<Int>
  /// Channels whose pixels outside the nonzero mask are set to 0; empty when none is.
  private let masked: [Bool]
  private let largestLabel: Int
  private let budget: MemoryBudget

  public var batchSize: Int { sampler.batchSize }
  public var patch: [Int] { sampler.geometry.patch }

  /// `batchSize` nil: that of the plan. `items`: the part of every batch that is made, its samples being those of the whole; nil: all.
  ///
  /// Throws: `.invalid` without cases or for an option out of range, `.shape` for a case that does not fit the plan.
  public init(
    _ role: Role, cases: [any TrainingCase], configuration: Plan.Configuration, scheme: LabelScheme,
    augmentation: Augmentation = .official, foregroundShare: Double = FineTuningDefaults.foregroundOversampling, batchSize: Int? = nil,
    seed: UInt64, items: Range<Int>? = nil, in budget: MemoryBudget
  ) throws(MedDINOError) {
    let size = batchSize ?? configuration.batchSize
    guard (1...4096).contains(size) else { throw .invalid("batch size is \(size), expected 1 to 4096") }
    self.items = items ?? 0..<size
    guard self.items.lowerBound >= 0, self.items.upperBound <= size, !self.items.isEmpty else {
      throw .invalid("items \(self.items) of a batch of \(size), expected a part of it")
    }
    guard !cases.isEmpty else { throw .invalid("no cases to draw from, expected at least one") }
    try OptionCheck.chance(foregroundShare, "share of samples with foreground")
    try augmentation.validate()
    channels = configuration.normalization.count
    for item in cases {
      guard item.shape.count == 4, item.shape[0] == channels, item.shape.allSatisfy({ $0 > 0 }) else {
        throw .shape("case \(item.identifier) is \(item.shape), expected [\(channels), slices, rows, columns]")
      }
    }
    let isTraining = role == .training
    let geometry =
      isTraining
      ? try PatchGeometry.training(configuration.patchSize, rotation: augmentation.spatial.rotation)
      : try PatchGeometry.validation(configuration.patchSize)
    sampler = PatchSampler(
      geometry: geometry, rule: ForegroundRule(scheme, share: foregroundShare), batchSize: size, seed: seed,
      purpose: isTraining ? "training sample" : "validation sample")
    let uses = configuration.useMaskForNorm
    let any = isTraining && uses.contains(true)
    masked = any ? (augmentation.masksOnlyMaskedChannels ? uses : uses.map { _ in true }) : []
    targets = TargetEncoding(scheme)
    largestLabel = scheme.ignoreLabel ?? scheme.allLabels.count - 1
    self.role = role
    self.cases = cases
    self.augmentation = augmentation
    self.budget = budget
  }

  /// All of its samples. Throws: `.outOfMemory`; what the cases throw.
  public func make(step: UInt64) throws(MedDINOError) -> TrainingBatch {
    let batch = try allocate(step: step)
    let workspace = Workspace(budget)
    for item in items { try fill(item, of: batch, workspace: workspace) }
    return batch
  }

  /// A batch without contents, for callers that spread its samples over threads. Throws: `.outOfMemory`.
  public func allocate(step: UInt64) throws(MedDINOError) -> TrainingBatch {
    let images = try Tensor([items.count, channels, patch[0], patch[1]], in: budget, "batch images")
    let targets = try Tensor([items.count, targets.channels, patch[0], patch[1]], .int16, in: budget, "batch targets")
    return TrainingBatch(step: step, images: images, targets: targets)
  }

  /// Makes sample `item` of the batch, one of `items`. Different items may be filled at once, each with a workspace of its own.
  ///
  /// Throws: `.outOfMemory`; what the case throws.
  public func fill(_ item: Int, of batch: TrainingBatch, workspace: Workspace) throws(MedDINOError) {
    let place = item - items.lowerBound
    let image = batch.images.rows(place..<place + 1).reshaped([channels, patch[0], patch[1]])
    let target = batch.targets.rows(place..<place + 1).reshaped([targets.channels, patch[0], patch[1]])
    let labels = targets.regions == nil ? target : try workspace.tensor("sample labels", [1, patch[0], patch[1]], .int16)
    let choice = sampler.draw(step: batch.step, item: item, from: cases)
    let source = cases[choice.index]
    do {
      if role == .training {
        let parameters = augmentation.draw(seed: sampler.seed, step: batch.step, item: item, channels: channels, patch: patch)
        try read(choice, of: source, parameters.spatial, image, labels, workspace)
        try Augmentation.apply(parameters, image: image, labels: labels, workspace: workspace)
      } else {
        try read(choice, of: source, nil, image, labels, workspace)
      }
    } catch { throw error.within("case \(source.identifier)") }
    if !masked.isEmpty { try TargetEncoding.maskImage(image, labels: labels, channels: masked) }
    try TargetEncoding.removeOutside(labels)
    try check(labels, of: source)
    if targets.regions != nil { try targets.encode(labels, into: target) }
  }

  /// Labels that a prepared file should not hold. Throws: `.format`.
  private func check(_ labels: Tensor, of source: any TrainingCase) throws(MedDINOError) {
    let values = labels.elements(Int16.self)
    guard let wrong = values.first(where: { $0 < 0 || Int($0) > largestLabel }) else { return withExtendedLifetime(labels) {} }
    throw .format("case \(source.identifier): its prepared labels hold the value \(wrong), expected 0 to \(largestLabel)")
  }

  /// Reads the box; without rotation and zoom only its middle, which is all that would remain of it.
  private func read(
    _ choice: PatchChoice, of source: any TrainingCase, _ spatial: SpatialTransform.Parameters?, _ image: Tensor, _ labels: Tensor,
    _ workspace: Workspace
  ) throws(MedDINOError) {
    guard let spatial else {
      let box = sampler.geometry.centre(choice.box)
      try PatchReader.readImage(box, slice: choice.slice, of: source, into: image)
      return try PatchReader.readLabels(box, slice: choice.slice, of: source, into: labels)
    }
    let size = sampler.geometry.loaderPatch
    let wide = try workspace.tensor("loader image", [channels, size[0], size[1]])
    let wideLabels = try workspace.tensor("loader labels", [1, size[0], size[1]], .int16)
    try PatchReader.readImage(choice.box, slice: choice.slice, of: source, into: wide)
    try PatchReader.readLabels(choice.box, slice: choice.slice, of: source, into: wideLabels)
    try SpatialTransform.apply(
      spatial, image: wide, labels: wideLabels, newImage: image, newLabels: labels, workspace: workspace)
  }
}
